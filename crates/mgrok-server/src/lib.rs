//! The public end of the tunnel: clients log in, users come, bytes pass.
//!
//! A connection's way through this crate, top to bottom: `ingress` finds out what
//! it is, `login` admits it, `registry` gives it its place, `session` owns what
//! the client has here, `proxy` lets users in, `backend` gets them a work
//! connection. Imports point to modules of a lower layer only.

// Lowest layer first.
mod connection;
mod error;
mod heartbeat;

mod backend;
mod ports;
mod registry;

mod shared;

mod proxy;
mod session;

mod ingress;
mod login;

mod server;

pub use server::{Server, StartError, StopReport};
