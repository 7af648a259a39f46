//! Transports to the server that lose packets, are blocked or change: a client, a router and a server in network namespaces.
//!
//! Needs root, `ip` and `nft`; without them every test here says that it was skipped. The host's own network is neither
//! used nor touched. What is measured is printed: `cargo test --test transports -- --nocapture`.

#![cfg(target_os = "linux")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a panic is how tests fail, and what they print is what they measured"
)]

mod auto;
mod loss;
mod multipath;
mod network;
mod relay;
mod zones;
