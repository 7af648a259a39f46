//! Finding a way through two NATs: STUN, the server's advice, and the punching of holes.
//!
//! Everything of frp's XTCP but the control connections that carry its messages and the tunnel that comes after. Both sides
//! [`prepare`](prepare::prepare), which asks a STUN server how they look from outside; the server's
//! [`Analysis`](advice::Analysis) tells them how to try; then both [`punch`](punch::punch). IPv4 only, as frp. The modules,
//! lowest first:
//!
//! - [`addrs`]: lists of addresses as messages carry them, read with care.
//! - [`stun`]: requests and responses as bytes; no I/O.
//! - [`nat`]: what kind of NAT a side is behind; no I/O.
//! - [`discovery`]: asks a STUN server.
//! - [`prepare`]: all that a side needs to know of itself before it asks for a hole.
//! - [`advice`]: the server's part, which learns from reports; no I/O.
//! - [`punch`]: the datagrams that open the hole.

pub mod addrs;
pub mod advice;
pub mod discovery;
mod interfaces;
pub mod nat;
pub mod prepare;
pub mod punch;
pub mod stun;

use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_proto::RunId;

/// A new name for a request (`transaction_id`) or for an attempt (`sid`): Unix seconds and 64 random bits in hex.
///
/// frp: any unique string does; this is the form of its own (`pkg/nathole/controller.go`#NewTransactionID).
pub fn new_id() -> String {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    format!("{}{}", now.as_secs(), RunId::random())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_the_time_and_sixteen_hex_digits() {
        let id = new_id();
        let (time, random) = id.split_at(id.len() - 16);
        assert!(time.parse::<u64>().unwrap() > 1_700_000_000);
        assert!(u64::from_str_radix(random, 16).is_ok());
        assert_ne!(id, new_id());
    }
}
