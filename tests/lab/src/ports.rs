//! Port numbers that are free right now.

use std::{
    collections::HashSet,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::Mutex,
};

/// Below the range that Linux takes outgoing ports from (32768 and up), so that a connection
/// made between the look and the bind cannot take the port.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);

/// A port that no one listens on, tcp or udp, and that this process was not given before.
///
/// Another program may still take it first: whoever binds it must be ready to try again.
///
/// # Panics
/// When no port is free.
pub fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap();
    let given = given.get_or_insert_default();
    for _ in 0..1_000 {
        let port = fastrand::u16(RANGE);
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() && given.insert(port) {
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}

/// `N` different free ports.
pub fn several<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free())
}
