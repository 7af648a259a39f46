//! Tests clients with frp's binary codec of datagrams, alone and together with others.

use bytes::{Bytes, BytesMut};
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_proto::hello::{Bootstrap, Extension, Offer};
use mgrok_proto::message::{Message, NewProxy};
use mgrok_proto::record::Algorithm;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::script::{Client, LIMIT, RunningServer, plain_config};
use crate::v2::{dns, log_in_on, login, recv, visit, work_conn};

/// A client with these extensions, in the version of frp that has the binary codec.
async fn log_in(server: &RunningServer, extensions: &[Extension]) -> Client {
    let offer = Offer::new(Bootstrap::default(), &[Algorithm::Aes256Gcm], extensions);
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let (client, agreed) = log_in_on(stream.into(), &offer, login("0.71.0")).await;
    assert_eq!(agreed, extensions);
    client
}

async fn started(client: &mut Client, new: NewProxy) -> u16 {
    client.control.send(&new.into()).await.unwrap();
    loop {
        if let Some(Message::NewProxyResp(answer)) = recv(&mut client.control).await {
            assert_eq!(answer.error, "");
            let port = answer.remote_addr.strip_prefix(':');
            return port.and_then(|port| port.parse().ok()).unwrap_or_default();
        }
    }
}

async fn chunk(conn: &mut Conn) -> Bytes {
    timeout(LIMIT, conn.recv()).await.unwrap().unwrap()
}

/// The next `len` bytes.
async fn exactly(conn: &mut Conn, len: usize) -> BytesMut {
    let mut bytes = BytesMut::new();
    while bytes.len() < len {
        let chunk = chunk(conn).await;
        assert!(!chunk.is_empty());
        bytes.extend_from_slice(&chunk);
    }
    assert_eq!(bytes.len(), len);
    bytes
}

/// Replaces the port in the addresses of v2 frames.
fn with_port(bytes: &[u8], port: u16) -> Bytes {
    let port = port.to_be_bytes();
    let at = bytes.windows(2).position(|it| it == b"PP").unwrap();
    [&bytes[..at], &port, &bytes[at + 2..]].concat().into()
}

const QUESTION: &[u8] = b"\0\x10\0\0\0\0\0\x11\0\x13\x02\x04\x7f\0\0\x01PP\0\0\x04ping";
const ANSWER: &[u8] = b"\0\x10\0\0\0\0\0\x12\0\x13\x02\x04\x7f\0\0\x01PP\0\0\x05pong!";
const JSON: &[u8] = b"\0\x10\0\0\0\0\0\x04\0\x0d{}";

#[tokio::test]
async fn users_of_a_udp_proxy_are_carried_in_the_binary_codec() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = log_in(&server, &[Extension::BINARY_PACKETS]).await;
    let new = NewProxy {
        proxy_name: "dns".into(),
        proxy_type: "udp".into(),
        ..NewProxy::default()
    };
    let public = started(&mut client, new).await;
    let user = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    user.connect(("127.0.0.1", public)).await.unwrap();
    user.send(b"ping").await.unwrap();

    let (_, work) = work_conn(&mut client, &server).await;
    let mut work = work.into_conn();
    let port = user.local_addr().unwrap().port();
    let question = with_port(QUESTION, port);
    assert_eq!(exactly(&mut work, question.len()).await, question);
    work.send(with_port(ANSWER, port)).await.unwrap();
    let mut answer = [0; 9];
    let len = timeout(LIMIT, user.recv(&mut answer)).await.unwrap();
    assert_eq!(answer[..len.unwrap()], *b"pong!");

    // JSON is an error once the binary codec is negotiated.
    work.send(Bytes::from_static(JSON)).await.unwrap();
    assert!(chunk(&mut work).await.is_empty());
}

#[tokio::test]
async fn the_framing_of_mgrok_goes_before_the_binary_codec() {
    let server = RunningServer::start(plain_config()).await;
    let both = [Extension::BINARY_PACKETS, Extension::DATAGRAMS];
    let mut client = log_in(&server, &both).await;
    started(&mut client, dns()).await;
    let visitor = log_in(&server, &both).await;
    let visit = visit(&server, &visitor).await;
    let (_, work) = work_conn(&mut client, &server).await;
    check(
        (visit.into_conn(), Framing::Binary),
        (work.into_conn(), Framing::Binary),
    )
    .await;
}

/// Checks that datagrams pass both ways between a visitor and a proxy with these framings.
async fn check(visitor: (Conn, Framing), proxy: (Conn, Framing)) {
    let (mut visitor, mut proxy) = (End::new(visitor), End::new(proxy));
    for payload in [&b"ping"[..], b"", &[7; 5000]] {
        visitor.say(payload).await;
        assert_eq!(proxy.hear().await, Some(payload.to_vec()));
        proxy.say(payload).await;
        assert_eq!(visitor.hear().await, Some(payload.to_vec()));
    }
    let mut ping = BytesMut::new();
    proxy.encoder.ping(&mut ping).unwrap();
    proxy.conn.send(ping.freeze()).await.unwrap();
    assert_eq!(visitor.hear().await, None);
}

struct End {
    conn: Conn,
    encoder: Encoder,
    decoder: Decoder,
    unread: BytesMut,
}

impl End {
    fn new((conn, framing): (Conn, Framing)) -> Self {
        Self {
            conn,
            encoder: Encoder::new(framing),
            decoder: Decoder::new(framing),
            unread: BytesMut::new(),
        }
    }

    async fn say(&mut self, payload: &[u8]) {
        let user = Some(([127, 0, 0, 1], 53).into());
        let mut frame = BytesMut::new();
        self.encoder.datagram(payload, user, &mut frame).unwrap();
        self.encoder.end_frame();
        self.conn.send(frame.freeze()).await.unwrap();
    }

    /// The next datagram; `None` for a ping.
    async fn hear(&mut self) -> Option<Vec<u8>> {
        let mut payload = BytesMut::new();
        loop {
            let decoded = self.decoder.decode(&self.unread, &mut payload).unwrap();
            if let Some((carried, len)) = decoded {
                drop(self.unread.split_to(len));
                return match carried {
                    Carried::Packet { .. } => Some(payload.to_vec()),
                    _ => None,
                };
            }
            let chunk = chunk(&mut self.conn).await;
            assert!(!chunk.is_empty());
            self.unread.extend_from_slice(&chunk);
        }
    }
}

#[tokio::test]
async fn visitors_and_proxies_that_disagree_on_the_codec_are_bridged() {
    // The framing of each kind of client, and its extensions.
    let kinds = [
        (Framing::V1, None),
        (Framing::V2, Some(&[][..])),
        (Framing::V2Binary, Some(&[Extension::BINARY_PACKETS][..])),
        (Framing::Binary, Some(&[Extension::DATAGRAMS][..])),
    ];
    for (proxy, of_proxy) in kinds {
        let server = RunningServer::start(plain_config()).await;
        let mut owner = match of_proxy {
            Some(extensions) => log_in(&server, extensions).await,
            None => Client::login(&server, "").await,
        };
        started(&mut owner, dns()).await;
        for (visitor, of_visitor) in kinds {
            // Visitors with v1 framing are tested in `v2.rs`.
            let Some(of_visitor) = of_visitor else {
                continue;
            };
            let client = log_in(&server, of_visitor).await;
            let visit: MessageConn = visit(&server, &client).await;
            let work = match of_proxy {
                Some(_) => work_conn(&mut owner, &server).await.1.into_conn(),
                None => owner.work_conn(&server).await.1,
            };
            check((visit.into_conn(), visitor), (work, proxy)).await;
        }
    }
}
