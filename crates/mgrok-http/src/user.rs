//! Who sends the requests of one connection.

use std::net::{Ipv4Addr, SocketAddr};

use hyper::header::HeaderValue;

const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

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
            ip: ip.unwrap_or(UNKNOWN),
        }
    }

    /// A user of whom nobody said where they come from. `X-Forwarded-For` calls them `unknown`.
    pub fn unknown() -> Self {
        Self {
            addr: (Ipv4Addr::UNSPECIFIED, 0).into(),
            ip: UNKNOWN,
        }
    }

    /// Where the user comes from; `0.0.0.0:0` if it is not known.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn ip(&self) -> &HeaderValue {
        &self.ip
    }
}
