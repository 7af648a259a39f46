//! What travels between a client and a server, be they mgrok or frp: messages, their framing, signatures and ciphers.
//!
//! Nothing here does I/O or waits. Whoever owns a connection hands in the bytes that came and sends those that come out, so
//! every rule of the wire can be tested without a socket. The modules, lowest first:
//!
//! - [`auth`]: secrets, and signatures made with them.
//! - [`cipher`]: the stream cipher of control connections and of `useEncryption`.
//! - [`message`]: the messages themselves; their JSON is read and written as Go's `encoding/json` would.
//! - [`hook`]: messages as a server shows them to its plugins.
//! - [`v1`], [`v2`] and [`WireVersion`]: one message, one frame.
//! - [`udp`]: the one message that carries traffic, without a detour through a general JSON reader.
//! - [`record`]: the authenticated encryption of v2 control connections.
//! - [`hello`]: how two ends find out what both can do, and agree on keys for those records.
//! - [`Negotiated`]: what came of it.
//! - [`liveness`]: how soon silence means death between two ends of mgrok.

pub mod auth;
pub mod cipher;
mod decimal;
mod frame;
mod go_base64;
mod go_json;
pub mod hello;
pub mod hook;
pub mod liveness;
pub mod message;
mod negotiated;
pub mod record;
mod run_id;
pub mod udp;
pub mod v1;
pub mod v2;
mod wire;
mod zones;

pub use frame::{DecodeError, EncodeError};
pub use negotiated::Negotiated;
pub use run_id::RunId;
pub use wire::WireVersion;

/// The frp version that both ends report on the wire; frp peers only log and show it.
pub const FRP_VERSION: &str = "0.71.0";
