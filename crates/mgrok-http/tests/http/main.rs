//! The proxy between real sockets: raw users on one side, raw backends on the other.

#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "a test fails by panicking"
)]

mod forwarding;
mod hostile;
mod http2;
mod lives;
mod raw;
mod support;
