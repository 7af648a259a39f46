//! Where clients come in: accept, find out what is spoken, hand on.
//!
//! Accept loops only accept. Everything after that happens in the connection's own task and under a
//! deadline, so a silent or hostile connection delays nobody. By TCP and KCP come connections that are
//! one stream or multiplexed, perhaps in TLS or a WebSocket; by QUIC come streams right away.

// Lowest layer first.
mod context;
mod opening;
mod stream;
mod streams;
mod strip;

pub(crate) mod kcp;
pub(crate) mod quic;
pub(crate) mod tcp;

pub(crate) use self::context::{ClientContext, ControlContext};
pub(crate) use self::tcp::OPENINGS;
