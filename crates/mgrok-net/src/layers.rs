//! What can lie between a connection and its payload, and in which order.

use std::num::NonZeroU64;

use mgrok_proto::cipher::CipherKey;

use crate::conn::Conn;

/// What lies on a connection.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Encrypts with this key; `None` sends in clear.
    pub encryption: Option<CipherKey>,
    /// Whether payload is compressed.
    pub compression: bool,
    /// Slows payload down to a rate; `None` for no limit.
    pub limit: Option<Limiter>,
}

impl Layers {
    /// Lays the layers on `conn`; returns `conn` itself if there are none.
    pub fn wrap(&self, conn: Conn) -> Conn {
        conn
    }
}

/// Puts the control connection's cipher on `conn`.
pub fn encrypt(conn: Conn, _key: &CipherKey) -> Conn {
    conn
}

/// A rate that any number of connections share.
#[derive(Clone, Debug)]
pub struct Limiter;

impl Limiter {
    /// A rate of `bytes_per_second`, of which one second's worth may pass at once.
    pub fn new(_bytes_per_second: NonZeroU64) -> Self {
        Self
    }
}
