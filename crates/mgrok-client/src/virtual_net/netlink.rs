//! What is asked of Linux about a network device: to have it up, with an MTU and an address.
//!
//! Three requests of `rtnetlink(7)`, written byte by byte: the crates for it are larger than all of the virtual network. The route to the
//! network comes with the address.

use std::io;
use std::net::IpAddr;
use std::os::fd::{AsFd, OwnedFd};

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netdevice, recv, sendto,
    socket_with,
};

/// The kinds of requests and of answers.
const NEW_LINK: u16 = 16;
const NEW_ADDRESS: u16 = 20;
const ERROR: u16 = 2;

/// It is a request, an answer is wanted, and what it asks for must not be there yet.
const REQUEST: u16 = 0x001;
const ANSWER: u16 = 0x004;
const EXCLUSIVE: u16 = 0x200;
const CREATE: u16 = 0x400;

/// Attributes.
const LINK_MTU: u16 = 4;
const ADDRESS: u16 = 1;
const LOCAL_ADDRESS: u16 = 2;

/// The device is up.
const UP: u32 = 1;
/// Nobody else is asked whether the address is theirs, because nobody else is there.
const NO_DUPLICATE_DETECTION: u8 = 2;

/// Families of addresses.
const IPV4: u8 = 2;
const IPV6: u8 = 10;

/// The length of what stands ahead of a request.
const HEADER: usize = 16;

/// One device.
pub(super) struct Device {
    socket: OwnedFd,
    index: u32,
}

impl Device {
    /// The device `name`.
    pub(super) fn find(name: &str) -> io::Result<Self> {
        let socket = socket_with(
            AddressFamily::NETLINK,
            SocketType::RAW,
            SocketFlags::CLOEXEC,
            // NETLINK_ROUTE, which is 0.
            None,
        )?;
        let index = netdevice::name_to_index(&socket, name)?;
        Ok(Self { socket, index })
    }

    /// Switches it on, with packets of at most `mtu` bytes.
    pub(super) fn set_up(&self, mtu: u32) -> io::Result<()> {
        // Family, padding and type are "any".
        let mut body = vec![0; 4];
        body.extend(self.index.to_ne_bytes());
        // The flags, and which of them are meant.
        body.extend(UP.to_ne_bytes());
        body.extend(UP.to_ne_bytes());
        put_attribute(LINK_MTU, &mtu.to_ne_bytes(), &mut body);
        self.request(NEW_LINK, 0, &body)
    }

    /// Gives it an address, and the route to those that share the prefix.
    pub(super) fn add_address(&self, addr: IpAddr, prefix_len: u8) -> io::Result<()> {
        let family = match addr {
            IpAddr::V4(_) => IPV4,
            IpAddr::V6(_) => IPV6,
        };
        let mut body = vec![family, prefix_len, NO_DUPLICATE_DETECTION, 0];
        body.extend(self.index.to_ne_bytes());
        for attribute in [LOCAL_ADDRESS, ADDRESS] {
            match addr {
                IpAddr::V4(addr) => put_attribute(attribute, &addr.octets(), &mut body),
                IpAddr::V6(addr) => put_attribute(attribute, &addr.octets(), &mut body),
            }
        }
        self.request(NEW_ADDRESS, CREATE | EXCLUSIVE, &body)
    }

    /// Sends a request, and reads its answer, which is there when it is sent.
    fn request(&self, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
        let mut message = Vec::with_capacity(HEADER + body.len());
        // Bodies are some 30 bytes long.
        message.extend(((HEADER + body.len()) as u32).to_ne_bytes());
        message.extend(kind.to_ne_bytes());
        message.extend((REQUEST | ANSWER | flags).to_ne_bytes());
        // Its number, and from whom: there is one at a time.
        message.extend([0; 8]);
        message.extend(body);
        let kernel = SocketAddrNetlink::new(0, 0);
        sendto(self.socket.as_fd(), &message, SendFlags::empty(), &kernel)?;
        let mut answer = [0; 4096];
        let (length, _) = recv(self.socket.as_fd(), &mut answer, RecvFlags::empty())?;
        let answer = answer.get(..length).unwrap_or_default();
        let kind: Option<&[u8; 2]> = answer.get(4..).and_then(|it| it.first_chunk());
        let code: Option<&[u8; 4]> = answer.get(HEADER..).and_then(|it| it.first_chunk());
        match (kind.copied().map(u16::from_ne_bytes), code) {
            (Some(ERROR), Some(code)) => match i32::from_ne_bytes(*code) {
                0 => Ok(()),
                code => Err(io::Error::from_raw_os_error(code.saturating_neg())),
            },
            _ => Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Adds an attribute whose value is a multiple of four bytes long.
fn put_attribute(kind: u16, value: &[u8], out: &mut Vec<u8>) {
    // Values are addresses and numbers.
    out.extend(((4 + value.len()) as u16).to_ne_bytes());
    out.extend(kind.to_ne_bytes());
    out.extend(value);
}
