//! From a configuration file, in frp's keys, to values that cannot be wrong.

mod annotations;
mod bandwidth;
mod mistake;
mod port_set;

mod auth;
mod log;
mod proxy;

mod client;
mod server;

mod later;
mod nearest;
mod report;
mod section;
mod source;

mod check;
mod load;

pub use annotations::{AnnotationError, check_annotations};
pub use auth::Auth;
pub use bandwidth::{Bandwidth, BandwidthError, BandwidthMode};
pub use client::{ClientConfig, ClientTls, ClientTransport};
pub use load::{
    LoadError, Loaded, Strictness, load_client, load_client_from_str, load_server,
    load_server_from_str,
};
pub use log::{Log, LogLevel, LogTarget};
pub use mistake::{Mistake, Mistakes, Position, Problem};
pub use port_set::PortSet;
pub use proxy::{ProxyConfig, ProxyKind};
pub use server::{ServerConfig, ServerTls, ServerTransport};
