//! Tests that a session starts for any verified client, whatever the proof.

use std::collections::BTreeMap;
use std::future::ready;

use mgrok_config::ServerConfig;
use mgrok_net::conn::Conn;
use mgrok_proto::message::{Message, NewProxy};
use mgrok_proto::{Negotiated, RunId, WireVersion};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::accept::AcceptContext;
use crate::client_addr::ClientAddrResolver;
use crate::directory::{ClientInfo, Directory};
use crate::hole_punch::HolePunchBroker;
use crate::policy::CurrentPolicy;
use crate::ports::Ports;
use crate::private::PrivateServices;
use crate::proxy::PublishContext;
use crate::public_endpoint::PublicEndpoints;
use crate::tasks::Tasks;
use crate::vhost::Vhosts;

fn context() -> Arc<SessionContext> {
    let policy = CurrentPolicy::of(ServerConfig {
        proxy_bind_addr: "127.0.0.1".to_owned(),
        ..ServerConfig::default()
    });
    let (directory, tasks) = (Directory::default(), Tasks::default());
    let private = PrivateServices::default();
    let endpoints = PublicEndpoints {
        groups: Default::default(),
        ports: Ports::new(policy.clone()),
        vhosts: Arc::new(Vhosts::new(&policy, &directory, &tasks)),
        accept_context: AcceptContext {
            client_addrs: ClientAddrResolver::new(policy.clone()),
            tasks: tasks.clone(),
        },
    };
    let publish = PublishContext {
        policy: policy.clone(),
        directory: directory.clone(),
        endpoints,
        private: private.clone(),
        tasks: tasks.clone(),
    };
    Arc::new(SessionContext {
        policy,
        directory,
        tasks,
        publish,
        holes: HolePunchBroker::new(private, Duration::ZERO),
    })
}

/// A client that a gateway has verified: it has no token, and has signed nothing.
fn identity(context: &SessionContext) -> Identity {
    Identity {
        run_id: RunId::from("gateway"),
        client: Arc::new(ClientInfo {
            user: "ann".to_owned(),
            client_id: String::new(),
            version: String::new(),
            wire_protocol: "v1",
            hostname: String::new(),
            os: String::new(),
            arch: String::new(),
            addr: "192.0.2.1:7".parse().unwrap(),
        }),
        metas: BTreeMap::new(),
        keys: context.policy.now().keys.clone(),
        negotiated: Negotiated::new(WireVersion::V1, "0.70.1", &[]),
        links: Arc::default(),
        migrates: false,
        proved: true,
        signed_at: 0,
        subject: None,
    }
}

async fn pair() -> (Conn, Conn) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (dialled, accepted) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (dialled.unwrap().into(), accepted.unwrap().0.into())
}

fn messages(conn: Conn) -> MessageConn {
    MessageConn::new(conn, WireVersion::V1)
}

#[tokio::test]
async fn a_verified_client_publishes_without_a_token() {
    let context = context();
    let (ours, theirs) = pair().await;
    let control = Control {
        conn: messages(ours),
        first: None,
        heartbeat_timeout: None,
    };
    let started = start(identity(&context), 0, ready(Some(control)), &context);
    let session = tokio::spawn(started.await.unwrap().unwrap().run());
    let mut client = messages(theirs);
    let new = NewProxy {
        proxy_name: "ssh".to_owned(),
        proxy_type: "tcp".to_owned(),
        ..NewProxy::default()
    };
    client.send(&new.into()).await.unwrap();
    let Some(Message::NewProxyResp(resp)) = client.recv().await.unwrap() else {
        panic!("no answer");
    };
    assert_eq!(resp.error, "");
    let public = format!("127.0.0.1{}", resp.remote_addr);
    let mut user = TcpStream::connect(public).await.unwrap();
    let Some(Message::ReqWorkConn(_)) = client.recv().await.unwrap() else {
        panic!("no request");
    };
    let (ours, theirs) = pair().await;
    let handle = context.directory.session(&RunId::from("gateway")).unwrap();
    handle.work_conns.send(ours).await.unwrap();
    let mut work = messages(theirs);
    let Some(Message::StartWorkConn(begun)) = work.recv().await.unwrap() else {
        panic!("no start");
    };
    assert_eq!(begun.proxy_name, "ssh");
    let mut work = work.into_conn();
    work.write_all(b"hello").await.unwrap();
    let mut seen = [0; 5];
    user.read_exact(&mut seen).await.unwrap();
    assert_eq!(&seen, b"hello");
    assert_eq!(&*context.directory.proxy("ssh").unwrap().user, "ann");
    drop(client);
    assert_eq!(session.await.unwrap(), Ended::Gone);
    assert!(context.directory.proxy("ssh").is_none());
    assert!(context.directory.sessions().is_empty());
}

#[tokio::test]
async fn a_client_that_gets_no_answer_has_no_session() {
    let context = context();
    let started = start(identity(&context), 0, ready(None), &context).await;
    assert!(started.unwrap().is_none());
    assert!(context.directory.sessions().is_empty());
}

#[test]
fn a_pool_count_below_zero_is_none() {
    assert_eq!(kept(-1, 5), 0);
    assert_eq!(kept(i64::MIN, 5), 0);
    assert_eq!(kept(3, 5), 3);
    assert_eq!(kept(i64::MAX, 5), 5);
}

/// There is one for each client. Its pool, proxies and channels are elsewhere.
#[test]
fn the_future_of_a_session_is_small() {
    let size = crate::future_size::future_size(Session::run);
    assert!(size <= 6_144, "{size} bytes");
}
