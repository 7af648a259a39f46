//! KCP as frp speaks it: reliable streams over UDP, with forward error correction.
//!
//! Both ends of [`connect`] and of a [`Listener`]'s sessions are [`Stream`]s. Below them,
//! [`machine::Machine`] is the protocol without sockets, tasks and clock: error correction
//! (`fec`) around repetition (`arq`), in datagrams laid out by [`packet`].
//!
//! The repetition is our own because the `kcp` crate (0.6) is not fit for hostile datagrams: it
//! subtracts segment numbers as signed integers and adds to the round trip unchecked, so that one
//! datagram is a panic wherever overflow is; its list of acknowledgements has no bound. It also
//! allocates and copies for each segment, and walks its queues for each acknowledgement.
//!
//! Besides what waits in its windows, an active session keeps the last 32 packets that it received
//! for error correction, 2 KiB each, and up to 64 KiB of datagrams on their way to the socket. Memory
//! of what has passed is used again for what comes, so that datagrams cost no allocation; a session
//! that was silent for a second keeps none of all this.
//!
//! Datagrams come from and go to a [`Socket`] in batches, because a system call, a lock and a
//! wake for each cost more than all that is done with it.
//!
//! ```
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! use mgrok_kcp::{Config, Listener, connect};
//! use tokio::io::{AsyncReadExt, AsyncWriteExt};
//! use tokio::net::UdpSocket;
//!
//! let socket = UdpSocket::bind("127.0.0.1:0").await?;
//! let (mut listener, driver) = Listener::new(socket, Config::frp_server())?;
//! tokio::spawn(driver);
//!
//! let socket = UdpSocket::bind("127.0.0.1:0").await?;
//! socket.connect(listener.local_addr()).await?;
//! let (mut out, driver) = connect(socket, None, Config::frp_client())?;
//! tokio::spawn(driver);
//! out.write_all(b"hello").await?;
//!
//! let mut into = listener.accept().await.ok_or("the listener ended")?;
//! let mut text = [0; 5];
//! into.read_exact(&mut text).await?;
//! assert_eq!(&text, b"hello");
//! # Ok(())
//! # }
//! # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
//! ```

mod admission;
mod arq;
mod buffers;
mod config;
mod driver;
mod error;
mod fec;
mod listener;
pub mod machine;
pub mod packet;
mod shared;
mod socket;
mod stream;

pub use arq::UNPROVED_WINDOW;
pub use config::{Config, ListenerConfig};
pub use driver::{Driver, connect};
pub use error::SessionError;
pub use listener::{Listener, ListenerDriver};
pub use socket::{Batch, MAX_RECEIVED, Path, Socket};
pub use stream::Stream;

/// The conversation's number in a tunnel through address translators, where nobody listens and
/// both ends [`connect`].
// frp: pkg/util/net/kcp.go#NewKCPConnFromUDP
pub const TUNNEL_CONVERSATION: u32 = 1;
