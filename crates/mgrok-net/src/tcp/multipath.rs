//! TCP by several paths at once (MPTCP, RFC 8684), as far as the system has it. To whoever reads and writes, it is TCP.

#![allow(
    unsafe_code,
    reason = "an option of a socket that no library reads is read into a number of its size"
)]

use std::io;
use std::net::SocketAddr;

use socket2::Socket;
use tokio::net::TcpStream;

/// Whether this system can do it. On Linux it can, unless `net.mptcp.enabled` is 0 or the kernel was built without it.
pub fn has_multipath() -> bool {
    socket(([127, 0, 0, 1], 0).into()).is_ok()
}

/// A socket that asks the other end for it, and does without if that cannot.
#[cfg(target_os = "linux")]
pub(super) fn socket(addr: SocketAddr) -> io::Result<Socket> {
    use socket2::{Domain, Protocol, Type};

    Socket::new(
        Domain::for_address(addr),
        Type::STREAM,
        Some(Protocol::MPTCP),
    )
}

#[cfg(not(target_os = "linux"))]
pub(super) fn socket(_addr: SocketAddr) -> io::Result<Socket> {
    Err(io::ErrorKind::Unsupported.into())
}

/// Whether both ends' systems have agreed on it for this connection.
#[cfg(target_os = "linux")]
pub fn is_multipath(stream: &TcpStream) -> bool {
    use std::os::fd::AsRawFd as _;

    // Linux: include/uapi/linux/tcp.h, since 5.16
    const TCP_IS_MPTCP: libc::c_int = 43;
    let mut agreed: libc::c_int = 0;
    let mut len = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the descriptor lives as long as `stream`, and the system writes at most `len` bytes, which `agreed` has.
    let result = unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::IPPROTO_TCP,
            TCP_IS_MPTCP,
            (&raw mut agreed).cast(),
            &raw mut len,
        )
    };
    result == 0 && agreed == 1
}

/// Whether both ends' systems have agreed on it for this connection.
#[cfg(not(target_os = "linux"))]
pub fn is_multipath(_stream: &TcpStream) -> bool {
    false
}
