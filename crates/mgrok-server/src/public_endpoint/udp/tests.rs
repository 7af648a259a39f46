use std::future::poll_fn;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use mgrok_net::relay::Traffic;
use mgrok_net::udp::{Datagrams, Outbox};
use mgrok_proto::WireVersion;
use mgrok_proto::hello::Extension;
use mgrok_proto::udp::Framing;
use tokio::net::{TcpListener, TcpStream, UdpSocket as Plain};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::directory::{Directory, ProxyRow};

/// Negotiated with an frp client.
fn plain() -> Negotiated {
    Negotiated::new(WireVersion::V1, "0.70.1", &[])
}

/// Negotiated between two mgrok ends.
fn binary() -> Negotiated {
    Negotiated::new(WireVersion::V2, "0.70.1", &[Extension::DATAGRAMS])
}

const PACE: Pace = Pace {
    first: Duration::from_millis(1),
    pause: Duration::from_millis(1),
    silence: Duration::from_secs(20),
};

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// A proxy, and its client's side.
struct Lab {
    addr: SocketAddr,
    /// Each permit lets the proxy open one work connection.
    openings: Arc<Semaphore>,
    opened: mpsc::UnboundedReceiver<Conn>,
    row: Arc<ProxyRow>,
    stop: CancellationToken,
    proxy: JoinHandle<Drops<DropReason>>,
    framing: Framing,
}

impl Lab {
    async fn start(pace: Pace, packet_size: usize) -> Self {
        Self::speaking(plain(), pace, packet_size).await
    }

    async fn speaking(negotiated: Negotiated, pace: Pace, packet_size: usize) -> Self {
        let socket = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
        let addr = socket.local_addr().unwrap();
        let openings = Arc::new(Semaphore::new(0));
        let (offer, opened) = mpsc::unbounded_channel();
        let row = Arc::new(Directory::default().proxy_for_test("p"));
        let stop = CancellationToken::new();
        let proxy = {
            let (openings, row, stop) = (openings.clone(), row.clone(), stop.clone());
            tokio::spawn(async move {
                let open = || async {
                    openings.acquire().await.unwrap().forget();
                    let (ours, theirs) = work_conns().await?;
                    offer.send(theirs).unwrap();
                    io::Result::Ok(ours)
                };
                run_at(
                    pace,
                    &socket,
                    open,
                    negotiated,
                    packet_size,
                    row.entry(),
                    stop,
                )
                .await
            })
        };
        Self {
            addr,
            openings,
            opened,
            row,
            stop,
            proxy,
            framing: negotiated.datagram_framing(),
        }
    }

    async fn client(&mut self) -> Client {
        self.openings.add_permits(1);
        let conn = in_time(self.opened.recv()).await.unwrap();
        Client {
            conn: DatagramConn::new(conn, self.framing),
            outbox: Outbox::new(self.framing),
            datagrams: Datagrams::default(),
        }
    }

    async fn user(&self) -> Plain {
        let user = Plain::bind("127.0.0.1:0").await.unwrap();
        user.connect(self.addr).await.unwrap();
        user
    }

    async fn stop(self) -> Drops<DropReason> {
        self.stop.cancel();
        in_time(self.proxy).await.unwrap()
    }
}

async fn work_conns() -> io::Result<(Conn, Conn)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ours = TcpStream::connect(listener.local_addr()?).await?;
    let (theirs, _) = listener.accept().await?;
    Ok((ours.into(), theirs.into()))
}

/// The client's end of a work connection.
struct Client {
    conn: DatagramConn,
    outbox: Outbox,
    datagrams: Datagrams,
}

impl Client {
    /// The next datagram; `None` when the server has ended the connection.
    async fn recv(&mut self) -> Option<(Vec<u8>, SocketAddr)> {
        let Self {
            conn, datagrams, ..
        } = self;
        while datagrams.is_empty() {
            let read = poll_fn(|cx| conn.poll_recv(cx, datagrams));
            match in_time(read).await {
                Ok(received) if received.ended => return None,
                Ok(_) => {}
                Err(_) => return None,
            }
        }
        let first = datagrams.iter().next();
        let first = first.map(|(payload, user)| (payload.to_vec(), user));
        datagrams.skip(1);
        first
    }

    async fn send(&mut self, payload: &[u8], user: SocketAddr) {
        self.outbox.push(payload, user).unwrap();
        self.flush().await;
    }

    async fn flush(&mut self) {
        let Self { conn, outbox, .. } = self;
        in_time(poll_fn(|cx| outbox.poll_write(cx, conn)))
            .await
            .unwrap();
    }

    /// Echoes `count` datagrams.
    async fn echo(&mut self, count: usize) {
        for _ in 0..count {
            let (payload, user) = self.recv().await.unwrap();
            self.send(&payload, user).await;
        }
    }
}

async fn hear(user: &Plain) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let len = in_time(user.recv(&mut buffer)).await.unwrap();
    buffer.truncate(len);
    buffer
}

#[tokio::test]
async fn users_and_the_service_talk() {
    let mut lab = Lab::start(PACE, 1500).await;
    let mut client = lab.client().await;
    let user = lab.user().await;
    for payload in [&b"word"[..], b"", &[7; 1500]] {
        user.send(payload).await.unwrap();
        client.echo(1).await;
        assert_eq!(hear(&user).await, payload);
    }
    let Traffic { sent, received } = lab.row.entry().datagrams();
    assert_eq!(sent.load(Ordering::Relaxed), 1504);
    assert_eq!(received.load(Ordering::Relaxed), 1504);
    assert_eq!(lab.stop().await, Drops::default());
}

#[tokio::test]
async fn many_users_are_distinguished() {
    let mut lab = Lab::start(PACE, 1500).await;
    let mut client = lab.client().await;
    let mut users = Vec::new();
    for number in 0..200_u32 {
        let user = lab.user().await;
        user.send(&number.to_be_bytes()).await.unwrap();
        users.push(user);
    }
    client.echo(users.len()).await;
    for (number, user) in (0..200_u32).zip(&users) {
        assert_eq!(hear(user).await, number.to_be_bytes());
    }
    assert_eq!(lab.stop().await, Drops::default());
}

#[tokio::test]
async fn the_first_datagrams_wait_for_the_work_connection() {
    let mut lab = Lab::start(PACE, 1500).await;
    let user = lab.user().await;
    for number in 0..100_u8 {
        user.send(&[number]).await.unwrap();
    }
    let mut client = lab.client().await;
    for number in 0..100_u8 {
        assert_eq!(client.recv().await.unwrap().0, [number]);
    }
    assert_eq!(lab.stop().await, Drops::default());
}

#[tokio::test]
async fn the_client_is_not_asked_too_early() {
    let first = Duration::from_millis(100);
    let start = Instant::now();
    let mut lab = Lab::start(Pace { first, ..PACE }, 1500).await;
    lab.client().await;
    assert!(start.elapsed() >= first);
}

#[tokio::test]
async fn long_datagrams_are_cut_where_they_come_in() {
    let mut lab = Lab::start(PACE, 1000).await;
    let mut client = lab.client().await;
    let user = lab.user().await;
    user.send(&[7; 1400]).await.unwrap();
    let (payload, addr) = client.recv().await.unwrap();
    assert_eq!(payload, [7; 1000]);
    // A reply that the client's packet size allowed is delivered whole.
    client.send(&[8; 1400], addr).await;
    assert_eq!(hear(&user).await, [8; 1400]);
}

#[tokio::test]
async fn datagrams_that_fit_no_frame_are_dropped_and_counted() {
    let mut lab = Lab::start(PACE, 65_507).await;
    let mut client = lab.client().await;
    let user = lab.user().await;
    user.send(&vec![7; 65_507]).await.unwrap();
    user.send(&vec![7; 7_500]).await.unwrap();
    let (payload, _) = client.recv().await.unwrap();
    assert_eq!(payload, vec![7; 7_500]);
    let drops = lab.stop().await;
    assert_eq!(drops.of(DropReason::TooLong), 1);
    assert_eq!(drops.of(DropReason::Full), 0);
}

#[tokio::test]
async fn between_ends_of_mgrok_datagrams_of_all_sizes_are_carried_whole() {
    let mut lab = Lab::speaking(binary(), PACE, 1500).await;
    let user = lab.user().await;
    // The first datagram waits for the connection, later ones find it open.
    user.send(&[7; 2_000]).await.unwrap();
    let mut client = lab.client().await;
    client.echo(1).await;
    assert!(hear(&user).await == [7; 2_000]);
    for len in [0, 1, 1_500, 65_507] {
        user.send(&vec![7; len]).await.unwrap();
        client.echo(1).await;
        assert!(hear(&user).await == vec![7; len]);
    }
    assert_eq!(lab.stop().await, Drops::default());
}

#[tokio::test]
async fn queued_datagrams_are_truncated_to_the_clients_packet_size() {
    let mut lab = Lab::start(PACE, 1000).await;
    let user = lab.user().await;
    user.send(&[7; 1400]).await.unwrap();
    let received = &lab.row.entry().datagrams().received;
    let arrived = async {
        while received.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
    };
    in_time(arrived).await;
    let mut client = lab.client().await;
    assert_eq!(client.recv().await.unwrap().0, [7; 1000]);
}

#[tokio::test]
async fn a_lost_work_connection_is_replaced() {
    let mut lab = Lab::start(PACE, 1500).await;
    let user = lab.user().await;
    for round in 0..5_u8 {
        let mut client = lab.client().await;
        user.send(&[round]).await.unwrap();
        client.echo(1).await;
        assert_eq!(hear(&user).await, [round]);
    }
    assert_eq!(lab.stop().await, Drops::default());
}

#[tokio::test]
async fn a_hostile_frame_ends_only_its_work_connection() {
    let mut lab = Lab::start(PACE, 1500).await;
    let user = lab.user().await;
    let mut client = lab.client().await;
    user.send(b"word").await.unwrap();
    let (_, addr) = client.recv().await.unwrap();
    client.outbox.push(b"before", addr).unwrap();
    client.flush().await;
    let hostile = Bytes::from_static(b"u\x7f\0\0\0\0\0\0\0");
    client.conn.stream().send(hostile).await.unwrap();
    assert_eq!(hear(&user).await, b"before");
    assert!(client.recv().await.is_none());

    let mut client = lab.client().await;
    user.send(b"word").await.unwrap();
    client.echo(1).await;
    assert_eq!(hear(&user).await, b"word");
}

#[tokio::test]
async fn a_silent_client_is_given_up() {
    let silence = Duration::from_millis(200);
    let mut lab = Lab::start(Pace { silence, ..PACE }, 1500).await;
    let mut client = lab.client().await;
    let start = Instant::now();
    while start.elapsed() < silence * 2 {
        client.outbox.ping().unwrap();
        client.flush().await;
        sleep(silence / 10).await;
    }
    let heard_at = Instant::now();
    // Datagrams of users do not show that the client is alive.
    lab.user().await.send(b"word").await.unwrap();
    assert!(client.recv().await.is_some());
    assert!(client.recv().await.is_none());
    assert!(heard_at.elapsed() >= silence / 2);
    lab.client().await;
}

#[tokio::test]
async fn queued_datagrams_are_bounded_and_drops_are_counted() {
    let mut lab = Lab::start(PACE, 1500).await;
    let user = lab.user().await;
    let received = &lab.row.entry().datagrams().received;
    // One at a time, because the system's own queue is short, too.
    for sent in 1..=1024 {
        user.send(b"x").await.unwrap();
        let arrived = async {
            while received.load(Ordering::Relaxed) < sent {
                tokio::task::yield_now().await;
            }
        };
        in_time(arrived).await;
    }
    for _ in 0..3 {
        user.send(b"too much").await.unwrap();
    }
    let mut client = lab.client().await;
    for _ in 0..1024 {
        assert_eq!(client.recv().await.unwrap().0, b"x");
    }
    client.send(b"y", user.local_addr().unwrap()).await;
    assert_eq!(hear(&user).await, b"y");
    assert_eq!(lab.stop().await.of(DropReason::Full), 3);
}

#[tokio::test]
async fn a_client_reaches_only_users() {
    let mut lab = Lab::start(PACE, 1500).await;
    let mut client = lab.client().await;
    let user = lab.user().await;
    user.send(b"word").await.unwrap();
    let (_, addr) = client.recv().await.unwrap();
    // A service on the server's own host that trusts local senders.
    let internal = Plain::bind("127.0.0.1:0").await.unwrap();
    client.send(b"x", internal.local_addr().unwrap()).await;
    client.send(b"y", addr).await;
    assert_eq!(hear(&user).await, b"y");
    let nothing = internal.try_recv(&mut [0; 9]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    assert_eq!(lab.stop().await.of(DropReason::Unsolicited), 1);

    // Nor after the work connection was replaced; existing users are still answered.
    let mut lab = Lab::start(PACE, 1500).await;
    let user = lab.user().await;
    user.send(b"word").await.unwrap();
    let mut client = lab.client().await;
    let (_, addr) = client.recv().await.unwrap();
    drop(client);
    let mut client = lab.client().await;
    client.send(b"x", internal.local_addr().unwrap()).await;
    client.send(b"y", addr).await;
    assert_eq!(hear(&user).await, b"y");
    assert_eq!(lab.stop().await.of(DropReason::Unsolicited), 1);
}

#[tokio::test]
async fn a_proxy_can_be_stopped_at_any_time() {
    let lab = Lab::start(PACE, 1500).await;
    lab.stop().await;
    let mut lab = Lab::start(PACE, 1500).await;
    let mut client = lab.client().await;
    lab.stop().await;
    assert!(client.recv().await.is_none());
}
