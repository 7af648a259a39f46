//! Who sends the requests of one connection.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, OnceLock};

use hyper::header::HeaderValue;
use mgrok_net::relay::HalfClose;

use crate::pool::{Lease, OwnConns, Pool};

const UNKNOWN: HeaderValue = HeaderValue::from_static("unknown");

/// Who sends the requests of one connection.
#[derive(Debug)]
pub struct User {
    addr: SocketAddr,
    /// The address as `X-Forwarded-For` has it, written once per connection.
    ip: HeaderValue,
    half_close: HalfClose,
    is_trusted_proxy: bool,
    /// Connections to backends that this user has logged in with. Few users have any.
    own: OnceLock<Arc<OwnConns>>,
}

impl User {
    /// A user who comes from `addr`.
    pub fn new(addr: SocketAddr) -> Self {
        let ip = HeaderValue::try_from(addr.ip().to_canonical().to_string());
        Self::with_ip(addr, ip.unwrap_or(UNKNOWN))
    }

    fn with_ip(addr: SocketAddr, ip: HeaderValue) -> Self {
        Self {
            addr,
            ip,
            half_close: HalfClose::Carried,
            is_trusted_proxy: false,
            own: OnceLock::new(),
        }
    }

    /// A user of whom nobody said where they come from. `X-Forwarded-For` calls them `unknown`.
    pub fn unknown() -> Self {
        Self::with_ip((Ipv4Addr::UNSPECIFIED, 0).into(), UNKNOWN)
    }

    /// The same user, on whose connection this is what the end of sending means: with [`HalfClose::EndsBoth`] the user has left,
    /// otherwise (as is assumed) answers to what was asked before are still wanted.
    pub fn with_half_close(self, half_close: HalfClose) -> Self {
        Self { half_close, ..self }
    }

    /// The same user, who is or is not a proxy whose word on whom it forwards for is believed; see
    /// [`Forwarded::Append`](crate::Forwarded::Append).
    pub fn with_trust(self, is_trusted_proxy: bool) -> Self {
        Self {
            is_trusted_proxy,
            ..self
        }
    }

    /// Where the user comes from; `0.0.0.0:0` if it is not known.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn ip(&self) -> &HeaderValue {
        &self.ip
    }

    pub(crate) fn half_close(&self) -> HalfClose {
        self.half_close
    }

    pub(crate) fn is_trusted_proxy(&self) -> bool {
        self.is_trusted_proxy
    }

    /// Whether there are connections to backends that are this user's alone; see [`Upstream::knows`](crate::Upstream::knows).
    pub fn owns_connections(&self) -> bool {
        self.own.get().is_some()
    }

    /// An idle connection to the backend of `pool` that is this user's alone.
    pub(crate) fn take_own(&self, pool: &Arc<Pool>) -> Option<Lease> {
        self.own.get()?.take(pool)
    }

    /// Whether [`take_own`](Self::take_own) would find one.
    pub(crate) fn has_own(&self, pool: &Arc<Pool>) -> bool {
        self.own.get().is_some_and(|own| own.leads_to(pool))
    }

    /// Makes the connection of `lease` this user's alone, for as long as the user is connected.
    pub(crate) fn own(&self, lease: &mut Lease) {
        lease.bind(self.own.get_or_init(Arc::default));
    }
}
