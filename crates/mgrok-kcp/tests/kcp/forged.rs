//! Datagrams in the name of others: what they cost, and that whoever is really there gets in beside them.

use std::net::SocketAddr;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use mgrok_kcp::machine::{Machine, peek};
use mgrok_kcp::packet::CHALLENGE_NUMBER;
use mgrok_kcp::{Config, Listener, ListenerConfig, Stream, UNPROVED_WINDOW, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::listener::{dial, expect_none, listen, push};

/// As many sockets as would fill every place of `config` twice over.
async fn strangers(to: SocketAddr) -> Vec<UdpSocket> {
    let mut strangers = Vec::new();
    for _ in 0..2 * CONFIG_SESSIONS {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(to).await.unwrap();
        strangers.push(socket);
    }
    strangers
}

const CONFIG_SESSIONS: usize = 40;

fn config() -> ListenerConfig {
    ListenerConfig {
        accept_backlog: 8,
        max_sessions: CONFIG_SESSIONS,
        ..Config::frp_server().into()
    }
}

/// With the header of error correction.
fn in_packet(number: u32, segments: &[u8]) -> Vec<u8> {
    let size = segments.len() as u16 + 2;
    let header = [
        &number.to_le_bytes()[..],
        &[0xf1, 0],
        &size.to_le_bytes(),
        segments,
    ];
    header.concat()
}

/// Takes every session and keeps it, as a server does that waits for its first message.
fn keep_all(mut listener: Listener) -> tokio::sync::mpsc::UnboundedReceiver<Stream> {
    let (kept, streams) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(stream) = listener.accept().await {
            let _nobody_looks = kept.send(stream);
        }
    });
    streams
}

async fn echoes(to: SocketAddr) {
    let (mut stream, _ended) = dial(to).await;
    let exchange = async {
        stream.write_all(b"really here").await.unwrap();
        let mut text = [0; 11];
        stream.read_exact(&mut text).await.unwrap();
        assert_eq!(&text, b"really here");
    };
    tokio::time::timeout(Duration::from_secs(10), exchange)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_client_gets_in_whatever_is_sent_in_the_name_of_others() {
    let (mut listener, _driver) = listen(config()).await;
    let to = listener.local_addr();
    let strangers = strangers(to).await;
    // Keeps every session, as a server does that waits for its first message.
    let (taken, mut places) = tokio::sync::watch::channel(0);
    tokio::spawn(async move {
        while let Some(mut stream) = listener.accept().await {
            taken.send_modify(|count| *count += 1);
            tokio::spawn(async move {
                let mut text = [0; 11];
                if stream.read_exact(&mut text).await.is_ok() {
                    stream.write_all(&text).await.unwrap();
                }
                std::future::pending::<()>().await;
            });
        }
    });
    // New conversations all the time, and no pause in which a place would be free.
    let flood = tokio::spawn(async move {
        let mut conversation = 0;
        loop {
            for stranger in &strangers {
                conversation += 1;
                let first = push(conversation, 0, 0, b"hello");
                let first = match conversation % 2 {
                    0 => first,
                    _ => in_packet(0, &first),
                };
                let _may_be_lost = stranger.try_send(&first);
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    let crowded = places.wait_for(|&count| count >= CONFIG_SESSIONS / 2);
    drop(crowded.await.unwrap());
    for _ in 0..3 {
        echoes(to).await;
    }
    flood.abort();
}

#[tokio::test]
async fn strangers_take_few_places_and_the_rest_is_answered_and_forgotten() {
    let max_unproved = 3;
    let (listener, _driver) = listen(ListenerConfig {
        max_unproved,
        ..config()
    })
    .await;
    let to = listener.local_addr();
    let mut kept = keep_all(listener);
    let strangers = strangers(to).await;
    let mut challenged = 0;
    for (conversation, stranger) in (1..).zip(&strangers) {
        let first = push(conversation, 0, 0, b"hello");
        stranger.send(&first).await.unwrap();
        let mut answer = [0; 100];
        let answered = tokio::time::timeout(Duration::from_secs(10), stranger.recv(&mut answer));
        let count = answered.await.unwrap().unwrap();
        assert!(count <= 2 * first.len(), "it amplifies");
        // A session acknowledges behind a header of error correction, a challenge is bare.
        if answer[4] == 81 {
            assert_eq!(count, 24);
            challenged += 1;
        }
    }
    assert_eq!(challenged, strangers.len() - max_unproved);
    for _ in 0..max_unproved {
        assert!(kept.recv().await.is_some());
    }
    assert!(kept.try_recv().is_err());
}

/// Answers the challenge in `datagram` as any KCP does.
pub(crate) fn answer(datagram: &[u8]) -> Vec<u8> {
    assert_eq!(datagram[12..16], CHALLENGE_NUMBER.to_le_bytes());
    let mut answer = datagram.to_vec();
    answer[4] = 82;
    answer
}

#[tokio::test]
async fn who_asks_is_answered_and_its_answer_to_that_begins_a_session() {
    let (mut listener, _driver) = listen(ListenerConfig {
        max_unproved: 0,
        ..config()
    })
    .await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.connect(listener.local_addr()).await.unwrap();
    let mut ask = push(9, 0, 0, b"");
    ask[4] = 83;
    let mut datagram = [0; 100];
    for first in [ask, push(9, 0, 0, b"x")] {
        socket.send(&first).await.unwrap();
        let count = socket.recv(&mut datagram).await.unwrap();
        assert_eq!((count, datagram[4]), (24, 81));
    }
    // Guessed, or of another conversation.
    for (at, to) in [(8, datagram[8] ^ 1), (0, 8)] {
        let mut wrong = answer(&datagram[..24]);
        wrong[at] = to;
        socket.send(&wrong).await.unwrap();
    }
    expect_none(&mut listener).await;
    socket.send(&answer(&datagram[..24])).await.unwrap();
    assert_eq!(listener.accept().await.unwrap().conversation(), 9);
}

#[tokio::test]
async fn nobody_ends_a_session_in_the_name_of_its_client() {
    let (mut listener, _driver) = listen(Config::frp_server()).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(listener.local_addr()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let same_address = socket.try_clone().unwrap();
    let (mut near, driver) = connect(
        UdpSocket::from_std(socket).unwrap(),
        Some(7),
        Config::frp_client(),
    )
    .unwrap();
    tokio::spawn(driver);
    near.write_all(b"a").await.unwrap();
    let mut far = listener.accept().await.unwrap();
    far.write_all(b"b").await.unwrap();
    assert_eq!(near.read_u8().await.unwrap(), b'b');
    // The acknowledgement of that byte has come once the next arrives.
    near.write_all(b"c").await.unwrap();
    let mut text = [0; 2];
    far.read_exact(&mut text).await.unwrap();
    assert_eq!(&text, b"ac");

    same_address.send(&push(8, 0, 0, b"forged")).unwrap();
    expect_none(&mut listener).await;
    assert!(far.ended().is_none());
    near.write_all(b"d").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'd');
}

#[tokio::test]
async fn a_client_over_a_crowded_listener_waits_for_an_answer() {
    let (mut listener, _driver) = listen(ListenerConfig {
        max_unproved: 0,
        ..config()
    })
    .await;
    let (mut near, _ended) = dial(listener.local_addr()).await;
    near.answered().await.unwrap();
    let mut far = listener.accept().await.unwrap();
    near.write_all(b"a").await.unwrap();
    assert_eq!(far.read_u8().await.unwrap(), b'a');
}

#[test]
fn an_unproved_session_holds_little_until_it_gives_a_timestamp_back() {
    let now = Instant::now();
    let origin = 0x8000_0000;
    let mut machine = Machine::unproved(7, Config::frp_server(), origin, now);
    let payload = [7; 1326];
    let mut sent = 0;
    for number in (0..1024).chain((0..1024).rev()) {
        let datagram = in_packet(sent, &push(7, number, 0, &payload));
        sent += 1;
        machine.handle_datagram(datagram.into(), now);
        // Its sender has to acknowledge before it is believed, and only we know with what.
        for timestamp in [0, sent, origin - 1, origin + 1] {
            let mut ack = push(7, CHALLENGE_NUMBER, 0, b"");
            ack[4] = 82;
            ack[8..12].copy_from_slice(&timestamp.to_le_bytes());
            machine.handle_datagram(ack.into(), now);
        }
    }
    assert!(!machine.is_proved());
    assert!(machine.held() <= usize::from(UNPROVED_WINDOW) * payload.len());
    assert!(size_of::<Machine>() <= 1024, "{}", size_of::<Machine>());

    let mut datagram = Vec::new();
    let mut timestamps = Vec::new();
    while machine.poll_transmit(&mut datagram, now) {
        assert!(peek(&datagram).is_none_or(|peek| peek.conversation == 7));
        let challenge = datagram.windows(4).rposition(|it| it == [0xff; 4]);
        timestamps.extend(challenge.map(|at| datagram[at - 4..at].to_vec()));
        datagram.clear();
    }
    assert_eq!(timestamps, [origin.to_le_bytes()]);
    let mut ack = push(7, CHALLENGE_NUMBER, 0, b"");
    ack[4] = 82;
    ack[8..12].copy_from_slice(&timestamps[0]);
    machine.handle_datagram(ack.into(), now);
    assert!(machine.is_proved());
    let cx = &mut Context::from_waker(Waker::noop());
    while machine.poll_recv(cx, now).is_ready() {}
    machine.handle_datagram(push(7, 32 + 1000, 0, &payload).into(), now);
    assert_eq!(machine.held(), payload.len());
}
