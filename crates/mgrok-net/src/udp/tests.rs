use std::collections::HashSet;
use std::future::{Future, poll_fn};
use std::net::{Ipv4Addr, SocketAddr};
use std::task::Poll;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_proto::udp::{Encoder, Framing};
use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::conn::Conn;

const FRAMINGS: [Framing; 4] = [Framing::V1, Framing::V2, Framing::V2Binary, Framing::Binary];

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future)
        .await
        .unwrap()
}

async fn bound() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Receives until `count` datagrams have arrived.
async fn receive(socket: &UdpSocket, max_len: usize, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
    let mut received = Vec::new();
    while received.len() < count {
        in_time(poll_fn(|cx| {
            socket.poll_recv(cx, max_len, |payload, from, _| {
                received.push((payload.to_vec(), from));
            })
        }))
        .await
        .unwrap();
    }
    received
}

async fn send(socket: &UdpSocket, datagrams: &mut Datagrams) -> Sent {
    let mut sent = Sent::default();
    in_time(poll_fn(|cx| socket.poll_send(cx, datagrams, &mut sent))).await;
    assert!(datagrams.is_empty());
    sent
}

#[tokio::test]
async fn datagrams_of_all_sizes_arrive_in_order() {
    let ((ours, from), (theirs, to)) = (bound().await, bound().await);
    // Runs of one size that end with a shorter datagram, single ones, empty ones.
    let sizes = [
        100, 100, 100, 40, 40, 7, 0, 0, 1400, 1400, 1400, 1399, 1, 1, 2, 0, 1400,
    ];
    let mut datagrams = Datagrams::default();
    for (number, &size) in (0_u8..).zip(&sizes) {
        datagrams.push(&vec![number; size], to);
    }
    let sent = send(&ours, &mut datagrams).await;
    assert_eq!(sent.bytes, sizes.iter().sum::<usize>() as u64);
    assert_eq!(sent.refused, 0);
    let received = receive(&theirs, 1500, sizes.len()).await;
    for ((number, &size), (payload, sender)) in (0_u8..).zip(&sizes).zip(received) {
        assert_eq!(payload, vec![number; size]);
        assert_eq!(sender, from);
    }
}

/// Without, one call fetches [`BATCH`] datagrams at most.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_socket_that_coalesces_fetches_more_than_a_batch_in_one_call() {
    const COUNT: usize = BATCH + 20;
    const LAST: usize = 700;

    let (ours, from) = bound().await;
    for host in ["127.0.0.1", "0.0.0.0", "::"] {
        let theirs = UdpSocket::bind(host, 0).await.unwrap();
        let to = (Ipv4Addr::LOCALHOST, theirs.local_addr().unwrap().port()).into();
        let mut datagrams = Datagrams::default();
        for number in 1..=COUNT as u8 {
            let size = if number == COUNT as u8 { LAST } else { 1200 };
            datagrams.push(&vec![number; size], to);
        }
        send(&ours, &mut datagrams).await;
        let mut received = Vec::new();
        let batch = poll_fn(|cx| {
            theirs.poll_recv(cx, 1000, |payload, from, local| {
                received.push((payload.to_vec(), from, local));
            })
        });
        in_time(batch).await.unwrap();
        assert_eq!(received.len(), COUNT, "at {host}");
        let bound_to_all = host != "127.0.0.1";
        let local = bound_to_all.then(|| LocalAddr::new(to.ip(), 0).unwrap());
        for (number, it) in (1..).zip(received) {
            // Each is cut as if it had come alone.
            let size = if number == COUNT as u8 { LAST } else { 1000 };
            assert_eq!(it, (vec![number; size], from, local), "at {host}");
        }
    }
}

/// How many datagrams each call brings, until `count` have come.
#[cfg(target_os = "linux")]
async fn calls(socket: &UdpSocket, count: usize) -> Vec<usize> {
    let mut calls = Vec::new();
    while calls.iter().sum::<usize>() < count {
        let mut came = 0;
        let call = poll_fn(|cx| socket.poll_recv(cx, 1500, |_, _, _| came += 1));
        in_time(call).await.unwrap();
        calls.push(came);
    }
    calls
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_call_brings_many_messages_or_a_few_bursts() {
    const SEGMENTS: usize = 64;

    let others = [bound().await.0, bound().await.0];
    let (theirs, to) = bound().await;
    // By turns, so that none joins another.
    for number in 0..2 * BATCH {
        let mut one = Datagrams::default();
        one.push(b"alone", to);
        send(&others[number % 2], &mut one).await;
    }
    let alone = calls(&theirs, 2 * BATCH).await;
    assert_eq!(alone, [FEW, BATCH, BATCH - FEW]);

    let (theirs, to) = bound().await;
    let mut bursts = Datagrams::default();
    for _ in 0..5 * FEW * SEGMENTS {
        bursts.push(b"one of many", to);
    }
    send(&others[0], &mut bursts).await;
    let bursts = calls(&theirs, 5 * FEW * SEGMENTS).await;
    assert_eq!(bursts, [FEW * SEGMENTS; 5]);
}

#[tokio::test]
async fn a_socket_that_coalesces_takes_single_and_empty_datagrams_too() {
    let (ours, _) = bound().await;
    let theirs = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
    let to = theirs.local_addr().unwrap();
    let sizes = [40, 0, 65_507, 1, 1400, 1400, 3, 0];
    for max_len in [100, 65_507] {
        let mut datagrams = Datagrams::default();
        for size in sizes {
            datagrams.push(&vec![7; size], to);
        }
        send(&ours, &mut datagrams).await;
        let received = receive(&theirs, max_len, sizes.len()).await;
        let received: Vec<_> = received.iter().map(|it| it.0.len()).collect();
        assert_eq!(received, sizes.map(|size| size.min(max_len)));
    }
}

#[tokio::test]
async fn one_batch_goes_to_many() {
    let (ours, _) = bound().await;
    let mut others = Vec::new();
    for _ in 0..50 {
        others.push(bound().await);
    }
    let mut datagrams = Datagrams::default();
    for round in 0..3_u8 {
        for (_, to) in &others {
            datagrams.push(&[round; 9], *to);
            datagrams.push(&[round; 9], *to);
        }
    }
    assert_eq!(send(&ours, &mut datagrams).await.bytes, 50 * 3 * 2 * 9);
    for (socket, _) in &others {
        let rounds: Vec<u8> = receive(socket, 1500, 6)
            .await
            .iter()
            .map(|it| it.0[0])
            .collect();
        assert_eq!(rounds, [0, 0, 1, 1, 2, 2]);
    }
}

#[tokio::test]
async fn long_datagrams_are_cut_and_the_longest_can_be_had() {
    let ((ours, _), (theirs, to)) = (bound().await, bound().await);
    for max_len in [1, 1500, 65_507] {
        let mut datagrams = Datagrams::default();
        for _ in 0..3 {
            datagrams.push(&vec![7; 65_507], to);
        }
        assert_eq!(send(&ours, &mut datagrams).await.refused, 0);
        for (payload, _) in receive(&theirs, max_len, 3).await {
            assert_eq!(payload.len(), max_len);
        }
    }
}

#[tokio::test]
async fn more_than_a_batch_comes_through() {
    let ((ours, _), (theirs, to)) = (bound().await, bound().await);
    let mut numbers = HashSet::new();
    for round in 0..10 {
        let mut datagrams = Datagrams::default();
        for number in 0..100_u32 {
            datagrams.push(&(round * 100 + number).to_be_bytes(), to);
        }
        send(&ours, &mut datagrams).await;
        for (payload, _) in receive(&theirs, 1500, 100).await {
            numbers.insert(payload);
        }
    }
    assert_eq!(numbers.len(), 1000);
}

#[tokio::test]
async fn one_call_fetches_a_batch_however_long_datagrams_may_be() {
    let ((ours, _), (theirs, to)) = (bound().await, bound().await);
    for max_len in [1500, 65_507] {
        let mut datagrams = Datagrams::default();
        for _ in 0..BATCH {
            datagrams.push(b"short", to);
        }
        send(&ours, &mut datagrams).await;
        let mut count = 0;
        let batch = poll_fn(|cx| theirs.poll_recv(cx, max_len, |_, _, _| count += 1));
        in_time(batch).await.unwrap();
        assert_eq!(count, BATCH);
    }
}

#[tokio::test]
async fn a_dual_stack_socket_serves_ipv4() {
    let socket = UdpSocket::bind("0.0.0.0", 0).await.unwrap();
    let port = socket.local_addr().unwrap().port();
    let (user, user_addr) = bound().await;
    let mut datagrams = Datagrams::default();
    datagrams.push(b"there", ([127, 0, 0, 1], port).into());
    send(&user, &mut datagrams).await;
    let received = receive(&socket, 1500, 1).await;
    assert_eq!(received, [(b"there".to_vec(), user_addr)]);
    datagrams.push(b"back", user_addr);
    assert_eq!(send(&socket, &mut datagrams).await.refused, 0);
    assert_eq!(receive(&user, 1500, 1).await[0].0, b"back");
}

#[tokio::test]
async fn a_refused_datagram_does_not_affect_others() {
    let ((ours, _), (theirs, to)) = (bound().await, bound().await);
    let mut datagrams = Datagrams::default();
    datagrams.push(b"first", to);
    datagrams.push(b"to no port", ([127, 0, 0, 1], 0).into());
    datagrams.push(b"to another family", "[2001:db8::1]:9".parse().unwrap());
    datagrams.push(&vec![0; 70_000], to);
    datagrams.push(b"last", to);
    let sent = send(&ours, &mut datagrams).await;
    assert_eq!((sent.bytes, sent.refused), (9, 3));
    assert!(sent.error.is_some());
    let received = receive(&theirs, 1500, 2).await;
    assert_eq!(
        (&received[0].0[..], &received[1].0[..]),
        (&b"first"[..], &b"last"[..])
    );
}

#[tokio::test]
async fn a_connected_socket_survives_a_service_that_is_away() {
    let (theirs, to) = bound().await;
    let socket = UdpSocket::connected(to).unwrap();
    let mut sent = Sent::default();
    let mut datagrams = Datagrams::default();
    // Even the first one is sent: tokio does not know yet that the socket is writable.
    datagrams.push(b"first", to);
    socket.send_connected(&mut datagrams, 1, &mut sent);
    assert_eq!(sent.bytes, 5);
    assert_eq!(receive(&theirs, 1500, 1).await[0].0, b"first");

    drop(theirs);
    datagrams.push(b"refused", to);
    socket.send_connected(&mut datagrams, 1, &mut sent);
    datagrams.push(b"refused as well", to);
    socket.send_connected(&mut datagrams, 1, &mut sent);

    let theirs = UdpSocket::bind("127.0.0.1", to.port()).await.unwrap();
    let mut sent = Sent::default();
    datagrams.push(b"again", to);
    datagrams.push(b"others", to);
    socket.send_connected(&mut datagrams, 1, &mut sent);
    assert_eq!((sent.bytes, sent.refused, datagrams.len()), (5, 0, 1));
    assert_eq!(receive(&theirs, 1500, 1).await[0].0, b"again");
}

async fn work_conns() -> (Conn, Conn) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (ours, theirs) = tokio::join!(TcpStream::connect(addr), listener.accept());
    (ours.unwrap().into(), theirs.unwrap().0.into())
}

/// Encodes `payloads` as frames.
fn frames(framing: Framing, payloads: &[&[u8]], user: Option<SocketAddr>) -> BytesMut {
    let (mut encoder, mut frames) = (Encoder::new(framing), BytesMut::new());
    for payload in payloads {
        encoder.datagram(payload, user, &mut frames).unwrap();
    }
    frames
}

async fn take_one(conn: &mut DatagramConn) -> Result<Datagrams, RecvError> {
    let mut datagrams = Datagrams::default();
    while datagrams.is_empty() {
        let read = poll_fn(|cx| conn.poll_recv(cx, &mut datagrams));
        if in_time(read).await?.ended {
            break;
        }
    }
    Ok(datagrams)
}

#[tokio::test]
async fn frames_go_through_a_work_connection() {
    let user: SocketAddr = "192.0.2.1:5353".parse().unwrap();
    for framing in FRAMINGS {
        let (ours, theirs) = work_conns().await;
        let mut outbox = Outbox::new(framing);
        outbox.push(b"one", user).unwrap();
        outbox.ping().unwrap();
        outbox.push(b"", user).unwrap();
        let mut ours = DatagramConn::new(ours, framing);
        in_time(poll_fn(|cx| outbox.poll_write(cx, &mut ours)))
            .await
            .unwrap();
        let mut theirs = DatagramConn::new(theirs, framing);
        let datagrams = take_one(&mut theirs).await.unwrap();
        let all: Vec<_> = datagrams.iter().collect();
        assert_eq!(all, [(&b"one"[..], user), (&b""[..], user)]);
        assert_eq!(datagrams.front_run(), Some((user, 2)));
    }
}

#[tokio::test]
async fn frames_may_come_in_pieces() {
    let user: SocketAddr = "[2001:db8::1]:5353".parse().unwrap();
    let long = vec![7; 7_000];
    for framing in FRAMINGS {
        for piece in [1, 3, 2_049, 5_000] {
            // Each piece is a write and a read of its own: tens of thousands of them take a busy machine longer than the test waits.
            let long = &long[..long.len().min(piece * 100)];
            let payloads = [&b"one"[..], b"", long, b"four"];
            let (mut ours, theirs) = work_conns().await;
            let frames = frames(framing, &payloads, Some(user));
            let send = async {
                for piece in frames.chunks(piece) {
                    ours.send(Bytes::copy_from_slice(piece)).await.unwrap();
                    tokio::task::yield_now().await;
                }
            };
            let mut theirs = DatagramConn::new(theirs, framing);
            let receive = async {
                let mut all = Vec::new();
                while all.len() < payloads.len() {
                    let datagrams = take_one(&mut theirs).await.unwrap();
                    all.extend(datagrams.iter().map(|(payload, _)| payload.to_vec()));
                }
                all
            };
            let ((), all) = in_time(async { tokio::join!(send, receive) }).await;
            assert!(all == payloads);
        }
    }
}

#[tokio::test]
async fn a_message_other_than_a_datagram_ends_the_connection() {
    for (framing, hostile) in [
        (Framing::V1, &b"\xff\xff"[..]),
        (Framing::V1, b"u\xff\xff\xff\xff\xff\xff\xff\xff"),
        (Framing::V1, b"u\0\0\0\0\0\0\0\x02[]"),
        (Framing::V1, b"u\0\0\0\0\0\0\0\x0a{\"c\":\"*\"}!"),
        (Framing::V1, b"o\0\0\0\0\0\0\0\x02{}"),
        // A datagram in JSON, although the binary codec was negotiated.
        (Framing::V2Binary, b"\0\x10\0\0\0\0\0\x04\0\x0d{}"),
        (Framing::V2Binary, b"\0\x10\0\0\0\0\0\x04\0\x0c{}"),
        (Framing::V2Binary, b"\0\x10\0\0\0\0\0\x03\0\x13\x02"),
        (Framing::V2, b"\0\x10\0\0\0\0\0\x03\0\x13\x02"),
        (Framing::Binary, b"u"),
        (Framing::Binary, b"\x04\0"),
    ] {
        let (mut ours, theirs) = work_conns().await;
        let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
        let mut bytes = frames(framing, &[b"good"], Some(user));
        bytes.extend_from_slice(hostile);
        ours.send(bytes.freeze()).await.unwrap();
        let mut datagrams = Datagrams::default();
        let mut theirs = DatagramConn::new(theirs, framing);
        let read = poll_fn(|cx| theirs.poll_recv(cx, &mut datagrams));
        let error = in_time(read).await.unwrap_err();
        assert!(matches!(error, RecvError::Decode(_)), "{error:?}");
        assert_eq!(datagrams.len(), 1);
    }
}

#[tokio::test]
async fn a_datagram_without_a_user_is_counted() {
    let (mut ours, theirs) = work_conns().await;
    let bytes = frames(Framing::V1, &[b"whose?"], None);
    ours.send(bytes.freeze()).await.unwrap();
    let mut datagrams = Datagrams::default();
    let mut theirs = DatagramConn::new(theirs, Framing::V1);
    let read = poll_fn(|cx| theirs.poll_recv(cx, &mut datagrams));
    let received = in_time(read).await.unwrap();
    assert_eq!(
        received,
        Received {
            unaddressed: 1,
            ..Received::default()
        }
    );
    assert!(datagrams.is_empty());
}

#[tokio::test]
async fn the_outbox_is_bounded_and_outlives_its_connection() {
    let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
    for framing in FRAMINGS {
        let mut outbox = Outbox::new(framing);
        let too_long = outbox.push(&[0; 70_000], user).unwrap_err();
        assert!(matches!(too_long, QueueError::Encode(_)), "{too_long:?}");
        let mut count = 0;
        let full = loop {
            match outbox.push(b"x", user) {
                Ok(()) => count += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(full, QueueError::Full), "{full:?}");
        assert_eq!(count, 1024);
        outbox.ping().unwrap();
        outbox.ping().unwrap_err();

        let (mut dead, other) = work_conns().await;
        dead.close().await.unwrap();
        drop(other);
        let mut dead = DatagramConn::new(dead, framing);
        let failed = poll_fn(|cx| match outbox.poll_write(cx, &mut dead) {
            Poll::Ready(Err(_)) => Poll::Ready(true),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Ready(false),
        });
        assert!(in_time(failed).await);
        outbox.lose_connection();

        outbox.push(b"later", user).unwrap();
        let (ours, theirs) = work_conns().await;
        let mut ours = DatagramConn::new(ours, framing);
        in_time(poll_fn(|cx| outbox.poll_write(cx, &mut ours)))
            .await
            .unwrap();
        let mut theirs = DatagramConn::new(theirs, framing);
        let datagrams = take_one(&mut theirs).await.unwrap();
        assert_eq!(datagrams.iter().next(), Some((&b"later"[..], user)));
    }
}

#[tokio::test]
async fn the_outbox_is_bounded_in_bytes() {
    let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
    // In V1 7000 bytes become a frame of some 9400.
    for (framing, count) in [(Framing::V1, 112), (Framing::Binary, 150)] {
        let mut outbox = Outbox::new(framing);
        let pushed = (0..).take_while(|_| outbox.push(&[0; 7000], user).is_ok());
        assert_eq!(pushed.count(), count);
    }
}

#[tokio::test]
async fn queued_datagrams_are_reframed_for_the_next_connection() {
    let user: SocketAddr = "192.0.2.1:1".parse().unwrap();
    for before in FRAMINGS {
        for after in FRAMINGS {
            let mut outbox = Outbox::new(before);
            outbox.push(b"one", user).unwrap();
            outbox.ping().unwrap();
            outbox.push(&[7; 2000], user).unwrap();
            assert_eq!(outbox.reframe(after, 1500), 0);
            outbox.push(b"three", user).unwrap();
            assert_eq!((outbox.framing(), outbox.clear()), (after, 4));

            outbox.push(b"one", user).unwrap();
            outbox.push(&[7; 2000], user).unwrap();
            outbox.reframe(before, 1500);
            outbox.push(b"three", user).unwrap();
            let (ours, theirs) = work_conns().await;
            let mut ours = DatagramConn::new(ours, before);
            in_time(poll_fn(|cx| outbox.poll_write(cx, &mut ours)))
                .await
                .unwrap();
            let mut theirs = DatagramConn::new(theirs, before);
            let mut lens = Vec::new();
            while lens.len() < 3 {
                let datagrams = take_one(&mut theirs).await.unwrap();
                lens.extend(datagrams.iter().map(|(payload, _)| payload.len()));
            }
            let second = if before == after { 2000 } else { 1500 };
            assert_eq!(lens, [3, second, 5]);
        }
    }
    let mut outbox = Outbox::new(Framing::Binary);
    outbox.push(&[7; 65_507], user).unwrap();
    outbox.push(&[7; 7_000], user).unwrap();
    assert_eq!(outbox.reframe(Framing::V1, 65_507), 1);
    assert_eq!(outbox.clear(), 1);
}
