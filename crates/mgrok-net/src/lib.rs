//! Byte streams: the transports that carry them, the layers that wrap them, and the one place that copies them.
//!
//! A [`conn::Conn`] is any connection of the program: a socket, a multiplexed stream, TLS or a stack of [`layers`]. It
//! moves owned chunks, so received bytes are passed on without a copy, and an idle connection holds no buffer.
//!
//! Modules are listed lowest first, and each imports only from those listed above it.

pub mod error_chain;
mod printable;

pub mod conn;

pub mod bond;
pub mod client_hello;
pub mod feed;
pub mod head;
pub mod layers;
pub mod message;
pub mod mux_links;
pub mod muxes;
pub mod proxy_protocol;
pub mod relay;
pub mod resolver;
pub mod sniff;
pub mod socks5;
pub mod tcp;
pub mod tls;

pub mod kcp;
pub mod outbound;
pub mod quic;
pub mod udp;
pub mod websocket;

pub mod access_log;
pub mod connections;

#[cfg(test)]
mod testing;
