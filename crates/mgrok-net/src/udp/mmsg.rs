//! The Linux calls that move many datagrams, which no safe library offers.
#![expect(
    unsafe_code,
    reason = "recvmmsg and sendmmsg take arrays of structures that point to each other"
)]
//!
//! How it holds: every pointer that is given to the kernel is made in the function that makes the call, from a
//! borrow that lives until the call has returned, and neither what points nor what is pointed to moves in between. Structures are zeroed
//! before their fields are set, because some platforms pad them; all of them are plain old data, for which zero is a value. Lengths
//! that come back from the kernel are trusted no further than slices allow.

use std::io;
use std::mem::{self, size_of};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{iovec, mmsghdr, sockaddr_in, sockaddr_in6};

use super::BATCH;
use super::socket::{Arrived, Outgoing};

/// Whether [`Outgoing::segment`] is understood.
pub(super) const SEGMENTS: bool = true;

/// Receives what is there into consecutive pieces of `stride` bytes of `buffer`, without waiting. Longer datagrams are cut.
///
/// Fewer than there are pieces means that there was no more.
pub(super) fn recv(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    stride: usize,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    // SAFETY: zero is a value of these plain structures.
    let mut names: [sockaddr_in6; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above; a null pointer with length 0 is one that is not used.
    let mut vectors: [iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    let pieces = buffer.chunks_exact_mut(stride);
    for (((piece, name), vector), header) in
        pieces.zip(&mut names).zip(&mut vectors).zip(&mut headers)
    {
        vector.iov_base = piece.as_mut_ptr().cast();
        vector.iov_len = piece.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size_of::<sockaddr_in6>() as _;
        count += 1;
    }
    // SAFETY: `headers` and all that it points to live on; the first `count` of them are set.
    let result = unsafe {
        libc::recvmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            libc::MSG_DONTWAIT as _,
            ptr::null_mut(),
        )
    };
    let received = usize::try_from(result).map_err(|_| io::Error::last_os_error())?;
    arrived.extend(
        headers
            .iter()
            .zip(&names)
            .take(received)
            .map(|(header, name)| Arrived {
                len: stride.min(header.msg_len as usize),
                from: from_name(name),
            }),
    );
    Ok(())
}

/// A control message that asks for a datagram to be cut into several.
#[repr(C)]
struct Segment {
    header: libc::cmsghdr,
    size: u16,
    // The length of a control message is a multiple of the word size.
    padding: [u8; size_of::<usize>() - size_of::<u16>()],
}

/// Sends messages without waiting. Returns how many were sent; what is wrong with the first is an error.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    // SAFETY: zero is a value of these plain structures.
    let mut names: [sockaddr_in6; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above; a null pointer with length 0 is one that is not used.
    let mut vectors: [iovec; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut segments: [Segment; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((((message, name), vector), segment), header) in messages
        .iter()
        .zip(&mut names)
        .zip(&mut vectors)
        .zip(&mut segments)
        .zip(&mut headers)
    {
        // The kernel only reads through it.
        vector.iov_base = message.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = message.bytes.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(to) = message.to {
            header.msg_hdr.msg_namelen = into_name(to, name) as _;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        }
        if let Some(size) = message.segment {
            segment.header.cmsg_level = libc::SOL_UDP;
            segment.header.cmsg_type = libc::UDP_SEGMENT;
            segment.header.cmsg_len = mem::offset_of!(Segment, padding) as _;
            segment.size = size;
            header.msg_hdr.msg_control = ptr::from_mut(segment).cast();
            header.msg_hdr.msg_controllen = size_of::<Segment>() as _;
        }
        count += 1;
    }
    // SAFETY: `headers` and all that it points to live on; the first `count` of them are set.
    let result = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            count,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}

/// Reads an address. IPv4 is told by the family, and lies where IPv6 has its flow information.
fn from_name(name: &sockaddr_in6) -> SocketAddr {
    let port = u16::from_be(name.sin6_port);
    if i32::from(name.sin6_family) == libc::AF_INET {
        let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
        return SocketAddrV4::new(ip, port).into();
    }
    let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into()
}

/// Writes an address, and says how many bytes it has.
fn into_name(addr: SocketAddr, name: &mut sockaddr_in6) -> usize {
    name.sin6_port = addr.port().to_be();
    match addr {
        SocketAddr::V4(addr) => {
            name.sin6_family = libc::AF_INET as _;
            name.sin6_flowinfo = u32::from_ne_bytes(addr.ip().octets());
            size_of::<sockaddr_in>()
        }
        SocketAddr::V6(addr) => {
            name.sin6_family = libc::AF_INET6 as _;
            name.sin6_addr.s6_addr = addr.ip().octets();
            name.sin6_scope_id = addr.scope_id();
            size_of::<sockaddr_in6>()
        }
    }
}
