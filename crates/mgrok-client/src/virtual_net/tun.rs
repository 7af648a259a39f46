//! A TUN device of Linux: `/dev/net/tun`, and the one `ioctl` that makes a device of it.
#![expect(
    unsafe_code,
    reason = "TUNSETIFF takes a structure that no library of ours has, and tokio leaves it to us to keep the file open"
)]
//!
//! Why the unsafe code is sound: the kernel reads and writes `struct ifreq`, of 32 or 40 bytes, whose first 16 are the name and the next two
//! the flags for this request. [`Request`] has that form and the greater length, and lives until the call has returned. All bytes are valid
//! in all its fields. A file that is waited for is owned by what waits, which never replaces it.
//!
//! Not `tun-rs`: it is 500 lines of unsafe code for systems and offloads that are not used here, and brings netlink crates of which one is no
//! longer kept.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use rustix::fs::OFlags;
use rustix::ioctl::{Opcode, Updater, ioctl, opcode};
use tokio::io::unix::AsyncFd;

/// Where devices come from.
pub(super) const PATH: &str = "/dev/net/tun";

/// Packets without a link layer, and nothing ahead of them.
const TUN_WITHOUT_INFO: i16 = 0x0001 | 0x1000;

/// `TUNSETIFF`, which is declared with an `int` although it takes a structure.
const SET_INTERFACE: Opcode = opcode::write::<i32>(b'T', 202);

/// `struct ifreq`, as far as it matters.
#[repr(C)]
struct Request {
    name: [u8; 16],
    flags: i16,
    rest: [u8; 22],
}

/// Makes a device that is gone when the file is closed, and returns its name. In `pattern`, `%d` stands for the lowest number that is free.
///
/// Reading and writing the file take and give one packet each, and never wait.
pub(super) fn open(pattern: &str) -> io::Result<(File, String)> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(OFlags::NONBLOCK.bits().cast_signed())
        .open(PATH)?;
    let mut request = Request {
        name: [0; 16],
        flags: TUN_WITHOUT_INFO,
        rest: [0; 22],
    };
    // The last byte of the name stays zero.
    for (to, from) in request.name[..15].iter_mut().zip(pattern.bytes()) {
        *to = from;
    }
    // SAFETY: the opcode is that of TUNSETIFF, which reads and writes what `Request` is.
    let update = unsafe { Updater::<SET_INTERFACE, Request>::new(&mut request) };
    // SAFETY: as above, and the file is open for the call.
    unsafe { ioctl(file.as_fd(), update) }?;
    let name = request.name.iter().take_while(|byte| **byte != 0);
    let name: Vec<u8> = name.copied().collect();
    Ok((file, String::from_utf8_lossy(&name).into_owned()))
}

/// Has the runtime, within which this must be called, tell when there is a packet to read.
pub(super) fn register(file: File) -> io::Result<AsyncFd<File>> {
    // SAFETY: a `File` owns a descriptor that is open, and nobody takes it out of the `AsyncFd`.
    let registered = unsafe { AsyncFd::register(file) };
    registered.map_err(io::Error::from)
}
