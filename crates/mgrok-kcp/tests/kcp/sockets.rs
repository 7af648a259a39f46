//! Sessions over real sockets.

use std::time::Duration;

use mgrok_kcp::{Config, SessionError, Stream, TUNNEL_CONVERSATION, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

use crate::link::noise;

pub(crate) type Ended = JoinHandle<Result<(), SessionError>>;

/// Two sockets that are connected to each other, as after hole punching.
async fn tunnel(config: Config) -> [(Stream, Ended); 2] {
    let here = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    here.connect(there.local_addr().unwrap()).await.unwrap();
    there.connect(here.local_addr().unwrap()).await.unwrap();
    [here, there].map(|socket| {
        let (stream, driver) = connect(socket, Some(TUNNEL_CONVERSATION), config.clone()).unwrap();
        (stream, tokio::spawn(driver))
    })
}

#[tokio::test]
async fn bulk_travels_both_ways_at_once() {
    let [(here, _), (there, _)] = tunnel(Config::frp_tunnel()).await;
    assert_eq!(here.peer_addr(), there.local_addr());
    assert_eq!(here.conversation(), 1);
    let mut tasks = Vec::new();
    let mut writers = Vec::new();
    for (stream, mine, yours) in [(here, 1, 2), (there, 2, 1)] {
        let (mut reader, mut writer) = tokio::io::split(stream);
        writers.push(tokio::spawn(async move {
            writer.write_all(&noise(2 << 20, mine)).await.unwrap();
            writer
        }));
        tasks.push(tokio::spawn(async move {
            let mut received = vec![0; 2 << 20];
            reader.read_exact(&mut received).await.unwrap();
            assert!(received == noise(2 << 20, yours));
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
}

/// Time stands still while anything moves, and leaps to the next timer as soon as nothing does: so it tells how often a timer had to
/// be waited for.
#[tokio::test(start_paused = true)]
async fn messages_there_and_back_wait_for_no_timer() {
    const MESSAGES: u32 = 200;

    let [(mut here, _), (mut there, _)] = tunnel(Config::frp_tunnel()).await;
    let began = tokio::time::Instant::now();
    for _ in 0..MESSAGES {
        let mut message = [0; 64];
        here.write_all(&message).await.unwrap();
        there.read_exact(&mut message).await.unwrap();
        there.write_all(&message).await.unwrap();
        here.read_exact(&mut message).await.unwrap();
    }
    // Two ticks of 20 ms each would be 8 s. A kernel under load may hand a datagram over late, after which a timer comes first.
    assert!(began.elapsed() < MESSAGES * Duration::from_millis(2));
}

#[tokio::test]
async fn owned_chunks_are_moved_as_well() {
    let [(mut here, _), (mut there, _)] = tunnel(Config::frp_tunnel()).await;
    let data = noise(300_000, 4);
    let mut chunk = bytes::Bytes::from(data.clone());
    let sent = tokio::spawn(async move {
        std::future::poll_fn(|cx| here.poll_send(cx, &mut chunk))
            .await
            .unwrap();
        here
    });
    let mut received = Vec::new();
    while received.len() < data.len() {
        let chunk = std::future::poll_fn(|cx| there.poll_recv(cx))
            .await
            .unwrap();
        received.extend_from_slice(&chunk);
    }
    assert!(received == data);
    drop(sent.await.unwrap());
}

#[tokio::test]
async fn dropping_a_stream_sends_what_was_written_and_ends_its_driver() {
    let [(mut here, ended), (mut there, _)] = tunnel(Config::frp_tunnel()).await;
    let data = noise(100_000, 1);
    here.write_all(&data).await.unwrap();
    drop(here);
    let mut received = vec![0; data.len()];
    there.read_exact(&mut received).await.unwrap();
    assert!(received == data);
    ended.await.unwrap().unwrap();
}

#[tokio::test]
async fn shutting_down_ends_writing_only() {
    let [(mut here, _), (mut there, _)] = tunnel(Config::frp_tunnel()).await;
    here.write_all(b"ask").await.unwrap();
    here.shutdown().await.unwrap();
    let error = here.write_all(b"more").await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    let mut text = [0; 3];
    there.read_exact(&mut text).await.unwrap();
    there.write_all(b"yes").await.unwrap();
    here.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"yes");
}

#[tokio::test]
async fn dropping_the_driver_ends_the_stream() {
    let [(mut here, ended), _other] = tunnel(Config::frp_tunnel()).await;
    ended.abort();
    let error = here.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionAborted);
    assert!(matches!(here.ended(), Some(SessionError::Closed)));
    assert!(here.write_u8(1).await.is_err());
}

#[tokio::test]
async fn an_end_that_is_not_there_yet_does_not_end_the_session() {
    let elsewhere = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let here = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let here_address = here.local_addr().unwrap();
    here.connect(there.local_addr().unwrap()).await.unwrap();
    // A socket that is connected elsewhere: the system refuses what we send it.
    there
        .connect(elsewhere.local_addr().unwrap())
        .await
        .unwrap();
    here.send(b"x").await.unwrap();
    let refused = here.recv(&mut [0; 8]).await.unwrap_err();
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);

    let (mut here, driver) = connect(here, Some(1), Config::frp_tunnel()).unwrap();
    tokio::spawn(driver);
    here.write_all(b"hello").await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(here.ended().is_none());
    there.connect(here_address).await.unwrap();
    let (mut there, driver) = connect(there, Some(1), Config::frp_tunnel()).unwrap();
    tokio::spawn(driver);
    let mut text = [0; 5];
    there.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"hello");
}

#[tokio::test]
async fn a_vanished_other_end_is_an_error_for_reader_and_writer() {
    let config = Config {
        idle_timeout: Duration::from_millis(200),
        ..Config::frp_tunnel()
    };
    let [(mut here, ended), (there, other)] = tunnel(config).await;
    other.abort();
    drop(there);
    let error = here.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::TimedOut);
    let ended = ended.await.unwrap();
    assert!(matches!(ended, Err(SessionError::Idle { .. })));
}

#[tokio::test]
async fn a_socket_that_is_not_connected_is_refused() {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    assert!(connect(socket, None, Config::frp_client()).is_err());
}
