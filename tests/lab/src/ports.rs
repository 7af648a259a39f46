//! Port numbers that are free, and stay so until the test binds them.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, TcpListener, UdpSocket},
    sync::{Mutex, PoisonError},
};

/// Below the range that Linux takes outgoing ports and ports of its own choice from (32768 and up), so that nothing but a test binds one
/// by chance.
const RANGE: std::ops::Range<u16> = 10_000..32_000;

/// The ports that this process was given, with what keeps other processes of tests away from them.
static GIVEN: Mutex<Option<HashMap<u16, Claim>>> = Mutex::new(None);

/// A port that no one listens on, tcp or udp, and that neither this process nor another one that asks here is given as long as this process
/// runs.
///
/// # Panics
/// When no port is free.
pub fn free() -> u16 {
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    for _ in 0..1_000 {
        let port = fastrand::u16(RANGE);
        // The look at a port is a moment's bind, which must not be of one that a test was given and is about to bind.
        if given.contains_key(&port) {
            continue;
        }
        let Some(claim) = claim(port) else {
            continue;
        };
        given.insert(port, claim);
        let any = (Ipv4Addr::UNSPECIFIED, port);
        if TcpListener::bind(any).is_ok() && UdpSocket::bind(any).is_ok() {
            return port;
        }
    }
    panic!("no free port in {RANGE:?}");
}

/// Held by one process at a time.
#[cfg(target_os = "linux")]
type Claim = std::os::unix::net::UnixListener;

/// Claims a port in this network namespace; `None` if another process has it.
#[cfg(target_os = "linux")]
fn claim(port: u16) -> Option<Claim> {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};

    // A name without a file, which the system forgets with the process, and which belongs to the network namespace as ports do.
    let name = SocketAddr::from_abstract_name(format!("mgrok-test-port-{port}")).ok()?;
    Claim::bind_addr(&name).ok()
}

/// Other systems have nothing that keeps processes apart: whoever binds a port must be ready to try again.
#[cfg(not(target_os = "linux"))]
type Claim = ();

#[cfg(not(target_os = "linux"))]
fn claim(_port: u16) -> Option<Claim> {
    Some(())
}

/// `N` different free ports.
pub fn several<const N: usize>() -> [u16; N] {
    std::array::from_fn(|_| free())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_os = "linux")]
    #[test]
    fn a_port_that_another_process_was_given_is_not_given_again() {
        let port = free();
        assert!(claim(port).is_none());
    }
}
