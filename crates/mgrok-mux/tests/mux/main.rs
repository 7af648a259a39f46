//! The multiplexer from outside: on the wire, against hostile input, against a model, and as
//! tokio sees it.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod distance;
mod express;
mod golden;
mod hostile;
mod life;
mod model;
mod raw;
mod session;
mod windows;
