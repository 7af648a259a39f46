//! Tests clients of wire protocol v2, alone and together with clients of v1.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::{self, Secret};
use mgrok_proto::hello::{AgreeError, Bootstrap, Extension, Offer};
use mgrok_proto::message::{
    Login, LoginResp, Message, NewProxy, NewVisitorConn, NewWorkConn, Ping, StartWorkConn,
    UdpPacket,
};
use mgrok_proto::record::Algorithm;
use mgrok_proto::v2::{self, Content};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::script::{Client, LIMIT, RunningServer, plain_config};
use crate::tcp_proxy;

/// A connection on which only the magic was sent.
async fn connect(server: &RunningServer) -> MessageConn {
    begin(TcpStream::connect(server.addr).await.unwrap().into())
}

/// Begins a stream of v2.
pub(crate) fn begin(conn: Conn) -> MessageConn {
    let mut conn = MessageConn::new(conn, WireVersion::V2);
    conn.queue_encoded(v2::MAGIC).unwrap();
    conn
}

pub(crate) fn login(version: &str) -> Login {
    Login {
        version: version.into(),
        privilege_key: auth::sign(&Secret::default(), 1).into(),
        timestamp: 1,
        ..Login::default()
    }
}

pub(crate) async fn recv(conn: &mut MessageConn) -> Option<Message> {
    timeout(LIMIT, conn.recv()).await.unwrap().unwrap()
}

pub(crate) async fn login_resp(conn: &mut MessageConn) -> LoginResp {
    match recv(conn).await {
        Some(Message::LoginResp(answer)) => answer,
        other => panic!("expected the answer to a login, not {other:?}"),
    }
}

/// Sends a hello, and returns the payload of the server's.
pub(crate) async fn hello(conn: &mut MessageConn, offer: &Offer, login: Login) -> Bytes {
    let mut hello = BytesMut::new();
    offer.encode(&mut hello);
    conn.queue_encoded(&hello).unwrap();
    conn.send(&login.into()).await.unwrap();
    match timeout(LIMIT, conn.recv_content()).await.unwrap().unwrap() {
        Some(Content::ServerHello(hello)) => hello,
        other => panic!("expected the server's hello, not {other:?}"),
    }
}

/// Logs in with the empty token as a client of this version of frp.
async fn log_in(server: &RunningServer, algorithm: Algorithm, version: &str) -> Client {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let offer = Offer::new(Bootstrap::default(), &[algorithm], &[]);
    log_in_on(stream.into(), &offer, login(version)).await.0
}

/// Logs in on an unused connection or stream. Also returns the negotiated extensions.
pub(crate) async fn log_in_on(conn: Conn, offer: &Offer, login: Login) -> (Client, Vec<Extension>) {
    try_log_in_on(conn, offer, login).await.unwrap()
}

/// As [`log_in_on`], or the server's error text.
pub(crate) async fn try_log_in_on(
    conn: Conn,
    offer: &Offer,
    login: Login,
) -> Result<(Client, Vec<Extension>), String> {
    let mut conn = begin(conn);
    let hello = hello(&mut conn, offer, login).await;
    let agreement = offer.agree(hello).unwrap();
    let keys = agreement.keys(&Secret::default());
    let seal = |conn: MessageConn| {
        let (sends, receives) = (&keys.client_to_server, &keys.server_to_client);
        MessageConn::new(
            layers::seal(conn.into_conn(), sends, receives),
            WireVersion::V2,
        )
    };
    let proves = agreement.extensions.contains(&Extension::PROOF);
    if proves {
        conn = seal(conn);
        conn.send(&Ping::default().into()).await.unwrap();
    }
    let answer = login_resp(&mut conn).await;
    if !answer.error.is_empty() {
        return Err(answer.error);
    }
    if !proves {
        conn = seal(conn);
    }
    let client = Client {
        run_id: answer.run_id,
        control: conn,
    };
    Ok((client, agreement.extensions))
}

/// Offers a work connection and waits until the server uses it.
pub(crate) async fn work_conn(
    client: &mut Client,
    server: &RunningServer,
) -> (StartWorkConn, MessageConn) {
    while !matches!(
        recv(&mut client.control).await,
        Some(Message::ReqWorkConn(_))
    ) {}
    let mut work = connect(server).await;
    let new = NewWorkConn {
        run_id: client.run_id.clone(),
        ..NewWorkConn::default()
    };
    work.send(&new.into()).await.unwrap();
    match recv(&mut work).await {
        Some(Message::StartWorkConn(start)) => (start, work),
        other => panic!("expected the start of a work connection, not {other:?}"),
    }
}

#[tokio::test]
async fn a_user_reaches_a_client_of_v2_and_back() {
    let server = RunningServer::start(plain_config()).await;
    for algorithm in [Algorithm::Aes256Gcm, Algorithm::XChaCha20Poly1305] {
        let mut client = log_in(&server, algorithm, "0.70.1").await;
        let port = client.start_proxy(tcp_proxy("echo", 0)).await.unwrap();
        client.control.send(&Ping::default().into()).await.unwrap();
        client.pong().await;

        let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
        user.write_all(b"hello").await.unwrap();
        let (start, work) = work_conn(&mut client, &server).await;
        assert_eq!(start.proxy_name, "echo");
        let mut work = work.into_conn();
        assert_eq!(work.recv().await.unwrap(), "hello");
        work.send(Bytes::from_static(b"bye")).await.unwrap();
        let mut bye = [0; 3];
        user.read_exact(&mut bye).await.unwrap();
        assert_eq!(&bye, b"bye");
    }
}

#[tokio::test]
async fn a_login_without_a_hello_is_refused() {
    let server = RunningServer::start(plain_config()).await;
    let mut conn = connect(&server).await;
    conn.send(&login("0.70.1").into()).await.unwrap();
    let answer = login_resp(&mut conn).await;
    assert_eq!(answer.error, "missing v2 crypto negotiation");
    assert_eq!(recv(&mut conn).await, None);
}

#[tokio::test]
async fn a_login_with_the_wrong_token_is_refused_in_clear() {
    let server = RunningServer::start(plain_config()).await;
    let mut conn = connect(&server).await;
    let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), &[]);
    let wrong = Login {
        privilege_key: "wrong".into(),
        ..login("0.70.1")
    };
    let hello = hello(&mut conn, &offer, wrong).await;
    assert!(offer.agree(hello).is_ok());
    let answer = login_resp(&mut conn).await;
    assert!(answer.error.contains("token"), "{}", answer.error);
}

#[tokio::test]
async fn a_hello_without_a_common_algorithm_is_refused() {
    let server = RunningServer::start(plain_config()).await;
    let mut conn = connect(&server).await;
    let offer = Offer::new(Bootstrap::default(), &[], &[]);
    let hello = hello(&mut conn, &offer, login("0.70.1")).await;
    match offer.agree(hello) {
        Err(AgreeError::Refused(why)) => assert_eq!(why, "no supported crypto algorithm"),
        other => panic!("{other:?}"),
    }
    assert_eq!(recv(&mut conn).await, None);
}

#[tokio::test]
async fn a_work_connection_without_a_session_is_refused_in_its_own_framing() {
    let server = RunningServer::start(plain_config()).await;
    let mut work = connect(&server).await;
    work.send(&NewWorkConn::default().into()).await.unwrap();
    match recv(&mut work).await {
        Some(Message::StartWorkConn(start)) => assert_ne!(start.error, ""),
        other => panic!("expected a refusal, not {other:?}"),
    }
}

fn packet(content: &'static str) -> Message {
    UdpPacket {
        content: content.into(),
        user: Some(SocketAddr::from(([127, 0, 0, 1], 53)).into()),
        ..UdpPacket::default()
    }
    .into()
}

/// Connects a visitor of a v2 client to the `sudp` service `dns`.
pub(crate) async fn visit(server: &RunningServer, visitor: &Client) -> MessageConn {
    let mut conn = connect(server).await;
    let new = NewVisitorConn {
        run_id: visitor.run_id.clone(),
        proxy_name: "dns".into(),
        sign_key: auth::sign(&Secret::new("key"), 1).into(),
        timestamp: 1,
        ..NewVisitorConn::default()
    };
    conn.send(&new.into()).await.unwrap();
    match recv(&mut conn).await {
        Some(Message::NewVisitorConnResp(answer)) => assert_eq!(answer.error, ""),
        other => panic!("expected the answer to a visitor, not {other:?}"),
    }
    conn
}

pub(crate) fn dns() -> NewProxy {
    NewProxy {
        proxy_name: "dns".into(),
        proxy_type: "sudp".into(),
        sk: "key".into(),
        ..NewProxy::default()
    }
}

/// Checks that datagrams pass between a visitor and a proxy with these framings.
async fn check_datagrams(
    (visitor, visitor_version): (Conn, WireVersion),
    (proxy, proxy_version): (Conn, WireVersion),
) {
    let mut visitor = MessageConn::new(visitor, visitor_version);
    let mut proxy = MessageConn::new(proxy, proxy_version);
    visitor.send(&packet("question")).await.unwrap();
    assert_eq!(recv(&mut proxy).await, Some(packet("question")));
    proxy.send(&packet("answer")).await.unwrap();
    proxy.send(&Ping::default().into()).await.unwrap();
    assert_eq!(recv(&mut visitor).await, Some(packet("answer")));
    assert_eq!(recv(&mut visitor).await, Some(Ping::default().into()));
}

#[tokio::test]
async fn the_first_version_of_v2_frames_datagrams_as_v1_does() {
    let server = RunningServer::start(plain_config()).await;
    let mut owner = log_in(&server, Algorithm::Aes256Gcm, "0.69.0").await;
    owner.control.send(&dns().into()).await.unwrap();
    while !matches!(
        recv(&mut owner.control).await,
        Some(Message::NewProxyResp(_))
    ) {}

    let same = log_in(&server, Algorithm::Aes256Gcm, "0.69.0").await;
    let newer = log_in(&server, Algorithm::Aes256Gcm, "0.69.1").await;
    for (visitor, version) in [(same, WireVersion::V1), (newer, WireVersion::V2)] {
        let visit = visit(&server, &visitor).await;
        let (_, work) = work_conn(&mut owner, &server).await;
        let work = (work.into_conn(), WireVersion::V1);
        check_datagrams((visit.into_conn(), version), work).await;
    }
}
