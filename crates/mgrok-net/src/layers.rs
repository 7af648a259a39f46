//! The layers between a connection and its payload, and their order.
//!
//! The wire protocol fixes the order: the sender compresses before it encrypts. The rate limit is the topmost layer, so
//! that it always counts bytes of payload. [`Layers::wrap`] is the only place that knows the order; callers only say
//! which layers they want.

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

/// The layers of a connection.
#[derive(Clone, Debug, Default)]
pub struct Layers {
    /// Encrypts with this key; `None` sends plain text.
    pub encryption: Option<CipherKey>,
    /// Compresses payload.
    pub compression: bool,
    /// Limits the rate of payload, both directions together; `None` for no limit.
    pub limit: Option<Limiter>,
}

impl Layers {
    /// Puts the layers on `conn`; returns `conn` itself if there are none.
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

/// Encrypts everything that follows on `conn`, in both directions, as a v1 control connection does after the login.
pub fn encrypt(conn: Conn, key: &CipherKey) -> Conn {
    Conn::layered(Box::new(Coded::new(conn, Cipher::new(key))))
}

/// Seals everything that follows on `conn` in records, in both directions, as a v2 control connection does after the
/// login. This end sends with the key `sends` and receives with `receives`.
pub fn seal(conn: Conn, sends: &RecordKey, receives: &RecordKey) -> Conn {
    Conn::layered(Box::new(Coded::new(conn, Records::new(sends, receives))))
}

/// Converts between a visitor that frames datagrams as `visitor` and the proxy's client, which frames them as `proxy`.
/// Any message other than a datagram or the proxy's ping is an error.
pub fn reframe(conn: Conn, visitor: Framing, proxy: Framing) -> Conn {
    if visitor == proxy {
        return conn;
    }
    Conn::layered(Box::new(Coded::new(conn, Reframe::new(visitor, proxy))))
}

#[cfg(test)]
mod tests;
