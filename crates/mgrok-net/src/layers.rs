//! What can lie between a connection and its payload, and in which order.
//!
//! The order is a matter of the wire: the sender compresses before it encrypts. The limit stands on
//! top, so that it means bytes of payload whatever is below. [`Layers::wrap`] is the only place that
//! knows this; everyone else says what is wanted.

mod cipher;
mod coded;
mod records;
mod reframe;
mod snappy;
mod throttle;

use mgrok_proto::{cipher::CipherKey, record::RecordKey, udp::Framing};

use crate::conn::Conn;
use cipher::Cipher;
use coded::Coded;
use records::Records;
use reframe::Reframe;
use snappy::Snappy;
use throttle::Throttle;

pub use throttle::Limiter;

/// What lies on a connection.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Encrypts with this key; `None` sends in clear.
    pub encryption: Option<CipherKey>,
    /// Compresses payload.
    pub compression: bool,
    /// Slows payload down, both directions together; `None` for no limit.
    pub limit: Option<Limiter>,
}

impl Layers {
    /// Lays the layers on `conn`; returns `conn` itself if there are none.
    pub fn wrap(&self, conn: Conn) -> Conn {
        let mut conn = conn;
        if let Some(key) = &self.encryption {
            conn = encrypt(conn, key);
        }
        if self.compression {
            conn = Conn::layered(Box::new(Coded::new(conn, Snappy::default())));
        }
        if let Some(limiter) = &self.limit {
            conn = Conn::layered(Box::new(Throttle::new(conn, limiter.clone())));
        }
        conn
    }
}

/// Encrypts all that follows on `conn`, both ways: what a v1 control connection does after the login.
pub fn encrypt(conn: Conn, key: &CipherKey) -> Conn {
    Conn::layered(Box::new(Coded::new(conn, Cipher::new(key))))
}

/// Seals all that follows on `conn` in records, both ways: what a v2 control connection does after the
/// login. `sends` is the key of what this end sends, `receives` that of what arrives.
pub fn seal(conn: Conn, sends: &RecordKey, receives: &RecordKey) -> Conn {
    Conn::layered(Box::new(Coded::new(conn, Records::new(sends, receives))))
}

/// Makes a visitor that frames datagrams as `visitor` look like one that does as `proxy`, which is what
/// the proxy's client does. Anything but datagrams and the proxy's signs of life is an error.
pub fn reframe(conn: Conn, visitor: Framing, proxy: Framing) -> Conn {
    if visitor == proxy {
        return conn;
    }
    Conn::layered(Box::new(Coded::new(conn, Reframe::new(visitor, proxy))))
}

#[cfg(test)]
mod tests;
