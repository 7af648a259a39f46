//! Finding a way through real NATs: Linux routers in network namespaces. And virtual networks between clients behind them.
//!
//! Needs root, `ip` and `nft`; without them every test here says that it was skipped. The host's own network is neither
//! used nor touched. Most tests wait for one attempt after the other, 10 s apart, and so are not run unless asked for:
//! `cargo test --test nat -- --ignored --test-threads 16`.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic is how tests fail, and what they print is how long they took"
)]

mod hole;
mod network;
mod virtual_net;

use mgrok_lab::Peer::{self, Frp, MgrokProgram as Mgrok};

use self::{
    hole::{Case, Hole},
    network::Nat::{
        AddressDependent, Distant, FullCone, Offended, PortRestricted, Sequential, Symmetric,
    },
};

/// Makes tests of rows `name: the guest's NAT, the owner's NAT`, of which each has a function below.
macro_rules! rows {
    ($ends:ident $protocol:literal $expect:ident $attributes:tt $($name:ident: $guest:ident, $owner:ident;)+) => {
        $(rows!(@test $ends $protocol $expect $attributes $name $guest $owner);)+
    };
    (@test $ends:ident $protocol:literal $expect:ident [$($attribute:meta),*] $name:ident $guest:ident $owner:ident) => {
        $(#[$attribute])*
        #[tokio::test]
        async fn $name() {
            let case = Case {
                ends: Ends::$ends,
                nats: [$owner, $guest],
                protocol: $protocol,
            };
            if case.is_possible() {
                $expect(case).await;
            }
        }
    };
}

/// What runs at the three ends.
#[derive(Clone, Copy, Debug)]
struct Ends {
    server: Peer,
    owner: Peer,
    guest: Peer,
}

impl Ends {
    const MGROK: Self = Self::new(Mgrok, Mgrok, Mgrok);
    const FRP: Self = Self::new(Frp, Frp, Frp);
    const FRP_VISITS: Self = Self::new(Mgrok, Mgrok, Frp);
    const FRP_VISITS_BY_FRP: Self = Self::new(Frp, Mgrok, Frp);
    const MGROK_VISITS: Self = Self::new(Mgrok, Frp, Mgrok);
    const MGROK_VISITS_BY_FRP: Self = Self::new(Frp, Frp, Mgrok);

    const fn new(server: Peer, owner: Peer, guest: Peer) -> Self {
        Self {
            server,
            owner,
            guest,
        }
    }
}

/// There is a way, and bytes pass the server by.
async fn through(case: Case) {
    let hole = Hole::with(case, "").await;
    hole.is_punched().await;
    hole.carries_past_the_server(1_000_000).await;
}

/// The first way that is tried works, without luck.
async fn at_once(case: Case) {
    let hole = Hole::with(case, "").await;
    assert_eq!(hole.is_punched().await, 1);
    hole.carries_past_the_server(1_000_000).await;
}

/// There is no way, and another visitor takes over.
async fn around(case: Case) {
    let hole = Hole::with(case, "fallbackTo = \"detour\"\nfallbackTimeoutMs = 500").await;
    hole.carries_by_the_server(100_000).await;
    hole.guest_says(
        "no tunnel to the service: no way through the NATs: wait detect message timeout",
    )
    .await;
    assert!(!hole.was_punched());
}

/// What is quick: the rest is in modules of its own.
mod quick {
    use super::*;

    rows! { MGROK "quic" at_once []
        port_restricted_to_address_dependent: PortRestricted, AddressDependent;
        address_dependent_both: AddressDependent, AddressDependent;
        // Who sends first sends datagrams that pass its own router and do not reach the other.
        port_restricted_gives_no_offence: PortRestricted, Offended;
    }
    rows! { MGROK "kcp" at_once []
        full_cone_both: FullCone, FullCone;
    }
    rows! { MGROK "quic" through []
        symmetric_to_port_restricted: Symmetric, PortRestricted;
    }
    rows! { MGROK "quic" around []
        symmetric_both: Symmetric, Symmetric;
    }
    rows! { FRP_VISITS "quic" through []
        frp_visits_mgrok: PortRestricted, PortRestricted;
    }
    rows! { MGROK_VISITS_BY_FRP "kcp" through []
        mgrok_visits_frp: PortRestricted, PortRestricted;
    }

    #[tokio::test]
    async fn the_tunnel_needs_no_server_once_it_is_there() {
        let case = Case {
            ends: Ends::MGROK,
            nats: [PortRestricted, FullCone],
            protocol: "quic",
        };
        if case.is_possible() {
            let mut hole = Hole::with(case, "").await;
            hole.is_punched().await;
            hole.server_stops().await;
            hole.carries(1_000_000).await;
        }
    }
}

mod quic {
    use super::*;

    rows! { MGROK "quic" through [ignore = "takes minutes"]
        full_cone_to_full_cone: FullCone, FullCone;
        full_cone_to_port_restricted: FullCone, PortRestricted;
        full_cone_to_offended: FullCone, Offended;
        full_cone_to_address_dependent: FullCone, AddressDependent;
        full_cone_to_sequential: FullCone, Sequential;
        full_cone_to_symmetric: FullCone, Symmetric;
        port_restricted_to_full_cone: PortRestricted, FullCone;
        port_restricted_to_port_restricted: PortRestricted, PortRestricted;
        port_restricted_to_offended: PortRestricted, Offended;
        port_restricted_to_address_dependent: PortRestricted, AddressDependent;
        port_restricted_to_sequential: PortRestricted, Sequential;
        port_restricted_to_symmetric: PortRestricted, Symmetric;
        offended_to_full_cone: Offended, FullCone;
        offended_to_port_restricted: Offended, PortRestricted;
        offended_to_offended: Offended, Offended;
        offended_to_address_dependent: Offended, AddressDependent;
        offended_to_sequential: Offended, Sequential;
        offended_to_symmetric: Offended, Symmetric;
        address_dependent_to_full_cone: AddressDependent, FullCone;
        address_dependent_to_port_restricted: AddressDependent, PortRestricted;
        address_dependent_to_offended: AddressDependent, Offended;
        address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        address_dependent_to_symmetric: AddressDependent, Symmetric;
        sequential_to_full_cone: Sequential, FullCone;
        sequential_to_port_restricted: Sequential, PortRestricted;
        sequential_to_offended: Sequential, Offended;
        symmetric_to_full_cone: Symmetric, FullCone;
        symmetric_to_port_restricted: Symmetric, PortRestricted;
        symmetric_to_offended: Symmetric, Offended;
        symmetric_to_address_dependent: Symmetric, AddressDependent;
    }
    rows! { MGROK "quic" around [ignore = "takes minutes"]
        sequential_to_sequential: Sequential, Sequential;
        sequential_to_symmetric: Sequential, Symmetric;
        symmetric_to_sequential: Symmetric, Sequential;
        symmetric_to_symmetric: Symmetric, Symmetric;
        address_dependent_to_sequential: AddressDependent, Sequential;
    }
}

/// The first ways do not work, and the server tries others.
mod later_ways {
    use super::*;

    rows! { MGROK "quic" through [ignore = "takes minutes"]
        port_restricted_to_distant: PortRestricted, Distant;
        sequential_to_address_dependent: Sequential, AddressDependent;
        distant_to_port_restricted: Distant, PortRestricted;
        distant_both: Distant, Distant;
        distant_to_symmetric: Distant, Symmetric;
        distant_to_address_dependent: Distant, AddressDependent;
    }
    rows! { MGROK_VISITS_BY_FRP "quic" through [ignore = "takes minutes"]
        distant_both_visited_by_mgrok: Distant, Distant;
    }
    rows! { FRP_VISITS "quic" through [ignore = "takes minutes"]
        distant_both_visited_by_frp: Distant, Distant;
    }
}

mod kcp {
    use super::*;

    rows! { MGROK "kcp" through [ignore = "takes minutes"]
        port_restricted_to_port_restricted: PortRestricted, PortRestricted;
        port_restricted_to_symmetric: PortRestricted, Symmetric;
        symmetric_to_port_restricted: Symmetric, PortRestricted;
        address_dependent_to_symmetric: AddressDependent, Symmetric;
    }
}

mod frp_visits {
    use super::*;

    mod quic {
        use super::*;

        rows! { FRP_VISITS "quic" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { FRP_VISITS "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }
}

mod frp_visits_by_frp {
    use super::*;

    mod quic {
        use super::*;

        rows! { FRP_VISITS_BY_FRP "quic" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { FRP_VISITS_BY_FRP "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }
}

mod mgrok_visits {
    use super::*;

    mod quic {
        use super::*;

        rows! { MGROK_VISITS "quic" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { MGROK_VISITS "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }
}

mod mgrok_visits_by_frp {
    use super::*;

    mod quic {
        use super::*;

        rows! { MGROK_VISITS_BY_FRP "quic" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { MGROK_VISITS_BY_FRP "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: PortRestricted, FullCone;
            symmetric_to_port_restricted: Symmetric, PortRestricted;
            port_restricted_to_symmetric: PortRestricted, Symmetric;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }
}

/// That frp finds the ways through these NATs too.
mod reference {
    use super::*;

    rows! { FRP "quic" through [ignore = "checks the NATs, not mgrok"]
        full_cone_to_full_cone: FullCone, FullCone;
        full_cone_to_port_restricted: FullCone, PortRestricted;
        full_cone_to_offended: FullCone, Offended;
        full_cone_to_address_dependent: FullCone, AddressDependent;
        full_cone_to_sequential: FullCone, Sequential;
        full_cone_to_symmetric: FullCone, Symmetric;
        port_restricted_to_full_cone: PortRestricted, FullCone;
        port_restricted_to_port_restricted: PortRestricted, PortRestricted;
        port_restricted_to_offended: PortRestricted, Offended;
        port_restricted_to_address_dependent: PortRestricted, AddressDependent;
        port_restricted_to_sequential: PortRestricted, Sequential;
        port_restricted_to_symmetric: PortRestricted, Symmetric;
        offended_to_full_cone: Offended, FullCone;
        offended_to_port_restricted: Offended, PortRestricted;
        offended_to_offended: Offended, Offended;
        offended_to_address_dependent: Offended, AddressDependent;
        offended_to_sequential: Offended, Sequential;
        offended_to_symmetric: Offended, Symmetric;
        address_dependent_to_full_cone: AddressDependent, FullCone;
        address_dependent_to_port_restricted: AddressDependent, PortRestricted;
        address_dependent_to_offended: AddressDependent, Offended;
        address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        address_dependent_to_symmetric: AddressDependent, Symmetric;
        sequential_to_full_cone: Sequential, FullCone;
        sequential_to_port_restricted: Sequential, PortRestricted;
        sequential_to_offended: Sequential, Offended;
        symmetric_to_full_cone: Symmetric, FullCone;
        symmetric_to_port_restricted: Symmetric, PortRestricted;
        symmetric_to_offended: Symmetric, Offended;
        symmetric_to_address_dependent: Symmetric, AddressDependent;
    }
}
