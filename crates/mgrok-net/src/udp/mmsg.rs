//! The Linux calls that move many datagrams at once, `recvmmsg(2)` and `sendmmsg(2)`.
#![expect(
    unsafe_code,
    reason = "recvmmsg and sendmmsg take arrays of structures that point to each other"
)]
//!
//! Why the unsafe code is sound: every pointer that the kernel gets is created in the function that makes the call,
//! from a borrow that lives until the call has returned, and neither the pointers nor their targets move in between.
//! Structures are zeroed before their fields are set, because some platforms pad them; all of them are plain old data,
//! for which zero is a valid value. Lengths that the kernel returns are only used to index slices, which checks them.
//! Control messages are read and written as bytes of slices, and only their header is copied from and to its structure.
//!
//! Not built on `nix`, whose safe wrappers share one set of control messages among all datagrams of a call and allocate
//! for them. Here each datagram has its own source address and segment size. `rustix` has `sendmmsg` without these
//! control messages, and no `recvmmsg`; `socket2` has neither.

use std::io;
use std::mem::{self, size_of};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use libc::{c_int, cmsghdr, iovec, mmsghdr, sockaddr_in, sockaddr_in6};

use super::socket::{Arrived, LocalAddr, Outgoing};
use super::{BATCH, FEW};

/// Whether [`Outgoing::segment`] is supported.
pub(super) const SEGMENTS: bool = true;

/// Makes the system report the destination address of each datagram on `socket`. Returns whether it will.
pub(super) fn tell_local(socket: BorrowedFd<'_>, v6: bool) -> bool {
    // A dual-stack socket gets IPv4 destinations from either option. The IPv4 option also gives the address from which
    // to answer a broadcast.
    let v4 = set(socket, libc::SOL_IP, libc::IP_PKTINFO);
    if v6 {
        set(socket, libc::SOL_IPV6, libc::IPV6_RECVPKTINFO)
    } else {
        v4
    }
}

/// Makes the system hand datagrams of one size from one address over as one message ([`Arrived::segment`]). Returns
/// whether it will.
pub(super) fn coalesce(socket: BorrowedFd<'_>) -> bool {
    set(socket, libc::SOL_UDP, libc::UDP_GRO)
}

/// Switches an option on; returns whether that worked.
fn set(socket: BorrowedFd<'_>, level: c_int, option: c_int) -> bool {
    let on: c_int = 1;
    // SAFETY: pointer and length are those of `on`, which is only read.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            level,
            option,
            ptr::from_ref(&on).cast(),
            size_of::<c_int>() as _,
        )
    };
    result == 0
}

/// Receives the datagrams that have arrived, without waiting, into consecutive pieces of `buffer` of `stride` bytes
/// each. Longer datagrams are truncated. `told` says whether the system reports anything about them: their destination,
/// or that several were coalesced.
///
/// Receiving fewer messages than there are pieces means that no more had arrived.
pub(super) fn recv(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    stride: usize,
    told: bool,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    // The structures for a whole batch are some 7 KiB to zero.
    if buffer.len() / stride <= FEW {
        recv_up_to::<FEW>(socket, buffer, stride, told, arrived)
    } else {
        recv_up_to::<BATCH>(socket, buffer, stride, told, arrived)
    }
}

/// As [`recv`], for at most `N` messages.
fn recv_up_to<const N: usize>(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    stride: usize,
    told: bool,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    let mut controls = [const { Control::new() }; N];
    // SAFETY: zero is a valid value of these plain structures.
    let mut names: [sockaddr_in6; N] = unsafe { mem::zeroed() };
    // SAFETY: as above; a null pointer with length 0 is unused.
    let mut vectors: [iovec; N] = unsafe { mem::zeroed() };
    // SAFETY: as above.
    let mut headers: [mmsghdr; N] = unsafe { mem::zeroed() };
    let mut count = 0;
    let pieces = buffer.chunks_exact_mut(stride);
    for ((((piece, name), vector), control), header) in pieces
        .zip(&mut names)
        .zip(&mut vectors)
        .zip(&mut controls)
        .zip(&mut headers)
    {
        vector.iov_base = piece.as_mut_ptr().cast();
        vector.iov_len = piece.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        header.msg_hdr.msg_namelen = size_of::<sockaddr_in6>() as _;
        if told {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = size_of::<Control>() as _;
        }
        count += 1;
    }
    // SAFETY: `headers` and everything that it points to stay alive; its first `count` entries are set.
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
            .zip(&controls)
            .take(received)
            .map(|((header, name), control)| {
                let len = stride.min(header.msg_len as usize);
                let told = control.told(header.msg_hdr.msg_controllen as _);
                Arrived {
                    len,
                    from: from_name(name),
                    local: told.local,
                    segment: told.segment.unwrap_or(len),
                }
            }),
    );
    Ok(())
}

/// Sends messages without waiting. Returns how many were sent; fails with the error of the first message if none was.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    // SAFETY: zero is a valid value of these plain structures.
    let mut names: [sockaddr_in6; BATCH] = unsafe { mem::zeroed() };
    // SAFETY: as above; a null pointer with length 0 is unused.
    let mut vectors: [iovec; BATCH] = unsafe { mem::zeroed() };
    let mut controls = [const { Control::new() }; BATCH];
    // SAFETY: as above.
    let mut headers: [mmsghdr; BATCH] = unsafe { mem::zeroed() };
    let mut count = 0;
    for ((((message, name), vector), control), header) in messages
        .iter()
        .zip(&mut names)
        .zip(&mut vectors)
        .zip(&mut controls)
        .zip(&mut headers)
    {
        // The kernel only reads through this pointer.
        vector.iov_base = message.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = message.bytes.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(to) = message.to {
            header.msg_hdr.msg_namelen = into_name(to, name) as _;
            header.msg_hdr.msg_name = ptr::from_mut(name).cast();
        }
        let mut len = 0;
        if let Some(size) = message.segment {
            len = control.put(len, libc::SOL_UDP, libc::UDP_SEGMENT, &size.to_ne_bytes());
        }
        if let Some(local) = message.local {
            len = control.put_local(len, local);
        }
        if len > 0 {
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = len as _;
        }
        count += 1;
    }
    // SAFETY: `headers` and everything that it points to stay alive; its first `count` entries are set.
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

/// Reads an address of the family that it names. An IPv4 address occupies the bytes of IPv6 flow information.
fn from_name(name: &sockaddr_in6) -> SocketAddr {
    let port = u16::from_be(name.sin6_port);
    if i32::from(name.sin6_family) == libc::AF_INET {
        let ip = Ipv4Addr::from(name.sin6_flowinfo.to_ne_bytes());
        return SocketAddrV4::new(ip, port).into();
    }
    let ip = Ipv6Addr::from(name.sin6_addr.s6_addr);
    SocketAddrV6::new(ip, port, 0, name.sin6_scope_id).into()
}

/// Writes an address, and returns its length in bytes.
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

/// The alignment of control messages; their lengths are multiples of it.
const ALIGN: usize = size_of::<usize>();
/// Offset of the data in a control message.
const CONTROL_HEAD: usize = size_of::<cmsghdr>().next_multiple_of(ALIGN);
/// The size of an interface, the address that an answer leaves from, and the address in the datagram's header, of 4
/// bytes each.
const PKTINFO: usize = 12;
/// The size of an address, 16 bytes, and an interface.
const PKTINFO_V6: usize = 20;

/// The size of the datagrams that were coalesced, a C `int`.
const SEGMENT_SIZE: usize = size_of::<c_int>();

/// Room for the control messages of one datagram: at most three of those that are received, two of those that are sent.
#[repr(C, align(8))]
struct Control([u8; CONTROL_LEN]);

const CONTROL_LEN: usize = 3 * CONTROL_HEAD
    + PKTINFO.next_multiple_of(ALIGN)
    + PKTINFO_V6.next_multiple_of(ALIGN)
    + SEGMENT_SIZE.next_multiple_of(ALIGN);

/// What the system reports about a message.
#[derive(Default)]
struct Told {
    /// Its destination.
    local: Option<LocalAddr>,
    /// The size of the datagrams that were coalesced into it.
    segment: Option<usize>,
}

impl Control {
    const fn new() -> Self {
        Self([0; CONTROL_LEN])
    }

    /// Reads the first `len` bytes.
    fn told(&self, len: usize) -> Told {
        let mut told = Told::default();
        let mut rest = self.0.get(..len).unwrap_or_default();
        while let Some((head, _)) = rest.split_at_checked(CONTROL_HEAD) {
            // SAFETY: `head` has the size of the structure, of which all values are valid.
            let header: cmsghdr = unsafe { ptr::read_unaligned(head.as_ptr().cast()) };
            let len: usize = header.cmsg_len as _;
            let Some(data) = rest.get(CONTROL_HEAD..len) else {
                break;
            };
            match (header.cmsg_level, header.cmsg_type) {
                (libc::SOL_IP, libc::IP_PKTINFO) => {
                    if let &[_, _, _, _, a, b, c, d, ..] = data {
                        // For a broadcast this is the address of the interface.
                        told.local = LocalAddr::new(IpAddr::from([a, b, c, d]), 0);
                    }
                }
                // On a dual-stack socket a datagram of IPv4 has both, of which the other one counts.
                (libc::SOL_IPV6, libc::IPV6_PKTINFO) if told.local.is_none() => {
                    if let Some((ip, interface)) = data.split_first_chunk::<16>()
                        && let Some(&interface) = interface.first_chunk()
                    {
                        told.local =
                            LocalAddr::new(IpAddr::from(*ip), u32::from_ne_bytes(interface));
                    }
                }
                (libc::SOL_UDP, libc::UDP_GRO) => {
                    if let Some(&size) = data.first_chunk() {
                        let size = usize::try_from(c_int::from_ne_bytes(size)).ok();
                        told.segment = size.filter(|&size| size > 0);
                    }
                }
                _ => {}
            }
            rest = rest.get(len.next_multiple_of(ALIGN)..).unwrap_or_default();
        }
        told
    }

    /// Appends the source address of a datagram after the first `len` bytes. Returns the new length.
    fn put_local(&mut self, len: usize, local: LocalAddr) -> usize {
        match local.ip {
            IpAddr::V4(ip) => {
                let mut info = [0; PKTINFO];
                info[4..8].copy_from_slice(&ip.octets());
                self.put(len, libc::SOL_IP, libc::IP_PKTINFO, &info)
            }
            IpAddr::V6(ip) => {
                let mut info = [0; PKTINFO_V6];
                info[..16].copy_from_slice(&ip.octets());
                info[16..].copy_from_slice(&local.interface.to_ne_bytes());
                self.put(len, libc::SOL_IPV6, libc::IPV6_PKTINFO, &info)
            }
        }
    }

    /// Appends a control message after the first `len` bytes. Returns the new length.
    fn put(&mut self, len: usize, level: c_int, kind: c_int, data: &[u8]) -> usize {
        // SAFETY: zero is a valid value of this plain structure.
        let mut header: cmsghdr = unsafe { mem::zeroed() };
        header.cmsg_len = (CONTROL_HEAD + data.len()) as _;
        header.cmsg_level = level;
        header.cmsg_type = kind;
        let (head, rest) = self.0[len..].split_at_mut(CONTROL_HEAD);
        rest[..data.len()].copy_from_slice(data);
        // SAFETY: `head` has the size of the structure.
        unsafe { ptr::write_unaligned(head.as_mut_ptr().cast(), header) };
        len + CONTROL_HEAD + data.len().next_multiple_of(ALIGN)
    }
}
