//! STUN and hole punching from outside, over real sockets on loopback.
#![expect(clippy::unwrap_used, reason = "helpers of tests fail as tests do")]

mod discovery;
mod punch;
// The same file as `mgrok_lab::stun`. To depend on the crate would be a circle: it starts servers and clients.
#[allow(
    dead_code,
    unreachable_pub,
    reason = "public and complete where it is a module of the lab"
)]
#[path = "../../../../tests/lab/src/stun.rs"]
mod stun;
