//! The UDP work connection of a proxy: every user's datagrams, to and from the local service.
//!
//! Each user has a local socket of its own, so that the service can tell users apart. One task serves them all: it
//! sends what one read of the work connection brought, then takes the replies of just those sockets that have
//! some, and writes them in one piece. No datagram waits for a task of its own to be woken.

mod options;
mod ready;
mod service;

mod local_sockets;

#[cfg(test)]
mod tests;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::pin;
use std::task::Poll;

use mgrok_config::ProxyKind;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::udp::{DatagramConn, Datagrams, Outbox, RecvError};
use mgrok_proto::Negotiated;
use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};
use tracing::debug;

use self::local_sockets::LocalSockets;
use self::options::UdpOptions;
use self::service::Service;
use crate::proxy::Proxy;

/// The most rounds of one poll before other tasks run.
const MAX_ROUNDS: usize = 16;

/// How a work connection came to its end.
#[derive(Debug, thiserror::Error)]
enum WorkEnd {
    #[error("the server closed it")]
    Closed,
    #[error("cannot read from it")]
    Read(#[from] RecvError),
    #[error("cannot write to it")]
    Write(#[source] io::Error),
}

/// Carries datagrams between `work`, which belongs to a session with what it has `negotiated`, and the local service of `proxy` until
/// `work` ends. `packet_size` is `udpPacketSize`.
///
/// Dropping the future ends it just as well.
pub(crate) async fn serve(proxy: &Proxy, work: Conn, negotiated: Negotiated, packet_size: usize) {
    let config = proxy.config();
    // A name that cannot be looked up is no reason to end the work connection: the server would ask for another at once, again and again.
    let resolver = proxy.resolver().clone();
    let service = Service::new(&config.local_host, config.local_port, resolver);
    let work = proxy.layers().wrap(work);
    let work = if matches!(config.kind, ProxyKind::Udp { .. }) {
        DatagramConn::direct(work, &negotiated)
    } else {
        // The server hands the bytes of the stream on to a visitor.
        DatagramConn::new(work, negotiated.datagram_framing())
    };
    let options = UdpOptions {
        proxy_protocol: proxy.proxy_protocol(),
        ..UdpOptions::new(work.framing().packet_size(packet_size))
    };
    let mut users = LocalSockets::new(service, proxy.users(), &options);
    users
        .drops
        .count_in(proxy.metrics().dropped_datagrams.clone());
    let end = forward(work, &mut users, &options).await;
    debug!(
        per_session = true,
        "UDP work connection ended: {}",
        Chain(&end)
    );
}

async fn forward(
    mut work: DatagramConn,
    users: &mut LocalSockets<'_>,
    options: &UdpOptions,
) -> WorkEnd {
    let mut outbox = Outbox::answering(&work);
    let mut datagrams = Datagrams::default();
    let mut ping = interval_at(Instant::now() + options.ping, options.ping);
    ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut sweep = pin!(sleep_until(Instant::now() + users.sweep_interval()));
    poll_fn(|cx| {
        let mut can_be_written = true;
        for _ in 0..MAX_ROUNDS {
            let mut idle = true;
            if let Poll::Ready(received) = work.poll_recv(cx, &mut datagrams) {
                idle = false;
                // Also before an end: what arrived whole is delivered.
                users.send(&mut datagrams);
                match received {
                    Ok(received) if received.ended => return Poll::Ready(WorkEnd::Closed),
                    Ok(received) => users.drops.received(received),
                    Err(error) => return Poll::Ready(error.into()),
                }
            }
            if users.poll_service(cx).is_ready() {
                idle = false;
            }
            users.poll_replies(cx, &mut outbox, can_be_written);
            if ping.poll_tick(cx).is_ready() {
                idle = false;
                // It cannot be queued only if the server does not read, which it will notice itself.
                let _ = outbox.ping();
            }
            if sweep.as_mut().poll(cx).is_ready() {
                idle = false;
                users.drop_idle();
                users.drops.report();
                sweep
                    .as_mut()
                    .reset(Instant::now() + users.sweep_interval());
            }
            match outbox.poll_write(cx, &mut work) {
                Poll::Ready(Ok(())) => can_be_written = true,
                Poll::Ready(Err(error)) => return Poll::Ready(WorkEnd::Write(error)),
                Poll::Pending => can_be_written = false,
            }
            if idle && !users.has_replies() {
                return Poll::Pending;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    })
    .await
}
