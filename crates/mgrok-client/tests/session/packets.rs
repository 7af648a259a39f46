//! Tests against servers with frp's binary codec of datagrams.

use bytes::{Bytes, BytesMut};
use mgrok_config::{Protocol, ProxyConfig, ProxyKind, VisitorKind, WireProtocol};
use mgrok_net::conn::Conn;
use mgrok_proto::hello::Extension;
use tokio::net::UdpSocket;

use crate::server::{Running, accept_proxy, answer_visit, new_proxy, recv, visitor, within};
use crate::transport_server::{Setup, TransportServer, sniff};
use mgrok_proto::message::Message;

const PLAIN: Setup = Setup {
    protocol: Protocol::Tcp,
    tls: false,
    mux: false,
};

/// A datagram from `fe80::1%eth0`, port 53: the zone is the name of an interface at the server.
const QUESTION: &[u8] =
    b"\0\x10\0\0\0\0\0\x21\0\x13\x02\x06\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x35\x04eth0\0\x04ping";
/// A datagram to the same user.
const ANSWER: &[u8] =
    b"\0\x10\0\0\0\0\0\x22\0\x13\x02\x06\xfe\x80\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x35\x04eth0\0\x05pong!";
/// The same datagrams in JSON.
const JSON_QUESTION: &[u8] =
    b"\0\x10\0\0\0\0\0\x3f\0\x0d{\"c\":\"cGluZw==\",\"r\":{\"IP\":\"fe80::1\",\"Port\":53,\"Zone\":\"eth0\"}}";
const JSON_ANSWER: &[u8] =
    b"\0\x10\0\0\0\0\0\x3f\0\x0d{\"c\":\"cG9uZyE=\",\"r\":{\"IP\":\"fe80::1\",\"Port\":53,\"Zone\":\"eth0\"}}";

async fn exactly(conn: &mut Conn, len: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    while bytes.len() < len {
        let chunk = within(conn.recv()).await.unwrap();
        assert!(!chunk.is_empty());
        bytes.extend_from_slice(&chunk);
    }
    bytes
}

/// Checks what the service receives for a user's question, and what the server receives for the answer.
async fn is_served(extensions: &[Extension], question: &'static [u8], answer: &[u8]) -> Conn {
    let service = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let port = service.local_addr().unwrap().port();
    let mut server = TransportServer::bind(PLAIN).await;
    let mut config = server.config(WireProtocol::V2);
    let kind = ProxyKind::Udp { remote_port: 6000 };
    config.proxies = vec![ProxyConfig::new("dns", kind, port)];
    let _client = Running::start(config);
    let mut session = server.session(extensions).await;
    new_proxy(&mut session.control).await;
    accept_proxy(&mut session.control, "dns").await;

    let mut work = session.user("dns").await;
    work.send(Bytes::from_static(question)).await.unwrap();
    let mut heard = [0; 9];
    let (len, from) = within(service.recv_from(&mut heard)).await.unwrap();
    assert_eq!(heard[..len], *b"ping");
    service.send_to(b"pong!", from).await.unwrap();
    assert_eq!(exactly(&mut work, answer.len()).await, answer);

    work.send(Bytes::from_static(JSON_QUESTION)).await.unwrap();
    if question == JSON_QUESTION {
        within(service.recv_from(&mut heard)).await.unwrap();
    } else {
        // JSON was not negotiated, so it ends the connection.
        assert!(within(work.recv()).await.unwrap().is_empty());
    }
    work
}

#[tokio::test]
async fn a_server_that_has_it_gets_datagrams_in_the_binary_codec() {
    is_served(&[Extension::BINARY_PACKETS], QUESTION, ANSWER).await;
}

#[tokio::test]
async fn a_server_that_does_not_have_it_gets_json() {
    is_served(&[], JSON_QUESTION, JSON_ANSWER).await;
}

#[tokio::test]
async fn a_visitor_sends_datagrams_in_the_binary_codec() {
    let mut server = TransportServer::bind(PLAIN).await;
    let mut config = server.config(WireProtocol::V2);
    config.visitors = vec![visitor("to-dns", VisitorKind::Sudp)];
    let mut client = Running::start(config);
    let listener = client.listener("to-dns").await;
    let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    user.connect(listener).await.unwrap();
    user.send(b"ping").await.unwrap();

    let mut session = server.session(&[Extension::BINARY_PACKETS]).await;
    let (mut visit, _) = sniff(session.link.stream().await).await;
    let Message::NewVisitorConn(asked) = recv(&mut visit).await else {
        panic!("something else than a visitor");
    };
    let mut visit = answer_visit(visit, asked, "").await;
    let port = user.local_addr().unwrap().port().to_be_bytes();
    let frame = |payload: &[u8]| {
        let len = 13 + payload.len() as u8;
        let head = [0, 16, 0, 0, 0, 0, 0, len, 0, 19, 2, 4, 127, 0, 0, 1];
        let tail = [0, 0, payload.len() as u8];
        [&head[..], &port, &tail, payload].concat()
    };
    let question = frame(b"ping");
    assert_eq!(exactly(&mut visit, question.len()).await, question);
    visit.send(frame(b"pong!").into()).await.unwrap();
    let mut answer = [0; 9];
    let len = within(user.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[..len], *b"pong!");
    visit.send(Bytes::from_static(JSON_QUESTION)).await.unwrap();
    assert!(within(visit.recv()).await.unwrap().is_empty());
}
