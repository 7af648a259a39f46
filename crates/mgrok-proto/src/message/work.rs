//! Work connections: asked for, offered, put to use.

use crate::{auth::Secret, go_json::object};

object! {
    /// Offers a connection to its session. Signed only if work connections are in the client's authentication scopes.
    pub struct NewWorkConn {
        /// The session that it is for.
        pub run_id: String,
        /// `timestamp` signed with the token, or an OIDC access token.
        pub privilege_key: Secret,
        /// When this was signed, in Unix seconds.
        pub timestamp: i64,
        /// mgrok's own: the work connection that this one joins, by what its `StartWorkConn` said; empty if it is one of its own.
        pub mgrok_bond: String,
    }
}

object! {
    /// Asks for one more work connection.
    pub struct ReqWorkConn {}
}

object! {
    /// Puts a work connection to use: what follows belongs to one user (or, for a UDP proxy, to all of them).
    pub struct StartWorkConn {
        /// The proxy that the user came to.
        pub proxy_name: String,
        /// Where the user came from, without the port.
        pub src_addr: String,
        /// Where the user arrived, without the port.
        pub dst_addr: String,
        /// The user's port.
        pub src_port: u16,
        /// The port that the user arrived at.
        pub dst_port: u16,
        /// Why the connection is refused instead; empty if it is put to use.
        pub error: String,
        /// mgrok's own: what others have to say to join it; empty if none may.
        pub mgrok_bond: String,
    }
}
