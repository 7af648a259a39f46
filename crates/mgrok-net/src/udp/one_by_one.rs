//! One system call per datagram, for systems without better ones.

use std::io;

use rustix::fd::BorrowedFd;
use rustix::net::{RecvFlags, SendFlags, recvfrom, send as send_one, sendto};

use super::socket::{Arrived, Outgoing};

/// Whether [`Outgoing::segment`] is understood.
pub(super) const SEGMENTS: bool = false;

/// Asks for the destination address of each datagram, which this platform does not give: the system chooses the source of answers.
pub(super) fn tell_local(_socket: BorrowedFd<'_>, _v6: bool) -> bool {
    false
}

/// Receives what is there into consecutive pieces of `stride` bytes of `buffer`, without waiting. Longer datagrams are cut.
///
/// Fewer than there are pieces means that there was no more.
pub(super) fn recv(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    stride: usize,
    _told_local: bool,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    for piece in buffer.chunks_exact_mut(stride) {
        // Sockets of tokio do not wait.
        match recvfrom(socket, piece, RecvFlags::empty()) {
            Ok((_, len, Some(from))) => {
                if let Ok(from) = from.try_into() {
                    let len = len.min(stride);
                    let local = None;
                    arrived.push(Arrived { len, from, local });
                }
            }
            Ok((_, _, None)) => {}
            Err(_) if !arrived.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends messages without waiting. Returns how many were sent; what is wrong with the first is an error.
pub(super) fn send(socket: BorrowedFd<'_>, messages: &[Outgoing<'_>]) -> io::Result<usize> {
    for (sent, message) in messages.iter().enumerate() {
        let result = match message.to {
            Some(to) => sendto(socket, message.bytes, SendFlags::empty(), &to),
            None => send_one(socket, message.bytes, SendFlags::empty()),
        };
        match result {
            Ok(_) => {}
            Err(_) if sent > 0 => return Ok(sent),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(messages.len())
}
