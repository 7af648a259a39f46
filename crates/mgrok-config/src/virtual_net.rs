//! The client's `virtualNet`, and what connects to it: addresses, not yet a device.

use std::fmt;
use std::net::IpAddr;

use ipnet::IpNet;

/// The client's end of the virtual network: its own address, with the length of the network's prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VirtualNet(IpNet);

impl VirtualNet {
    /// Reads `100.86.0.1/24` or `fd00:86::1/64`; `None` if it is nothing of this kind.
    pub fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    /// The address of the client's device.
    pub fn addr(self) -> IpAddr {
        self.0.addr()
    }

    /// How many of its leading bits all members of the network share.
    pub fn prefix_len(self) -> u8 {
        self.0.prefix_len()
    }

    /// Whether the system sends what is for `addr` to the device, without further routes.
    pub fn contains(self, addr: IpAddr) -> bool {
        self.0.contains(&addr)
    }
}

/// As configurations have it.
impl fmt::Display for VirtualNet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What a visitor does beside listening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VisitorPlugin {
    /// Connects the client's virtual network with that of the proxy's client.
    VirtualNet {
        /// The one address that is reached this way.
        destination: IpAddr,
    },
}

impl VisitorPlugin {
    /// The word that configuration files and messages use.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::VirtualNet { .. } => "virtual_net",
        }
    }
}
