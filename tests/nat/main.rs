//! Finding a way through real NATs: Linux routers in network namespaces.
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
mod namespace;
mod network;

use mgrok_lab::Peer::{self, Frp, MgrokProgram as Mgrok};

use self::{
    hole::{Case, Hole},
    network::Nat::{
        AddressDependent, Distant, FullCone, Offended, PortRestricted, Sequential, Symmetric,
    },
};

/// Makes tests of rows `name: the owner's NAT, the guest's NAT`. `through` means that there is a way, `around` that the
/// fallback must do.
macro_rules! rows {
    ($ends:ident $protocol:literal $expect:ident $attributes:tt $($name:ident: $owner:ident, $guest:ident;)+) => {
        $(rows!(@test $ends $protocol $expect $attributes $name $owner $guest);)+
    };
    (@test $ends:ident $protocol:literal $expect:ident [$($attribute:meta),*] $name:ident $owner:ident $guest:ident) => {
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

/// The bytes pass the server by.
async fn through(case: Case) {
    let hole = Hole::with(case, "").await;
    hole.is_punched().await;
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

    rows! { MGROK "quic" through []
        symmetric_to_port_restricted: PortRestricted, Symmetric;
        port_restricted_to_address_dependent: AddressDependent, PortRestricted;
        address_dependent_both: AddressDependent, AddressDependent;
    }
    rows! { MGROK "kcp" through []
        full_cone_both: FullCone, FullCone;
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

    /// Who sends first sends datagrams that pass its own router and do not reach the other.
    #[tokio::test]
    async fn a_router_that_takes_offence_is_not_given_cause() {
        let case = Case {
            ends: Ends::MGROK,
            nats: [Offended, PortRestricted],
            protocol: "quic",
        };
        if case.is_possible() {
            let hole = Hole::with(case, "").await;
            assert_eq!(hole.is_punched().await, 1);
        }
    }
}

mod quic {
    use super::*;

    rows! { MGROK "quic" through [ignore = "takes minutes"]
        full_cone_to_full_cone: FullCone, FullCone;
        full_cone_to_port_restricted: PortRestricted, FullCone;
        full_cone_to_offended: Offended, FullCone;
        full_cone_to_address_dependent: AddressDependent, FullCone;
        full_cone_to_sequential: Sequential, FullCone;
        full_cone_to_symmetric: Symmetric, FullCone;
        port_restricted_to_full_cone: FullCone, PortRestricted;
        port_restricted_to_port_restricted: PortRestricted, PortRestricted;
        port_restricted_to_offended: Offended, PortRestricted;
        port_restricted_to_address_dependent: AddressDependent, PortRestricted;
        port_restricted_to_sequential: Sequential, PortRestricted;
        port_restricted_to_symmetric: Symmetric, PortRestricted;
        offended_to_full_cone: FullCone, Offended;
        offended_to_port_restricted: PortRestricted, Offended;
        offended_to_offended: Offended, Offended;
        offended_to_address_dependent: AddressDependent, Offended;
        offended_to_sequential: Sequential, Offended;
        offended_to_symmetric: Symmetric, Offended;
        address_dependent_to_full_cone: FullCone, AddressDependent;
        address_dependent_to_port_restricted: PortRestricted, AddressDependent;
        address_dependent_to_offended: Offended, AddressDependent;
        address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        address_dependent_to_symmetric: Symmetric, AddressDependent;
        sequential_to_full_cone: FullCone, Sequential;
        sequential_to_port_restricted: PortRestricted, Sequential;
        sequential_to_offended: Offended, Sequential;
        symmetric_to_full_cone: FullCone, Symmetric;
        symmetric_to_port_restricted: PortRestricted, Symmetric;
        symmetric_to_offended: Offended, Symmetric;
        symmetric_to_address_dependent: AddressDependent, Symmetric;
    }
    rows! { MGROK "quic" around [ignore = "takes minutes"]
        sequential_to_sequential: Sequential, Sequential;
        sequential_to_symmetric: Symmetric, Sequential;
        symmetric_to_sequential: Sequential, Symmetric;
        symmetric_to_symmetric: Symmetric, Symmetric;
        address_dependent_to_sequential: Sequential, AddressDependent;
    }
}

/// The first ways do not work, and the server tries others.
mod later_ways {
    use super::*;

    rows! { MGROK "quic" through [ignore = "takes minutes"]
        port_restricted_to_distant: Distant, PortRestricted;
        sequential_to_address_dependent: AddressDependent, Sequential;
        distant_to_port_restricted: PortRestricted, Distant;
        distant_both: Distant, Distant;
        distant_to_symmetric: Symmetric, Distant;
        distant_to_address_dependent: AddressDependent, Distant;
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
        port_restricted_to_symmetric: Symmetric, PortRestricted;
        symmetric_to_port_restricted: PortRestricted, Symmetric;
        address_dependent_to_symmetric: Symmetric, AddressDependent;
    }
}

mod frp_visits {
    use super::*;

    mod quic {
        use super::*;

        rows! { FRP_VISITS "quic" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { FRP_VISITS "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
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
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { FRP_VISITS_BY_FRP "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
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
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { MGROK_VISITS "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
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
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }

    mod kcp {
        use super::*;

        rows! { MGROK_VISITS_BY_FRP "kcp" through [ignore = "takes minutes"]
            full_cone_to_full_cone: FullCone, FullCone;
            port_restricted_to_full_cone: FullCone, PortRestricted;
            symmetric_to_port_restricted: PortRestricted, Symmetric;
            port_restricted_to_symmetric: Symmetric, PortRestricted;
            address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        }
    }
}

/// That frp finds the ways through these NATs too.
mod reference {
    use super::*;

    rows! { FRP "quic" through [ignore = "checks the NATs, not mgrok"]
        full_cone_to_full_cone: FullCone, FullCone;
        full_cone_to_port_restricted: PortRestricted, FullCone;
        full_cone_to_offended: Offended, FullCone;
        full_cone_to_address_dependent: AddressDependent, FullCone;
        full_cone_to_sequential: Sequential, FullCone;
        full_cone_to_symmetric: Symmetric, FullCone;
        port_restricted_to_full_cone: FullCone, PortRestricted;
        port_restricted_to_port_restricted: PortRestricted, PortRestricted;
        port_restricted_to_offended: Offended, PortRestricted;
        port_restricted_to_address_dependent: AddressDependent, PortRestricted;
        port_restricted_to_sequential: Sequential, PortRestricted;
        port_restricted_to_symmetric: Symmetric, PortRestricted;
        offended_to_full_cone: FullCone, Offended;
        offended_to_port_restricted: PortRestricted, Offended;
        offended_to_offended: Offended, Offended;
        offended_to_address_dependent: AddressDependent, Offended;
        offended_to_sequential: Sequential, Offended;
        offended_to_symmetric: Symmetric, Offended;
        address_dependent_to_full_cone: FullCone, AddressDependent;
        address_dependent_to_port_restricted: PortRestricted, AddressDependent;
        address_dependent_to_offended: Offended, AddressDependent;
        address_dependent_to_address_dependent: AddressDependent, AddressDependent;
        address_dependent_to_symmetric: Symmetric, AddressDependent;
        sequential_to_full_cone: FullCone, Sequential;
        sequential_to_port_restricted: PortRestricted, Sequential;
        sequential_to_offended: Offended, Sequential;
        symmetric_to_full_cone: FullCone, Symmetric;
        symmetric_to_port_restricted: PortRestricted, Symmetric;
        symmetric_to_offended: Offended, Symmetric;
        symmetric_to_address_dependent: AddressDependent, Symmetric;
    }
}
