//! The public end of the tunnel: clients log in, users come, bytes pass.
//!
//! A connection's way through this crate, top to bottom: `ingress` finds out what
//! it is, `login` admits it, `directory` gives it its row, `session` owns what
//! the client has here, `proxy` lets users in at a `public_endpoint`, whose `backend_set` says
//! which `backend` gets them a work connection. `policy` says what is allowed now, and `sockets` where the
//! server listens. Imports point to modules of a lower layer only.

// Lowest layer first.
mod metrics;
mod source;
mod source_limits;

mod backend_set;
mod excerpt;
#[cfg(test)]
mod future_size;
mod heartbeat;
mod holder;
mod links;
mod per_source;
mod routes;
mod tasks;
mod who;

mod hooks;
mod ssh_policy;
mod start_error;

// What is allowed now, and where the server listens.
mod bans;
mod certificates;
mod keys;
mod policy;
mod sockets;

mod admission;

// Who is here.
mod directory;

mod admin;
mod backend;
mod exposition;

mod access;
mod client_addr;
mod connection;
mod groups;
mod ports;

// Where users come in, and whom they reach.
mod accept;
mod private;

mod hole_punch;
mod vhost;

mod public_endpoint;

mod proxy;
mod session;
mod visitor;

mod login;

mod ingress;
mod ssh_gateway;

mod server;

// Beside the server: it looks at what a server needs, and nothing of the above needs it.
pub mod doctor;

pub use certificates::keep_certificate;
pub use directory::{
    Change, ChangeFeed, ClientInfo, ConnectionInfo, Directory, Lagged, Moved, ProxyInfo,
    ProxySettings, ProxyStatistics, SessionInfo, TooManyDisabled, Totals,
};
pub use hooks::PluginError;
pub use mgrok_net::access_log::{
    Access, AccessEnd, AccessLog, AccessProxy, AccessRequest, AccessSink,
};
pub use mgrok_proto::RunId;
pub use server::{ReloadError, ReloadReport, Reloader, Server, StopReport};
pub use ssh_policy::HostKeyError;
pub use start_error::StartError;
