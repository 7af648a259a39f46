//! Tests connections between real sockets.

use std::future::Future;
use std::net::UdpSocket;
use std::path::PathBuf;

use bytes::Bytes;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::odd_sni::tests::{KNOWN, OddClient};
use super::*;
use crate::relay::{EndReason, HalfClose, Traffic, relay};
use crate::testing::{pattern, read_all, tcp_pair};
use crate::tls::{ClientTlsOptions, ServerTls, ServerTlsOptions};

/// A test step that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap()
}

pub(crate) fn socket() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

fn client_tls(server_name: &str) -> ClientTlsOptions {
    ClientTlsOptions {
        server_name: server_name.to_owned(),
        ..ClientTlsOptions::default()
    }
}

pub(crate) fn client(options: &QuicOptions) -> QuicClient {
    QuicClient::new(client_tls("localhost"), options.clone()).unwrap()
}

/// For clients whose server name is valid in TLS.
fn strict_server(tls: &ServerTlsOptions, options: QuicOptions) -> Result<QuicServer, QuicError> {
    QuicServer::with_tls(&ServerTls::new(tls.clone())?, options)
}

pub(crate) fn server(options: &QuicOptions) -> Endpoint {
    let server = strict_server(&ServerTlsOptions::default(), options.clone()).unwrap();
    Endpoint::server(socket(), server).unwrap()
}

/// The results of a handshake at both ends.
async fn shake_hands(
    server: &Endpoint,
    client: &QuicClient,
) -> (Result<Connection, QuicError>, Result<Connection, QuicError>) {
    let endpoint = Endpoint::client(socket()).unwrap();
    let peer = server.local_addr().unwrap();
    in_time(async {
        tokio::join!(endpoint.connect(peer, client), async {
            server.accept().await.unwrap().accept().await
        })
    })
    .await
}

/// Both ends of a new connection.
pub(crate) async fn pair(options: &QuicOptions) -> (Connection, Connection) {
    let (near, far) = shake_hands(&server(options), &client(options)).await;
    (near.unwrap(), far.unwrap())
}

/// Both ends of a new stream, which has already carried one byte.
pub(crate) async fn stream(near: &Connection, far: &Connection) -> (Conn, Conn) {
    let mut near = near.open().await.unwrap();
    near.send(Bytes::from_static(b"!")).await.unwrap();
    let mut far = in_time(far.accept()).await.unwrap();
    assert_eq!(&in_time(far.recv()).await.unwrap()[..], b"!");
    (near, far)
}

/// How many datagrams a connection has received.
pub(crate) fn datagrams_received(connection: &Connection) -> u64 {
    connection.inner.stats().frame_rx.datagram
}

/// Sends a raw datagram, which need not belong to a stream.
pub(crate) fn send_datagram(connection: &Connection, bytes: &[u8]) {
    let datagram = Bytes::copy_from_slice(bytes);
    connection.inner.send_datagram(datagram).unwrap();
}

#[tokio::test]
async fn streams_that_nobody_reads_leave_room_for_others() {
    const STALLED: u32 = 21;
    let (near, far) = pair(&QuicOptions::default()).await;
    let block = Bytes::from(vec![7; 1024 * 1024]);
    let mut stalled = Vec::new();
    for _ in 0..STALLED {
        stalled.push(stream(&near, &far).await);
    }
    let (writers, _readers): (Vec<_>, Vec<_>) = stalled.into_iter().unzip();
    let mut fills = JoinSet::new();
    for mut writer in writers {
        let block = block.clone();
        fills.spawn(async move { while writer.send(block.clone()).await.is_ok() {} });
    }
    let all = u64::from(STALLED) * u64::from(STREAM_WINDOW);
    in_time(async {
        while far.inner.stats().udp_rx.bytes < all {
            tokio::task::yield_now().await;
        }
    })
    .await;
    let (mut writer, mut reader) = stream(&near, &far).await;
    let write = tokio::spawn(async move {
        writer.send(block).await.unwrap();
        writer.close().await.unwrap();
        writer
    });
    let read = in_time(read_all(&mut reader)).await.unwrap();
    assert_eq!(read.len(), 1024 * 1024);
    drop(write.await.unwrap());
}

#[tokio::test]
async fn megabytes_pass_both_ways_through_two_relays() {
    const LARGE: usize = 20 * 1024 * 1024;
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut user, user_conn) = tcp_pair().await;
    let (mut service, service_conn) = tcp_pair().await;
    let relays = tokio::spawn(async move {
        let (near, far) = stream(&near, &far).await;
        let traffic = Traffic::default();
        let (first, second) = tokio::join!(
            relay(user_conn.into(), near, HalfClose::Carried, &traffic),
            relay(service_conn.into(), far, HalfClose::Carried, &traffic)
        );
        (first, second)
    });
    let payload = pattern(LARGE);
    let exchange = async |socket: &mut tokio::net::TcpStream| {
        let (mut reading, mut writing) = socket.split();
        let mut received = Vec::new();
        let (sent, read) = tokio::join!(
            async {
                writing.write_all(&payload).await?;
                writing.shutdown().await
            },
            reading.read_to_end(&mut received)
        );
        sent.unwrap();
        read.unwrap();
        received
    };
    let (to_user, to_service) =
        in_time(async { tokio::join!(exchange(&mut user), exchange(&mut service)) }).await;
    assert!(to_user == payload && to_service == payload);
    let (first, second) = in_time(relays).await.unwrap();
    for end in [first, second] {
        assert!(matches!(end.reason, EndReason::Closed), "{}", end.reason);
        assert_eq!((end.sent, end.received), (LARGE as u64, LARGE as u64));
    }
}

#[tokio::test]
async fn one_direction_may_end_before_the_other() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near, mut far) = stream(&near, &far).await;
    near.send(Bytes::from_static(b"question")).await.unwrap();
    near.close().await.unwrap();
    near.close().await.unwrap();
    assert_eq!(in_time(read_all(&mut far)).await.unwrap(), b"question");
    far.send(Bytes::from_static(b"answer")).await.unwrap();
    far.close().await.unwrap();
    assert_eq!(in_time(read_all(&mut near)).await.unwrap(), b"answer");
    assert!(near.recv().await.unwrap().is_empty());
}

#[tokio::test]
async fn a_dropped_stream_ends_both_directions_and_loses_nothing() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near, mut far) = stream(&near, &far).await;
    let payload = pattern(1_000_000);
    near.send(payload.clone()).await.unwrap();
    drop(near);
    assert!(in_time(read_all(&mut far)).await.unwrap() == payload);
    let chunk = Bytes::from_static(b"to nobody");
    let refused = in_time(async {
        loop {
            if let Err(error) = far.send(chunk.clone()).await {
                return error;
            }
            tokio::task::yield_now().await;
        }
    });
    assert_eq!(refused.await.kind(), io::ErrorKind::BrokenPipe);
}

#[tokio::test]
async fn a_reset_is_the_end_only_once_we_are_done() {
    for (code, closed) in [(0, true), (0, false), (1, true)] {
        let (near, far) = pair(&QuicOptions::default()).await;
        let mut conn = near.open().await.unwrap();
        conn.send(Bytes::from_static(b"!")).await.unwrap();
        let (mut raw, _receiving) = in_time(far.inner.accept_bi()).await.unwrap();
        if closed {
            conn.close().await.unwrap();
        }
        raw.reset(VarInt::from_u32(code)).unwrap();
        match in_time(conn.recv()).await {
            Ok(chunk) => assert!(chunk.is_empty() && closed && code == 0),
            Err(error) => {
                assert!(code != 0 || !closed, "{error}");
                assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
            }
        }
    }
}

#[tokio::test]
async fn a_peer_may_open_as_many_streams_as_allowed_and_no_more() {
    let many = u32::try_from(STREAMS_AT_FIRST).unwrap() * 5;
    let options = QuicOptions {
        max_streams: many,
        ..QuicOptions::default()
    };
    let (near, far) = pair(&options).await;
    let mut opening = JoinSet::new();
    for _ in 0..many {
        let near = near.clone();
        opening.spawn(async move {
            let mut conn = near.open().await.unwrap();
            conn.send(Bytes::from_static(b"hello")).await.unwrap();
            conn
        });
    }
    let mut accepted = Vec::new();
    in_time(async {
        for _ in 0..many {
            accepted.push(far.accept().await.unwrap());
        }
    })
    .await;
    let opened = in_time(opening.join_all()).await;
    assert_eq!(opened.len(), accepted.len());

    let one_more = timeout(Duration::from_millis(100), near.open()).await;
    assert!(one_more.is_err(), "more streams than allowed");
    drop((opened, accepted));
    assert_eq!(far.permits.taken.load(Ordering::Relaxed), 0);
    in_time(near.open()).await.unwrap();
}

#[tokio::test]
async fn closing_tells_the_peer_code_zero() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (_near_stream, mut far_stream) = stream(&near, &far).await;
    near.close();
    match in_time(far.closed()).await {
        QuicError::Closed { code, reason, .. } => assert_eq!((code, &*reason), (0, "")),
        other => panic!("{other}"),
    }
    let error = far_stream.recv().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert!(matches!(near.closed().await, QuicError::ClosedHere));
    assert!(near.open().await.is_err());
    assert!(far.accept().await.is_err());
}

#[tokio::test]
async fn a_dropped_connection_is_closed() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_stream, mut far_stream) = stream(&near, &far).await;
    drop(near);
    near_stream.send(Bytes::from_static(b"on")).await.unwrap();
    assert_eq!(&in_time(far_stream.recv()).await.unwrap()[..], b"on");
    drop(near_stream);
    let closed = in_time(far.closed()).await;
    assert!(
        matches!(closed, QuicError::Closed { code: 0, .. }),
        "{closed}"
    );
}

#[test]
fn a_peer_that_vanishes_is_noticed() {
    let options = QuicOptions {
        keepalive: Duration::from_millis(100),
        idle_timeout: Duration::from_millis(600),
        ..QuicOptions::default()
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let other = tokio::runtime::Runtime::new().unwrap();
    let (far, addr) = other.block_on(async {
        let far = server(&options);
        let addr = far.local_addr().unwrap();
        (far, addr)
    });
    let accepting = other.spawn(async move {
        let connection = far.accept().await.unwrap().accept().await.unwrap();
        let mut conn = connection.accept().await.unwrap();
        conn.send(Bytes::from_static(b"here")).await.unwrap();
        std::future::pending::<()>().await;
        drop((far, connection, conn));
    });
    runtime.block_on(async {
        let near = Endpoint::client(socket()).unwrap();
        let near = in_time(near.connect(addr, &client(&options)))
            .await
            .unwrap();
        let mut conn = near.open().await.unwrap();
        conn.send(Bytes::from_static(b"!")).await.unwrap();
        assert_eq!(&in_time(conn.recv()).await.unwrap()[..], b"here");
        // Longer than the idle timeout: keepalives keep the connection open.
        assert!(
            timeout(options.idle_timeout * 2, conn.recv())
                .await
                .is_err()
        );
        // Shutting down its runtime stops the peer without a close.
        other.shutdown_background();
        drop(accepting);
        let error = in_time(conn.recv()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        let closed = near.closed().await;
        assert!(matches!(closed, QuicError::Silent { peer } if peer == addr));
    });
}

#[tokio::test]
async fn a_port_without_a_listener_gives_no_answer() {
    let options = QuicOptions {
        idle_timeout: Duration::from_millis(300),
        ..QuicOptions::default()
    };
    let silent = socket();
    let peer = silent.local_addr().unwrap();
    let endpoint = Endpoint::client(socket()).unwrap();
    let error = in_time(endpoint.connect(peer, &client(&options))).await;
    assert!(matches!(error.unwrap_err(), QuicError::NoAnswer { peer: it } if it == peer));
    let client = client(&options);
    let dialled = endpoint.connect("[::1]:7".parse().unwrap(), &client).await;
    assert!(matches!(dialled.unwrap_err(), QuicError::Dial { .. }));
}

#[tokio::test]
async fn other_datagrams_at_the_socket_do_no_harm() {
    let (near, far) = (socket(), socket());
    let (near_addr, far_addr) = (near.local_addr().unwrap(), far.local_addr().unwrap());
    // Stray datagrams from punching the hole.
    for _ in 0..3 {
        near.send_to(b"left over", far_addr).unwrap();
        far.send_to(&[0xc0; 1200], near_addr).unwrap();
    }
    let options = QuicOptions::default();
    let tls = ServerTlsOptions::default();
    let server = QuicServer::by_any_name(&tls, options.clone()).unwrap();
    let (near, far) = (
        Endpoint::client(near).unwrap(),
        Endpoint::server(far, server).unwrap(),
    );
    let client = client(&options);
    let (connected, accepted) = in_time(async {
        tokio::join!(near.connect(far_addr, &client), async {
            far.accept().await.unwrap().accept().await
        })
    })
    .await;
    let (near, far) = (connected.unwrap(), accepted.unwrap());
    assert_eq!(
        (near.remote_addr(), far.remote_addr()),
        (far_addr, near_addr)
    );
    stream(&near, &far).await;
}

#[tokio::test]
async fn a_client_may_call_the_server_by_address_and_port() {
    let options = QuicOptions::default();
    let tls = ServerTlsOptions::default();
    let odd = QuicClient::with_crypto(Arc::new(OddClient::new(&[])), KNOWN, options.clone());
    let odd = odd.unwrap();
    let server = |server| Endpoint::server(socket(), server).unwrap();
    let tolerant = server(QuicServer::by_any_name(&tls, options.clone()).unwrap());
    let (near, far) = shake_hands(&tolerant, &odd).await;
    let (mut near, mut far) = stream(&near.unwrap(), &far.unwrap()).await;
    far.send(Bytes::from_static(b"back")).await.unwrap();
    assert_eq!(&in_time(near.recv()).await.unwrap()[..], b"back");

    let strict = server(strict_server(&tls, options).unwrap());
    let (near, far) = shake_hands(&strict, &odd).await;
    for refused in [near, far] {
        assert!(matches!(refused, Err(QuicError::Handshake { .. })));
    }
}

#[tokio::test]
async fn a_stopped_endpoint_keeps_what_it_has() {
    let options = QuicOptions {
        idle_timeout: Duration::from_millis(500),
        ..QuicOptions::default()
    };
    let far_end = server(&options);
    let (near, far) = shake_hands(&far_end, &client(&options)).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    far_end.stop_accepting();
    let endpoint = Endpoint::client(socket()).unwrap();
    let client = client(&options);
    let late = endpoint.connect(far_end.local_addr().unwrap(), &client);
    let (late, _) = in_time(async { tokio::join!(late, stream(&near, &far)) }).await;
    assert!(matches!(late.unwrap_err(), QuicError::NoAnswer { .. }));

    far_end.close();
    in_time(far_end.idle()).await;
    assert!(far_end.accept().await.is_none());
}

/// An authority, and a directory for the certificates that it signs.
struct Authority {
    dir: TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        std::fs::write(dir.path().join("ca.crt"), issuer.pem()).unwrap();
        Self { dir, issuer }
    }

    fn ca(&self) -> Option<PathBuf> {
        Some(self.dir.path().join("ca.crt"))
    }

    fn sign(&self, name: &str) -> Option<(PathBuf, PathBuf)> {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new([name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        let path = |end| self.dir.path().join(format!("{name}.{end}"));
        std::fs::write(path("crt"), certificate.pem()).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        Some((path("crt"), path("key")))
    }
}

#[tokio::test]
async fn the_server_must_be_who_it_should_be() {
    let (authority, other) = (Authority::new(), Authority::new());
    let options = QuicOptions::default();
    let tls = ServerTlsOptions {
        certificate: authority.sign("example.com"),
        ..ServerTlsOptions::default()
    };
    for any_name in [false, true] {
        let make = if any_name {
            QuicServer::by_any_name
        } else {
            strict_server
        };
        let server = make(&tls, options.clone()).unwrap();
        let server = Endpoint::server(socket(), server).unwrap();
        let client = |name, trusted_ca| {
            let tls = ClientTlsOptions {
                trusted_ca,
                ..client_tls(name)
            };
            QuicClient::new(tls, options.clone()).unwrap()
        };
        let good = shake_hands(&server, &client("example.com", authority.ca())).await;
        good.0.unwrap();
        for (name, ca, fault) in [
            ("example.org", authority.ca(), CertificateFault::Name),
            ("example.com", other.ca(), CertificateFault::Issuer),
        ] {
            let (near, far) = shake_hands(&server, &client(name, ca)).await;
            let (near, far) = (near.unwrap_err(), far.unwrap_err());
            assert_eq!(near.certificate_fault(), Some(fault));
            assert_eq!(far.certificate_fault(), None);
            for error in [near, far].map(|it| it.to_string()) {
                assert!(error.contains("check certificates"), "{error}");
            }
        }
    }
}

#[tokio::test]
async fn a_pinned_certificate_is_insisted_on() {
    let authority = Authority::new();
    let options = QuicOptions::default();
    let tls = ServerTlsOptions {
        certificate: authority.sign("example.com"),
        ..ServerTlsOptions::default()
    };
    let seen = ServerTls::new(tls.clone()).unwrap().fingerprint();
    let server = strict_server(&tls, options.clone()).unwrap();
    let server = Endpoint::server(socket(), server).unwrap();
    for (pinned, good) in [(seen.0, true), ([7; 32], false)] {
        let tls = ClientTlsOptions {
            pinned_sha256: Some(pinned),
            ..client_tls("localhost")
        };
        let client = QuicClient::new(tls, options.clone()).unwrap();
        match shake_hands(&server, &client).await.0 {
            Ok(connection) => assert!(good && connection.fingerprint() == Some(seen)),
            Err(error) => {
                let fault = error.certificate_fault();
                assert_eq!(fault, Some(CertificateFault::NotPinned));
                let cause = std::error::Error::source(&error).unwrap().to_string();
                assert!(!good && cause.contains(&seen.to_string()), "{cause}");
            }
        }
    }
}

#[tokio::test]
async fn clients_must_show_a_certificate_where_one_is_asked_for() {
    let authority = Authority::new();
    let options = QuicOptions::default();
    let tls = ServerTlsOptions {
        trusted_ca: authority.ca(),
        ..ServerTlsOptions::default()
    };
    for make in [strict_server, QuicServer::by_any_name] {
        let server = Endpoint::server(socket(), make(&tls, options.clone()).unwrap()).unwrap();
        for (certificate, good) in [(authority.sign("client"), true), (None, false)] {
            let tls = ClientTlsOptions {
                certificate,
                ..client_tls("localhost")
            };
            let client = QuicClient::new(tls, options.clone()).unwrap();
            let (near, far) = shake_hands(&server, &client).await;
            assert_eq!(far.is_ok(), good);
            if !good {
                // The client learns of the refusal after its own handshake has succeeded.
                let closed = in_time(near.unwrap().closed()).await;
                assert!(matches!(closed, QuicError::Lost { .. }), "{closed}");
            }
        }
    }
}

#[tokio::test]
async fn another_application_protocol_is_an_error_with_a_hint() {
    let options = QuicOptions::default();
    let tls = crate::tls::ClientTls::new(client_tls("localhost")).unwrap();
    let mut config = (*tls.config).clone();
    config.alpn_protocols = vec![b"h3".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let client = QuicClient::with_crypto(Arc::new(crypto), "localhost", options.clone()).unwrap();
    let (near, far) = shake_hands(&server(&options), &client).await;
    for end in [near, far] {
        let error = end.unwrap_err().to_string();
        assert!(error.contains("speaks QUIC, but not frp's"), "{error}");
    }
}

#[test]
fn errors_contain_the_peers_reason() {
    let closed = |code, reason: &str| {
        let peer = "192.0.2.1:443".parse().unwrap();
        let reason = reason.to_owned();
        QuicError::Closed { peer, code, reason }.to_string()
    };
    assert_eq!(closed(0, ""), "192.0.2.1:443 closed the QUIC connection");
    assert_eq!(
        closed(7, ""),
        "192.0.2.1:443 closed the QUIC connection: code 7"
    );
    assert_eq!(
        closed(0, "bye"),
        "192.0.2.1:443 closed the QUIC connection: bye (code 0)"
    );
}

#[tokio::test]
async fn peers_can_be_made_to_prove_their_address() {
    let options = QuicOptions::default();
    let (server, client) = (server(&options), client(&options));
    let endpoint = Endpoint::client(socket()).unwrap();
    let accepting = async {
        let knocks = server.accept().await.unwrap();
        assert!(knocks.validated().is_none());
        let knocks_again = server.accept().await.unwrap();
        knocks_again.validated().unwrap().accept().await
    };
    let peer = server.local_addr().unwrap();
    let both = async { tokio::join!(endpoint.connect(peer, &client), accepting) };
    let (near, far) = in_time(both).await;
    stream(&near.unwrap(), &far.unwrap()).await;
}

#[tokio::test]
async fn a_server_can_be_exchanged_for_another() {
    let options = QuicOptions::default();
    let (server, client) = (server(&options), client(&options));
    let (near, far) = shake_hands(&server, &client).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
    server.set_server(QuicServer::with_tls(&tls, options).unwrap());
    let (newcomer, accepted) = shake_hands(&server, &client).await;
    let newcomer = newcomer.unwrap();
    stream(&newcomer, &accepted.unwrap()).await;
    assert_eq!(newcomer.fingerprint(), Some(tls.fingerprint()));
    assert_ne!(near.fingerprint(), newcomer.fingerprint());
    stream(&near, &far).await;
}

#[tokio::test]
async fn last_bytes_arrive_although_the_connection_is_dropped() {
    // Little enough to arrive within the time that a connection is given for it, also on a busy machine.
    let payload = pattern(64 * 1024);
    for dropped in [false, true] {
        let (near, far) = pair(&QuicOptions::default()).await;
        let (mut sending, mut receiving) = stream(&near, &far).await;
        sending.send(payload.clone()).await.unwrap();
        sending.close().await.unwrap();
        drop(sending);
        if !dropped {
            near.settle().await;
            near.close();
        }
        drop(near);
        let received = in_time(read_all(&mut receiving)).await.unwrap();
        assert!(received == payload, "dropped: {dropped}");
    }
}

#[tokio::test]
async fn a_peer_has_only_the_limits_of_a_login_until_it_is_trusted() {
    let wary = QuicOptions {
        trusts_at_once: false,
        ..QuicOptions::default()
    };
    let (near, far) = shake_hands(&server(&wary), &client(&QuicOptions::default())).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let mut login = near.open().await.unwrap();
    let mut others = Vec::new();
    for _ in 1..UNTRUSTED_STREAMS {
        others.push(near.open().await.unwrap());
    }
    let another = tokio::spawn({
        let near = near.clone();
        async move { near.open().await }
    });
    // Nobody reads this, so not all of it can be sent.
    let flood = pattern(4 * UNTRUSTED_WINDOW as usize);
    let flooding = tokio::spawn({
        let flood = flood.clone();
        async move {
            login.send(flood).await.unwrap();
            login.close().await.unwrap();
            login
        }
    });
    let mut login = in_time(far.accept()).await.unwrap();
    in_time(async {
        while far.inner.stats().frame_rx.data_blocked == 0 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    assert!(!another.is_finished());
    far.trust();
    in_time(another).await.unwrap().unwrap();
    let received = in_time(read_all(&mut login)).await.unwrap();
    assert!(received == flood);
    drop(in_time(flooding).await.unwrap());
}

#[tokio::test]
async fn a_peers_reason_cannot_control_a_terminal() {
    let (near, far) = pair(&QuicOptions::default()).await;
    far.inner.close(7u32.into(), b"gone\n\x1b[31m\xff");
    let QuicError::Closed { reason, .. } = in_time(near.closed()).await else {
        panic!("not closed by the peer");
    };
    assert_eq!(reason, "gone\\n\\x1b[31m\\xff");
    let mut error = None;
    // Errors of streams are made elsewhere.
    for cause in [near.open().await.map(drop), near.accept().await.map(drop)] {
        error = cause.err();
    }
    let text = error.unwrap().to_string();
    assert!(!text.contains(char::is_control), "{text:?}");
}

#[tokio::test]
async fn the_accepting_end_opens_no_stream() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut one, mut other) = stream(&near, &far).await;
    let opened = timeout(Duration::from_millis(100), far.open()).await;
    assert!(opened.is_err(), "it was allowed a stream");
    // A peer that may open no stream can still wait for one, and use existing ones.
    other.send(Bytes::from_static(b"!")).await.unwrap();
    assert_eq!(&in_time(one.recv()).await.unwrap()[..], b"!");
}

/// Sends `payload` from one end of a new stream to the other.
async fn carry(near: &Connection, far: &Connection, payload: &Bytes) {
    let (mut sending, mut receiving) = stream(near, far).await;
    let sent = payload.clone();
    let sending = tokio::spawn(async move {
        sending.send(sent).await.unwrap();
        sending.close().await.unwrap();
        sending
    });
    let received = in_time(read_all(&mut receiving)).await.unwrap();
    assert!(received == *payload);
    drop(in_time(sending).await.unwrap());
}

#[tokio::test]
async fn packets_that_wait_come_as_one_chunk() {
    const WAITING: u64 = 256 * 1024;
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut sending, mut receiving) = stream(&near, &far).await;
    let payload = pattern(512 * 1024);
    let sent = payload.clone();
    let sending = tokio::spawn(async move {
        sending.send(sent).await.unwrap();
        sending.close().await.unwrap();
        sending
    });
    in_time(async {
        while far.inner.stats().udp_rx.bytes < WAITING {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
    let first = receiving.recv().await.unwrap();
    assert!(first.len() >= 16 * 1024, "{} bytes", first.len());
    let rest = in_time(read_all(&mut receiving)).await.unwrap();
    assert!([&first[..], &rest[..]].concat() == payload);
    drop(in_time(sending).await.unwrap());
}

/// The size that packets between two ends on this host grow to, or a few bytes more: on Linux that of the route.
pub(crate) const LARGE: u16 = if cfg!(target_os = "linux") {
    6_400
} else {
    1_400
};

/// Waits until packets between the ends have grown, in both directions.
pub(crate) async fn large_packets(near: &Connection, far: &Connection) {
    in_time(async {
        while [near, far].iter().any(|it| it.largest_packet() < LARGE) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn packets_become_as_large_as_the_route_takes() {
    let (near, far) = pair(&QuicOptions::default()).await;
    large_packets(&near, &far).await;
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn the_route_counts_for_a_server_that_was_exchanged() {
    let options = QuicOptions::default();
    let (server, client) = (server(&options), client(&options));
    let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
    server.set_server(QuicServer::with_tls(&tls, options).unwrap());
    let (near, far) = shake_hands(&server, &client).await;
    let (near, far) = (near.unwrap(), far.unwrap());
    assert_eq!(near.fingerprint(), Some(tls.fingerprint()));
    large_packets(&near, &far).await;
}

/// Whoever reads as much as is sent gets it in few calls of the system: one carries ten large packets. It was 14 KiB each when packets
/// were those of Ethernet.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn bulk_leaves_in_few_calls() {
    const LEAST_PER_CALL: u64 = 28 * 1024;
    let (near, far) = pair(&QuicOptions::default()).await;
    large_packets(&near, &far).await;
    let payload = pattern(16 * 1024 * 1024);
    carry(&near, &far, &payload).await;
    let before = near.inner.stats().udp_tx;
    carry(&near, &far, &payload).await;
    let after = near.inner.stats().udp_tx;
    let per_call = (after.bytes - before.bytes) / (after.ios - before.ios);
    assert!(per_call >= LEAST_PER_CALL, "{per_call} bytes per call");
}
