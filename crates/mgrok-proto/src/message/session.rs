//! Logging in and staying in.

use std::collections::BTreeMap;

use crate::{auth::Secret, go_json::object};

object! {
    /// Asks for a session, or for an older one back.
    pub struct Login {
        /// The client's version; told, not negotiated.
        pub version: String,
        /// The client's host, for display (since frp 0.67.0).
        pub hostname: String,
        /// The client's operating system in Go's spelling, for display.
        pub os: String,
        /// The client's architecture in Go's spelling, for display.
        pub arch: String,
        /// Whose client it is; frp clients put it ahead of their proxies' names.
        pub user: String,
        /// `timestamp` signed with the token, or an OIDC access token.
        pub privilege_key: Secret,
        /// When this was signed, in Unix seconds.
        pub timestamp: i64,
        /// The session to come back to; empty asks for a new one.
        pub run_id: String,
        /// Which client of the user this is, if that is to be unique (since frp 0.67.0).
        pub client_id: String,
        /// What the operator wants hooks and logs to know.
        pub metas: BTreeMap<String, String>,
        /// What frp's SSH gateway says of clients that it plays itself; never left out.
        pub client_spec: ClientSpec,
        /// How many idle work connections the client would like to keep ready.
        pub pool_count: i64,
    }
}

object! {
    /// Says that the client is not a process of its own. Network clients gain nothing by it.
    pub struct ClientSpec {
        /// `ssh-tunnel`, or empty.
        pub r#type: String as "type",
        /// The gateway has checked a public key already.
        pub always_auth_pass: bool,
    }
}

object! {
    /// Opens the session, or says why not.
    pub struct LoginResp {
        /// The server's version.
        pub version: String,
        /// The session's name; empty on failure.
        pub run_id: String,
        /// Why there is no session; empty on success.
        pub error: String,
    }
}

object! {
    /// A sign of life. Signed only if heartbeats are in the client's authentication scopes.
    pub struct Ping {
        /// `timestamp` signed with the token, or an OIDC access token.
        pub privilege_key: Secret,
        /// When this was signed, in Unix seconds.
        pub timestamp: i64,
    }
}

object! {
    /// Answers a [`Ping`].
    pub struct Pong {
        /// Why the signature is not good; frp clients log in anew when there is anything here.
        pub error: String,
    }
}
