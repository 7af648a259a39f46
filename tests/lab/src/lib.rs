//! What the end-to-end tests, the interop tests and the benches share.
//!
//! A test starts a [`Server`] and a [`Client`], each of them mgrok or frp ([`Peer`]), publishes
//! a [`service`], and sends [`traffic`] through the public port. Everything runs on loopback, on
//! ports found free, with generated configuration, and ends when the values are dropped.
//!
//! Helpers panic when something fails: a test has nobody to hand an error to, and the panic says
//! where. The last lines of every peer are printed when a test panics.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stderr,
    reason = "only tests call this crate, and a panic is how tests fail"
)]

pub mod admin_log;
mod binaries;
pub mod certs;
mod config;
pub mod dns;
pub mod link;
mod log;
#[cfg(target_os = "linux")]
pub mod namespace;
pub mod outbound;
mod peer;
pub mod ports;
pub mod report;
pub mod service;
pub mod stun;
pub mod tap;
pub mod tls;
pub mod traffic;
mod wait;
pub mod web;

pub use binaries::{Need, Role, binary, frp_is_here, skipped};
pub use config::{Proxy, Visitor, client_toml, server_toml};
pub use log::Log;
pub use peer::{Client, Ended, Peer, Server};
pub use wait::{PATIENCE, eventually, within};
