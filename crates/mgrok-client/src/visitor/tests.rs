use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_config::{ClientConfig, ClientTransport, ServerAddr};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_proto::auth::Secret;
use mgrok_proto::message::{Message, NewVisitorConnResp};
use mgrok_proto::{Negotiated, RunId, WireVersion};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, timeout};

use super::*;
use crate::connect::Streams;
use crate::handle::{SessionHandle, Sessions};
use crate::hole::Puncher;
use crate::tasks::TaskOwner;

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(std::time::Duration::from_secs(20), future)
        .await
        .unwrap()
}

pub(crate) fn stcp(name: &str) -> VisitorConfig {
    VisitorConfig {
        name: name.to_owned(),
        kind: VisitorKind::Stcp,
        server_user: None,
        server_name: "db".to_owned(),
        secret_key: Secret::new("abc"),
        bind_addr: "127.0.0.1".to_owned(),
        bind_port: Some(0),
        plugin: None,
        use_encryption: false,
        use_compression: false,
    }
}

/// The parts of a client that its visitors use.
pub(super) struct Lab {
    owner: TaskOwner,
    pub(super) sessions: watch::Sender<Sessions>,
    pub(super) stopping: CancellationToken,
}

impl Lab {
    pub(super) fn new() -> Self {
        Self {
            owner: TaskOwner::new(),
            sessions: watch::Sender::default(),
            stopping: CancellationToken::new(),
        }
    }

    pub(super) fn context(&self) -> VisitorContext {
        VisitorContext {
            puncher: Puncher::new(&ClientConfig::default(), Default::default()),
            sessions: self.sessions.subscribe(),
            stopping: self.stopping.clone(),
            tasks: self.owner.tasks().clone(),
            udp_packet_size: 1500,
            user: "ada".to_owned(),
            virtual_net: None,
        }
    }

    fn visitors(&self) -> (Visitors, ListenerWatch) {
        let table = watch::Sender::default();
        let listeners = ListenerWatch::new(table.subscribe());
        (Visitors::new(self.context(), table), listeners)
    }

    /// A server with a session, whose streams the test accepts.
    pub(super) async fn server(&self) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let config = ClientConfig {
            servers: vec![ServerAddr::new(
                "127.0.0.1",
                listener.local_addr().unwrap().port(),
            )],
            transport: ClientTransport {
                tls: None,
                ..ClientTransport::default()
            },
            ..ClientConfig::default()
        };
        let streams = Streams::over_tcp(&config);
        let run_id = RunId::from("0123456789abcdef");
        let (handle, _) = SessionHandle::new(
            run_id,
            streams,
            Negotiated::new(WireVersion::V1, "", &[]),
            Span::none(),
        );
        self.sessions.send_modify(|it| it.begin(0, handle));
        listener
    }

    /// A user that does not come from a listener, and the user's end.
    async fn user(&self) -> (User, Conn) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(listener.accept(), TcpStream::connect(addr));
        let (stream, from) = ours.unwrap();
        let permits = Arc::new(Semaphore::new(1));
        let user = User {
            conn: stream.into(),
            from,
            counted: self.owner.tasks().user(),
            permit: permits.acquire_owned().await.unwrap(),
        };
        (user, theirs.unwrap().into())
    }
}

#[tokio::test]
async fn a_visitor_without_a_listener_is_entered_through_another() {
    let lab = Lab::new();
    let server = lab.server().await;
    let (mut visitors, listeners) = lab.visitors();
    let no_listener = VisitorConfig {
        bind_port: None,
        ..stcp("spare")
    };
    visitors.apply(&[no_listener]).await;
    assert_eq!(listeners.listener("spare"), None);

    let (user, mut outside) = lab.user().await;
    let spare = visitors.table.borrow().visitor("spare").cloned();
    spare.unwrap().enter(user);
    let (stream, _) = in_time(server.accept()).await.unwrap();
    let mut visit = MessageConn::new(stream.into(), WireVersion::V1);
    let asked = in_time(visit.recv()).await.unwrap();
    assert!(matches!(asked, Some(Message::NewVisitorConn(_))));
    let answer = NewVisitorConnResp::default();
    visit.send(&answer.into()).await.unwrap();
    visit.into_conn().send("word".into()).await.unwrap();
    assert_eq!(in_time(outside.recv()).await.unwrap(), "word");
}

#[tokio::test]
async fn users_count_while_the_service_serves_them() {
    let lab = Lab::new();
    let (mut visitors, mut listeners) = lab.visitors();
    visitors.apply(&[stcp("db")]).await;
    let table = visitors.table.subscribe();
    let users = || table.borrow().users("db");
    let listener = in_time(listeners.wait_for("db")).await.unwrap();
    let mut user = Conn::from(TcpStream::connect(listener).await.unwrap());
    let server = lab.server().await;
    let (stream, _) = in_time(server.accept()).await.unwrap();
    let mut visit = MessageConn::new(stream.into(), WireVersion::V1);
    in_time(visit.recv()).await.unwrap();
    assert_eq!(users(), 0, "it waits for the service");
    let answer = NewVisitorConnResp::default();
    visit.send(&answer.into()).await.unwrap();
    let mut service = visit.into_conn();
    service.send("word".into()).await.unwrap();
    assert_eq!(in_time(user.recv()).await.unwrap(), "word");
    assert_eq!((users(), table.borrow().users("other")), (1, 0));
    drop(user);
    drop(service);
    in_time(async {
        while users() > 0 {
            tokio::task::yield_now().await;
        }
    })
    .await;
}

#[tokio::test]
async fn visitors_may_exchange_their_listeners() {
    let lab = Lab::new();
    let (mut visitors, mut listeners) = lab.visitors();
    let mut dns = VisitorConfig {
        kind: VisitorKind::Sudp,
        ..stcp("dns")
    };
    visitors.apply(&[stcp("a"), stcp("b"), dns.clone()]).await;
    let a = in_time(listeners.wait_for("a")).await.unwrap();
    let b = in_time(listeners.wait_for("b")).await.unwrap();
    dns.bind_port = Some(in_time(listeners.wait_for("dns")).await.unwrap().port());

    let at = |name: &str, listener: SocketAddr| VisitorConfig {
        bind_port: Some(listener.port()),
        ..stcp(name)
    };
    let swapped = [at("a", b), at("b", a), dns];
    let began = Instant::now();
    visitors.apply(&swapped).await;
    assert_eq!(in_time(listeners.wait_for("a")).await, Some(b));
    assert_eq!(in_time(listeners.wait_for("b")).await, Some(a));
    assert!(in_time(listeners.wait_for("dns")).await.is_some());
    assert!(
        began.elapsed() < listener::RETRY,
        "not at the first attempt"
    );

    visitors.apply(&[]).await;
    std::net::TcpListener::bind(a).unwrap();
}

#[tokio::test]
async fn a_visitor_whose_port_is_taken_does_not_affect_others() {
    let lab = Lab::new();
    let (mut visitors, mut listeners) = lab.visitors();
    let taken = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let late = VisitorConfig {
        bind_port: Some(taken.local_addr().unwrap().port()),
        ..stcp("late")
    };
    visitors.apply(&[late.clone(), stcp("fine")]).await;
    let fine = in_time(listeners.wait_for("fine")).await;
    assert_eq!(listeners.listener("late"), None);

    // The port can be taken back, and the other visitors are not affected.
    visitors.apply(&[stcp("fine")]).await;
    assert_eq!(listeners.listener("fine"), fine);
    drop(taken);
    visitors.apply(&[late, stcp("fine")]).await;
    assert!(in_time(listeners.wait_for("late")).await.is_some());
    assert_eq!(listeners.listener("fine"), fine);
}

#[tokio::test]
async fn visitors_that_are_dropped_close_their_listeners() {
    let lab = Lab::new();
    let (mut visitors, mut listeners) = lab.visitors();
    visitors.apply(&[stcp("a")]).await;
    let listener = in_time(listeners.wait_for("a")).await.unwrap();
    drop(visitors);
    in_time(lab.owner.finish()).await;
    TcpListener::bind(listener).await.unwrap();
}
