//! Punching a hole through two NATs, with the server's help. Addresses are texts of the form `ip:port`.

use crate::{auth::Secret, go_json::object};

object! {
    /// Asks the server to bring visitor and proxy together.
    pub struct NatHoleVisitor {
        /// Names the visitor's request; the answer repeats it.
        pub transaction_id: String,
        /// The proxy to reach.
        pub proxy_name: String,
        /// Only asks whether the proxy may be visited.
        pub pre_check: bool,
        /// What runs through the hole: `quic` or `kcp`.
        pub protocol: String,
        /// `timestamp` signed with the proxy's secret.
        pub sign_key: Secret,
        /// When this was signed, in Unix seconds.
        pub timestamp: i64,
        /// The visitor's addresses as STUN servers saw them.
        pub mapped_addrs: Vec<String>,
        /// The visitor's addresses on its own network.
        pub assisted_addrs: Vec<String>,
    }
}

object! {
    /// The proxy's half of the matter.
    pub struct NatHoleClient {
        /// Names the client's request; the answer repeats it.
        pub transaction_id: String,
        /// The proxy to be reached.
        pub proxy_name: String,
        /// The attempt, as told by the server.
        pub sid: String,
        /// The client's addresses as STUN servers saw them.
        pub mapped_addrs: Vec<String>,
        /// The client's addresses on its own network.
        pub assisted_addrs: Vec<String>,
    }
}

object! {
    /// Tells one side where the other may be found, and how to try.
    pub struct NatHoleResp {
        /// The request that this answers.
        pub transaction_id: String,
        /// The attempt.
        pub sid: String,
        /// What runs through the hole.
        pub protocol: String,
        /// The other side's addresses as STUN servers saw them.
        pub candidate_addrs: Vec<String>,
        /// The other side's addresses on its own network.
        pub assisted_addrs: Vec<String>,
        /// How to try; never left out.
        pub detect_behavior: DetectBehavior,
        /// Why there is nothing to try; empty on success.
        pub error: String,
    }
}

object! {
    /// How one side tries.
    pub struct DetectBehavior {
        /// `sender` or `receiver`.
        pub role: String,
        /// The server's number of this way to try.
        pub mode: i64,
        /// Time to live of the first datagrams; 0 leaves it alone.
        pub ttl: i64,
        /// How long to wait before sending, in milliseconds.
        pub send_delay_ms: i64,
        /// How long to wait for the other side, in milliseconds whatever the name says.
        pub read_timeout: i64,
        /// The other side's ports that are worth a try.
        pub candidate_ports: Vec<PortsRange>,
        /// How many random ports of the other side to try.
        pub send_random_ports: i64,
        /// How many ports to listen on.
        pub listen_random_ports: i64,
    }
}

object! {
    /// Ports from the first to the last, both included.
    pub struct PortsRange {
        /// The first.
        pub from: i64,
        /// The last.
        pub to: i64,
    }
}

object! {
    /// Names an attempt: to the proxy's client on a work connection, and in the datagrams that cross.
    pub struct NatHoleSid {
        /// The sender's request.
        pub transaction_id: String,
        /// The attempt.
        pub sid: String,
        /// Answers a datagram of the other side.
        pub response: bool,
        /// Padding, so that datagrams differ in length.
        pub nonce: String,
    }
}

object! {
    /// Tells the server how it went, so that it tries better ways first.
    pub struct NatHoleReport {
        /// The attempt.
        pub sid: String,
        /// Whether the two found each other.
        pub success: bool,
    }
}
