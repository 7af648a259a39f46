//! Where the local service of a UDP proxy is: its name is looked up for new users, and again for those who stay.
//!
//! Nobody waits here. Datagrams of known users go on while a name is being looked up, and those of new users are held by the caller.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use mgrok_net::resolver::Resolver;
use tokio::time::{Instant, timeout};
use tracing::{error, info};

/// How long an answer of the DNS holds for further new users.
const REUSE: Duration = Duration::from_secs(1);
/// How long an answer holds for users who stay.
const REFRESH: Duration = Duration::from_secs(15);
/// How long a lookup may take before the address of before has to do.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// How long after a failure the next lookup begins.
const RETRY: Duration = Duration::from_secs(1);
/// How often a name that cannot be resolved is logged.
const TOLD_EVERY: Duration = Duration::from_secs(60);

type Lookup = Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>>;

/// The local service, and what is known of its addresses.
pub(super) struct Service {
    host: String,
    port: u16,
    resolver: Resolver,
    /// What the last lookup that succeeded has found, the best first. Empty until then.
    addrs: Vec<SocketAddr>,
    /// When they were found.
    found_at: Option<Instant>,
    /// When the last lookup failed, if none has succeeded since.
    failed_at: Option<Instant>,
    /// When that was logged.
    logged_at: Option<Instant>,
    wanted: bool,
    lookup: Option<Lookup>,
}

/// Where a new user's datagrams go.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum ServiceAddr {
    /// To this address.
    At(SocketAddr),
    /// Not known yet: [`Service::poll`] is ready when it is.
    Pending,
    /// Nowhere: the name cannot be resolved.
    Unresolvable,
}

impl Service {
    /// The service at `host`, which is a name or an address with or without brackets.
    pub(super) fn new(host: &str, port: u16, resolver: Resolver) -> Self {
        Self {
            host: host.to_owned(),
            port,
            resolver,
            addrs: Vec::new(),
            found_at: None,
            failed_at: None,
            logged_at: None,
            wanted: false,
            lookup: None,
        }
    }

    /// Where the datagrams of a new user go now.
    pub(super) fn addr(&mut self, now: Instant) -> ServiceAddr {
        if self.look_up_at_once(now) {
            return self.known();
        }
        let holds = |since: Option<Instant>, time| since.is_some_and(|at| now < at + time);
        if holds(self.found_at, REUSE) || holds(self.failed_at, RETRY) {
            return self.known();
        }
        self.wanted = true;
        ServiceAddr::Pending
    }

    /// Whether a user whose socket is connected to `addr` can stay there.
    pub(super) fn is_at(&self, addr: SocketAddr) -> bool {
        self.addrs.contains(&addr)
    }

    /// Has the name looked up again if that was long ago. For users who stay.
    pub(super) fn refresh(&mut self, now: Instant) {
        let last = self.found_at.max(self.failed_at);
        if last.is_some_and(|at| at + REFRESH <= now) && !self.look_up_at_once(now) {
            self.wanted = true;
        }
    }

    /// Goes on with a lookup that is wanted. Ready when one has ended: then [`Service::addr`] knows.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        if self.lookup.is_none() && std::mem::take(&mut self.wanted) {
            let (host, port, resolver) = (self.host.clone(), self.port, self.resolver.clone());
            self.lookup = Some(Box::pin(async move {
                let looked_up = timeout(LOOKUP_TIMEOUT, resolver.lookup(&host, port)).await;
                looked_up.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
            }));
        }
        let Some(lookup) = &mut self.lookup else {
            return Poll::Pending;
        };
        let Poll::Ready(found) = lookup.as_mut().poll(cx) else {
            return Poll::Pending;
        };
        self.lookup = None;
        self.wanted = false;
        self.handle(found, Instant::now());
        Poll::Ready(())
    }

    /// Looks up what can be looked up without waiting.
    fn look_up_at_once(&mut self, now: Instant) -> bool {
        let known = self.resolver.known(&self.host, self.port);
        let is_known = known.is_some();
        if let Some(known) = known {
            self.handle(known, now);
        }
        is_known
    }

    fn handle(&mut self, found: io::Result<Vec<SocketAddr>>, now: Instant) {
        let found = found.and_then(|addrs| match addrs.is_empty() {
            true => Err(io::Error::new(io::ErrorKind::NotFound, "it has no address")),
            false => Ok(addrs),
        });
        match found {
            Ok(mut addrs) => {
                // Go prefers IPv4 (net/ipsock.go#forResolve), and a service that frp reached is to be reached.
                addrs.sort_by_key(SocketAddr::is_ipv6);
                self.addrs = addrs;
                self.found_at = Some(now);
                self.failed_at = None;
                if self.logged_at.take().is_some() {
                    info!("local service [{}:{}] resolved", self.host, self.port);
                }
            }
            Err(error) => {
                self.failed_at = Some(now);
                if self.logged_at.is_none_or(|at| at + TOLD_EVERY <= now) {
                    self.logged_at = Some(now);
                    // frp: the first words (client/proxy/udp.go)
                    error!(
                        per_session = true,
                        "resolve local service [{}:{}] error: {error}; tried again for the next datagram of a new user",
                        self.host,
                        self.port
                    );
                }
            }
        }
    }

    /// Where datagrams go by the last answer, be it an old one: a service seldom moves while the DNS is down.
    fn known(&self) -> ServiceAddr {
        self.addrs
            .first()
            .map_or(ServiceAddr::Unresolvable, |addr| ServiceAddr::At(*addr))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::net::UdpSocket;

    use super::*;

    fn service(host: &str, dns: Option<SocketAddr>) -> Service {
        Service::new(host, 7, Resolver::new(dns))
    }

    #[test]
    fn addresses_and_localhost_are_known_at_once() {
        for (host, expect) in [
            ("127.0.0.1", "127.0.0.1:7"),
            ("localhost", "127.0.0.1:7"),
            ("::1", "[::1]:7"),
            ("[::1]", "[::1]:7"),
            ("fe80::1%1", "[fe80::1%1]:7"),
        ] {
            let addr = expect.parse().unwrap();
            let mut service = service(host, None);
            assert_eq!(
                service.addr(Instant::now()),
                ServiceAddr::At(addr),
                "{host}"
            );
            assert!(service.is_at(addr));
            assert!(!service.is_at("192.0.2.1:7".parse().unwrap()));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_name_that_cannot_be_looked_up_is_tried_again_now_and_then() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut service = service("svc.test", Some(silent.local_addr().unwrap()));
        for _ in 0..3 {
            assert_eq!(service.addr(Instant::now()), ServiceAddr::Pending);
            poll_fn(|cx| service.poll(cx)).await;
            assert_eq!(service.addr(Instant::now()), ServiceAddr::Unresolvable);
            tokio::time::advance(RETRY).await;
        }
        let logged_at = service.logged_at.unwrap();
        assert!(logged_at.elapsed() > RETRY * 2, "told once");
    }

    #[tokio::test(start_paused = true)]
    async fn an_old_answer_serves_while_there_is_no_new_one() {
        let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
        let mut service = service("svc.test", Some(silent.local_addr().unwrap()));
        let addr = "192.0.2.1:7".parse().unwrap();
        service.handle(
            Ok(vec!["[2001:db8::1]:7".parse().unwrap(), addr]),
            Instant::now(),
        );
        assert_eq!(
            service.addr(Instant::now()),
            ServiceAddr::At(addr),
            "still fresh"
        );
        tokio::time::advance(REUSE).await;
        assert_eq!(service.addr(Instant::now()), ServiceAddr::Pending);
        poll_fn(|cx| service.poll(cx)).await;
        assert_eq!(service.addr(Instant::now()), ServiceAddr::At(addr));
    }
}
