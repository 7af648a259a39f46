//! KCP from outside: over links that lose and reorder, with time that tests move; against hostile
//! datagrams; and over real sockets.

#![allow(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod batches;
mod forged;
mod hostile;
mod link;
mod listener;
mod lossy;
mod sockets;
