//! Public ports: which may be used, who has which, and what a proxy had last time.
//!
//! A lease is a value that holds the bound socket. Dropping it gives the port
//! back, so a port is never taken without a socket nor a socket without a lease.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::num::NonZeroU16;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mgrok_config::{PortSet, ServerConfig};
use mgrok_net::tcp;
use mgrok_net::udp::UdpSocket;
use tokio::net::TcpListener;

use crate::holder::{Holder, Rival};
use crate::policy::CurrentPolicy;

/// How many random ports are tried before giving up, as in frp (INTERFACES 1.6).
const RANDOM_TRIES: usize = 5;

/// How often a random port is drawn to find that many free ones.
const DRAWS: usize = 4 * RANDOM_TRIES;

/// How long a proxy's last random port stays preferred, as in frp.
const REMEMBERED_FOR: Duration = Duration::from_secs(24 * 60 * 60);

/// How many released ports are remembered at most; the oldest go first.
const MAX_REMEMBERED: usize = 65_536;

/// TCP and UDP ports are counted apart.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
enum Protocol {
    Tcp,
    Udp,
}

/// Why a port could not be leased. The texts begin with frp's; clients show them to people.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LeaseError {
    /// The operating system said no.
    #[error("port unavailable: the server cannot listen on port {port}: {error}")]
    Bind { port: u16, error: io::Error },
    /// None of the random candidates could be bound.
    #[error("no available port: all that allowPorts lists on the server are in use")]
    NoneAvailable,
    /// `allowPorts` does not list it.
    #[error("port not allowed: allowPorts of the server does not list port {0}")]
    NotAllowed(u16),
    /// Another proxy holds it.
    #[error("port already used: port {port} is taken by {by}; choose another or stop that one")]
    Taken { port: u16, by: Rival },
}

/// The ports of one server. Clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Ports {
    policy: CurrentPolicy,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    held: HashMap<(Protocol, u16), Holder>,
    /// By a hash of the name, so that what is kept for a day has one size however long names are. Two proxies of one hash
    /// would prefer the same port, which does no harm.
    remembered: HashMap<(Protocol, u64), Remembered>,
    hasher: RandomState,
}

#[derive(Clone, Copy, Debug)]
struct Remembered {
    port: u16,
    released_at: Instant,
}

/// A TCP port and the socket that listens on it.
#[derive(Debug)]
pub(crate) struct TcpLease {
    // Declared first: the socket is closed before the port counts as free.
    pub(crate) listener: TcpListener,
    reservation: Reservation,
}

/// A UDP port and its socket.
#[derive(Debug)]
pub(crate) struct UdpLease {
    // Declared first: the socket is closed before the port counts as free.
    pub(crate) socket: UdpSocket,
    reservation: Reservation,
}

impl TcpLease {
    /// The port that users connect to.
    pub(crate) fn port(&self) -> u16 {
        self.reservation.port
    }
}

impl UdpLease {
    /// The port that users send to.
    pub(crate) fn port(&self) -> u16 {
        self.reservation.port
    }
}

impl Ports {
    /// The ports that `policy` allows, bound where it says.
    pub(crate) fn new(policy: CurrentPolicy) -> Self {
        Self {
            policy,
            state: Arc::default(),
        }
    }

    /// Leases a TCP port to `holder`; without `port` the one it had last, else a random one.
    pub(crate) async fn lease_tcp(
        &self,
        holder: &Holder,
        port: Option<NonZeroU16>,
    ) -> Result<TcpLease, LeaseError> {
        let policy = self.policy.now();
        let ServerConfig {
            proxy_bind_addr: host,
            allow_ports: allowed,
            ..
        } = &policy.config;
        let bind = |port| tcp::bind(host, port);
        let (listener, reservation) = self
            .lease(Protocol::Tcp, allowed, holder, port, bind)
            .await?;
        Ok(TcpLease {
            listener,
            reservation,
        })
    }

    /// Leases a UDP port to `holder`, by the same rules.
    pub(crate) async fn lease_udp(
        &self,
        holder: &Holder,
        port: Option<NonZeroU16>,
    ) -> Result<UdpLease, LeaseError> {
        let policy = self.policy.now();
        let ServerConfig {
            proxy_bind_addr: host,
            allow_ports: allowed,
            ..
        } = &policy.config;
        let bind = |port| UdpSocket::bind(host, port);
        let (socket, reservation) = self
            .lease(Protocol::Udp, allowed, holder, port, bind)
            .await?;
        Ok(UdpLease {
            socket,
            reservation,
        })
    }

    async fn lease<S, B: Future<Output = io::Result<S>>>(
        &self,
        protocol: Protocol,
        allowed: &PortSet,
        holder: &Holder,
        port: Option<NonZeroU16>,
        bind: impl Fn(u16) -> B,
    ) -> Result<(S, Reservation), LeaseError> {
        if let Some(port) = port {
            let port = port.get();
            let reservation = self.reserve(protocol, allowed, holder, port)?;
            let socket = bind(port).await;
            let socket = socket.map_err(|error| LeaseError::Bind { port, error })?;
            return Ok((socket, reservation));
        }
        for port in self.candidates(protocol, allowed, holder) {
            let Ok(reservation) = self.reserve(protocol, allowed, holder, port) else {
                continue;
            };
            if let Ok(socket) = bind(port).await {
                return Ok((socket, reservation));
            }
        }
        Err(LeaseError::NoneAvailable)
    }

    /// Marks `port` as held, so that nobody else tries to bind it meanwhile.
    fn reserve(
        &self,
        protocol: Protocol,
        allowed: &PortSet,
        holder: &Holder,
        port: u16,
    ) -> Result<Reservation, LeaseError> {
        let mut state = self.state();
        if let Some(other) = state.held.get(&(protocol, port)) {
            let by = other.as_rival_of(holder);
            return Err(LeaseError::Taken { port, by });
        }
        if !allowed.allows(port) {
            return Err(LeaseError::NotAllowed(port));
        }
        state.held.insert((protocol, port), holder.clone());
        Ok(Reservation {
            ports: self.clone(),
            protocol,
            port,
            name: state.hasher.hash_one(&*holder.proxy),
        })
    }

    /// The port the proxy had last, then random ones that nobody holds.
    fn candidates(&self, protocol: Protocol, allowed: &PortSet, holder: &Holder) -> Vec<u16> {
        let now = Instant::now();
        let state = self.state();
        let name = state.hasher.hash_one(&*holder.proxy);
        let last = state
            .remembered
            .get(&(protocol, name))
            .filter(|it| it.is_fresh(now))
            .map(|it| it.port);
        let free = |port: &u16| !state.held.contains_key(&(protocol, *port));
        let count = allowed.len();
        // Where few ports are allowed and most are held, draws may all miss:
        // the first free ones in order come last, so that a free port is found.
        let drawn = (0..DRAWS)
            .filter_map(|_| allowed.nth(fastrand::u16(..count.max(1))))
            .filter(free)
            .take(RANDOM_TRIES);
        let in_order = allowed.iter().filter(free).take(RANDOM_TRIES);
        last.into_iter().chain(drawn).chain(in_order).collect()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget_oldest(&mut self, now: Instant) {
        self.remembered.retain(|_, it| it.is_fresh(now));
        while self.remembered.len() >= MAX_REMEMBERED {
            let oldest = self
                .remembered
                .iter()
                .min_by_key(|(_, it)| it.released_at)
                .map(|(key, _)| *key);
            let Some(key) = oldest else { return };
            self.remembered.remove(&key);
        }
    }
}

impl Remembered {
    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.released_at) < REMEMBERED_FOR
    }
}

/// A port that nobody else may take until this is dropped.
#[derive(Debug)]
struct Reservation {
    ports: Ports,
    protocol: Protocol,
    port: u16,
    /// A hash of the holder's.
    name: u64,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut state = self.ports.state();
        let _holder = state.held.remove(&(self.protocol, self.port));
        if state.remembered.len() >= MAX_REMEMBERED {
            state.forget_oldest(now);
        }
        state.remembered.insert(
            (self.protocol, self.name),
            Remembered {
                port: self.port,
                released_at: now,
            },
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ports(allowed: PortSet) -> Ports {
        Ports::new(CurrentPolicy::of(ServerConfig {
            proxy_bind_addr: "127.0.0.1".to_owned(),
            allow_ports: allowed,
            ..ServerConfig::default()
        }))
    }

    fn holder(proxy: &str) -> Holder {
        Holder {
            proxy: proxy.into(),
            user: "ann".into(),
        }
    }

    fn fixed(port: u16) -> Option<NonZeroU16> {
        NonZeroU16::new(port)
    }

    #[tokio::test]
    async fn a_lease_ends_with_its_value() {
        let ports = ports(PortSet::default());
        let lease = ports.lease_tcp(&holder("a"), None).await.unwrap();
        let port = lease.port();
        let taken = ports
            .lease_tcp(&holder("b"), fixed(port))
            .await
            .unwrap_err();
        assert_eq!(
            taken.to_string(),
            format!(
                "port already used: port {port} is taken by your proxy [a]; choose another or stop that one"
            )
        );
        let stranger = Holder {
            user: "eve".into(),
            ..holder("b")
        };
        let taken = ports.lease_tcp(&stranger, fixed(port)).await.unwrap_err();
        assert!(taken.to_string().contains("by another client's proxy"));
        drop(lease);
        ports.lease_tcp(&holder("b"), fixed(port)).await.unwrap();
    }

    #[tokio::test]
    async fn a_proxy_gets_its_last_random_port_again() {
        let ports = ports(PortSet::default());
        let port = ports.lease_tcp(&holder("a"), None).await.unwrap().port();
        let other = ports.lease_tcp(&holder("b"), None).await.unwrap();
        assert_eq!(
            ports.lease_tcp(&holder("a"), None).await.unwrap().port(),
            port
        );
        assert_ne!(other.port(), port);
    }

    #[tokio::test]
    async fn a_port_that_another_program_has_is_unavailable() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = other.local_addr().unwrap().port();
        let ports = ports(PortSet::default());
        let error = ports
            .lease_tcp(&holder("a"), fixed(port))
            .await
            .unwrap_err();
        assert!(matches!(error, LeaseError::Bind { .. }), "{error}");
        drop(other);
        ports.lease_tcp(&holder("a"), fixed(port)).await.unwrap();
    }

    #[tokio::test]
    async fn tcp_and_udp_ports_are_counted_apart() {
        let ports = ports(PortSet::default());
        let tcp = ports.lease_tcp(&holder("a"), None).await.unwrap();
        // Some other program may hold the same UDP port; nobody in this server does.
        if let Err(error) = ports.lease_udp(&holder("b"), fixed(tcp.port())).await {
            assert!(matches!(error, LeaseError::Bind { .. }), "{error}");
        }
    }
}
