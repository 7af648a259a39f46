//! mgrok with frp, and mgrok with itself, through the same scenarios.
//!
//! The pairs with an frp need `FRPS_BIN` and `FRPC_BIN`, the paths of frp's two programs; without
//! them those tests say that they were skipped.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

use mgrok_lab::Peer;

/// Runs scenarios, functions from a [`Pair`], once for each pair of peers.
macro_rules! for_each_pair {
    (@pair $name:ident $pair:ident $attributes:tt $($scenario:ident),+) => {
        mod $name {
            $(for_each_pair!(@test $pair $attributes $scenario);)+
        }
    };
    (@test $pair:ident [$($attributes:tt)*] $scenario:ident) => {
        $($attributes)*
        #[tokio::test]
        async fn $scenario() {
            let pair = crate::Pair::$pair;
            if pair.is_here() {
                super::$scenario(pair).await;
            }
        }
    };
    ($($scenario:ident),+ $(,)?) => {
        for_each_pair!(@pair mgrok_serves_mgrok MGROK [] $($scenario),+);
        for_each_pair!(@pair mgrok_serves_frp MGROK_SERVES_FRP [] $($scenario),+);
        for_each_pair!(@pair frp_serves_mgrok FRP_SERVES_MGROK [] $($scenario),+);
        for_each_pair!(@pair frp_serves_frp FRP [
            #[ignore = "checks the scenarios, not mgrok"]
        ] $($scenario),+);
    };
}

mod errors;
mod matrix;
mod recovery;

/// What runs on either end.
#[derive(Clone, Copy, Debug)]
struct Pair {
    server: Peer,
    client: Peer,
}

impl Pair {
    const MGROK: Self = Self {
        server: Peer::Mgrok,
        client: Peer::Mgrok,
    };
    const MGROK_SERVES_FRP: Self = Self {
        server: Peer::MgrokProgram,
        client: Peer::Frp,
    };
    const FRP_SERVES_MGROK: Self = Self {
        server: Peer::Frp,
        client: Peer::MgrokProgram,
    };
    const FRP: Self = Self {
        server: Peer::Frp,
        client: Peer::Frp,
    };

    fn is_here(self) -> bool {
        let needs_frp = [self.server, self.client].contains(&Peer::Frp);
        !needs_frp || mgrok_lab::frp_is_here()
    }
}
