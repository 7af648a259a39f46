//! What is counted as it happens, because no table keeps it: logins, ends of sessions, dials, drops.
//!
//! Nothing here is on the way of a byte.

use std::sync::Arc;

use mgrok_metrics::{Counter, CounterBy, Histogram, labels};
use mgrok_net::relay::{RelayEnd, RelayPath};

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
    /// Why a datagram was dropped.
    pub(crate) enum DropReason {
        Full = "full",
        Missed = "missed",
        NoSocket = "no_socket",
        Refused = "refused",
        TooLong = "too_long",
        Unaddressed = "unaddressed",
        Unresolved = "unresolved",
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
}

impl Metrics {
    /// A user was carried.
    pub(crate) fn count_relay(&self, end: &RelayEnd) {
        self.relays.of(end.path).inc();
        self.relayed_bytes.of(end.path).add(end.sent + end.received);
    }
}
