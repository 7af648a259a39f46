use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket as Blocking};
use std::sync::Arc;

use tokio::net::UdpSocket as Plain;
use tokio::task::JoinHandle;
use tokio::time::{advance, pause, resume, timeout};

use super::*;
use crate::testing::{memory_pair, tcp_pair};

const SILENCE: Duration = Duration::from_secs(60);

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// Users of one socket, and the other end of their connection.
struct Lab {
    addr: SocketAddr,
    conn: DatagramConn,
    outbox: Outbox,
    datagrams: Datagrams,
    exchange: JoinHandle<(ExchangeEnd, Drops<DropReason>)>,
}

impl Lab {
    async fn start(host: &str) -> Self {
        Self::on(UdpSocket::bind(host, 0).await.unwrap()).await
    }

    async fn on(socket: UdpSocket) -> Self {
        let addr = socket.local_addr().unwrap();
        let (ours, theirs) = tcp_pair().await;
        let ours = DatagramConn::new(ours.into(), Framing::Binary);
        let exchange = tokio::spawn(async move {
            let traffic = Arc::new(Traffic::default());
            let mut users = Users::new(&socket, 1500, &traffic);
            let end = users.exchange(ours, SILENCE).await;
            (end, users.into_drops())
        });
        Self {
            addr,
            conn: DatagramConn::new(theirs.into(), Framing::Binary),
            outbox: Outbox::new(Framing::Binary),
            datagrams: Datagrams::default(),
            exchange,
        }
    }

    /// Receives one datagram and returns its user.
    async fn hear(&mut self) -> SocketAddr {
        let Self {
            conn, datagrams, ..
        } = self;
        while datagrams.is_empty() {
            let read = poll_fn(|cx| conn.poll_recv(cx, datagrams));
            assert!(!in_time(read).await.unwrap().ended);
        }
        let (user, _) = datagrams.front_run().unwrap();
        datagrams.skip(1);
        user
    }

    async fn say(&mut self, payload: &[u8], users: &[SocketAddr]) {
        for &user in users {
            self.outbox.push(payload, user).unwrap();
        }
        let Self { conn, outbox, .. } = self;
        in_time(poll_fn(|cx| outbox.poll_write(cx, conn)))
            .await
            .unwrap();
    }

    async fn end(self) -> Drops<DropReason> {
        drop(self.conn);
        in_time(self.exchange).await.unwrap().1
    }
}

async fn user_of(addr: SocketAddr) -> Plain {
    let any: SocketAddr = match addr {
        SocketAddr::V4(_) => "0.0.0.0:0".parse().unwrap(),
        SocketAddr::V6(_) => "[::]:0".parse().unwrap(),
    };
    let user = Plain::bind(any).await.unwrap();
    // A connected socket receives nothing from other addresses.
    user.connect(addr).await.unwrap();
    user
}

async fn recv(user: &Plain) -> Vec<u8> {
    let mut buffer = vec![0; 2000];
    let len = in_time(user.recv(&mut buffer)).await.unwrap();
    buffer.truncate(len);
    buffer
}

#[tokio::test]
async fn replies_go_only_to_users_who_have_written() {
    let mut lab = Lab::start("127.0.0.1").await;
    let user = user_of(lab.addr).await;
    user.send(b"word").await.unwrap();
    let from = lab.hear().await;
    assert_eq!(from, user.local_addr().unwrap());

    let stranger = Plain::bind("127.0.0.1:0").await.unwrap();
    let to = stranger.local_addr().unwrap();
    let others = [
        to,
        to,
        from,
        "192.0.2.1:53".parse().unwrap(),
        "[::1]:53".parse().unwrap(),
        // Neither another port of the user's host, nor the user's port on another host.
        (from.ip(), from.port() ^ 1).into(),
        (Ipv4Addr::new(127, 0, 0, 9), from.port()).into(),
        from,
    ];
    lab.say(b"reply", &others).await;
    assert_eq!(recv(&user).await, b"reply");
    assert_eq!(recv(&user).await, b"reply");
    let nothing = stranger.try_recv(&mut [0; 9]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);
    let drops = lab.end().await;
    assert_eq!(drops.of(DropReason::Unsolicited), 6);
    assert_eq!(drops.total(), 6);
}

#[tokio::test]
async fn a_user_who_has_not_written_for_long_is_not_answered() {
    let mut lab = Lab::start("127.0.0.1").await;
    let (idle, busy) = (user_of(lab.addr).await, user_of(lab.addr).await);
    idle.send(b"word").await.unwrap();
    let idle_addr = lab.hear().await;
    busy.send(b"word").await.unwrap();
    let busy_addr = lab.hear().await;
    let mut passed = Duration::ZERO;
    while passed < ANSWERABLE_FOR {
        lab.say(b"reply", &[idle_addr, busy_addr]).await;
        assert_eq!(recv(&idle).await, b"reply");
        assert_eq!(recv(&busy).await, b"reply");
        busy.send(b"word").await.unwrap();
        assert_eq!(lab.hear().await, busy_addr);
        pause();
        advance(SILENCE / 2).await;
        resume();
        passed += SILENCE / 2;
    }
    // Answers do not keep a user in the table: the address may be that of a victim, forged by an attacker.
    lab.say(b"reply", &[idle_addr, busy_addr]).await;
    assert_eq!(recv(&busy).await, b"reply");
    let nothing = idle.try_recv(&mut [0; 9]).unwrap_err();
    assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock);

    idle.send(b"word").await.unwrap();
    assert_eq!(lab.hear().await, idle_addr);
    lab.say(b"reply", &[idle_addr]).await;
    assert_eq!(recv(&idle).await, b"reply");
    assert_eq!(lab.end().await.of(DropReason::Unsolicited), 1);
}

/// Checks that answers to a user leave from `host`, to which the user's socket is connected.
async fn answers_from(lab: &mut Lab, host: &str) {
    let user = user_of((host.parse::<IpAddr>().unwrap(), lab.addr.port()).into()).await;
    user.send(b"word").await.unwrap();
    let from = lab.hear().await;
    // Several of one size, which are sent as one message, and others.
    for payload in [&[7; 900][..], b"", &[8; 1500]] {
        lab.say(payload, &[from; 3]).await;
        for _ in 0..3 {
            assert_eq!(recv(&user).await, payload, "from {host}");
        }
    }
}

#[tokio::test]
async fn answers_leave_from_the_address_that_was_asked() {
    for host in ["0.0.0.0", "::"] {
        let mut lab = Lab::start(host).await;
        for asked in ["127.0.0.1", "127.0.0.2", "127.7.7.7", "::1", "127.0.0.3"] {
            answers_from(&mut lab, asked).await;
        }
        assert_eq!(lab.end().await, Drops::default());
    }
}

#[tokio::test]
async fn answers_of_a_host_without_ipv6_leave_from_the_address_that_was_asked() {
    let addr = (Ipv4Addr::UNSPECIFIED, 0).into();
    let socket = super::super::socket::open(addr).unwrap();
    let socket = UdpSocket::new(socket, addr, false).unwrap();
    let mut lab = Lab::on(socket).await;
    for asked in ["127.0.0.1", "127.7.7.7"] {
        answers_from(&mut lab, asked).await;
    }
    assert_eq!(lab.end().await, Drops::default());
}

#[tokio::test]
async fn a_user_is_answered_from_the_address_that_it_asked_last() {
    let mut lab = Lab::start("0.0.0.0").await;
    let user = Plain::bind("127.0.0.1:0").await.unwrap();
    for asked in [[127, 0, 0, 1], [127, 0, 0, 2], [127, 0, 0, 1]] {
        let asked = (Ipv4Addr::from(asked), lab.addr.port()).into();
        user.send_to(b"word", asked).await.unwrap();
        let from = lab.hear().await;
        lab.say(b"reply", &[from]).await;
        let (_, answered) = in_time(user.recv_from(&mut [0; 9])).await.unwrap();
        assert_eq!(answered, asked);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_broadcast_is_answered_from_an_address_of_the_host() {
    let mut lab = Lab::start("0.0.0.0").await;
    let user = Plain::bind("127.0.0.1:0").await.unwrap();
    user.set_broadcast(true).unwrap();
    let all = (Ipv4Addr::new(127, 255, 255, 255), lab.addr.port());
    user.send_to(b"who is there?", all).await.unwrap();
    let from = lab.hear().await;
    lab.say(b"I", &[from]).await;
    let (_, answered) = in_time(user.recv_from(&mut [0; 9])).await.unwrap();
    assert_eq!(answered, (Ipv4Addr::LOCALHOST, lab.addr.port()).into());
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_users_does_not_hide_that_the_other_end_is_silent() {
    let socket = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
    let addr = socket.local_addr().unwrap();
    // Nobody reads at the peer, as if its host were gone.
    let (ours, _theirs) = memory_pair(64 * 1024, 64 * 1024);
    let ours = DatagramConn::new(ours, Framing::Binary);
    let traffic = Traffic::default();
    let mut users = Users::new(&socket, 1500, &traffic);
    let mut exchange = pin!(users.exchange(ours, SILENCE));

    let flood = Blocking::bind("127.0.0.1:0").unwrap();
    for _ in 0..=SILENCE.as_secs() {
        // More than one turn handles.
        for _ in 0..MAX_ROUNDS * super::super::BATCH + 100 {
            flood.send_to(b"x", addr).unwrap();
        }
        advance(Duration::from_secs(1)).await;
        let turn = poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx)));
        if let Poll::Ready(end) = turn.await {
            assert!(matches!(end, ExchangeEnd::Silent(SILENCE)), "{end:?}");
            return;
        }
    }
    panic!("the end was not noticed");
}
