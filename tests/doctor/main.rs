//! `doctor` of both ends in arranged failures: real servers, real sockets, real TLS, and the layer that is to blame.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a panic is how tests fail"
)]

mod arranged;

mod certificates;
mod login;
mod network;
mod publishing;
mod server;
