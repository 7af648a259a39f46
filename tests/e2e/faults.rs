//! Peers that do not keep to the protocol.

use std::{net::SocketAddr, time::Duration};

use mgrok_lab::{PATIENCE, Peer, Proxy, Server, service, traffic, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::Tunnel;

/// A message of version 1: its type, its length, its body.
fn frame(kind: u8, length: i64, body: &[u8]) -> Vec<u8> {
    [&[kind], length.to_be_bytes().as_slice(), body].concat()
}

/// A frame of yamux.
fn mux_frame(kind: u8, flags: u16, stream: u32, length: u32) -> Vec<u8> {
    let mut bytes = vec![0, kind];
    bytes.extend(flags.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

/// Sends bytes that no client would send and waits until the server has enough of it.
async fn thrown_out(server: SocketAddr, what: &str, bytes: &[u8]) {
    let attempt = async {
        let mut stream = TcpStream::connect(server).await?;
        // The server may hang up in the middle of it.
        let _ = stream.write_all(bytes).await;
        let _ = stream.shutdown().await;
        stream.read_to_end(&mut Vec::new()).await
    };
    let _ = within(
        PATIENCE,
        &format!("the end of a connection with {what}"),
        attempt,
    )
    .await;
}

#[tokio::test]
async fn nonsense_on_the_servers_port_harms_nobody() {
    let echo = service::tcp_echo().await;
    for mux in ["transport.tcpMux = true", "transport.tcpMux = false"] {
        let tunnel = Tunnel::with(mux, mux, Proxy::tcp("tcp", echo.addr())).await;
        let server = tunnel.server.addr();
        let login = frame(b'o', 2, b"{}");
        let deep = "[".repeat(10_000);
        let cases: Vec<(&str, Vec<u8>)> = vec![
            ("nothing", vec![]),
            ("noise", traffic::Pattern::new(3).take(100_000)),
            ("zeros", vec![0; 100_000]),
            ("http", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
            ("half a message", frame(b'o', 500, b"{\"version\"")),
            ("a message without end", frame(b'o', i64::MAX, b"{")),
            ("a message of negative length", frame(b'o', -1, b"{}")),
            (
                "a message just too long",
                frame(b'o', 10_241, &[b' '; 10_241]),
            ),
            ("a login that is no object", frame(b'o', 2, b"[]")),
            (
                "a deep login",
                frame(b'o', deep.len() as i64, deep.as_bytes()),
            ),
            (
                "a login that is not text",
                frame(b'o', 4, &[0xff, 0xfe, 0, 1]),
            ),
            ("an unknown message", frame(b'?', 2, b"{}")),
            ("a reply instead of a request", frame(b'1', 2, b"{}")),
            (
                "a work connection of nobody",
                frame(b'w', 15, b"{\"run_id\":\"no\"}"),
            ),
            ("an unsigned login, twice", [login.clone(), login].concat()),
            ("half a TLS hello", vec![0x16, 3, 1, 2, 0, 1, 0, 1]),
            ("a byte before no TLS", vec![0x17, 1, 2, 3, 4, 5, 6, 7]),
            ("a mux frame of unknown type", mux_frame(9, 0, 1, 0)),
            ("mux data for no stream", mux_frame(0, 0, 5, 1_000)),
            ("mux data without end", mux_frame(0, 1, 1, u32::MAX)),
            ("a mux window without end", mux_frame(1, 1, 1, u32::MAX)),
        ];
        for (what, bytes) in cases {
            thrown_out(server, what, &bytes).await;
            traffic::tcp_echo(tunnel.public, 100).await;
        }
    }
}

#[tokio::test]
async fn a_server_that_talks_nonsense_does_not_end_a_patient_client() {
    for answer in [
        b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(),
        traffic::Pattern::new(5).take(50_000),
        frame(b'1', i64::MAX, b""),
        Vec::new(),
    ] {
        let nonsense = service::tcp(move |mut stream: TcpStream| {
            let answer = answer.clone();
            async move {
                let _ = stream.write_all(&answer).await;
            }
        })
        .await;
        let settings = "loginFailExit = false\ntransport.tls.enable = false";
        let client = mgrok_lab::Client::launch(Peer::Mgrok, nonsense.addr(), settings, &[]);
        client.log().wait_for("connect to server error").await;
        let mark = client.log().mark();
        // It tries again.
        client
            .log()
            .wait_after(mark, "try to connect to server...")
            .await;
    }
}

#[tokio::test]
async fn silent_peers_delay_nobody() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let mut silent = Vec::new();
    for first in [&b""[..], b"o", &[0x16], &[0x17], &[0, 0, 0], &[0x16, 3, 1]] {
        for _ in 0..20 {
            let mut stream = TcpStream::connect(server.addr()).await.unwrap();
            stream.write_all(first).await.unwrap();
            silent.push(stream);
        }
    }
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let started = mgrok_lab::Client::start(Peer::Mgrok, server.addr(), "", &proxies);
    let _client = within(Duration::from_secs(5), "a login among them", started).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;

    // They are shown out in the end.
    let mut ends = JoinSet::new();
    for mut stream in silent {
        ends.spawn(async move { stream.read(&mut [0; 64]).await });
    }
    within(PATIENCE, "silent peers are shown out", ends.join_all()).await;
}

#[tokio::test]
async fn users_may_send_what_they_like() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::tcp(echo.addr()).await;
    for bytes in [
        frame(b's', i64::MAX, b"{}"),
        mux_frame(3, 0, 0, 0),
        vec![0xff; 100_000],
    ] {
        let mut user = TcpStream::connect(tunnel.public).await.unwrap();
        let (mut from, mut to) = user.split();
        let mut back = vec![0; bytes.len()];
        let exchange = async { tokio::join!(to.write_all(&bytes), from.read_exact(&mut back)) };
        let (sent, received) = within(PATIENCE, "an echo", exchange).await;
        sent.unwrap();
        received.unwrap();
        assert!(back == bytes);
    }
}
