//! Byte streams: what carries them, what wraps them, and the one place that copies them.
//!
//! A [`conn::Conn`] is any connection of the program, whether a socket, a multiplexed stream, TLS or
//! a stack of [`layers`]. It moves owned chunks, so that bytes which arrived once are handed on, not
//! copied, and a connection on which nothing moves holds no buffer.
//!
//! Modules are in order, lowest first, and use only what stands above them here.

pub mod error_chain;
mod printable;

pub mod conn;

pub mod client_hello;
pub mod head;
pub mod layers;
pub mod message;
pub mod proxy_protocol;
pub mod relay;
pub mod resolver;
pub mod sniff;
pub mod tcp;
pub mod tls;

pub mod kcp;
pub mod outbound;
pub mod quic;
pub mod udp;
pub mod websocket;

#[cfg(test)]
mod testing;
