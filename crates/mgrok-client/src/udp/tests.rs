use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_net::proxy_protocol::{Addresses, TransportProtocol, Version, encode};
use mgrok_net::relay::Traffic;
use mgrok_net::resolver::Resolver;
use mgrok_net::udp::Drops;
use mgrok_proto::udp::Framing;
use tokio::net::{TcpListener, TcpStream, UdpSocket as Plain};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::*;
use crate::metrics::DropReason;
use crate::users::{ProxyUsers, Users};

fn options() -> UdpOptions {
    UdpOptions::new(1500)
}

fn user(port: u16) -> SocketAddr {
    (Ipv4Addr::new(192, 0, 2, 1), port).into()
}

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// A local service.
async fn service() -> (Plain, SocketAddr) {
    let socket = Plain::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

/// Echoes every datagram.
async fn echo(socket: Plain) {
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, from) = socket.recv_from(&mut buffer).await.unwrap();
        socket.send_to(&buffer[..len], from).await.unwrap();
    }
}

async fn hear(service: &Plain) -> (Vec<u8>, SocketAddr) {
    let mut buffer = vec![0; 65_536];
    let (len, from) = in_time(service.recv_from(&mut buffer)).await.unwrap();
    buffer.truncate(len);
    (buffer, from)
}

/// The server's end of a work connection.
struct Server {
    conn: DatagramConn,
    outbox: Outbox,
    datagrams: Datagrams,
    users: Arc<ProxyUsers>,
    client: JoinHandle<(WorkEnd, Drops<DropReason>, usize)>,
}

impl Server {
    async fn start(service: SocketAddr, options: UdpOptions) -> Self {
        Self::framing(Framing::V1, service, options).await
    }

    async fn framing(framing: Framing, service: SocketAddr, options: UdpOptions) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (ours, theirs) = tokio::join!(TcpStream::connect(addr), listener.accept());
        let users = Users::default().of("udp", "udp");
        let work = DatagramConn::new(theirs.unwrap().0.into(), framing);
        let client = {
            let users = users.clone();
            tokio::spawn(async move {
                let host = service.ip().to_string();
                let service = Service::new(&host, service.port(), Resolver::default());
                let mut sockets = LocalSockets::new(service, &users, &options);
                let end = forward(work, &mut sockets, &options).await;
                (end, std::mem::take(&mut sockets.drops), sockets.len())
            })
        };
        Self {
            conn: DatagramConn::new(ours.unwrap().into(), framing),
            outbox: Outbox::new(framing),
            datagrams: Datagrams::default(),
            users,
            client,
        }
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

    async fn recv(&mut self) -> (Vec<u8>, SocketAddr) {
        let Self {
            conn, datagrams, ..
        } = self;
        while datagrams.is_empty() {
            let read = poll_fn(|cx| conn.poll_recv(cx, datagrams));
            assert!(!in_time(read).await.unwrap().ended);
        }
        let first = datagrams.iter().next().unwrap();
        let first = (first.0.to_vec(), first.1);
        datagrams.skip(1);
        first
    }

    /// Closes the connection. Returns how it ended at the client, what the client dropped, and how many sockets it had.
    async fn end(mut self) -> (WorkEnd, Drops<DropReason>, usize) {
        self.conn.stream().close().await.unwrap();
        in_time(self.client).await.unwrap()
    }
}

#[tokio::test]
async fn datagrams_come_and_go() {
    let (socket, addr) = service().await;
    tokio::spawn(echo(socket));
    let mut server = Server::start(addr, options()).await;
    for payload in [&b"word"[..], b"", &[7; 1500]] {
        server.send(payload, user(1)).await;
        assert_eq!(server.recv().await, (payload.to_vec(), user(1)));
    }
    let users = server.users.clone();
    let traffic = users.datagrams();
    assert_eq!(traffic.sent.load(Ordering::Relaxed), 1504);
    assert_eq!(traffic.received.load(Ordering::Relaxed), 1504);
    let (end, drops, users) = server.end().await;
    assert!(matches!(end, WorkEnd::Closed), "{end:?}");
    assert_eq!(drops.total(), 0);
    assert_eq!(users, 1);
}

#[tokio::test]
async fn each_user_has_a_socket_of_its_own() {
    let (socket, addr) = service().await;
    let mut server = Server::start(addr, options()).await;
    server.send(b"a", user(1)).await;
    server.send(b"b", user(2)).await;
    server.send(b"c", user(1)).await;
    let heard = [
        hear(&socket).await,
        hear(&socket).await,
        hear(&socket).await,
    ];
    let from = |payload: &[u8]| heard.iter().find(|it| it.0 == payload).unwrap().1;
    assert_eq!(from(b"a"), from(b"c"));
    assert_ne!(from(b"a"), from(b"b"));
    socket.send_to(b"for b", from(b"b")).await.unwrap();
    assert_eq!(server.recv().await, (b"for b".to_vec(), user(2)));
    // A service may send many datagrams in answer to one.
    for number in 0..100_u8 {
        socket.send_to(&[number], from(b"a")).await.unwrap();
    }
    for number in 0..100_u8 {
        assert_eq!(server.recv().await, (vec![number], user(1)));
    }
}

#[tokio::test]
async fn many_users_are_served_at_once() {
    let (socket, addr) = service().await;
    tokio::spawn(echo(socket));
    let mut server = Server::start(addr, options()).await;
    for round in 0..3_u8 {
        let mut waiting = std::collections::HashSet::new();
        for port in 1..=100 {
            server.outbox.push(&[round; 20], user(port)).unwrap();
            waiting.insert(user(port));
        }
        server.flush().await;
        while !waiting.is_empty() {
            let (payload, from) = server.recv().await;
            assert_eq!(payload, [round; 20]);
            assert!(waiting.remove(&from), "{from}");
        }
    }
    assert_eq!(server.end().await.2, 100);
}

/// More than the outbox takes, while the client has not looked at any of it.
#[tokio::test]
async fn replies_of_many_users_at_once_all_arrive() {
    const USERS: u16 = 60;
    const REPLIES: u16 = 30;

    let (socket, addr) = service().await;
    let mut server = Server::start(addr, options()).await;
    let mut users = Vec::new();
    for port in 1..=USERS {
        server.send(b"x", user(port)).await;
        users.push(hear(&socket).await.1);
    }
    let socket = socket.into_std().unwrap();
    for user in users {
        for number in 0..REPLIES {
            socket.send_to(&number.to_be_bytes(), user).unwrap();
        }
    }
    let mut next = [0; USERS as usize + 1];
    for _ in 0..USERS * REPLIES {
        let (payload, user) = server.recv().await;
        let next = &mut next[usize::from(user.port())];
        assert_eq!(payload, u16::to_be_bytes(*next), "in order");
        *next += 1;
    }
    assert_eq!(server.end().await.1.total(), 0);
}

#[tokio::test]
async fn long_replies_are_cut_and_too_long_ones_counted() {
    let (socket, addr) = service().await;
    let mut server = Server::start(addr, options()).await;
    server.send(b"x", user(1)).await;
    let (_, from) = hear(&socket).await;
    socket.send_to(&[7; 1600], from).await.unwrap();
    assert_eq!(server.recv().await.0, [7; 1500]);

    let mut server = Server::start(addr, UdpOptions::new(65_507)).await;
    server.send(b"x", user(1)).await;
    let (_, from) = hear(&socket).await;
    socket.send_to(&vec![7; 65_507], from).await.unwrap();
    socket.send_to(&vec![7; 7_500], from).await.unwrap();
    assert_eq!(server.recv().await.0, vec![7; 7_500]);
    assert_eq!(server.end().await.1.of(DropReason::TooLong), 1);
}

#[tokio::test]
async fn between_ends_of_mgrok_replies_of_all_sizes_are_carried_whole() {
    let (socket, addr) = service().await;
    tokio::spawn(echo(socket));
    let framing = Framing::Binary;
    let options = UdpOptions::new(framing.packet_size(1500));
    let mut server = Server::framing(framing, addr, options).await;
    for len in [0, 1, 1_500, 65_507] {
        server.send(&vec![7; len], user(1)).await;
        assert!(server.recv().await == (vec![7; len], user(1)));
    }
    assert_eq!(server.end().await.1.total(), 0);
}

#[tokio::test]
async fn a_service_may_come_late() {
    let (socket, addr) = service().await;
    drop(socket);
    let mut server = Server::start(addr, options()).await;
    for _ in 0..5 {
        server.send(b"nobody there", user(1)).await;
        server.send(b"nobody there", user(2)).await;
    }
    let socket = Plain::bind(addr).await.unwrap();
    loop {
        // Earlier datagrams may arrive first.
        server.send(b"now", user(1)).await;
        if hear(&socket).await.0 == b"now" {
            break;
        }
    }
}

/// Has a user's datagram sent to the local service.
fn send_to(sockets: &mut LocalSockets<'_>, payload: &[u8], user: SocketAddr) {
    let mut datagrams = Datagrams::default();
    datagrams.push(payload, user);
    sockets.send(&mut datagrams);
}

// No timer runs here but those that the test moves on: the clock stands still while a datagram is under way.
#[tokio::test(start_paused = true)]
async fn idle_users_lose_their_socket() {
    let (socket, addr) = service().await;
    let mut buffer = [0; 8];
    let users = Users::default().of("udp", "udp");
    let options = options();
    let host = addr.ip().to_string();
    let service = Service::new(&host, addr.port(), Resolver::default());
    let mut sockets = LocalSockets::new(service, &users, &options);
    send_to(&mut sockets, b"idle", user(1));
    let (_, idle_from) = socket.recv_from(&mut buffer).await.unwrap();
    send_to(&mut sockets, b"busy", user(2));
    let (_, busy_from) = socket.recv_from(&mut buffer).await.unwrap();
    // Traffic in either direction counts as activity.
    for from_user in [false, true, false] {
        tokio::time::advance(options.idle * 2 / 3).await;
        if from_user {
            send_to(&mut sockets, b"busy", user(2));
            assert_eq!(socket.recv_from(&mut buffer).await.unwrap().1, busy_from);
        } else {
            socket.send_to(b"still", busy_from).await.unwrap();
            let mut outbox = Outbox::new(Framing::V1);
            poll_fn(|cx| {
                sockets.poll_replies(cx, &mut outbox, true);
                match outbox.is_empty() {
                    true => Poll::Pending,
                    false => Poll::Ready(()),
                }
            })
            .await;
        }
        sockets.drop_idle();
    }
    assert_eq!(sockets.len(), 1);
    send_to(&mut sockets, b"busy", user(2));
    assert_eq!(socket.recv_from(&mut buffer).await.unwrap().1, busy_from);
    send_to(&mut sockets, b"idle", user(1));
    assert_ne!(socket.recv_from(&mut buffer).await.unwrap().1, idle_from);
}

#[tokio::test]
async fn idle_users_are_looked_for_while_a_connection_lives() {
    let (socket, addr) = service().await;
    let idle = Duration::from_millis(100);
    let mut server = Server::start(addr, UdpOptions { idle, ..options() }).await;
    server.send(b"idle", user(1)).await;
    let (_, before) = hear(&socket).await;
    in_time(async {
        while server.users.totals().live > 0 {
            sleep(idle / 5).await;
        }
    })
    .await;
    server.send(b"idle", user(1)).await;
    assert_ne!(hear(&socket).await.1, before);
}

/// A user's datagram behind the PROXY header for the service at `addr`.
fn introduced(user: SocketAddr, addr: SocketAddr, payload: &[u8]) -> Vec<u8> {
    let addresses = Addresses {
        source: user,
        destination: addr,
    };
    let mut bytes = BytesMut::new();
    encode(Version::V2, TransportProtocol::Udp, &addresses, &mut bytes);
    [&bytes, payload].concat()
}

#[tokio::test]
async fn only_the_first_datagram_of_a_user_has_a_header() {
    let (socket, addr) = service().await;
    let proxy_protocol = Some(Version::V2);
    let mut server = Server::start(
        addr,
        UdpOptions {
            proxy_protocol,
            ..options()
        },
    )
    .await;
    // All in one batch.
    for payload in [&b"one"[..], b"two", b"three"] {
        server.outbox.push(payload, user(1)).unwrap();
    }
    server.outbox.push(b"", user(2)).unwrap();
    server.outbox.push(b"four", user(1)).unwrap();
    server.flush().await;
    let mut heard = Vec::new();
    for _ in 0..5 {
        heard.push(hear(&socket).await.0);
    }
    let empty = introduced(user(2), addr, b"");
    let of_2 = heard.iter().position(|it| *it == empty);
    heard.remove(of_2.unwrap());
    let first = introduced(user(1), addr, b"one");
    assert_eq!(heard, [&first[..], b"two", b"three", b"four"]);
    assert_eq!(
        server.users.datagrams().received.load(Ordering::Relaxed),
        15
    );
}

#[tokio::test]
async fn a_user_with_a_new_socket_is_introduced_again() {
    let (socket, addr) = service().await;
    let mut server = Server::start(
        addr,
        UdpOptions {
            proxy_protocol: Some(Version::V2),
            max_users: 1,
            ..options()
        },
    )
    .await;
    for port in [1, 2, 1] {
        server.send(b"hello", user(port)).await;
        let expect = introduced(user(port), addr, b"hello");
        assert_eq!(hear(&socket).await.0, expect);
    }
}

#[tokio::test]
async fn forged_users_do_not_displace_an_active_one() {
    let (socket, addr) = service().await;
    let max_users = 4;
    let options = UdpOptions {
        max_users,
        ..options()
    };
    let mut server = Server::start(addr, options).await;
    server.send(b"hello", user(1)).await;
    let (_, from) = hear(&socket).await;
    socket.send_to(b"who?", from).await.unwrap();
    server.recv().await;
    server.send(b"me", user(1)).await;
    assert_eq!(hear(&socket).await.1, from);
    for port in 100..200 {
        server.send(b"forged", user(port)).await;
        hear(&socket).await;
    }
    server.send(b"still me", user(1)).await;
    assert_eq!(hear(&socket).await, (b"still me".to_vec(), from));
    assert_eq!(server.end().await.2, max_users);
}

#[tokio::test]
async fn the_user_silent_for_longest_is_dropped() {
    let (socket, addr) = service().await;
    let max_users = 2;
    let mut server = Server::start(
        addr,
        UdpOptions {
            max_users,
            ..options()
        },
    )
    .await;
    let mut from = Vec::new();
    for port in [1, 2, 1, 3] {
        server.send(b"x", user(port)).await;
        from.push(hear(&socket).await.1);
    }
    // User 2 was dropped, users 1 and 3 have stayed.
    for (port, before) in [(1, from[0]), (3, from[3])] {
        server.send(b"x", user(port)).await;
        assert_eq!(hear(&socket).await.1, before);
    }
    assert_eq!(server.end().await.2, max_users);
}

#[tokio::test]
async fn the_server_hears_that_the_client_is_there() {
    let (_socket, addr) = service().await;
    let ping = Duration::from_millis(50);
    let start = Instant::now();
    let mut server = Server::start(addr, UdpOptions { ping, ..options() }).await;
    let mut bytes = Vec::new();
    while bytes.len() < 22 {
        bytes.extend_from_slice(&in_time(server.conn.stream().recv()).await.unwrap());
    }
    assert_eq!(bytes, b"h\0\0\0\0\0\0\0\x02{}h\0\0\0\0\0\0\0\x02{}");
    assert!(start.elapsed() >= ping * 2);
}

#[tokio::test]
async fn a_hostile_server_only_ends_its_connection() {
    let (socket, addr) = service().await;
    let mut server = Server::start(addr, options()).await;
    server.outbox.push(b"before", user(1)).unwrap();
    server.flush().await;
    server
        .conn
        .stream()
        .send(Bytes::from_static(b"u\0\0\0\0\0\0\0\x02{!"))
        .await
        .unwrap();
    assert_eq!(hear(&socket).await.0, b"before");
    let (end, ..) = in_time(server.client).await.unwrap();
    assert!(
        matches!(end, WorkEnd::Read(RecvError::Decode(_))),
        "{end:?}"
    );
}

#[tokio::test]
async fn replies_that_nobody_takes_are_bounded_and_counted() {
    let (socket, addr) = service().await;
    let mut server = Server::start(addr, options()).await;
    server.send(b"x", user(1)).await;
    let (_, from) = hear(&socket).await;
    // Until long after the connection and the outbox are full, in steps that fit the socket.
    let sent = |traffic: &Traffic| traffic.sent.load(Ordering::Relaxed);
    let mut before = 0;
    loop {
        for _ in 0..30 {
            socket.send_to(&[7; 1400], from).await.unwrap();
        }
        let more = timeout(Duration::from_millis(100), async {
            while sent(server.users.datagrams()) <= before {
                sleep(Duration::from_millis(1)).await;
            }
        });
        if more.await.is_err() {
            break;
        }
        before = sent(server.users.datagrams());
    }
    let mut taken = 0;
    while taken < before {
        taken += server.recv().await.0.len() as u64;
    }
    assert!(server.end().await.1.of(DropReason::Full) > 0);
}
