//! Tests every transport to the server, in both wire versions.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use mgrok_client::{Client, ProxyPhase};
use mgrok_config::{ClientConfig, Protocol, WireProtocol};
use mgrok_net::conn::Conn;
use mgrok_net::quic::QuicError;
use mgrok_net::tls::ServerTlsOptions;
use mgrok_proto::hello::Extension;
use mgrok_proto::message::{Message, Pong};
use rcgen::{CertificateParams, KeyPair};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::sync::oneshot;

use crate::server::{
    Running, accept_proxy, answer_visit, echo, echo_service, new_proxy, recv, serve_echo,
    stcp_visitor, tcp_proxy, within,
};
use crate::transport_server::{FarLink, Opening, Setup, TransportServer, sniff};

const QUIC: Setup = Setup {
    protocol: Protocol::Quic,
    tls: true,
    mux: true,
};
const TCP: Setup = Setup {
    protocol: Protocol::Tcp,
    tls: true,
    mux: true,
};

/// Checks that a session begins, two users are served, and the client closes in order.
async fn serves(setup: Setup, wire: WireProtocol) {
    let mut server = TransportServer::bind(setup).await;
    let mut config = server.config(wire);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    config.visitors = vec![stcp_visitor("to-db")];
    let mut client = Running::start(config);
    let mut session = server.session(&[]).await;
    new_proxy(&mut session.control).await;
    accept_proxy(&mut session.control, "echo").await;
    client.wait_for("echo", ProxyPhase::Running).await;
    let mut first = session.user("echo").await;
    let mut second = session.user("echo").await;
    echo(&mut first, &"long ".repeat(50_000)).await;
    echo(&mut second, "short").await;

    let mut visitor = client.enter("to-db").await;
    let (mut visit, _) = sniff(session.link.stream().await).await;
    match recv(&mut visit).await {
        Message::NewVisitorConn(asked) => {
            serve_echo(answer_visit(visit, asked, "").await);
        }
        other => panic!("{} instead of NewVisitorConn", other.name()),
    }
    echo(&mut visitor, "hello").await;
}

async fn serves_every_way(protocol: Protocol) {
    for wire in [WireProtocol::V1, WireProtocol::V2, WireProtocol::Auto] {
        for setup in Setup::all(protocol) {
            serves(setup, wire).await;
        }
    }
}

#[tokio::test]
async fn users_are_served_over_kcp() {
    serves_every_way(Protocol::Kcp).await;
}

#[tokio::test]
async fn users_are_served_over_quic() {
    serves_every_way(Protocol::Quic).await;
}

#[tokio::test]
async fn users_are_served_over_tcp() {
    serves_every_way(Protocol::Tcp).await;
}

#[tokio::test]
async fn users_are_served_over_web_socket() {
    serves_every_way(Protocol::WebSocket).await;
}

#[tokio::test]
async fn users_are_served_over_web_socket_within_tls() {
    serves_every_way(Protocol::Wss).await;
}

#[tokio::test]
async fn a_hello_says_how_the_client_came_and_what_it_can_do() {
    for (protocol, name, always_tls) in [
        (Protocol::Kcp, "kcp", false),
        (Protocol::Quic, "quic", true),
        (Protocol::Tcp, "tcp", false),
        (Protocol::WebSocket, "websocket", false),
        (Protocol::Wss, "wss", true),
    ] {
        for setup in Setup::all(protocol) {
            let mut server = TransportServer::bind(setup).await;
            let _client = Running::start(server.config(WireProtocol::V2));
            let mut link = server.link().await;
            let opening = Opening::receive(link.stream().await).await;
            let hello: serde_json::Value = serde_json::from_slice(&opening.hello.unwrap()).unwrap();
            let said = &hello["bootstrap"];
            assert_eq!(said["transport"], name);
            // False members are omitted.
            assert_eq!(said["tls"] == true, always_tls || setup.tls);
            assert_eq!(said["tcpMux"] == true, setup.mux);
            let extensions = hello["mgrokExtensions"].as_array().unwrap();
            let offers = |it: Extension| extensions.contains(&it.name().into());
            // Plain KCP cannot signal the end of a stream.
            let tells_ends = protocol != Protocol::Kcp || setup.tls || setup.mux;
            assert_eq!(offers(Extension::HALF_CLOSE), tells_ends);
            assert_eq!(
                offers(Extension::QUIC_DATAGRAMS),
                protocol == Protocol::Quic
            );
            assert!(offers(Extension::DATAGRAMS) && !offers(Extension::MIGRATE));
        }
    }
}

#[tokio::test]
async fn the_end_of_a_quic_connection_ends_the_session_and_its_users() {
    let mut server = TransportServer::bind(QUIC).await;
    let mut config = server.config(WireProtocol::Auto);
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let mut client = Running::start(config);
    for _ in 0..2 {
        let mut session = server.session(&[]).await;
        new_proxy(&mut session.control).await;
        accept_proxy(&mut session.control, "echo").await;
        client.wait_for("echo", ProxyPhase::Running).await;
        let mut user = session.user("echo").await;
        echo(&mut user, "hello").await;
        let FarLink::Quic(connection) = &session.link else {
            panic!("another transport");
        };
        connection.close();
    }
}

/// Checks that everything that a client sent arrives although its runtime, which would send it again, is gone.
async fn leaves_in_order(setup: Setup) {
    const LENGTH: usize = 60_000;
    let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut server = TransportServer::bind(setup).await;
    let mut config = server.config(WireProtocol::V2);
    config.proxies = vec![tcp_proxy("long", service.local_addr().unwrap())];
    let (stop, stopped) = oneshot::channel::<()>();
    let client = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let ended = runtime.block_on(async {
            let client = Client::new(config).unwrap();
            client.run(async { drop(stopped.await) }).await
        });
        runtime.shutdown_background();
        ended.unwrap();
    });
    let mut session = server.session(&[Extension::HALF_CLOSE]).await;
    new_proxy(&mut session.control).await;
    accept_proxy(&mut session.control, "long").await;
    let mut user = session.user("long").await;
    let (mut local, _) = within(service.accept()).await.unwrap();
    // Makes the client finish with this user once it has received the answer; KCP alone cannot signal that.
    user.close().await.unwrap();
    stop.send(()).unwrap();
    let control = &mut session.control;
    while !matches!(recv(control).await, Message::Ping(_)) {}
    control.send(&Pong::default().into()).await.unwrap();
    local.write_all(&[7; LENGTH]).await.unwrap();
    drop(local);
    let received = async {
        let mut received = 0;
        while received < LENGTH {
            let chunk = user.recv().await.unwrap();
            assert!(!chunk.is_empty(), "the end after {received} bytes");
            received += chunk.len();
        }
    };
    within(received).await;
    if let FarLink::Quic(connection) = &session.link {
        let end = within(connection.closed()).await;
        assert!(matches!(end, QuicError::Closed { code: 0, .. }), "{end}");
    }
    drop(session);
    tokio::task::spawn_blocking(move || client.join().unwrap())
        .await
        .unwrap();
}

#[tokio::test]
async fn bytes_in_flight_arrive_when_the_client_stops() {
    for mux in [true, false] {
        for protocol in [Protocol::Kcp, Protocol::Quic] {
            let tls = true;
            leaves_in_order(Setup { protocol, tls, mux }).await;
        }
    }
}

/// The error of a client that cannot log in.
async fn error(config: ClientConfig) -> String {
    let ended = Running::start(config).ended().await;
    ended.unwrap_err().to_string()
}

#[tokio::test]
async fn silence_over_udp_has_its_own_error() {
    // Over KCP without TLS, only a requested answer shows that a server is there.
    for (protocol, tls) in [
        (Protocol::Kcp, true),
        (Protocol::Kcp, false),
        (Protocol::Quic, true),
    ] {
        let setup = Setup {
            protocol,
            tls,
            ..QUIC
        };
        let server = TransportServer::bind(setup).await;
        let mut config = server.config(WireProtocol::Auto);
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        config.servers[0].port = silent.local_addr().unwrap().port();
        config.transport.dial_server_timeout = Duration::from_millis(200);
        let error = error(config).await;
        let name = if protocol == Protocol::Kcp {
            "kcp"
        } else {
            "quic"
        };
        let words = format!(
            "did not answer over {name} within 200ms; check that the port is the server's \
             {name}BindPort and that UDP is let through"
        );
        assert!(error.contains(&words), "{error}");
    }
}

#[tokio::test]
async fn a_port_without_web_sockets_has_its_own_error() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let server = TransportServer::bind(Setup {
        protocol: Protocol::WebSocket,
        ..TCP
    })
    .await;
    let mut config = server.config(WireProtocol::Auto);
    config.servers[0].port = listener.local_addr().unwrap().port();
    let answer = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let answer = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
        let _ = stream.read_to_end(&mut Vec::new()).await;
    };
    let (error, ()) = tokio::join!(error(config), answer);
    assert!(error.contains("HTTP/1.1 404 Not Found"), "{error}");
    assert!(error.contains("passes WebSockets for /~!frp"), "{error}");
}

/// An HTTP proxy that connects to any target and counts the requests.
async fn proxy() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let served = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            served.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(connect(stream));
        }
    });
    (addr, count)
}

async fn connect(mut stream: TcpStream) -> io::Result<()> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await?);
    }
    let head = String::from_utf8(head).unwrap();
    let target = head.strip_prefix("CONNECT ").unwrap();
    let mut far = TcpStream::connect(target.split(' ').next().unwrap()).await?;
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await?;
    copy_bidirectional(&mut stream, &mut far).await?;
    Ok(())
}

#[tokio::test]
async fn an_outbound_proxy_is_used_by_the_transports_of_tcp_alone() {
    for (protocol, connections) in [
        (Protocol::Kcp, 0),
        (Protocol::Quic, 0),
        (Protocol::Tcp, 1),
        (Protocol::WebSocket, 1),
        (Protocol::Wss, 1),
    ] {
        let (addr, count) = proxy().await;
        let mut server = TransportServer::bind(Setup { protocol, ..TCP }).await;
        let mut config = server.config(WireProtocol::V2);
        config.transport.proxy_url = Some(format!("http://{addr}").parse().unwrap());
        let _client = Running::start(config);
        server.session(&[]).await;
        assert_eq!(count.load(Ordering::Relaxed), connections, "{protocol:?}");
    }
}

/// A self-signed certificate, and its file.
fn authority(dir: &TempDir, name: &str) -> ServerTlsOptions {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let paths = ["crt", "key"].map(|end| dir.path().join(format!("{name}.{end}")));
    std::fs::write(&paths[0], certificate.pem()).unwrap();
    std::fs::write(&paths[1], key.serialize_pem()).unwrap();
    let [certificate, key] = paths;
    ServerTlsOptions {
        certificate: Some((certificate, key)),
        ..ServerTlsOptions::default()
    }
}

#[tokio::test]
async fn authorities_are_read_again_for_a_new_session() {
    let dir = TempDir::new().unwrap();
    let (good, other) = (authority(&dir, "good"), authority(&dir, "other"));
    let trusted = dir.path().join("trusted.crt");
    std::fs::copy(other.certificate.unwrap().0, &trusted).unwrap();
    for protocol in [Protocol::Tcp, Protocol::Quic] {
        let mut server = TransportServer::with_tls(Setup { protocol, ..TCP }, good.clone()).await;
        let mut config = server.config(WireProtocol::V2);
        config.transport.tls.as_mut().unwrap().trusted_ca = Some(trusted.clone());
        let error = error_of_refused(&mut server, config.clone()).await;
        let words = "the server's certificate is not accepted: no authority of \
                     transport.tls.trustedCaFile has signed it: ";
        assert!(error.contains(words), "{error}");

        config.login_fail_exit = false;
        let _client = Running::start(config);
        server.refused_handshake().await;
        std::fs::copy(&good.certificate.as_ref().unwrap().0, &trusted).unwrap();
        server.session(&[]).await;
        std::fs::copy(dir.path().join("other.crt"), &trusted).unwrap();
    }
}

/// The error of a client that rejects the server's certificate.
async fn error_of_refused(server: &mut TransportServer, config: ClientConfig) -> String {
    let (error, ()) = tokio::join!(error(config), server.refused_handshake());
    error
}

#[tokio::test]
async fn half_closes_are_carried_where_both_ends_can() {
    for (extensions, is_carried) in [(&[Extension::HALF_CLOSE][..], true), (&[], false)] {
        let service = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut server = TransportServer::bind(TCP).await;
        let mut config = server.config(WireProtocol::V2);
        config.proxies = vec![tcp_proxy("late", service.local_addr().unwrap())];
        config.visitors = vec![stcp_visitor("to-db")];
        let mut client = Running::start(config);
        let mut session = server.session(extensions).await;
        new_proxy(&mut session.control).await;
        accept_proxy(&mut session.control, "late").await;
        client.wait_for("late", ProxyPhase::Running).await;

        let work = session.user("late").await;
        let (local, _) = within(service.accept()).await.unwrap();
        check_half_close(work, local.into(), is_carried).await;

        let user = client.enter("to-db").await;
        let (mut visit, _) = sniff(session.link.stream().await).await;
        let Message::NewVisitorConn(asked) = recv(&mut visit).await else {
            panic!("something else than NewVisitorConn");
        };
        let visit = answer_visit(visit, asked, "").await;
        check_half_close(user, visit, is_carried).await;
    }
}

/// Checks a half-close: `asks` closes its direction, then `answers` takes its time to answer.
async fn check_half_close(mut asks: Conn, mut answers: Conn, is_carried: bool) {
    // Longer than the linger time that in-flight bytes get when both directions end.
    const LONG: Duration = Duration::from_millis(1500);
    within(asks.close()).await.unwrap();
    assert!(within(answers.recv()).await.unwrap().is_empty());
    let began = Instant::now();
    let early = tokio::time::timeout(LONG, asks.recv()).await;
    if !is_carried {
        assert!(early.is_ok() && began.elapsed() < LONG);
        return;
    }
    assert!(early.is_err(), "an end after {:?}", began.elapsed());
    within(answers.send("answer".into())).await.unwrap();
    within(answers.close()).await.unwrap();
    assert_eq!(&within(asks.recv()).await.unwrap()[..], b"answer");
    assert!(within(asks.recv()).await.unwrap().is_empty());
}
