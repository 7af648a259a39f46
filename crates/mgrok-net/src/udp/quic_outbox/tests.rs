//! Tests QUIC datagrams between real sockets.

use std::future::{Future, poll_fn};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use mgrok_proto::udp::Framing;
use mgrok_proto::{Negotiated, WireVersion, hello::Extension};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::*;
use crate::conn::Conn;
use crate::layers::{Layers, Limiter};
use crate::quic::tests::{
    LARGE, client, datagrams_received, large_packets, pair, send_datagram, server, socket, stream,
};
use crate::quic::{Connection, Endpoint, QuicOptions};
use crate::udp::{DatagramConn, Datagrams, Outbox, Received, RecvError};

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(30), future).await.unwrap()
}

fn user(port: u16) -> SocketAddr {
    ([192, 0, 2, 1], port).into()
}

fn negotiated() -> Negotiated {
    let extensions = [Extension::DATAGRAMS, Extension::QUIC_DATAGRAMS];
    Negotiated::new(WireVersion::V2, "0.70.1", &extensions)
}

/// One end of a work connection.
struct End {
    conn: DatagramConn,
    outbox: Outbox,
}

impl End {
    fn new(conn: DatagramConn) -> Self {
        let outbox = Outbox::new(conn.framing());
        Self { conn, outbox }
    }

    async fn flush(&mut self) {
        let Self { conn, outbox } = self;
        in_time(poll_fn(|cx| outbox.poll_write(cx, conn)))
            .await
            .unwrap();
    }

    async fn send(&mut self, payload: &[u8], user: SocketAddr) {
        self.outbox.push(payload, user).unwrap();
        self.flush().await;
    }

    async fn try_recv(&mut self, datagrams: &mut Datagrams) -> Result<Received, RecvError> {
        in_time(poll_fn(|cx| self.conn.poll_recv(cx, datagrams))).await
    }

    /// Receives until `count` datagrams have arrived.
    async fn recv(&mut self, count: usize) -> Vec<(Vec<u8>, SocketAddr)> {
        let mut datagrams = Datagrams::default();
        while datagrams.len() < count {
            let received = self.try_recv(&mut datagrams).await.unwrap();
            assert!(!received.ended);
        }
        let all = datagrams.iter();
        all.map(|(payload, user)| (payload.to_vec(), user))
            .collect()
    }

    /// Receives until the peer has announced that it accepts QUIC datagrams.
    async fn hear(&mut self) {
        let mut datagrams = Datagrams::default();
        while self.conn.sender().is_none() {
            self.try_recv(&mut datagrams).await.unwrap();
        }
        assert!(datagrams.is_empty());
        self.flush().await;
    }
}

/// Both ends of a stream, after both have announced QUIC datagrams.
async fn ends(near: &Connection, far: &Connection) -> (End, End) {
    let (near, far) = stream(near, far).await;
    let ends = (near, far);
    let (mut near, mut far) = (direct(ends.0), direct(ends.1));
    near.flush().await;
    far.flush().await;
    near.hear().await;
    far.hear().await;
    (near, far)
}

fn direct(stream: Conn) -> End {
    End::new(DatagramConn::direct(stream, &negotiated()))
}

/// Waits until a connection has received `count` QUIC datagrams.
async fn until_received(connection: &Connection, count: u64) {
    let received = async {
        while datagrams_received(connection) < count {
            sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(received).await;
}

#[tokio::test]
async fn datagrams_bypass_the_stream_in_both_directions() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    for payload in [&b"one"[..], b"", &[7; 1000]] {
        near_end.send(payload, user(1)).await;
        assert_eq!(far_end.recv(1).await, [(payload.to_vec(), user(1))]);
        far_end.send(payload, user(1)).await;
        assert_eq!(near_end.recv(1).await, [(payload.to_vec(), user(1))]);
    }
    let received = [&near, &far].map(datagrams_received);
    assert_eq!(received, [3, 3]);
}

#[tokio::test]
async fn datagrams_of_one_user_share_a_packet() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    for (port, count) in [(1, 10), (2, 2), (1, 1)] {
        for _ in 0..count {
            near_end.outbox.push(&[7; 20], user(port)).unwrap();
        }
    }
    near_end.flush().await;
    assert_eq!(far_end.recv(13).await.len(), 13);
    assert_eq!(datagrams_received(&far), 3);
    // A packet holds as many as fit: four.
    large_packets(&near, &far).await;
    let payload = vec![7; usize::from(LARGE) / 4 - 50];
    for _ in 0..10 {
        near_end.outbox.push(&payload, user(1)).unwrap();
    }
    near_end.flush().await;
    assert_eq!(far_end.recv(10).await.len(), 10);
    assert_eq!(datagrams_received(&far), 6);
}

#[tokio::test]
async fn each_stream_has_its_own() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let mut all = Vec::new();
    for _ in 0..70 {
        all.push(ends(&near, &far).await);
    }
    for (port, (near_end, _)) in (1..).zip(&mut all) {
        near_end.send(b"x", user(port)).await;
    }
    for (port, (_, far_end)) in (1..).zip(&mut all) {
        assert_eq!(far_end.recv(1).await, [(b"x".to_vec(), user(port))]);
    }
    assert_eq!(datagrams_received(&far), 70);
}

#[tokio::test]
async fn datagrams_too_long_for_a_packet_use_the_stream() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    for len in [7_000, 65_507] {
        near_end.send(&vec![7; len], user(1)).await;
        assert!(far_end.recv(1).await == [(vec![7; len], user(1))]);
    }
    assert_eq!(datagrams_received(&far), 0);
}

#[tokio::test]
async fn an_end_behind_a_layer_gets_no_quic_datagrams() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (near_conn, far_conn) = stream(&near, &far).await;
    let layers = Layers {
        limit: Some(Limiter::new(NonZeroU64::MAX)),
        ..Layers::default()
    };
    let (mut near_end, mut far_end) = (direct(near_conn), direct(layers.wrap(far_conn)));
    for _ in 0..3 {
        near_end.send(b"there", user(1)).await;
        assert_eq!(far_end.recv(1).await, [(b"there".to_vec(), user(1))]);
        far_end.send(b"back", user(1)).await;
        assert_eq!(near_end.recv(1).await, [(b"back".to_vec(), user(1))]);
    }
    assert_eq!([&near, &far].map(datagrams_received), [0, 0]);
}

#[tokio::test]
async fn nothing_bypasses_the_stream_without_negotiation() {
    let frp = Negotiated::new(WireVersion::V2, "0.70.1", &[Extension::DATAGRAMS]);
    let (near, far) = pair(&QuicOptions::default()).await;
    let (near_conn, far_conn) = stream(&near, &far).await;
    let mut near_end = End::new(DatagramConn::direct(near_conn, &frp));
    let mut far_end = End::new(DatagramConn::new(far_conn, Framing::Binary));
    for _ in 0..3 {
        near_end.send(b"there", user(1)).await;
        far_end.recv(1).await;
        far_end.send(b"back", user(1)).await;
        near_end.recv(1).await;
    }
    assert_eq!([&near, &far].map(datagrams_received), [0, 0]);
}

#[tokio::test]
async fn unread_datagrams_are_bounded_and_counted() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    large_packets(&near, &far).await;
    // Each datagram fills a packet of its own.
    let payload = vec![7; usize::from(LARGE) / 2 + 100];
    let mut sent = 0;
    for _ in 0..35 {
        for _ in 0..30 {
            near_end.outbox.push(&payload, user(1)).unwrap();
            sent += 1;
        }
        near_end.flush().await;
        until_received(&far, sent).await;
    }
    let mut datagrams = Datagrams::default();
    let received = far_end.try_recv(&mut datagrams).await.unwrap();
    assert_eq!(received.missed, sent - 1024);
    assert_eq!(datagrams.len(), 1024);
    near_end.send(b"later", user(1)).await;
    assert_eq!(far_end.recv(1).await[0].0, b"later");
}

#[tokio::test]
async fn sending_never_waits() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    // The connection is not polled between these.
    let push = async |end: &mut End| {
        let pushed = end.outbox.push(&[7; 1000], user(1));
        end.flush().await;
        pushed
    };
    let mut sent = 0_u64;
    while push(&mut near_end).await.is_ok() {
        sent += 1;
    }
    assert!((900..1100).contains(&sent), "{sent}");
    let room_again = async {
        while push(&mut near_end).await.is_err() {
            sleep(Duration::from_millis(1)).await;
        }
    };
    in_time(room_again).await;
    far_end.recv(1).await;
}

#[tokio::test]
async fn datagrams_without_a_stream_do_no_harm() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    for stray in [&b""[..], b"\xff", b"\x01", b"\x20\x04\x01abcdef"] {
        send_datagram(&near, stray);
    }
    near_end.send(b"good", user(1)).await;
    assert_eq!(far_end.recv(1).await[0].0, b"good");
    assert_eq!(datagrams_received(&far), 5);
}

#[tokio::test]
async fn an_invalid_frame_ends_the_connection() {
    for malformed in [
        &b"\0"[..],
        b"\0\0",
        b"\0\x01",
        b"\0\x04\x01\x7f\0\0\x01\0\x35\0\x03on",
    ] {
        let (near, far) = pair(&QuicOptions::default()).await;
        let (_near_end, mut far_end) = ends(&near, &far).await;
        send_datagram(&near, malformed);
        let error = far_end.try_recv(&mut Datagrams::default()).await;
        assert!(matches!(error, Err(RecvError::Decode(_))), "{error:?}");
    }
}

#[tokio::test]
async fn a_dropped_connection_with_datagrams_is_closed() {
    let (near, far) = pair(&QuicOptions::default()).await;
    let (mut near_end, mut far_end) = ends(&near, &far).await;
    drop(near);
    near_end.send(b"still there", user(1)).await;
    assert_eq!(far_end.recv(1).await[0].0, b"still there");
    drop(near_end);
    in_time(far.closed()).await;
}

/// The size of the counted datagrams, and the sizes of packets that contain one of them and nothing else.
const SIZE: usize = 300;
const PACKETS: std::ops::Range<usize> = 300..600;
/// The sizes of packets that may contain one of them and more. What is longer looks how long packets may be.
const WITH_ROOM: std::ops::Range<usize> = 300..1_200;
/// One of this many such packets is lost.
const LOST: usize = 5;

/// Relays packets between a client and a server.
struct Relay {
    addr: SocketAddr,
    /// Whether packets are dropped.
    lossy: Arc<AtomicBool>,
    /// How many packets arrived that may be dropped.
    seen: Arc<AtomicUsize>,
    /// How many packets arrived that have room for a counted datagram. On a stream, one may hold what was lost and what is new.
    large: Arc<AtomicUsize>,
    _task: JoinSet<()>,
}

impl Relay {
    fn start(server: SocketAddr) -> Self {
        let open = || {
            let socket = socket();
            socket.set_nonblocking(true).unwrap();
            tokio::net::UdpSocket::from_std(socket).unwrap()
        };
        let (front, back) = (open(), open());
        let addr = front.local_addr().unwrap();
        let (lossy, seen) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let large = Arc::<AtomicUsize>::default();
        let (is_lossy, count, count_large) = (lossy.clone(), seen.clone(), large.clone());
        let mut task = JoinSet::new();
        task.spawn(async move {
            let (mut there, mut here) = (vec![0; 65_536], vec![0; 65_536]);
            let mut client = None;
            loop {
                tokio::select! {
                    Ok((len, from)) = front.recv_from(&mut there) => {
                        client = Some(from);
                        count_large.fetch_add(usize::from(WITH_ROOM.contains(&len)), Ordering::Relaxed);
                        let may_get_lost = is_lossy.load(Ordering::Relaxed) && PACKETS.contains(&len);
                        if may_get_lost && count.fetch_add(1, Ordering::Relaxed) % LOST == LOST - 1 {
                            continue;
                        }
                        let _ = back.send_to(&there[..len], server).await;
                    }
                    Ok((len, _)) = back.recv_from(&mut here) => {
                        if let Some(client) = client {
                            let _ = front.send_to(&here[..len], client).await;
                        }
                    }
                }
            }
        });
        Self {
            addr,
            lossy,
            seen,
            large,
            _task: task,
        }
    }

    fn seen(&self) -> usize {
        self.seen.load(Ordering::Relaxed)
    }

    fn large(&self) -> usize {
        self.large.load(Ordering::Relaxed)
    }
}

/// Sends 40 numbered datagrams through a lossy relay, each in a packet of its own. Returns the numbers in order of
/// arrival, and how many packets were lost.
async fn arrivals(beside: bool) -> (Vec<u8>, usize) {
    const COUNT: u8 = 40;
    let options = QuicOptions::default();
    let server = server(&options);
    let relay = Relay::start(server.local_addr().unwrap());
    let endpoint = Endpoint::client(socket()).unwrap();
    let client = client(&options);
    let (near, far) = in_time(async {
        tokio::join!(endpoint.connect(relay.addr, &client), async {
            server.accept().await.unwrap().accept().await
        })
    })
    .await;
    let (near, far) = (near.unwrap(), far.unwrap());
    let (mut near_end, mut far_end) = if beside {
        ends(&near, &far).await
    } else {
        let (near, far) = stream(&near, &far).await;
        let plain = |conn| End::new(DatagramConn::new(conn, Framing::Binary));
        (plain(near), plain(far))
    };
    relay.lossy.store(true, Ordering::Relaxed);
    let send = async {
        for number in 0..COUNT {
            let before = relay.large();
            near_end.send(&[number; SIZE], user(1)).await;
            let under_way = async {
                while relay.large() == before {
                    sleep(Duration::from_millis(1)).await;
                }
            };
            in_time(under_way).await;
        }
        // Too long for a packet, so it uses the stream, and arrives after all others.
        near_end.send(&[COUNT; 20_000], user(1)).await;
    };
    let receive = async {
        let mut numbers = Vec::new();
        while numbers.last() != Some(&COUNT) {
            for (payload, _) in far_end.recv(1).await {
                numbers.push(payload[0]);
            }
        }
        numbers.pop();
        numbers
    };
    let ((), numbers) = tokio::join!(send, receive);
    (numbers, relay.seen() / LOST)
}

/// Needs no clock: a datagram that arrives without its predecessor has not waited for it; one that arrives in order
/// has.
#[tokio::test]
async fn a_lost_packet_delays_no_other_datagram() {
    let ((beside, lost), (on_stream, lost_on_stream)) =
        tokio::join!(arrivals(true), arrivals(false));
    let expect: Vec<u8> = (0..40).filter(|it| it % 5 != 4).collect();
    assert_eq!((beside, lost), (expect, 8));

    // On the stream lost bytes are sent again, and later ones wait.
    let all: Vec<u8> = (0..40).collect();
    assert_eq!(on_stream, all);
    assert!(lost_on_stream > 0);
}
