//! What both binaries do around their engine: arguments, log, signals, reload, service manager, exit codes.
//!
//! A binary says who it is with a [`Program`] and what its arguments are, some of which come from tables of [`Flag`]s;
//! [`Program::main`] reads them. The exit codes and streams are frp's, because scripts know them: 0 after `verify`, help and a
//! graceful stop, 1 for anything wrong; wrong arguments go to standard error, everything else that ends the program to standard
//! output. What serves runs in a [`Daemon`].

mod arguments;
mod duration;
mod file_watch;
mod flags;
mod generate;
mod limits;
mod log_options;
mod memory;
mod passed_sockets;
mod program;
pub mod random;
mod service_manager;
mod signals;
pub mod terminal;

mod access_log;
mod admin_client;
mod reload;

pub mod health;

mod running;

mod doctor;

pub use access_log::{AccessLogKeeper, NextAccessLog};
pub use admin_client::{AdminArguments, AdminClient};
pub use arguments::{CommonArguments, Ignored};
pub use doctor::DoctorArguments;
pub use flags::{FlagTable, FlagValues};
pub use generate::{CompletionArguments, ManArguments};
pub use hyper::Method;
pub use log_options::LogReloader;
pub use mgrok_admin::{AdminRequest, AdminRequests};
pub use mgrok_config::{Flag, Takes};
pub use mgrok_log::LogControl;
pub use passed_sockets::take_passed_sockets;
pub use program::{Program, say, say_warnings};
pub use reload::{ReloadRequests, answer_reload};
pub use running::{Daemon, Running};
pub use service_manager::ServiceManager;
