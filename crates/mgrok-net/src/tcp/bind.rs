//! Chooses the addresses to bind, and binds.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, lookup_host};

use super::multipath;
use crate::resolver::without_brackets;

/// How many connections may wait to be accepted; Linux lowers this to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;

/// Listens on `host` and `port`; port 0 lets the system choose.
///
/// `host` is an address with or without brackets, or a name. Every unspecified address (none, `0.0.0.0`, `::`) means
/// both IPv4 and IPv6 where the system has both, as in Go. [`accept`](super::accept()) then undoes the mapping of IPv4
/// users' addresses.
///
/// # Errors
/// The error of the system or the resolver for the last address of `host`.
pub async fn bind(host: &str, port: u16) -> io::Result<TcpListener> {
    bind_with(host, port, listen).await
}

/// As [`bind`], also for connections by several paths at once, where the system can do that.
///
/// # Errors
/// As [`bind`].
pub async fn bind_multipath(host: &str, port: u16) -> io::Result<TcpListener> {
    bind_with(host, port, listen_multipath).await
}

/// Binds by `bind` to the first address of `host`, as [`bind`] understands it, for which that works.
///
/// # Errors
/// The error of the system or the resolver for the last address of `host`.
pub(crate) async fn bind_with<T>(
    host: &str,
    port: u16,
    bind: impl Fn(SocketAddr) -> io::Result<T>,
) -> io::Result<T> {
    let mut last = None;
    for addr in resolve_bind(host, port).await? {
        match bind(addr) {
            Ok(bound) => return Ok(bound),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| io::ErrorKind::AddrNotAvailable.into()))
}

/// A UDP socket that is bound to `addr`, with a queue for what arrives of `queue` bytes, as far as the system allows.
pub(crate) fn bind_udp(addr: SocketAddr, queue: usize) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), Type::DGRAM, Some(Protocol::UDP))?;
    dual_stack(&socket, addr)?;
    socket.set_nonblocking(true)?;
    // Best effort: the default size works, too.
    let _ = socket.set_recv_buffer_size(queue);
    socket.bind(&addr.into())?;
    Ok(socket)
}

fn listen(addr: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(addr), Type::STREAM, Some(Protocol::TCP))?;
    listen_on(socket, addr)
}

fn listen_multipath(addr: SocketAddr) -> io::Result<TcpListener> {
    match multipath::socket(addr) {
        Ok(socket) => listen_on(socket, addr),
        Err(_) => listen(addr),
    }
}

fn listen_on(socket: Socket, addr: SocketAddr) -> io::Result<TcpListener> {
    dual_stack(&socket, addr)?;
    // On other systems the option would let two programs share the port.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    super::prepare_listener(&socket);
    socket.bind(&addr.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// The addresses to try for `host`, best first.
async fn resolve_bind(host: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    let host = without_brackets(host);
    // All three unspecified forms, as in Go (net/ipsock_posix.go#favoriteAddrFamily); so frp's default, 0.0.0.0, serves
    // IPv6 too.
    let v6 = (Ipv6Addr::UNSPECIFIED, port).into();
    let v4 = (Ipv4Addr::UNSPECIFIED, port).into();
    match host.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => Ok(vec![v6, v4]),
        Ok(ip) => Ok(vec![(ip, port).into()]),
        Err(_) if host.is_empty() => Ok(vec![v6, v4]),
        Err(_) => Ok(lookup_host((host, port)).await?.collect()),
    }
}

/// Makes `::` accept IPv4 too, whatever the system's default is.
fn dual_stack(socket: &Socket, addr: SocketAddr) -> io::Result<()> {
    match addr {
        SocketAddr::V6(addr) => socket.set_only_v6(!addr.ip().is_unspecified()),
        SocketAddr::V4(_) => Ok(()),
    }
}
