//! Checks that every carrier does what a connection promises, alone and in the middle of two relays.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::future::poll_fn;
use std::io;
use std::task::Poll;
use std::time::Duration;

use bytes::Bytes;
use mgrok_mux::{Acceptor, Config, Opener, session};
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::layers::{Layers, encrypt};
use mgrok_net::quic::{Connection, Endpoint, QuicClient, QuicOptions, QuicServer};
use mgrok_net::relay::{EndReason, HalfClose, Traffic, relay};
use mgrok_net::tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

const PATIENCE: Duration = Duration::from_secs(60);

/// More than socket buffers and windows hold.
const LARGE: usize = 16 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Carrier {
    Encrypted,
    Layered,
    Mux,
    MuxOverTls,
    Quic,
    Tcp,
    Tls,
}

const CARRIERS: [Carrier; 7] = [
    Carrier::Encrypted,
    Carrier::Layered,
    Carrier::Mux,
    Carrier::MuxOverTls,
    Carrier::Quic,
    Carrier::Tcp,
    Carrier::Tls,
];

/// The session that a stream belongs to.
#[expect(dead_code, reason = "kept only so that it is dropped last")]
enum Session {
    Mux(Opener, Acceptor, Opener, Acceptor),
    Quic(Connection, Connection),
}

/// Both ends of one connection, and the session that keeps them alive.
struct Ends {
    near: Conn,
    far: Conn,
    _session: Option<Session>,
}

async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    (near.unwrap(), accepted.unwrap().0)
}

async fn tls_pair() -> (Conn, Conn) {
    let server = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let client = ClientTls::new(ClientTlsOptions {
        server_name: "localhost".into(),
        ..ClientTlsOptions::default()
    })
    .unwrap();
    let (near, far) = tcp_pair().await;
    let (near, far) = tokio::join!(client.connect(near.into()), server.accept(far.into()));
    (near.unwrap(), far.unwrap())
}

async fn mux_pair(near: Conn, far: Conn) -> Ends {
    let (opener, near_acceptor, driver) = session(near, Config::client());
    tokio::spawn(driver);
    let (far_opener, mut acceptor, driver) = session(far, Config::server());
    tokio::spawn(driver);
    let near = opener.open().await.unwrap();
    let far = acceptor.accept().await.unwrap();
    Ends {
        near: near.into(),
        far: far.into(),
        _session: Some(Session::Mux(opener, near_acceptor, far_opener, acceptor)),
    }
}

async fn quic_pair() -> Ends {
    let socket = || std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let options = QuicOptions::default();
    let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let server = QuicServer::with_tls(&tls, options.clone()).unwrap();
    let server = Endpoint::server(socket(), server).unwrap();
    let tls = ClientTlsOptions {
        server_name: "localhost".into(),
        ..ClientTlsOptions::default()
    };
    let client = QuicClient::new(tls, options).unwrap();
    let endpoint = Endpoint::client(socket()).unwrap();
    let (near, far) = tokio::join!(
        endpoint.connect(server.local_addr().unwrap(), &client),
        async { server.accept().await.unwrap().accept().await }
    );
    let (connection, accepted) = (near.unwrap(), far.unwrap());
    let mut near = connection.open().await.unwrap();
    // The peer sees a stream only when its first bytes arrive.
    near.send(Bytes::from_static(b"!")).await.unwrap();
    let mut far = accepted.accept().await.unwrap();
    assert_eq!(&far.recv().await.unwrap()[..], b"!");
    Ends {
        near,
        far,
        _session: Some(Session::Quic(connection, accepted)),
    }
}

impl Carrier {
    async fn connect(self) -> Ends {
        let plain = |(near, far): (Conn, Conn)| Ends {
            near,
            far,
            _session: None,
        };
        let key = CipherKey::derive(&Secret::new("secret"));
        let (near, far) = tcp_pair().await;
        let (near, far) = (Conn::from(near), Conn::from(far));
        match self {
            Self::Encrypted => plain((encrypt(near, &key), encrypt(far, &key))),
            Self::Layered => {
                let layers = Layers {
                    encryption: Some(key),
                    compression: true,
                    limit: None,
                };
                plain((layers.wrap(near), layers.wrap(far)))
            }
            Self::Mux => mux_pair(near, far).await,
            Self::MuxOverTls => {
                let (near, far) = tls_pair().await;
                mux_pair(near, far).await
            }
            Self::Quic => quic_pair().await,
            Self::Tcp => plain((near, far)),
            Self::Tls => plain(tls_pair().await),
        }
    }
}

fn payload(len: usize) -> Bytes {
    let mut state = 7_u32;
    let next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        state.to_be_bytes()[0]
    };
    std::iter::repeat_with(next).take(len).collect()
}

/// Sends `sent` and closes, while it reads everything up to the peer's end.
async fn exchange(conn: &mut Conn, sent: Bytes) -> io::Result<Vec<u8>> {
    let mut rest = sent;
    let mut received = Vec::new();
    let (mut all_sent, mut all_received) = (false, false);
    poll_fn(|cx| {
        if !all_sent {
            all_sent = conn.poll_send(cx, &mut rest)?.is_ready() && conn.poll_close(cx)?.is_ready();
        }
        while !all_received {
            let Poll::Ready(chunk) = conn.poll_recv(cx)? else {
                break;
            };
            all_received = chunk.is_empty();
            received.extend_from_slice(&chunk);
        }
        match all_sent && all_received {
            true => Poll::Ready(io::Result::Ok(())),
            false => Poll::Pending,
        }
    })
    .await?;
    Ok(received)
}

#[tokio::test]
async fn megabytes_pass_both_ways_at_once() {
    let up = payload(LARGE);
    let down = payload(LARGE + 1);
    for carrier in CARRIERS {
        let mut ends = carrier.connect().await;
        let both = async {
            tokio::join!(
                exchange(&mut ends.near, up.clone()),
                exchange(&mut ends.far, down.clone())
            )
        };
        let (at_near, at_far) = timeout(PATIENCE, both).await.unwrap();
        assert!(at_near.unwrap() == down, "{carrier:?}");
        assert!(at_far.unwrap() == up, "{carrier:?}");
    }
}

#[tokio::test]
async fn a_small_message_does_not_wait_for_more() {
    for carrier in CARRIERS {
        let mut ends = carrier.connect().await;
        for _ in 0..20 {
            ends.near.send(Bytes::from_static(b"ping")).await.unwrap();
            let got = timeout(PATIENCE, ends.far.recv()).await.unwrap().unwrap();
            assert_eq!(got, "ping", "{carrier:?}");
            ends.far.send(Bytes::from_static(b"pong")).await.unwrap();
            let got = timeout(PATIENCE, ends.near.recv()).await.unwrap().unwrap();
            assert_eq!(got, "pong", "{carrier:?}");
        }
    }
}

/// user - relay - carrier - relay - service: the user closes first, and the whole reply arrives.
#[tokio::test]
async fn two_relays_carry_question_half_close_and_reply() {
    let question = payload(LARGE);
    let reply = payload(LARGE + 7);
    for carrier in CARRIERS {
        let ends = carrier.connect().await;
        let (mut user, user_conn) = tcp_pair().await;
        let (service_conn, mut service) = tcp_pair().await;
        let traffic = Traffic::default();
        let front = relay(user_conn.into(), ends.near, HalfClose::Carried, &traffic);
        let other_traffic = Traffic::default();
        let back = relay(
            ends.far,
            service_conn.into(),
            HalfClose::Carried,
            &other_traffic,
        );
        let ask = async {
            user.write_all(&question).await.unwrap();
            user.shutdown().await.unwrap();
            let mut received = Vec::new();
            user.read_to_end(&mut received).await.unwrap();
            received
        };
        let answer = async {
            let mut received = Vec::new();
            service.read_to_end(&mut received).await.unwrap();
            service.write_all(&reply).await.unwrap();
            service.shutdown().await.unwrap();
            received
        };
        let all = async { tokio::join!(front, back, ask, answer) };
        let (front, back, at_user, at_service) = timeout(PATIENCE, all).await.unwrap();
        assert!(at_service == question, "{carrier:?}");
        assert!(at_user == reply, "{carrier:?}");
        for end in [front, back] {
            assert!(
                matches!(end.reason, EndReason::Closed),
                "{carrier:?} {end:?}"
            );
            assert_eq!(end.received, question.len() as u64);
            assert_eq!(end.sent, reply.len() as u64);
        }
    }
}
