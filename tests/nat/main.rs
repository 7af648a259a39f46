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
    network::Nat::{FullCone, PortRestricted, Sequential, Symmetric},
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
    hole.guest_says("no tunnel to the service: no way through the NATs: wait detect message timeout")
        .await;
    assert!(!hole.was_punched());
}

mod quick {
    use super::*;

    rows! { MGROK "quic" through []
        full_cones: FullCone, FullCone;
        port_restricted_to_symmetric: Symmetric, PortRestricted;
        symmetric_to_port_restricted: PortRestricted, Symmetric;
    }
    rows! { MGROK "kcp" through []
        port_restricted_over_kcp: PortRestricted, PortRestricted;
    }
    rows! { MGROK "quic" around []
        symmetric_both: Symmetric, Symmetric;
    }
    rows! { FRP_VISITS "quic" through []
        frp_to_mgrok: PortRestricted, PortRestricted;
    }
    rows! { MGROK_VISITS_BY_FRP "kcp" through []
        mgrok_to_frp: PortRestricted, PortRestricted;
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
