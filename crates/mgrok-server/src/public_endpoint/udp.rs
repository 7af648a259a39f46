//! A UDP port for users: all their datagrams, on one work connection.
//!
//! While there is no work connection datagrams wait, so that the first ones are not lost.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::udp::{DatagramConn, DropReason, Drops, UdpSocket, Users};
use mgrok_proto::Negotiated;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::directory::{Gate, ProxyEntry, UdpUsers};

/// The pace of a proxy's work connections.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// How long after the start the first one is asked for.
    first: Duration,
    /// The least time from one to the next.
    pause: Duration,
    /// After so much silence of the client one is given up.
    silence: Duration,
}

impl Pace {
    // frp: the same (server/proxy/udp.go#Run). Its client closes a work connection that overtakes
    // the answer that the proxy has started, hence the wait; and it says something every 30 s.
    const FRP: Self = Self {
        first: Duration::from_millis(500),
        pause: Duration::from_secs(1),
        silence: Duration::from_secs(60),
    };
}

/// Serves users until `stop`, and returns what was dropped. `open` gets a work connection of a session that speaks
/// `negotiated`. Datagrams that are framed as frp does are carried whole up to `packet_size` bytes, longer ones are cut.
pub(crate) async fn run<E: Error, F: Future<Output = Result<Conn, E>>>(
    socket: &UdpSocket,
    open: impl Fn() -> F,
    negotiated: Negotiated,
    packet_size: usize,
    proxy: &Arc<ProxyEntry>,
    stop: CancellationToken,
) -> Drops<DropReason> {
    run_at(
        Pace::FRP,
        socket,
        open,
        negotiated,
        packet_size,
        proxy,
        stop,
    )
    .await
}

async fn run_at<E: Error, F: Future<Output = Result<Conn, E>>>(
    pace: Pace,
    socket: &UdpSocket,
    open: impl Fn() -> F,
    negotiated: Negotiated,
    packet_size: usize,
    proxy: &Arc<ProxyEntry>,
    stop: CancellationToken,
) -> Drops<DropReason> {
    let users = Users::new(socket, packet_size, proxy.datagrams());
    let users = users
        .with_gauge(proxy.udp_users())
        .unless_closed(proxy.draining())
        .with_drop_counters(proxy.metrics().dropped_datagrams.clone());
    let metering = UdpUsers(proxy.clone());
    let mut users = users.with_metering(&metering);
    let gate = proxy.gate();
    let passing = async {
        loop {
            tokio::select! {
                () = gate.closed() => users.lose_connection(),
                () = serve(&mut users, pace, &open, negotiated) => {}
            }
            turn_away(&mut users, gate).await;
        }
    };
    tokio::select! {
        () = stop.cancelled() => {}
        () = passing => {}
    }
    users.into_drops()
}

/// Drops what users send while the proxy is disabled.
async fn turn_away(users: &mut Users<'_>, gate: &Gate) {
    while gate.is_closed() {
        tokio::select! {
            () = gate.opened() => {}
            () = users.datagram() => {}
        }
        users.turn_away();
    }
}

/// Keeps one work connection, for ever.
async fn serve<E: Error, F: Future<Output = Result<Conn, E>>>(
    users: &mut Users<'_>,
    pace: Pace,
    open: &impl Fn() -> F,
    negotiated: Negotiated,
) {
    users.wait_for(sleep(pace.first)).await;
    let mut failed_before = false;
    loop {
        let next = Instant::now() + pace.pause;
        match users.wait_for(open()).await {
            Ok(conn) => {
                failed_before = false;
                let conn = DatagramConn::direct(conn, &negotiated);
                let end = users.exchange(conn, pace.silence).await;
                debug!("work connection ended: {}", Chain(&end));
            }
            Err(error) if failed_before => {
                debug!("still no work connection: {}", Chain(&error));
            }
            Err(error) => {
                failed_before = true;
                warn!("failed to get work connection: {}", Chain(&error));
            }
        }
        users.wait_for(sleep_until(next)).await;
    }
}
