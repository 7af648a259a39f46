//! The public network, and two private ones behind routers with NATs.
//!
//! ```text
//!   owner 192.168.1.2 ── router 203.0.113.2 ──┐
//!                                             ├── public 198.51.100.1: server, STUN server (also .2)
//!   guest 192.168.2.2 ── router 203.0.113.6 ──┘
//! ```

use std::{fmt::Write as _, net::Ipv4Addr, sync::OnceLock};

use mgrok_lab::{Need, Role, namespace::Namespace, skipped};

/// Where the STUN server is; the first is the server's too.
pub(crate) const PUBLIC: [Ipv4Addr; 2] = [
    Ipv4Addr::new(198, 51, 100, 1),
    Ipv4Addr::new(198, 51, 100, 2),
];

/// The TCP port of the server.
pub(crate) const SERVER_PORT: u16 = 7000;

/// What a router does to UDP. All but the first let in only answers: what comes from an address and port that were
/// sent to, from the port that it comes to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Nat {
    /// One outside port for one inside port, open to everybody.
    FullCone,
    /// One outside port for one inside port.
    PortRestricted,
    /// As `PortRestricted`, but without a firewall: it takes note of what comes uninvited, and whoever sent it is then
    /// written to from another port. Linux does so.
    Offended,
    /// As `PortRestricted`, but ten routers away from the host: what does not get far does not even get there.
    Distant,
    /// An outside port for each destination address, one higher than the last.
    AddressDependent,
    /// An outside port for each destination address and port, one higher than the last.
    Sequential,
    /// A random outside port for each destination address and port.
    Symmetric,
}

/// The three networks, and the routers between.
pub(crate) struct Network {
    pub(crate) public: Namespace,
    pub(crate) owner: Namespace,
    pub(crate) guest: Namespace,
    _routers: [Namespace; 2],
}

impl Network {
    /// Whether there can be any here; says, once, why not.
    pub(crate) fn is_possible() -> bool {
        static WHY_NOT: OnceLock<Option<String>> = OnceLock::new();
        let why_not = WHY_NOT.get_or_init(|| {
            let why_not = Self::new([Nat::FullCone, Nat::AddressDependent]).err();
            if why_not.is_none() {
                // Built now, since in a namespace there is no registry to ask.
                let _ = [Role::Server, Role::Client].map(mgrok_lab::binary);
            }
            why_not
        });
        if let Some(why) = why_not {
            skipped(Need::Namespaces, "NATs", why);
        }
        why_not.is_none()
    }

    /// Builds them, behind these NATs.
    ///
    /// # Errors
    /// What is missing here.
    pub(crate) fn new([owner_nat, guest_nat]: [Nat; 2]) -> Result<Self, String> {
        let id = fastrand::u32(..);
        let namespace = |role: &str| Namespace::new(format!("mgrok-{id:08x}-{role}"));
        let public = namespace("public")?;
        for addr in PUBLIC {
            public.ip(&format!("address add {addr}/32 dev lo"))?;
        }
        public.forward()?;
        public.nft(PUBLIC_RULES)?;

        let side = |role: &str, number: u8, nat: Nat| {
            let router = namespace(&format!("{role}-router"))?;
            let host = namespace(role)?;
            let (public_name, router_name) = (public.name(), router.name());
            let gateway = Ipv4Addr::new(203, 0, 113, 4 * number - 3);
            let outside = Ipv4Addr::new(203, 0, 113, 4 * number - 2);
            let inside = Ipv4Addr::new(192, 168, number, 1);
            let private = Ipv4Addr::new(192, 168, number, 2);
            router.ip(&format!(
                "link add wan type veth peer name {role} netns {public_name}\n\
                 address add {outside}/30 dev wan\n\
                 link set wan up"
            ))?;
            public.ip(&format!(
                "address add {gateway}/30 dev {role}\n\
                 link set {role} up"
            ))?;
            host.ip(&format!(
                "link add lan type veth peer name lan netns {router_name}\n\
                 address add {private}/24 dev lan\n\
                 link set lan up\n\
                 route add default via {inside}"
            ))?;
            router.ip(&format!(
                "address add {inside}/24 dev lan\n\
                 link set lan up\n\
                 route add default via {gateway}"
            ))?;
            router.forward()?;
            host.set(
                "ip_local_port_range",
                &format!("{} {}", INSIDE_PORTS.start, INSIDE_PORTS.end - 1),
            )?;
            router.nft(&nat.rules(outside, private))?;
            Ok::<_, String>((host, router))
        };
        let (owner, owner_router) = side("owner", 1, owner_nat)?;
        let (guest, guest_router) = side("guest", 2, guest_nat)?;
        Ok(Self {
            public,
            owner,
            guest,
            _routers: [owner_router, guest_router],
        })
    }

    /// How many bytes the server has received by now.
    pub(crate) fn server_bytes(&self) -> u64 {
        let words = ["nft", "list", "counter", "ip", "lab", "server"];
        let text = self.public.command(&words, "").unwrap();
        let mut words = text.split_whitespace().skip_while(|word| *word != "bytes");
        words.nth(1).unwrap().parse().unwrap()
    }
}

/// Counts what the server receives. Datagrams with a low time to live do not get far, as between networks that are ten
/// routers away from each other.
const PUBLIC_RULES: &str = "
    table ip lab {
        counter server {}
        chain input {
            type filter hook input priority filter;
            tcp dport 7000 counter name server
        }
        chain forward {
            type filter hook forward priority filter;
            ip ttl < 10 drop
        }
    }";

/// The ports that hosts take by themselves: few, so that a router can have a rule for each.
const INSIDE_PORTS: std::ops::Range<u16> = 20_000..22_000;

impl Nat {
    /// For `nft`.
    fn rules(self, outside: Ipv4Addr, private: Ipv4Addr) -> String {
        let mut coming = String::new();
        let udp = match self {
            Self::FullCone => {
                coming = format!("iifname wan ip protocol udp dnat to {private}");
                "masquerade".to_owned()
            }
            // With the same port, unless it is in use to the same destination.
            Self::PortRestricted | Self::Offended | Self::Distant => "masquerade".to_owned(),
            Self::AddressDependent => address_dependent(outside),
            Self::Sequential => sequential(outside),
            Self::Symmetric => "masquerade fully-random".to_owned(),
        };
        let uninvited = match self {
            Self::Offended => "accept",
            _ => "drop",
        };
        let weak = match self {
            Self::Distant => "iifname lan ip ttl < 10 drop",
            _ => "",
        };
        format!(
            "table ip lab {{
                chain arriving {{
                    type filter hook prerouting priority raw;
                    {weak}
                }}
                chain coming {{
                    type nat hook prerouting priority dstnat;
                    {coming}
                }}
                chain leaving {{
                    type nat hook postrouting priority srcnat;
                    oifname wan ip protocol udp {udp}
                    oifname wan masquerade
                }}
                chain input {{
                    type filter hook input priority filter;
                    iifname wan ct state new {uninvited}
                }}
            }}"
        )
    }
}

/// Takes outside ports in turn.
fn sequential(outside: Ipv4Addr) -> String {
    const PORTS: std::ops::Range<u16> = 40_000..42_000;
    let mut rule = format!("snat to {outside} : numgen inc mod {} map {{", PORTS.len());
    for (number, port) in PORTS.enumerate() {
        let _ = write!(rule, " {number} : {port},");
    }
    rule + " }"
}

/// Gives every inside port three outside ports: two for the STUN server's addresses, the next for all others.
fn address_dependent(outside: Ipv4Addr) -> String {
    let [first, second] = PUBLIC;
    let mut rule = format!("snat to {outside} : udp sport . ip daddr map {{");
    for (number, inside) in INSIDE_PORTS.enumerate() {
        let port = 40_000 + 3 * number;
        let _ = write!(
            rule,
            " {inside} . {first} : {port}, {inside} . {second} : {},",
            port + 1
        );
        let _ = write!(rule, " {inside} . 203.0.113.0/24 : {},", port + 2);
    }
    rule + " }"
}
