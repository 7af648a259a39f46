//! The public end of the tunnel: clients log in, users come, bytes pass.
//!
//! A connection's way through this crate, top to bottom: `ingress` finds out what
//! it is, `login` admits it, `registry` gives it its place, `session` owns what
//! the client has here, `proxy` lets users in at a `place`, whose `target` says
//! which `backend` gets them a work connection. Imports point to modules of a lower layer only.

// Lowest layer first.
mod backend_set;
mod excerpt;
mod heartbeat;
mod per_source;
mod routes;
mod tasks;

mod hooks;

mod backend;

mod client_addr;
mod clients;
mod connection;
mod groups;
mod ports;
mod registry;
mod vhost;

mod public_endpoint;

// What is shared, and two tables in it whose users need the rest.
mod hole_punch;
mod private;
mod shared;

mod proxy;
mod session;

mod ingress;
mod login;

mod certificates;
mod server;

pub use certificates::keep_certificate;
pub use hooks::PluginError;
pub use server::{Server, StartError, StopReport};
