//! What is counted as it happens, because no table keeps it: logins and why they fail, refusals, waits, ends.
//!
//! Nothing here is on the way of a byte. What there is to know of clients, proxies and connections is in the directory.

use std::sync::Arc;

use mgrok_metrics::{Counter, CounterBy, Gauge, Histogram, labels};
use mgrok_net::access_log::AccessEnd;
use mgrok_net::muxes::Muxes;
use mgrok_net::relay::{RelayEnd, RelayPath};
use mgrok_net::udp::DropReason;

labels! {
    /// What became of a connection or stream to a port of clients, before it is anybody's.
    pub(crate) enum Handshake {
        Certificate = "certificate",
        Closed = "closed",
        Failed = "failed",
        Malformed = "malformed",
        MuxMismatch = "mux_mismatch",
        NotAClient = "not_a_client",
        Ok = "ok",
        Silent = "silent",
        Tls = "tls",
        TlsRequired = "tls_required",
        WebSocket = "websocket",
    }
}

labels! {
    /// How a login ended.
    pub(crate) enum LoginEnd {
        Abandoned = "abandoned",
        Banned = "banned",
        Denied = "denied",
        Draining = "draining",
        Hello = "hello",
        Malformed = "malformed",
        Oidc = "oidc",
        Ok = "ok",
        Plugin = "plugin",
        Proof = "proof",
        Taken = "taken",
        Token = "token",
    }
}

labels! {
    /// Why a session is over.
    pub(crate) enum SessionOver {
        Closed = "closed",
        Command = "command",
        Failed = "failed",
        Lost = "lost",
        Moved = "moved",
        Replaced = "replaced",
        Stopped = "stopped",
        Timeout = "timeout",
    }
}

labels! {
    /// What came of a client's wish to publish a proxy.
    pub(crate) enum ProxyStart {
        Invalid = "invalid",
        Limit = "limit",
        Ok = "ok",
        Place = "place",
        Plugin = "plugin",
        Taken = "taken",
    }
}

labels! {
    /// The bounds at which somebody is refused.
    pub(crate) enum Limit {
        HolePunches = "hole_punches",
        IdleWorkConns = "idle_work_connections",
        KcpOpenings = "kcp_openings",
        ProxiesOfClient = "proxies_of_client",
        QuicOpenings = "quic_openings",
        SshOpenings = "ssh_openings",
        TcpOpenings = "tcp_openings",
        UsersOfSession = "waiting_users",
        VhostOpenings = "vhost_openings",
    }
}

labels! {
    /// What came of a user's need for a work connection.
    pub(crate) enum WorkConnEnd {
        Dead = "dead",
        Ok = "ok",
        Refused = "refused",
        Timeout = "timeout",
    }
}

labels! {
    /// Why a user was not let in.
    pub(crate) enum UserRefusal {
        Banned = "banned",
        Denied = "denied",
        Disabled = "disabled",
        NoRoute = "no_route",
        NoWorkConn = "no_work_connection",
        Plugin = "plugin",
        SourceLimit = "source_limit",
    }
}

labels! {
    /// What came of a visitor's connection.
    pub(crate) enum VisitorEnd {
        Auth = "auth",
        Banned = "banned",
        Denied = "denied",
        Draining = "draining",
        NotAllowed = "not_allowed",
        NoSession = "no_session",
        Ok = "ok",
        Unknown = "unknown",
    }
}

labels! {
    /// The first digit of a status of HTTP.
    pub(crate) enum StatusClass {
        Informational = "1xx",
        Successful = "2xx",
        Redirection = "3xx",
        ClientError = "4xx",
        ServerError = "5xx",
    }
}

/// The counters of one server.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    pub(crate) handshakes: CounterBy<Handshake>,
    pub(crate) logins: CounterBy<LoginEnd>,
    pub(crate) sessions_over: CounterBy<SessionOver>,
    pub(crate) proxy_starts: CounterBy<ProxyStart>,
    pub(crate) refusals: CounterBy<Limit>,
    /// Work connections that wait for a user.
    pub(crate) idle_work_conns: Arc<Gauge>,
    /// Users who wait for a work connection.
    pub(crate) waiting_users: Arc<Gauge>,
    /// How long users waited for theirs.
    pub(crate) work_conn_wait: Histogram,
    pub(crate) work_conns: CounterBy<WorkConnEnd>,
    pub(crate) users_refused: CounterBy<UserRefusal>,
    pub(crate) users_over: CounterBy<AccessEnd>,
    pub(crate) visitors: CounterBy<VisitorEnd>,
    pub(crate) relays: CounterBy<RelayPath>,
    pub(crate) relayed_bytes: CounterBy<RelayPath>,
    pub(crate) http_requests: CounterBy<StatusClass>,
    /// From the head of a request to the head of its answer.
    pub(crate) http_wait: Histogram,
    pub(crate) dropped_datagrams: Arc<CounterBy<DropReason>>,
    pub(crate) muxes: Muxes,
}

impl StatusClass {
    /// That of `status`. What HTTP does not know counts as an error of the server.
    pub(crate) fn of(status: u16) -> Self {
        match status / 100 {
            1 => Self::Informational,
            2 => Self::Successful,
            3 => Self::Redirection,
            4 => Self::ClientError,
            _ => Self::ServerError,
        }
    }
}

impl Metrics {
    /// The counter of what is refused at `limit`.
    pub(crate) fn refusals_of(&self, limit: Limit) -> &Counter {
        self.refusals.of(limit)
    }

    /// A user was carried.
    pub(crate) fn count_relay(&self, end: &RelayEnd) {
        self.relays.of(end.path).inc();
        self.relayed_bytes.of(end.path).add(end.sent + end.received);
    }
}

#[cfg(test)]
mod tests {
    use mgrok_metrics::Label as _;

    use super::*;

    #[test]
    fn every_status_has_a_class() {
        for (status, class) in [
            (101, "1xx"),
            (204, "2xx"),
            (304, "3xx"),
            (431, "4xx"),
            (503, "5xx"),
            (999, "5xx"),
        ] {
            assert_eq!(StatusClass::of(status).as_str(), class);
        }
    }
}
