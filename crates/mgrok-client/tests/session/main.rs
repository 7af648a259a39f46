//! Tests a whole client against a server that the test plays by hand, over real sockets.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

mod server;
mod transport_server;

mod faults;
mod files;
mod golden;
mod health;
mod heartbeats;
mod life;
mod muxed;
#[cfg(feature = "dns-server")]
mod names;
mod packets;
mod plugins;
mod proxying;
mod reload;
mod stopping;
mod transports;
mod users;
mod visitors;
mod wire;
