//! What both binaries do around their engine: arguments, log, signals, reload, service manager, exit codes.
//!
//! A binary says who it is with a [`Program`], how its configuration is loaded, and what it
//! serves; [`Program::main`] does the rest. The exit codes and streams are frp's, because scripts
//! know them: 0 after `verify`, help and a graceful stop, 1 for anything wrong; wrong arguments go
//! to standard error, everything else that ends the program to standard output.

mod arguments;
mod file_watch;
mod limits;
mod log_options;
mod memory;
mod program;
mod service_manager;
mod signals;

mod reload;

mod running;

mod doctor;

pub use doctor::DoctorArguments;
pub use log_options::LogReloader;
pub use program::Program;
pub use reload::ReloadRequests;
pub use running::{Daemon, Running};
pub use service_manager::ServiceManager;
