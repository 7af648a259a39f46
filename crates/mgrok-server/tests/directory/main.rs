//! Tests the directory of a running server, over real sockets: what it shows while users are connected, and what its
//! commands do.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod client;

mod admin;
mod commands;
mod counters;
mod http;
