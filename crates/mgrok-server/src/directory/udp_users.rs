//! What the access log is told of a user of a UDP port who is gone.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mgrok_net::access_log::{Access, AccessEnd};
use mgrok_net::udp::{Metering, UserMeter};

use super::proxies::ProxyEntry;

/// A user of a UDP port, from the first datagram on.
#[derive(Debug)]
struct UdpUser {
    proxy: Arc<ProxyEntry>,
    from: SocketAddr,
    since: SystemTime,
    began: Instant,
    /// From `began` to the last datagram.
    lasted: Duration,
    sent: u64,
    received: u64,
}

/// Notes the users of a UDP port one by one, if there is an access log when they come.
#[derive(Debug)]
pub(crate) struct UdpUsers(pub(crate) Arc<ProxyEntry>);

impl Metering for UdpUsers {
    fn meter(&self, user: SocketAddr) -> Option<Box<dyn UserMeter>> {
        let Self(proxy) = self;
        if !proxy.access_log().is_on() {
            return None;
        }
        Some(Box::new(UdpUser {
            proxy: proxy.clone(),
            from: user,
            since: SystemTime::now(),
            began: Instant::now(),
            lasted: Duration::ZERO,
            sent: 0,
            received: 0,
        }))
    }
}

impl UserMeter for UdpUser {
    fn count_sent(&mut self, bytes: u64) {
        self.sent += bytes;
        self.lasted = self.began.elapsed();
    }

    fn count_received(&mut self, bytes: u64) {
        self.received += bytes;
        self.lasted = self.began.elapsed();
    }
}

impl Drop for UdpUser {
    fn drop(&mut self) {
        self.proxy.access_log().note(&Access {
            from: self.from,
            proxy: Some(self.proxy.as_accessed()),
            host: "",
            request: None,
            since: self.since,
            duration: self.lasted,
            sent: self.sent,
            received: self.received,
            end: AccessEnd::Gone,
            reason: "",
        });
    }
}
