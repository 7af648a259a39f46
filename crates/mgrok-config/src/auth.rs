//! How the two ends prove that they belong together.

use mgrok_proto::auth::Secret;

/// The `auth` section, the same on both ends.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// The shared secret. It signs logins and keys every cipher below TLS; empty unless configured.
    pub token: Secret,
    /// Pings are signed by the client and checked by the server (scope `HeartBeats`).
    pub heartbeats: bool,
    /// Work connections are signed by the client and checked by the server (scope `NewWorkConns`).
    pub new_work_conns: bool,
}
