//! yamux: many streams over one connection, as Go's hashicorp/yamux speaks it.
//!
//! Two layers. [`machine::Machine`] is the protocol without sockets, tasks and clock. On top of
//! it [`session`] makes a connection into an [`Opener`], an [`Acceptor`] and a [`Driver`], the
//! one task that moves the bytes; a [`Stream`] hands owned slices to and from the machine.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mgrok_mux::{Config, session};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//!
//! let (here, there) = tokio::io::duplex(65_536);
//! let (opener, _acceptor, driver) = session(here, Config::client());
//! tokio::spawn(driver);
//! let (_opener, mut acceptor, driver) = session(there, Config::server());
//! tokio::spawn(driver);
//!
//! let mut out = opener.open().await?;
//! out.write_all(b"hello").await?;
//! out.shutdown().await?;
//!
//! let mut into = acceptor.accept().await.ok_or("the session ended")?;
//! let mut text = String::new();
//! into.read_to_string(&mut text).await?;
//! assert_eq!(text, "hello");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(example()).unwrap();
//! ```

mod config;
mod driver;
mod error;
pub mod frame;
mod handles;
pub mod machine;
mod shared;
pub mod slab;
mod stream;

pub use config::{Config, Role, UntrustedLimits, WindowBudget};
pub use driver::{Driver, Receive, session, session_receiving};
pub use error::{OpenError, ProtocolError, SessionError};
pub use handles::{Acceptor, Opener, UsageWatch};
pub use stream::Stream;
