use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::message::{Message, Ping, UdpPacket};
use tokio::net::{TcpListener, TcpStream, UdpSocket as Plain};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{sleep, timeout};
use tokio_util::task::AbortOnDropHandle;

use super::*;

const FAST: Pace = Pace {
    pause: Duration::from_millis(1),
    silence: Duration::from_secs(20),
};

async fn in_time<T>(future: impl Future<Output = T>) -> T {
    timeout(Duration::from_secs(20), future).await.unwrap()
}

/// A visitor, and the other end of its connections.
struct Lab {
    listener: SocketAddr,
    /// One item for each connection that the visitor asked for.
    asked: mpsc::UnboundedReceiver<()>,
    /// Each permit allows one connection; closed, none can be opened.
    openings: Arc<Semaphore>,
    opened: mpsc::UnboundedReceiver<Conn>,
    _visitor: AbortOnDropHandle<()>,
}

impl Lab {
    async fn start(pace: Pace) -> Self {
        let socket = UdpSocket::bind("127.0.0.1", 0).await.unwrap();
        let listener = socket.local_addr().unwrap();
        let openings = Arc::new(Semaphore::new(0));
        let (ask, asked) = mpsc::unbounded_channel();
        let (offer, opened) = mpsc::unbounded_channel();
        let permits = openings.clone();
        let visitor = tokio::spawn(async move {
            let open = || async {
                ask.send(()).unwrap();
                let permit = permits.acquire().await.map_err(io::Error::other)?;
                permit.forget();
                let (ours, theirs) = visitor_conns().await?;
                offer.send(theirs).unwrap();
                let framing = WireVersion::V1.into();
                io::Result::Ok(DatagramConn::new(ours, framing))
            };
            let traffic = Traffic::default();
            let mut users = Users::new(&socket, 1500, &traffic);
            serve(&mut users, open, pace).await;
        });
        Self {
            listener,
            asked,
            openings,
            opened,
            _visitor: AbortOnDropHandle::new(visitor),
        }
    }

    async fn user(&self) -> Plain {
        let user = Plain::bind("127.0.0.1:0").await.unwrap();
        user.connect(self.listener).await.unwrap();
        user
    }

    async fn service(&mut self) -> MessageConn {
        self.openings.add_permits(1);
        let conn = in_time(self.opened.recv()).await.unwrap();
        MessageConn::new(conn, WireVersion::V1)
    }
}

async fn visitor_conns() -> io::Result<(Conn, Conn)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let ours = TcpStream::connect(listener.local_addr()?).await?;
    let (theirs, _) = listener.accept().await?;
    Ok((ours.into(), theirs.into()))
}

/// The next datagram; `None` when the visitor has ended the connection.
async fn recv(service: &mut MessageConn) -> Option<UdpPacket> {
    match in_time(service.recv()).await {
        Ok(Some(Message::UdpPacket(packet))) => Some(packet),
        Ok(Some(other)) => panic!("{} instead of a datagram", other.name()),
        Ok(None) | Err(_) => None,
    }
}

async fn hear(user: &Plain) -> Vec<u8> {
    let mut buffer = vec![0; 65_536];
    let len = in_time(user.recv(&mut buffer)).await.unwrap();
    buffer.truncate(len);
    buffer
}

#[tokio::test]
async fn a_connection_is_opened_for_the_first_datagram_and_not_before() {
    let mut lab = Lab::start(FAST).await;
    let user = lab.user().await;
    tokio::task::yield_now().await;
    assert!(lab.asked.try_recv().is_err());
    for number in 0..100_u8 {
        user.send(&[number]).await.unwrap();
    }
    in_time(lab.asked.recv()).await.unwrap();
    let mut service = lab.service().await;
    for number in 0..100_u8 {
        let packet = recv(&mut service).await.unwrap();
        assert_eq!(packet.content[..], [number]);
        service.send(&packet.into()).await.unwrap();
        assert_eq!(hear(&user).await, [number]);
    }
    assert!(lab.asked.try_recv().is_err());
}

#[tokio::test]
async fn a_lost_connection_is_replaced_for_the_next_datagram() {
    let mut lab = Lab::start(FAST).await;
    let user = lab.user().await;
    for round in 0..3_u8 {
        user.send(&[round]).await.unwrap();
        let mut service = lab.service().await;
        let packet = recv(&mut service).await.unwrap();
        service.send(&packet.into()).await.unwrap();
        assert_eq!(hear(&user).await, [round]);
        drop(service);
        in_time(lab.asked.recv()).await.unwrap();
        // No user sends anything.
        sleep(FAST.pause * 20).await;
        assert!(lab.asked.try_recv().is_err());
    }
}

#[tokio::test]
async fn a_silent_other_end_is_given_up() {
    let mut silence = Duration::from_millis(200);
    while !is_given_up_after(silence).await {
        silence *= 4;
        assert!(silence < Duration::from_secs(15), "it is never in time");
    }
}

/// Whether this test was itself in time; on a machine that does not let it run for half of `silence`, nothing can be said.
async fn is_given_up_after(silence: Duration) -> bool {
    let mut lab = Lab::start(Pace { silence, ..FAST }).await;
    let user = lab.user().await;
    user.send(b"word").await.unwrap();
    let mut service = lab.service().await;
    let heard = recv(&mut service).await;
    let (start, mut last, mut longest) = (Instant::now(), Instant::now(), Duration::ZERO);
    let mut lives = heard.is_some();
    while lives && start.elapsed() < silence * 2 {
        lives = service.send(&Ping::default().into()).await.is_ok();
        sleep(silence / 10).await;
        longest = longest.max(last.elapsed());
        last = Instant::now();
    }
    let ended = recv(&mut service).await.is_none();
    if longest >= silence / 2 {
        return false;
    }
    assert!(lives, "given up while it spoke");
    assert!(ended);
    let waited = last.elapsed();
    assert!(waited >= silence / 2, "given up after {waited:?}");
    true
}

#[tokio::test]
async fn datagrams_without_a_connection_are_not_sent_late() {
    let mut lab = Lab::start(FAST).await;
    let user = lab.user().await;
    lab.openings.close();
    user.send(b"early").await.unwrap();
    in_time(lab.asked.recv()).await.unwrap();
    // One datagram causes one attempt.
    sleep(FAST.pause * 20).await;
    assert!(lab.asked.try_recv().is_err());
    user.send(b"late").await.unwrap();
    in_time(lab.asked.recv()).await.unwrap();
}

#[tokio::test]
async fn garbage_ends_only_its_connection() {
    let mut lab = Lab::start(FAST).await;
    let user = lab.user().await;
    user.send(b"word").await.unwrap();
    let mut conn = lab.service().await.into_conn();
    let hostile = bytes::Bytes::from_static(b"u\x7f\0\0\0\0\0\0\0");
    conn.send(hostile).await.unwrap();
    let ended = async { while conn.recv().await.is_ok_and(|chunk| !chunk.is_empty()) {} };
    in_time(ended).await;

    user.send(b"more").await.unwrap();
    let mut service = lab.service().await;
    assert_eq!(recv(&mut service).await.unwrap().content[..], *b"more");
}
