//! All that a side needs to know of itself before it asks for a hole, and what `nathole discover` prints.

use std::net::SocketAddrV4;

use mgrok_net::resolver::Resolver;
use tokio::net::UdpSocket;

use crate::addrs;
use crate::discovery::{self, DiscoverError, Discovery};
use crate::interfaces;
use crate::nat::{ClassifyError, Nat};

/// One side, ready to ask for a hole.
#[derive(Debug)]
pub struct Prepared {
    /// How the socket looks from outside: `mapped_addrs`.
    pub mapped: Vec<SocketAddrV4>,
    /// How the socket looks from the host's own networks: `assisted_addrs`, unless the user does not want them told.
    pub assisted: Vec<SocketAddrV4>,
    /// The NAT that it is behind.
    pub nat: Nat,
    /// The socket to punch with.
    pub socket: UdpSocket,
    /// Its own address, of which the IP is 0.0.0.0 unless one was asked for.
    pub local: SocketAddrV4,
}

/// Why a side is not ready.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// The STUN server's answers do not suffice.
    #[error("classify nat feature error")]
    Classify(#[source] ClassifyError),
    /// The STUN server could not be asked.
    #[error("discover error")]
    Discover(#[source] DiscoverError),
}

/// Asks the STUN server with this `host:port`, whose name `resolver` looks up, and the operating system, from a socket bound to `local` or to any free
/// port.
pub async fn prepare(
    stun_server: &str,
    local: Option<SocketAddrV4>,
    resolver: &Resolver,
) -> Result<Prepared, PrepareError> {
    let discovery = discovery::discover(stun_server, local, resolver)
        .await
        .map_err(PrepareError::Discover)?;
    Prepared::new(discovery)
}

impl Prepared {
    /// Adds what the operating system knows to what a STUN server said.
    pub fn new(discovery: Discovery) -> Result<Self, PrepareError> {
        let Discovery {
            mapped,
            socket,
            local,
        } = discovery;
        let ips = interfaces::local_ips().unwrap_or_else(|error| {
            // They only help where both sides are on one network.
            tracing::debug!(%error, "cannot list this host's addresses");
            Vec::new()
        });
        let nat = Nat::classify(&mapped, &ips).map_err(PrepareError::Classify)?;
        Ok(Self {
            mapped: mapped.into(),
            assisted: ips
                .into_iter()
                .map(|ip| SocketAddrV4::new(ip, local.port()))
                .collect(),
            nat,
            socket,
            local,
        })
    }

    /// `mapped` as messages carry it.
    pub fn mapped_addrs(&self) -> Vec<String> {
        addrs::write(&self.mapped)
    }

    /// `assisted` as messages carry it.
    pub fn assisted_addrs(&self) -> Vec<String> {
        addrs::write(&self.assisted)
    }

    /// The six lines of `nathole discover`, each with its end.
    pub fn report(&self, stun_server: &str) -> String {
        let Self {
            mapped, nat, local, ..
        } = self;
        let mapped = addrs::write(mapped).join(" ");
        format!(
            "STUN server: {stun_server}\n\
             Your NAT type is: {kind}\n\
             Behavior is: {behavior}\n\
             External address is: [{mapped}]\n\
             Local address is: {local}\n\
             Public Network: {public}\n",
            kind = nat.kind(),
            behavior = nat.behavior,
            public = nat.public,
        )
    }
}
