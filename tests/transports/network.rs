//! A client behind a router, and a server beyond.
//!
//! ```text
//!   client 192.168.1.2 ── 192.168.1.1 router 198.51.100.2 ── 198.51.100.1 server
//! ```

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::OnceLock,
};

use mgrok_lab::{Need, Role, namespace::Namespace, skipped};

/// Where the server is.
pub(crate) const SERVER: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
/// The router, as the client sees it.
pub(crate) const ROUTER: Ipv4Addr = Ipv4Addr::new(192, 168, 1, 1);
/// The server's port, for TCP and UDP, and that of the relay on the router.
pub(crate) const PORT: u16 = 7000;

/// For `nft`: everything passes.
const RULES: &str = "
    table ip lab {
        chain forward {
            type filter hook forward priority filter;
        }
    }";

/// The server.
pub(crate) fn server_addr() -> SocketAddr {
    (SERVER, PORT).into()
}

/// The three of them.
pub(crate) struct Network {
    pub(crate) client: Namespace,
    pub(crate) router: Namespace,
    pub(crate) server: Namespace,
}

impl Network {
    /// One, or `None` if there can be none here; says, once, why not.
    pub(crate) fn new() -> Option<Self> {
        static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
        let why_not = WHY_NOT.get_or_init(|| {
            let why_not = Self::build().err();
            if why_not.is_none() {
                // Built now, since in a namespace there is no registry to ask.
                let _ = [Role::Server, Role::Client].map(mgrok_lab::binary);
            }
            why_not
        });
        match why_not {
            None => Some(Self::build().unwrap()),
            Some(why) => {
                skipped(Need::Namespaces, "transports", why);
                None
            }
        }
    }

    fn build() -> Result<Self, String> {
        let id = fastrand::u32(..);
        let namespace = |role: &str| Namespace::new(format!("mgrok-{id:08x}-{role}"));
        let (client, router, server) = (
            namespace("client")?,
            namespace("router")?,
            namespace("server")?,
        );
        router.ip(&format!(
            "link add lan type veth peer name lan netns {}\n\
             link add wan type veth peer name wan netns {}\n\
             address add {ROUTER}/24 dev lan\n\
             address add 198.51.100.2/24 dev wan\n\
             link set lan up\n\
             link set wan up",
            client.name(),
            server.name()
        ))?;
        client.ip(&format!(
            "address add 192.168.1.2/24 dev lan\n\
             link set lan up\n\
             route add default via {ROUTER}"
        ))?;
        server.ip(&format!(
            "address add {SERVER}/24 dev wan\n\
             link set wan up\n\
             route add default via 198.51.100.2"
        ))?;
        router.forward()?;
        router.nft(RULES)?;
        Ok(Self {
            client,
            router,
            server,
        })
    }

    /// Has the router drop all UDP.
    pub(crate) fn block_udp(&self) {
        self.router
            .nft("add rule ip lab forward ip protocol udp drop")
            .unwrap();
    }

    /// Has the router let everything pass.
    pub(crate) fn unblock(&self) {
        self.router.nft("flush chain ip lab forward").unwrap();
    }

    /// Makes the router's link to the server carry packets of up to `mtu` bytes only.
    pub(crate) fn shrink(&self, mtu: u16) {
        self.router.ip(&format!("link set wan mtu {mtu}")).unwrap();
    }
}
