//! mgrok with frp, and mgrok with itself, through the same scenarios.
//!
//! The pairs with an frp need `FRPS_BIN` and `FRPC_BIN`, the paths of frp's two programs, and those with
//! an frp before 0.69 `FRPS_OLD_BIN` and `FRPC_OLD_BIN`; without them those tests are
//! ignored.

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
            super::$scenario(crate::Pair::$pair).await;
        }
    };
    ($($scenario:ident),+ $(,)?) => {
        for_each_pair!(@pair mgrok_serves_mgrok MGROK [] $($scenario),+);
        for_each_pair!(@pair mgrok_serves_frp MGROK_SERVES_FRP [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_pair!(@pair frp_serves_mgrok FRP_SERVES_MGROK [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_pair!(@pair frp_serves_frp FRP [
            #[ignore = "checks the scenarios, not mgrok"]
        ] $($scenario),+);
    };
}

/// Runs scenarios, functions from a [`Trio`], once for each trio of peers.
macro_rules! for_each_trio {
    (@trio $name:ident $server:ident $client:ident $other:ident $attributes:tt $($scenario:ident),+) => {
        mod $name {
            $(for_each_trio!(@test $server $client $other $attributes $scenario);)+
        }
    };
    (@test $server:ident $client:ident $other:ident [$($attributes:tt)*] $scenario:ident) => {
        $($attributes)*
        #[tokio::test]
        async fn $scenario() {
            use mgrok_lab::Peer::*;

            let trio = crate::Trio {
                server: $server,
                client: $client,
                other: $other,
            };
            super::$scenario(trio).await;
        }
    };
    ($($scenario:ident),+ $(,)?) => {
        for_each_trio!(@trio mgrok_serves_mgrok_and_mgrok Mgrok Mgrok Mgrok [] $($scenario),+);
        for_each_trio!(@trio mgrok_serves_mgrok_and_frp MgrokProgram MgrokProgram Frp [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio mgrok_serves_frp_and_mgrok MgrokProgram Frp MgrokProgram [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio mgrok_serves_frp_and_frp MgrokProgram Frp Frp [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio frp_serves_mgrok_and_mgrok Frp MgrokProgram MgrokProgram [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio frp_serves_mgrok_and_frp Frp MgrokProgram Frp [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio frp_serves_frp_and_mgrok Frp Frp MgrokProgram [
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
        ] $($scenario),+);
        for_each_trio!(@trio frp_serves_frp_and_frp Frp Frp Frp [
            #[ignore = "checks the scenarios, not mgrok"]
        ] $($scenario),+);
    };
}

mod client_api;
mod errors;
mod groups;
mod health;
mod http;
mod links;
mod matrix;
mod mistakes;
mod oidc;
mod old;
mod plugins;
mod private;
mod proxy_protocol;
mod recovery;
mod server_admin;
mod tls;
mod transports;
mod vhost;
mod wire;
mod xtcp;

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
}

/// A server and two clients of it: the owner of a private service and its visitor, or two members of a group.
#[derive(Clone, Copy, Debug)]
struct Trio {
    server: Peer,
    client: Peer,
    other: Peer,
}

/// How much of a datagram of [`LONG`] bytes gets through: all of it between ends of mgrok, and by frp's no more than
/// `udpPacketSize` says.
fn arriving(peers: &[Peer]) -> usize {
    match peers.contains(&Peer::Frp) {
        true => 1_500,
        false => LONG,
    }
}

/// Longer than `udpPacketSize`.
const LONG: usize = 4_000;

/// The transformations of the bytes on one leg.
const LAYERS: [(&str, &str); 4] = [
    ("plain", ""),
    ("encrypted", "transport.useEncryption = true"),
    ("compressed", "transport.useCompression = true"),
    (
        "both",
        "transport.useEncryption = true\ntransport.useCompression = true",
    ),
];

/// Where bandwidth is limited; wide enough not to be what the test waits for.
const LIMITS: [(&str, &str); 3] = [
    ("free", ""),
    ("client", "transport.bandwidthLimit = \"8MB\""),
    (
        "server",
        "transport.bandwidthLimit = \"8MB\"\ntransport.bandwidthLimitMode = \"server\"",
    ),
];

/// Each of [`LAYERS`] with each of [`LIMITS`]: a name, and the lines.
fn layers_and_limits() -> impl Iterator<Item = (String, String)> {
    LAYERS.iter().flat_map(|(layer, layer_lines)| {
        LIMITS.iter().map(move |(limit, limit_lines)| {
            let lines = format!("{layer_lines}\n{limit_lines}");
            (format!("{layer}-{limit}"), lines)
        })
    })
}
