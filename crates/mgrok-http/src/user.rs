//! Who sends the requests of one connection.

use std::net::SocketAddr;

use hyper::header::HeaderValue;

/// Who sends the requests of one connection.
#[derive(Clone, Debug)]
pub struct User {
    addr: SocketAddr,
    /// The address as `X-Forwarded-For` has it, written once per connection.
    ip: HeaderValue,
}

impl User {
    /// A user who comes from `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        let ip = HeaderValue::try_from(addr.ip().to_canonical().to_string());
        Self {
            addr,
            ip: ip.unwrap_or(HeaderValue::from_static("unknown")),
        }
    }

    /// Where the user comes from.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn ip(&self) -> &HeaderValue {
        &self.ip
    }
}
