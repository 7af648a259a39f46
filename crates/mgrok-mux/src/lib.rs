//! yamux: many streams over one connection.

mod config;
mod driver;
mod error;
pub mod frame;
pub mod slab;
mod stream;

pub use config::{Config, Role, WindowBudget};
pub use driver::{Acceptor, Driver, Opener, session};
pub use error::{OpenError, ProtocolError, SessionError};
pub use stream::Stream;
