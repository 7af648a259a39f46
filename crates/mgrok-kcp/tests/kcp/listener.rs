//! Many sessions on one socket.

use std::net::SocketAddr;
use std::time::Duration;

use mgrok_kcp::{Config, Listener, ListenerConfig, SessionError, Stream, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::forged::answer;
use crate::link::noise;
use crate::sockets::Ended;

pub(crate) async fn listen(
    config: impl Into<ListenerConfig>,
) -> (Listener, JoinHandle<std::io::Result<()>>) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let (listener, driver) = Listener::new(socket, config).unwrap();
    (listener, tokio::spawn(driver))
}

pub(crate) async fn dial(to: SocketAddr) -> (Stream, Ended) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(to).await.unwrap();
    let (stream, driver) = connect(socket, None, Config::frp_client()).unwrap();
    (stream, tokio::spawn(driver))
}

/// One push segment without a header, as from a peer of our own.
pub(crate) fn push(conversation: u32, number: u32, next: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = conversation.to_le_bytes().to_vec();
    bytes.extend_from_slice(&[81, 0, 0, 1]);
    for field in [0, number, next, payload.len() as u32] {
        bytes.extend_from_slice(&field.to_le_bytes());
    }
    bytes.extend_from_slice(payload);
    bytes
}

pub(crate) async fn expect_none(listener: &mut Listener) {
    let accept = listener.accept();
    let accepted = tokio::time::timeout(Duration::from_millis(100), accept).await;
    assert!(accepted.is_err(), "{accepted:?}");
}

#[tokio::test]
async fn many_sessions_share_a_socket() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let to = listener.local_addr();
    let accepting = tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            tokio::spawn(async move {
                let (mut reader, mut writer) = tokio::io::split(stream);
                let _ended = tokio::io::copy(&mut reader, &mut writer).await;
            });
        }
    });
    let sessions = (0..50).map(|seed| {
        tokio::spawn(async move {
            let (stream, _) = dial(to).await;
            let data = noise(30_000, seed);
            let (mut reader, mut writer) = tokio::io::split(stream);
            let mut received = vec![0; data.len()];
            let (sent, got) =
                tokio::join!(writer.write_all(&data), reader.read_exact(&mut received));
            sent.unwrap();
            got.unwrap();
            assert!(received == data);
        })
    });
    for session in sessions.collect::<Vec<_>>() {
        session.await.unwrap();
    }
    accepting.abort();
}

#[tokio::test]
async fn a_new_conversation_from_the_same_address_replaces_the_old_one() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(listener.local_addr()).await.unwrap();
    socket.send(&push(1, 0, 0, b"a")).await.unwrap();
    let mut first = listener.accept().await.unwrap();
    assert_eq!(
        (first.read_u8().await.unwrap(), first.conversation()),
        (b'a', 1)
    );
    // Not a beginning: ignored.
    socket.send(&push(2, 1, 0, b"x")).await.unwrap();
    expect_none(&mut listener).await;
    assert!(first.ended().is_none());

    // Who begins it proves that it is there.
    socket.send(&push(2, 0, 0, b"b")).await.unwrap();
    let mut challenge = [0; 100];
    while challenge[..5] != [2, 0, 0, 0, 81] {
        socket.recv(&mut challenge).await.unwrap();
    }
    socket.send(&answer(&challenge[..24])).await.unwrap();
    socket.send(&push(2, 0, 0, b"b")).await.unwrap();
    let mut second = listener.accept().await.unwrap();
    assert_eq!(
        (second.read_u8().await.unwrap(), second.conversation()),
        (b'b', 2)
    );
    let error = first.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
    assert!(matches!(first.ended(), Some(SessionError::Replaced)));
    assert!(second.ended().is_none());
    // The old one's end must not take the new one with it.
    drop(first);
    socket.send(&push(2, 1, 0, b"c")).await.unwrap();
    assert_eq!(second.read_u8().await.unwrap(), b'c');
}

#[tokio::test]
async fn only_what_can_be_a_beginning_begins_a_session() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(listener.local_addr()).await.unwrap();
    let mut ask = push(1, 0, 0, b"");
    ask[4] = 83;
    let mut ack = ask.clone();
    ack[4] = 82;
    let parity = [b"\0\0\0\0\xf2\0", &[0; 60][..]].concat();
    let noise = noise(100, 1);
    for datagram in [
        ask,
        ack,
        parity,
        noise,
        push(1, 500, 0, b"x"),
        push(1, 3, 4, b"x"),
    ] {
        socket.send(&datagram).await.unwrap();
    }
    expect_none(&mut listener).await;
    // The first segment may come late.
    socket.send(&push(1, 1, 0, b"b")).await.unwrap();
    socket.send(&push(1, 0, 0, b"a")).await.unwrap();
    let mut stream = listener.accept().await.unwrap();
    let mut text = [0; 2];
    stream.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"ab");
}

#[tokio::test]
async fn late_packets_of_an_ended_session_do_not_begin_it_anew() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(listener.local_addr()).await.unwrap();
    socket.send(&push(1, 0, 0, b"a")).await.unwrap();
    drop(listener.accept().await.unwrap());
    socket.send(&push(1, 0, 0, b"a")).await.unwrap();
    expect_none(&mut listener).await;
    // Another conversation is welcome.
    socket.send(&push(2, 0, 0, b"b")).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().conversation(), 2);
}

#[tokio::test]
async fn sessions_and_the_backlog_are_bounded() {
    let (mut listener, _driver) = listen(ListenerConfig {
        accept_backlog: 2,
        max_sessions: 3,
        ..Config::frp_server().into()
    })
    .await;
    let mut dialled = Vec::new();
    for _ in 0..3 {
        let (mut stream, ended) = dial(listener.local_addr()).await;
        stream.write_all(b"x").await.unwrap();
        dialled.push((stream, ended));
    }
    // The third is sent again once there is room in the backlog.
    let mut accepted = Vec::new();
    for _ in 0..3 {
        accepted.push(listener.accept().await.unwrap());
    }
    let (mut fourth, _ended) = dial(listener.local_addr()).await;
    fourth.write_all(b"x").await.unwrap();
    expect_none(&mut listener).await;
    // Once one has ended there is room for the fourth.
    accepted.pop();
    let accept = listener.accept();
    let accepted = tokio::time::timeout(Duration::from_secs(10), accept).await;
    assert!(accepted.unwrap().is_some());
}

#[tokio::test]
async fn a_session_that_is_silent_for_too_long_ends() {
    let (mut listener, _driver) = listen(Config {
        idle_timeout: Duration::from_millis(200),
        ..Config::frp_server()
    })
    .await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(listener.local_addr()).await.unwrap();
    socket.send(&push(1, 0, 0, b"a")).await.unwrap();
    let mut stream = listener.accept().await.unwrap();
    assert_eq!(stream.read_u8().await.unwrap(), b'a');
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
}

#[tokio::test]
async fn a_writer_waits_for_a_reader_that_stops() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let (mut here, _ended) = dial(listener.local_addr()).await;
    let data = noise(4 << 20, 1);
    let sent = data.clone();
    let writing = tokio::spawn(async move {
        here.write_all(&sent).await.unwrap();
        here
    });
    let mut there = listener.accept().await.unwrap();
    tokio::time::sleep(Duration::from_millis(300)).await;
    // More than both windows hold.
    assert!(!writing.is_finished());
    let mut received = vec![0; data.len()];
    there.read_exact(&mut received).await.unwrap();
    assert!(received == data);
    drop(writing.await.unwrap());
}

#[tokio::test]
async fn a_dropped_listener_serves_what_it_accepted_and_then_ends() {
    let (mut listener, driver) = listen(Config::frp_server()).await;
    let to = listener.local_addr();
    let (mut here, _ended) = dial(to).await;
    here.write_all(b"a").await.unwrap();
    let mut there = listener.accept().await.unwrap();
    drop(listener);
    there.write_all(b"b").await.unwrap();
    assert_eq!(here.read_u8().await.unwrap(), b'b');
    drop(there);
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn dropping_the_driver_ends_all_sessions() {
    let (mut listener, driver) = listen(Config::frp_server()).await;
    let (mut here, _ended) = dial(listener.local_addr()).await;
    here.write_all(b"a").await.unwrap();
    let mut there = listener.accept().await.unwrap();
    assert_eq!(there.read_u8().await.unwrap(), b'a');
    driver.abort();
    assert!(there.read_u8().await.is_err());
    assert!(listener.accept().await.is_none());
}
