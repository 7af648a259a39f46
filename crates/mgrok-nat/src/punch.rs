//! Opens the hole: two sides send each other small encrypted datagrams until one of them is answered.
//!
//! Both begin at about the same time, told by the server where the other is and how to try. The *receiver*'s datagrams open
//! its own NAT; they need not arrive. The *sender*'s pass through and are answered, and with the answer both know a path.
//! Everything that comes from the server is a suggestion that is cut to size (`plan`), and everything that comes
//! through the sockets may be from anyone.

pub mod datagram;
mod error;
mod plan;

use std::future::poll_fn;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::pin::pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::Poll;
use std::time::Duration;

use mgrok_proto::cipher::{self, CipherKey};
use mgrok_proto::message::{NatHoleResp, NatHoleSid};
use tokio::io::{Interest, ReadBuf};
use tokio::net::UdpSocket;
use tokio::time::{Instant, sleep, sleep_until};

pub use self::error::{PunchError, Skipped};
use self::plan::{Plan, Role};
use crate::new_id;

/// How long everything after the sender's delay may take, whatever arrives.
const MAX_TIME: Duration = Duration::from_secs(120);

/// The pause after each datagram to a port that is near the other side's last one.
///
/// frp: (`pkg/nathole/nathole.go`#sendSidMessageToRangePorts).
const NEAR_PORT_PAUSE: Duration = Duration::from_millis(2);

/// The pause after each datagram to a random port.
///
/// frp: (`pkg/nathole/nathole.go`#sendSidMessageToRandomPorts).
const RANDOM_PORT_PAUSE: Duration = Duration::from_millis(15);

/// The ports that are tried at random: privileged ones are no NAT's choice.
const RANDOM_PORTS: std::ops::Range<u16> = 1_024..65_535;

/// The longest datagram that is read; a longer one is cut and then skipped.
///
/// frp: (`pkg/nathole/nathole.go`#waitDetectMessage).
const MAX_DATAGRAM: usize = 1_024;

/// frp: the padding is 0 to 19 zeros (`pkg/nathole/nathole.go`#sendSidMessage).
const NONCE_LENS: std::ops::Range<usize> = 0..20;

/// A hole.
#[derive(Debug)]
pub struct Punched {
    /// The socket on this side of it, not connected, its time to live untouched. It may be another than the one handed in.
    /// Late datagrams of the punching may still come in.
    pub socket: UdpSocket,
    /// The other side as it is seen through the hole; often not one of the addresses that the server told.
    pub peer: SocketAddr,
}

/// Tries what the server told until a datagram of the other side shows a path, and gives out the socket that it came to.
///
/// `socket` is the one whose outside address the server was told. `key` is that of the proxy's secret, which the other
/// side must have too. Takes as long as the server told, which for frp is 5 to 45 s, and at most two and a half minutes.
/// All sockets but the one given out are closed, and all of them when this future is dropped.
pub async fn punch(
    socket: UdpSocket,
    resp: &NatHoleResp,
    key: &CipherKey,
) -> Result<Punched, PunchError> {
    let started = Instant::now();
    let plan = Plan::read(resp)?;
    let id = new_id();
    // If the longest can be written, the others can.
    let longest = request(&id, &resp.sid, NONCE_LENS.end);
    datagram::encode(&longest, key, cipher::random_iv()).map_err(PunchError::Encode)?;
    sleep(plan.send_delay).await;

    let mut sockets = vec![socket];
    for _ in 0..plan.listen_sockets {
        match UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).await {
            Ok(socket) => sockets.push(socket),
            Err(error) => {
                tracing::debug!(%error, opened = sockets.len(), "cannot open more sockets");
                break;
            }
        }
    }
    let attempt = Attempt {
        plan,
        key,
        sid: &resp.sid,
        id,
        sockets,
        sent: AtomicU32::new(0),
    };
    let (index, peer) = attempt.run(started).await?;
    let Attempt { mut sockets, .. } = attempt;
    let socket = sockets.swap_remove(index);
    Ok(Punched { socket, peer })
}

/// One attempt under way.
struct Attempt<'a> {
    plan: Plan,
    key: &'a CipherKey,
    /// The attempt's name, on which server and both sides agree.
    sid: &'a str,
    /// This side's name for it.
    id: String,
    /// The one whose address the server was told first.
    sockets: Vec<UdpSocket>,
    sent: AtomicU32,
}

/// What to make of a datagram.
enum Verdict {
    /// It shows a path.
    Answer,
    /// It shows a path, and the other side must be told.
    Request(NatHoleSid),
    /// It shows nothing.
    Skip,
}

impl Attempt<'_> {
    /// Which socket saw the other side, and where.
    async fn run(&self, started: Instant) -> Result<(usize, SocketAddr), PunchError> {
        let limit = Instant::now() + MAX_TIME;
        let mut first_round = pin!(self.send_first_round());
        let mut first_round_is_over = false;
        let mut random = pin!(self.send_to_random_ports());
        let mut random_is_over = false;
        let mut deadline = pin!(sleep_until(limit));
        let wait_from_now = || limit.min(Instant::now() + self.plan.read_timeout);
        let mut skipped = Skipped::default();
        let mut buffer = [0; MAX_DATAGRAM];
        loop {
            tokio::select! {
                received = self.receive(&mut buffer) => {
                    let (index, len, from) = received.map_err(PunchError::Receive)?;
                    match self.judge(&mut buffer[..len], from, &mut skipped) {
                        Verdict::Answer => return Ok((index, from)),
                        Verdict::Request(request) => {
                            if self.answer(index, request, from).await {
                                return Ok((index, from));
                            }
                        }
                        Verdict::Skip => {}
                    }
                    // frp: with one socket every datagram starts the wait anew (`pkg/nathole/nathole.go`#waitDetectMessage).
                    if first_round_is_over && self.sockets.len() == 1 {
                        deadline.as_mut().reset(wait_from_now());
                    }
                }
                () = &mut first_round, if !first_round_is_over => {
                    first_round_is_over = true;
                    deadline.as_mut().reset(wait_from_now());
                }
                () = &mut random, if first_round_is_over && !random_is_over => random_is_over = true,
                () = &mut deadline => return Err(PunchError::TimedOut {
                    waited: started.elapsed(),
                    sent: self.sent.load(Ordering::Relaxed),
                    skipped,
                }),
            }
        }
    }

    /// Sends to where the other side should be, and to the ports nearby.
    async fn send_first_round(&self) {
        for &target in &self.plan.targets {
            for socket in &self.sockets {
                self.send(socket, target).await;
            }
        }
        for socket in &self.sockets {
            for &ip in &self.plan.ips {
                for &port in &self.plan.near_ports {
                    self.send(socket, SocketAddrV4::new(ip, port)).await;
                    sleep(NEAR_PORT_PAUSE).await;
                }
            }
        }
    }

    /// Sends to where the other side might be, with luck.
    async fn send_to_random_ports(&self) {
        for port in random_ports(self.plan.random_ports) {
            for &ip in &self.plan.ips {
                for socket in &self.sockets {
                    self.send(socket, SocketAddrV4::new(ip, port)).await;
                }
                sleep(RANDOM_PORT_PAUSE).await;
            }
        }
    }

    /// Sends one request. A datagram may be lost anyway, so that one could not be sent is no error.
    async fn send(&self, socket: &UdpSocket, target: SocketAddrV4) {
        let request = request(&self.id, self.sid, fastrand::usize(NONCE_LENS));
        if let Err(error) = self
            .write(socket, &request, target.into(), self.plan.ttl)
            .await
        {
            tracing::trace!(%target, %error, "datagram not sent");
            return;
        }
        self.sent.fetch_add(1, Ordering::Relaxed);
    }

    /// Tells the other side that its request came through; false if that is not possible.
    async fn answer(&self, index: usize, mut request: NatHoleSid, from: SocketAddr) -> bool {
        request.response = true;
        let sent = self.write(&self.sockets[index], &request, from, None).await;
        if let Err(error) = &sent {
            tracing::debug!(%from, %error, "request cannot be answered");
        }
        sent.is_ok()
    }

    async fn write(
        &self,
        socket: &UdpSocket,
        message: &NatHoleSid,
        target: SocketAddr,
        ttl: Option<u32>,
    ) -> io::Result<()> {
        let datagram =
            datagram::encode(message, self.key, cipher::random_iv()).map_err(io::Error::other)?;
        let Some(ttl) = ttl else {
            return socket.send_to(&datagram, target).await.map(drop);
        };
        // Set and restored without a wait in between: answers go out of the same socket, and they must arrive.
        socket
            .async_io(Interest::WRITABLE, || {
                let normal = socket.ttl()?;
                socket.set_ttl(ttl)?;
                let sent = socket.try_send_to(&datagram, target);
                socket.set_ttl(normal)?;
                sent.map(drop)
            })
            .await
    }

    /// The next datagram: which socket it came to, its length, and where it is from. Cancel-safe.
    async fn receive(&self, buffer: &mut [u8]) -> io::Result<(usize, usize, SocketAddr)> {
        let count = self.sockets.len();
        poll_fn(|context| {
            // A flood on one socket must not hide the others.
            let start = fastrand::usize(..count);
            for index in (start..count).chain(0..start) {
                let mut read = ReadBuf::new(buffer);
                match self.sockets[index].poll_recv_from(context, &mut read) {
                    Poll::Ready(Ok(from)) => {
                        return Poll::Ready(Ok((index, read.filled().len(), from)));
                    }
                    // What some systems say when an earlier datagram met a closed port.
                    Poll::Ready(Err(error)) if is_about_a_sent_one(&error) => {
                        context.waker().wake_by_ref();
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
                    Poll::Pending => {}
                }
            }
            Poll::Pending
        })
        .await
    }

    fn judge(&self, datagram: &mut [u8], from: SocketAddr, skipped: &mut Skipped) -> Verdict {
        let message = datagram::decode(datagram, self.key);
        let (count, why) = match message {
            Err(_) => (&mut skipped.unreadable, "not decrypted by the secret"),
            Ok(message) if message.sid != self.sid => (&mut skipped.foreign, "of another attempt"),
            Ok(message) if message.response => return Verdict::Answer,
            // A NAT can send our own back to us.
            Ok(message) if message.transaction_id == self.id => return Verdict::Skip,
            Ok(message) => match self.plan.role {
                Role::Receiver => return Verdict::Request(message),
                Role::Sender => (&mut skipped.unanswered, "a sender waits for its answer"),
            },
        };
        if *count == 0 {
            tracing::debug!(%from, why, "datagram skipped, as all others of its kind");
        }
        *count = count.saturating_add(1);
        Verdict::Skip
    }
}

fn request(id: &str, sid: &str, nonce_len: usize) -> NatHoleSid {
    NatHoleSid {
        transaction_id: id.to_owned(),
        sid: sid.to_owned(),
        response: false,
        nonce: "0".repeat(nonce_len),
    }
}

/// Distinct ports in random order.
fn random_ports(count: usize) -> Vec<u16> {
    let mut ports = fastrand::choose_multiple(RANDOM_PORTS, count);
    fastrand::shuffle(&mut ports);
    ports
}

fn is_about_a_sent_one(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionRefused
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::HostUnreachable
            | io::ErrorKind::NetworkUnreachable
    )
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn random_ports_are_distinct_and_not_privileged() {
        let ports = random_ports(1_000);
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), 1_000);
        assert!(ports.iter().all(|port| RANDOM_PORTS.contains(port)));
        assert!(!ports.is_sorted());
        assert!(random_ports(0).is_empty());
    }

    #[test]
    fn what_was_skipped_is_told_by_reason() {
        let mut skipped = Skipped::default();
        assert_eq!(skipped.to_string(), "nothing came from the other side");
        skipped.unreadable = 2;
        skipped.unanswered = 1;
        assert_eq!(
            skipped.to_string(),
            "of those that came 2 are not decrypted by the secret, 1 are requests while ours are not answered"
        );
    }
}
