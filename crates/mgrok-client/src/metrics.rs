//! What is counted as it happens, because no table keeps it: logins, ends of sessions, dials, drops.
//!
//! Nothing here is on the way of a byte.

use std::sync::Arc;

use mgrok_metrics::{Counter, CounterBy, Histogram, labels};
use mgrok_net::muxes::Muxes;
use mgrok_net::relay::{RelayEnd, RelayPath};
use mgrok_net::udp::DropLabel;

labels! {
    /// How a login ended.
    pub(crate) enum LoginEnd {
        Closed = "closed",
        Connect = "connect",
        Malformed = "malformed",
        Oidc = "oidc",
        Ok = "ok",
        Refused = "refused",
        Timeout = "timeout",
    }
}

labels! {
    /// Why a session is over.
    pub(crate) enum SessionOver {
        Closed = "closed",
        Failed = "failed",
        Lost = "lost",
        Migrated = "migrated",
        Stopped = "stopped",
        Timeout = "timeout",
    }
}

labels! {
    /// What came of a work connection.
    pub(crate) enum WorkConnEnd {
        Failed = "failed",
        Served = "served",
        Unused = "unused",
    }
}

labels! {
    /// What came of an attempt to connect a local service.
    pub(crate) enum LocalDial {
        Failed = "failed",
        Ok = "ok",
    }
}

labels! {
    /// Why a datagram of a work connection was dropped.
    pub(crate) enum DropReason {
        /// From the local service: too many were waiting for the server.
        Full = "full",
        /// To the local service: too many came at once.
        Missed = "missed",
        /// To the local service: no socket could be had for the user.
        NoSocket = "no_socket",
        /// To the local service: the system refused to send it.
        Refused = "refused",
        /// From the local service: too long for a frame.
        TooLong = "too_long",
        /// To the local service: without a user to answer to.
        Unaddressed = "unaddressed",
        /// To the local service: its name was not looked up, or not yet and too many were waiting.
        Unresolved = "unresolved",
    }
}

impl DropLabel for DropReason {
    const FULL: Self = Self::Full;
    const MISSED: Self = Self::Missed;
    const TOO_LONG: Self = Self::TooLong;
    const UNADDRESSED: Self = Self::Unaddressed;
}

labels! {
    /// Why a packet of the virtual network was dropped.
    pub(crate) enum PacketDrop {
        /// From another client: the system did not take it.
        Device = "device",
        /// To another client: too many were waiting to be sent.
        Full = "full",
        /// Either way: it is neither IPv4 nor IPv6, or too long.
        Malformed = "malformed",
        /// To another client: no connection leads there.
        NoRoute = "no_route",
    }
}

/// The counters of one client.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) logins: CounterBy<LoginEnd>,
    pub(crate) sessions_over: CounterBy<SessionOver>,
    /// From a ping to its pong.
    pub(crate) heartbeat: Histogram,
    pub(crate) work_conns: CounterBy<WorkConnEnd>,
    /// How long it took to connect local services.
    pub(crate) local_dial: Histogram,
    pub(crate) local_dials: CounterBy<LocalDial>,
    /// Users whom a plugin served in the place of a local service.
    pub(crate) plugin_users: Counter,
    pub(crate) relays: CounterBy<RelayPath>,
    pub(crate) relayed_bytes: CounterBy<RelayPath>,
    pub(crate) dropped_datagrams: Arc<CounterBy<DropReason>>,
    /// Connections to servers, and tunnels to other clients.
    pub(crate) muxes: Muxes,
    pub(crate) dropped_packets: Arc<CounterBy<PacketDrop>>,
}

impl Metrics {
    /// A user was carried.
    pub(crate) fn count_relay(&self, end: &RelayEnd) {
        self.relays.of(end.path).inc();
        self.relayed_bytes.of(end.path).add(end.sent + end.received);
    }
}
