//! The end of the tunnel behind the NAT: publishes local services through a server.
//!
//! ```no_run
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mgrok_client::{Client, ProxyPhase};
//! use mgrok_config::{ClientConfig, ProxyConfig, ProxyKind, ServerAddr};
//!
//! let ssh = ProxyConfig::new("ssh", ProxyKind::Tcp { remote_port: 6000 }, 22);
//! let client = Client::new(ClientConfig {
//!     servers: vec![ServerAddr::new("tunnel.example.com", 7000)],
//!     proxies: vec![ssh],
//!     ..ClientConfig::default()
//! })?;
//! let mut status = client.status();
//! tokio::spawn(async move {
//!     let running = status.wait_for("ssh", |it| it.phase == ProxyPhase::Running);
//!     println!("{:?}", running.await.and_then(|it| it.remote_addr));
//! });
//! client.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! The life of a [`Client`] is a row of sessions: connect, log in, serve until the control
//! connection is lost, wait, again. What is decided with the time in hand (when to try again, what
//! to announce, when the server is gone) is in modules that do no I/O. The modules, lowest first:

mod backoff;
mod clock;
#[cfg(test)]
mod future_size;
mod heartbeat;
mod local;
mod metrics;
mod replace_file;
mod server_text;
mod shared_span;
mod signature;
mod version;

mod credentials;

mod inspector;

mod observer;

mod users;

mod exchange;

mod virtual_net;

mod plugin;

mod proxy;
mod status;

mod proxies;

mod progress;
mod session_status;
mod store;

mod operator;

mod describe;
mod exposition;

mod tasks;

mod connect;
mod settings;

mod handle;
mod wire;

mod login;

mod further_links;
mod tunnel;

mod hole;

mod visitor;

mod admin;

mod reload;

mod health;
mod tcp;
mod udp;
mod xtcp;

mod bonding;
mod work;

mod session;

mod dial_candidates;
mod race;

mod supervisor;

mod client;

// Beside the client: it takes the same steps, and nothing of the above takes any of its.
pub mod doctor;

pub use client::{Client, ClientError, StartError, StopReport};
pub use connect::{ConnectError, SetUpError};
pub use login::LoginError;
pub use mgrok_admin::AdminRequests;
pub use observer::{
    KeptRequest, MessageDetail, RequestDetail, UserEvent, UserEventKind, UserEvents,
};
pub use progress::ProgressWatch;
pub use proxies::StatusWatch;
pub use reload::{Changes, ProxySet, ReloadError, ReloadReport, Reloader, VisitorSet};
pub use status::{ProxyPhase, ProxyStatus};
pub use supervisor::LoginFailure;
pub use virtual_net::DeviceError;
pub use visitor::{ListenError, ListenerWatch};
