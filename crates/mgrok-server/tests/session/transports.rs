//! Tests the transports of clients, and what strangers can do there.

use std::net::UdpSocket as StdUdpSocket;

use bytes::Bytes;
use mgrok_config::ServerConfig;
use mgrok_net::conn::Conn;
use mgrok_net::quic::QuicError;
use mgrok_net::tls::ClientTlsOptions;
use mgrok_net::{kcp, websocket};
use mgrok_proto::hello::{Bootstrap, Extension, Offer};
use mgrok_proto::message::CloseProxy;
use mgrok_proto::record::Algorithm;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::line::{self, Line, Transport};
use crate::script::{Client, LIMIT, RunningServer, plain_config, until_refused};
use crate::{tcp_proxy, v2};

/// A configuration with all transports, on loopback addresses.
pub(crate) fn config(mux: bool) -> ServerConfig {
    let mut config = ServerConfig {
        bind_addr: "127.0.0.1".into(),
        kcp_bind_port: Some(0),
        quic_bind_port: Some(0),
        ..plain_config()
    };
    config.transport.tcp_mux = mux;
    config
}

/// Checks that a user reaches the client that logged in over `line`, and back.
async fn check_user(client: &mut Client, line: &Line, name: &str) {
    let port = client.start_proxy(tcp_proxy(name, 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (start, mut work) = client.work_conn_on(line.open_v1().await).await;
    assert_eq!(start.proxy_name, name);
    user.write_all(b"ping").await.unwrap();
    assert_eq!(timeout(LIMIT, work.recv()).await.unwrap().unwrap(), "ping");
    work.send(Bytes::from_static(b"pong")).await.unwrap();
    let mut bytes = [0; 4];
    timeout(LIMIT, user.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(&bytes, b"pong");
    let close = CloseProxy {
        proxy_name: name.into(),
    };
    client.control.send(&close.into()).await.unwrap();
}

#[tokio::test]
async fn users_reach_clients_on_every_transport() {
    for mux in [true, false] {
        let server = RunningServer::start(config(mux)).await;
        for transport in Transport::ALL {
            let line = Line::new(&server, transport, mux).await;
            let mut client = line.login("").await;
            check_user(&mut client, &line, &format!("{transport:?}")).await;
        }
    }
}

/// Whether a client can log in.
async fn comes_in(server: &RunningServer, transport: Transport) -> bool {
    let line = Line::new(server, transport, true).await;
    let mut control = line.open_v1().await;
    let login = mgrok_proto::message::Login {
        privilege_key: mgrok_proto::auth::sign(&Default::default(), 1).into(),
        timestamp: 1,
        ..Default::default()
    };
    if control.send(&login.into()).await.is_err() {
        return false;
    }
    let answer = timeout(LIMIT, control.recv()).await.unwrap();
    matches!(answer, Ok(Some(_)))
}

#[tokio::test]
async fn where_tls_is_required_it_may_lie_on_either_side_of_the_web_socket() {
    let mut config = config(true);
    config.transport.tls.force = true;
    let server = RunningServer::start(config).await;
    for transport in Transport::ALL {
        // KCP cannot tell a client that it was refused.
        if transport != Transport::Kcp {
            assert_eq!(
                comes_in(&server, transport).await,
                transport.has_tls(),
                "{transport:?}"
            );
        }
    }
}

/// A server whose HTTP port or HTTPS port is the control port.
async fn sharing(share: impl FnOnce(&mut ServerConfig, u16)) -> RunningServer {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut config = ServerConfig {
        bind_port: port,
        ..config(true)
    };
    share(&mut config, port);
    RunningServer::start_on(listener, config).await
}

#[tokio::test]
async fn web_sockets_come_before_the_http_that_shares_their_port() {
    let server = sharing(|config, port| config.vhost.http_port = Some(port)).await;
    for transport in [
        Transport::WebSocket,
        Transport::WebSocketTls,
        Transport::Wss,
        Transport::Tls,
    ] {
        assert!(comes_in(&server, transport).await, "{transport:?}");
    }
    let mut user = TcpStream::connect(server.addr).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: nobody.example\r\nConnection: close\r\n\r\n";
    user.write_all(request).await.unwrap();
    let mut answer = String::new();
    user.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
}

#[tokio::test]
async fn https_that_shares_the_port_takes_plain_tls_but_not_that_in_web_sockets() {
    let server = sharing(|config, port| config.vhost.https_port = Some(port)).await;
    for transport in [
        Transport::WebSocket,
        Transport::WebSocketTls,
        Transport::CustomTls,
    ] {
        assert!(comes_in(&server, transport).await, "{transport:?}");
    }
    let socket = TcpStream::connect(server.addr).await.unwrap();
    let tls = mgrok_net::tls::ClientTls::new(ClientTlsOptions {
        server_name: "nobody.example".into(),
        ..ClientTlsOptions::default()
    });
    let refused = timeout(LIMIT, tls.unwrap().connect(socket.into()))
        .await
        .unwrap();
    assert!(refused.is_err(), "the server took it for a client");
}

#[tokio::test]
async fn a_quic_client_shows_its_certificate_where_one_is_required() {
    let dir = tempfile::TempDir::new().unwrap();
    let path = |name: &str| dir.path().join(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let client = CertificateParams::new(["client".to_owned()]).unwrap();
    let client = client.signed_by(&key, &authority).unwrap();
    std::fs::write(path("ca.crt"), authority.pem()).unwrap();
    std::fs::write(path("client.crt"), client.pem()).unwrap();
    std::fs::write(path("client.key"), key.serialize_pem()).unwrap();
    let mut config = config(true);
    config.transport.tls.trusted_ca = Some(path("ca.crt"));
    config.transport.tls.force = true;
    let server = RunningServer::start(config).await;

    let known = ClientTlsOptions {
        certificate: Some((path("client.crt"), path("client.key"))),
        ..ClientTlsOptions::default()
    };
    let line = Line::Quic(line::quic(&server, known).await.unwrap());
    let mut client = line.login("").await;
    check_user(&mut client, &line, "p").await;

    // With TLS 1.3 a client learns of the refusal only after the handshake.
    let refusal = match line::quic(&server, ClientTlsOptions::default()).await {
        Ok(connection) => timeout(LIMIT, connection.closed()).await.unwrap(),
        Err(error) => error,
    };
    let text = format!("{refusal:?}");
    assert!(
        matches!(
            refusal,
            QuicError::Handshake { .. } | QuicError::Lost { .. }
        ),
        "{text}"
    );
    assert!(text.contains("certificate"), "{text}");
}

#[tokio::test]
async fn a_session_that_is_replaced_loses_its_quic_connection() {
    let server = RunningServer::start(config(true)).await;
    let old_line = Line::new(&server, Transport::Quic, true).await;
    let mut old = old_line.login("").await;
    let port = old.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let line = Line::new(&server, Transport::Quic, true).await;
    let mut new = line.login(&old.run_id).await;
    assert_eq!(new.start_proxy(tcp_proxy("p", port)).await, Ok(port));
    old_line.closed().await;
}

#[tokio::test]
async fn a_stop_lets_users_of_quic_finish_and_then_says_goodbye() {
    let server = RunningServer::start(config(true)).await;
    let quic_addr = server.quic_addr.unwrap();
    let connection = line::quic(&server, ClientTlsOptions::default())
        .await
        .unwrap();
    let line = Line::Quic(connection.clone());
    let mut client = line.login("").await;
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, mut work) = client.work_conn_on(line.open_v1().await).await;
    user.write_all(b"?").await.unwrap();
    assert_eq!(work.recv().await.unwrap(), "?");
    let stopped = server.stop();
    until_refused(port).await;
    assert!(!connection.is_closed());
    work.send(Bytes::from_static(b"the whole answer"))
        .await
        .unwrap();
    drop(work);
    let mut answer = String::new();
    user.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "the whole answer");
    drop(user);
    assert_eq!(timeout(LIMIT, stopped).await.unwrap().unwrap().cut, 0);
    match timeout(LIMIT, connection.closed()).await.unwrap() {
        QuicError::Closed {
            code: 0, reason, ..
        } => assert_eq!(reason, ""),
        other => panic!("{other:?}"),
    }
    // The UDP port is free again.
    StdUdpSocket::bind(quic_addr).unwrap();
}

#[tokio::test]
async fn a_stop_is_soon_over_with_clients_on_every_transport() {
    for mux in [true, false] {
        let server = RunningServer::start(config(mux)).await;
        let mut clients = Vec::new();
        for transport in Transport::ALL {
            let line = Line::new(&server, transport, mux).await;
            clients.push((line.login("").await, line));
        }
        let stopping = std::time::Instant::now();
        timeout(LIMIT, server.stop()).await.unwrap().unwrap();
        // After this time the server aborts tasks.
        assert!(
            stopping.elapsed().as_millis() < 2_000,
            "{:?}",
            stopping.elapsed()
        );
    }
}

/// Sends `bytes` on `conn`; the server must close it.
async fn check_closed(server: &RunningServer, mut conn: Conn, bytes: &[u8]) {
    // The server may close it before everything is sent.
    let _ = conn.send(Bytes::copy_from_slice(bytes)).await;
    let closed = async { while matches!(conn.recv().await, Ok(chunk) if !chunk.is_empty()) {} };
    let closed = timeout(LIMIT, closed).await;
    assert!(closed.is_ok(), "{bytes:?} keeps its connection");
    assert!(comes_in(server, Transport::WebSocket).await);
}

#[tokio::test]
async fn garbage_in_web_sockets_closes_its_own_connection_only() {
    let server = RunningServer::start(config(true)).await;
    let tcp = async || Conn::from(TcpStream::connect(server.addr).await.unwrap());
    let web_socket = async || websocket::connect(tcp().await, "x").await.unwrap();

    let shake = b"GET /~!frp HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://x\r\nSec-WebSocket-Version: 13\r\n\r\n";
    let frames: [&[u8]; 4] = [
        // Unmasked, although clients must mask; reserved bits; a frame of 2^63 bytes; no frame.
        b"\x82\x05\0\0\0\0\0",
        b"\xf2\x81\0\0\0\0x",
        b"\x82\xff\x80\0\0\0\0\0\0\0\0\0\0\0",
        b"SSH-2.0-OpenSSH_9.9\r\n",
    ];
    for frame in frames {
        let bytes = [&shake[..], frame].concat();
        check_closed(&server, tcp().await, &bytes).await;
    }
    let requests: [&[u8]; 4] = [
        b"GET /~!frpx HTTP/1.1\r\n\r\n",
        b"GET /~!frp HTTP/1.1\r\n\r\n",
        b"GET /~!frp\0\0\r\n\r\n",
        &[&b"GET /~!frp"[..], &[b'x'; 200_000]].concat(),
    ];
    for request in requests {
        check_closed(&server, tcp().await, request).await;
    }
    let inside: [&[u8]; 4] = [
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x00\x05hello",
        b"\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a",
        b"\0\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
    ];
    for bytes in inside {
        check_closed(&server, web_socket().await, bytes).await;
    }
    // Layers cannot be nested repeatedly.
    check_closed(&server, web_socket().await, shake).await;
    let twice = line::tls(web_socket().await, false).await;
    check_closed(&server, twice, shake).await;
    let hello = b"\x16\x03\x01\x00\x05hello";
    check_closed(&server, line::tls(tcp().await, false).await, hello).await;
}

#[tokio::test]
async fn a_quic_connection_that_says_nothing_is_closed() {
    let server = RunningServer::start(config(true)).await;
    let silent = line::quic(&server, ClientTlsOptions::default())
        .await
        .unwrap();
    let chatty = line::quic(&server, ClientTlsOptions::default())
        .await
        .unwrap();
    let garbage: [&[u8]; 3] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"o\xff\xff\xff\xff\xff\xff\xff\xff{}",
        b"\0\0\0\0",
    ];
    for bytes in garbage {
        let mut conn = chatty.open().await.unwrap();
        conn.send(Bytes::from_static(bytes)).await.unwrap();
        let closed = async { while matches!(conn.recv().await, Ok(chunk) if !chunk.is_empty()) {} };
        timeout(LIMIT, closed)
            .await
            .expect("garbage keeps its stream");
    }
    // Refused streams have ended but the connection has not, so a client can still log in on it.
    let mut client = Line::Quic(chatty.clone()).login("").await;
    check_user(&mut client, &Line::Quic(chatty), "p").await;
    let closed = timeout(LIMIT, silent.closed()).await.unwrap();
    assert!(
        matches!(closed, QuicError::Closed { code: 0, .. }),
        "{closed:?}"
    );
}

#[tokio::test]
async fn garbage_on_udp_ports_keeps_nobody_out() {
    let server = RunningServer::start(config(true)).await;
    let addrs = [server.kcp_addr.unwrap(), server.quic_addr.unwrap()];
    let attacker = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut state = 1_u32;
    let mut random = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    for len in (0..1_400).step_by(7) {
        let datagram: Vec<u8> = (0..len).map(|_| random()).collect();
        for addr in addrs {
            attacker.send_to(&datagram, addr).await.unwrap();
        }
    }
    // Well-formed KCP that carries another protocol.
    for bytes in [
        "SSH-2.0-OpenSSH_9.9\r\n",
        "GET /~!frp HTTP/1.1\r\n\r\n",
        "\u{16}\u{3}\u{1}hello",
    ] {
        let (stream, driver) = kcp::connect(addrs[0]).unwrap();
        let mut conn = Conn::from(stream);
        tokio::spawn(driver);
        conn.send(Bytes::from_static(bytes.as_bytes()))
            .await
            .unwrap();
    }
    for transport in [Transport::Kcp, Transport::Quic] {
        let line = Line::new(&server, transport, true).await;
        let mut client = line.login("").await;
        check_user(&mut client, &line, &format!("{transport:?}")).await;
    }
}

#[tokio::test]
async fn ports_that_are_taken_are_named() {
    let holder = StdUdpSocket::bind("127.0.0.1:0").unwrap();
    let taken = holder.local_addr().unwrap().port();
    type Take = fn(&mut ServerConfig, u16);
    let transports: [(Take, &str); 2] = [
        (
            |config, port| config.kcp_bind_port = Some(port),
            "kcpBindPort",
        ),
        (
            |config, port| config.quic_bind_port = Some(port),
            "quicBindPort",
        ),
    ];
    for (take, key) in transports {
        let mut config = config(true);
        take(&mut config, taken);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let error = mgrok_server::Server::from_listener(config, listener).await;
        let text = error.unwrap_err().to_string();
        assert!(
            text.contains(key) && text.contains(&taken.to_string()),
            "{text}"
        );
    }
}

#[tokio::test]
async fn each_transport_offers_what_it_can_carry() {
    let (datagrams, half_close) = (Extension::DATAGRAMS, Extension::HALF_CLOSE);
    let (moves, quic_datagrams) = (Extension::CAN_MIGRATE, Extension::QUIC_DATAGRAMS);
    let all = [datagrams, moves, half_close, quic_datagrams];
    for (transport, mux) in Transport::ALL
        .into_iter()
        .flat_map(|it| [(it, true), (it, false)])
    {
        let server = RunningServer::start(config(mux)).await;
        let line = Line::new(&server, transport, mux).await;
        let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), &all);
        let (_client, agreed) = v2::log_in_on(line.open().await, &offer, v2::login("0.70.1")).await;
        let expected = match transport {
            Transport::Quic => &all[..],
            Transport::Kcp | Transport::KcpTls if !mux => &all[..2],
            _ => &all[..3],
        };
        assert_eq!(agreed, expected, "{transport:?}, multiplexed: {mux}");
    }
}
