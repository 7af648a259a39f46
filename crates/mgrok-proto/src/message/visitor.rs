//! Visiting another client's private proxy through the server.

use crate::{auth::Secret, go_json::object};

object! {
    /// Asks for one connection to a private proxy.
    pub struct NewVisitorConn {
        /// The visitor's own session; frp below 0.50 leaves it empty.
        pub run_id: String,
        /// The proxy to visit, with its owner's user name ahead of it.
        pub proxy_name: String,
        /// `timestamp` signed with the proxy's secret.
        pub sign_key: Secret,
        /// When this was signed, in Unix seconds.
        pub timestamp: i64,
        /// This connection is encrypted with the key of the proxy's secret.
        pub use_encryption: bool,
        /// This connection is compressed.
        pub use_compression: bool,
    }
}

object! {
    /// Answers a [`NewVisitorConn`].
    pub struct NewVisitorConnResp {
        /// The name, unchanged.
        pub proxy_name: String,
        /// Why not; empty on success.
        pub error: String,
    }
}
