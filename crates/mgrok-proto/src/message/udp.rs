//! Datagrams. The traffic itself goes through [`crate::udp`], which reads and writes the same bytes faster.

use std::net::{IpAddr, SocketAddr, SocketAddrV6};

use bytes::Bytes;
use serde::{
    de::{Error, MapAccess},
    ser::SerializeMap,
};

use crate::{
    go_json::{self, Go, Object, object},
    zones::Zones,
};

object! {
    /// One datagram.
    pub struct UdpPacket {
        /// What is in it; may be empty.
        pub content: Bytes as "c",
        /// Never set by frp.
        pub local: Option<UdpAddr> as "l",
        /// The user that sent it, or that it is for.
        pub user: Option<UdpAddr> as "r",
    }
}

/// An address as Go writes it. Not checked to be one that a socket could use: see [`UdpAddr::socket_addr`].
#[derive(Clone, Debug, Default, Eq, Hash, PartialEq)]
pub struct UdpAddr {
    /// Never an IPv4 address in IPv6's clothes, since Go takes the two for the same; `None` if the text is empty.
    pub ip: Option<IpAddr>,
    /// Any integer.
    pub port: i64,
    /// Network interface of a link-local address: its name, or its number on the host that wrote this.
    pub zone: String,
}

impl UdpAddr {
    /// The same address for a socket. `None` if there is no IP, the port is none, or the zone is one too many for `zones`.
    pub fn socket_addr(&self, zones: &Zones) -> Option<SocketAddr> {
        let port = u16::try_from(self.port).ok()?;
        Some(match self.ip? {
            IpAddr::V4(ip) => (ip, port).into(),
            IpAddr::V6(ip) => SocketAddrV6::new(ip, port, 0, zones.scope_id(&self.zone)?).into(),
        })
    }
}

impl From<SocketAddr> for UdpAddr {
    fn from(addr: SocketAddr) -> Self {
        Self {
            ip: Some(addr.ip().to_canonical()),
            port: addr.port().into(),
            zone: match addr {
                SocketAddr::V6(addr) if addr.scope_id() != 0 => addr.scope_id().to_string(),
                SocketAddr::V4(_) | SocketAddr::V6(_) => String::new(),
            },
        }
    }
}

/// frp: a Go struct without tags, so the names are capitals and nothing is left out.
impl Object for UdpAddr {
    fn read_member<'de, A: MapAccess<'de>>(
        &mut self,
        name: &str,
        members: &mut A,
    ) -> Result<(), A::Error> {
        if name.eq_ignore_ascii_case("IP") {
            let mut text = String::new();
            go_json::read_member(&mut text, members)?;
            if !text.is_empty() {
                let ip: IpAddr = text.parse().map_err(Error::custom)?;
                self.ip = Some(ip.to_canonical());
            }
            return Ok(());
        }
        if name.eq_ignore_ascii_case("Port") {
            return go_json::read_member(&mut self.port, members);
        }
        if name.eq_ignore_ascii_case("Zone") {
            return go_json::read_member(&mut self.zone, members);
        }
        go_json::skip_member(members)
    }

    fn write_members<M: SerializeMap>(&self, members: &mut M) -> Result<(), M::Error> {
        let ip = self.ip.map(|ip| ip.to_canonical().to_string());
        members.serialize_entry("IP", ip.as_deref().unwrap_or_default())?;
        members.serialize_entry("Port", &self.port)?;
        members.serialize_entry("Zone", &Go(&self.zone))
    }
}
