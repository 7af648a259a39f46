//! The listener of an `sudp` visitor: the datagrams of all its users, on one connection to the service.
//!
//! The connection is opened for the first datagram. What users send until it is there waits.

#[cfg(test)]
mod tests;

use std::error::Error;
use std::future::Future;
use std::time::Duration;

use mgrok_net::error_chain::Chain;
use mgrok_net::relay::Traffic;
use mgrok_net::udp::{DatagramConn, UdpSocket, Users};
use tokio::time::{Instant, sleep_until};
use tracing::{debug, warn};

use super::user::UserCount;

/// The pace of a visitor's connections.
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// The least time from one to the next.
    pause: Duration,
    /// After so much silence of the other end one is given up.
    silence: Duration,
}

const PACE: Pace = Pace {
    pause: Duration::from_secs(1),
    // frp: the same (client/visitor/sudp.go#worker). The proxy's client says something every 30 s.
    silence: Duration::from_secs(60),
};

/// Serves users, for ever. `open` gets a connection to the service. `packet_size` is `udpPacketSize`; `count` shows who can be answered.
pub(super) async fn run<E: Error, F: Future<Output = Result<DatagramConn, E>>>(
    socket: &UdpSocket,
    open: impl Fn() -> F,
    packet_size: usize,
    count: &UserCount,
) {
    let traffic = Traffic::default();
    let mut users = Users::new(socket, packet_size, &traffic).with_gauge(count.gauge());
    serve(&mut users, open, PACE).await;
}

async fn serve<E: Error, F: Future<Output = Result<DatagramConn, E>>>(
    users: &mut Users<'_>,
    open: impl Fn() -> F,
    pace: Pace,
) {
    let mut failed_before = false;
    loop {
        users.datagram().await;
        let next = Instant::now() + pace.pause;
        match users.wait_for(open()).await {
            Ok(conn) => {
                failed_before = false;
                let end = users.exchange(conn, pace.silence).await;
                debug!("visitor connection ended: {}", Chain(&end));
            }
            Err(error) => {
                // Of no use to anyone by the time that another attempt may work.
                users.turn_away();
                if failed_before {
                    debug!("still no visitor connection: {}", Chain(&error));
                } else {
                    failed_before = true;
                    warn!("visitor connection refused: {}", Chain(&error));
                }
            }
        }
        users.wait_for(sleep_until(next)).await;
    }
}
