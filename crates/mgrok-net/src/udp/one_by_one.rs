//! One system call per datagram, for systems that have no call for several.

use std::io;

use rustix::fd::BorrowedFd;
use rustix::net::{RecvFlags, SendFlags, recvfrom, send as send_one, sendto};

use super::socket::{Arrived, Outgoing};

/// Whether [`Outgoing::segment`] is supported.
pub(super) const SEGMENTS: bool = false;

/// Would make the system report the destination address of each datagram. This platform does not: the system chooses
/// the source address of answers.
pub(super) fn tell_local(_socket: BorrowedFd<'_>, _v6: bool) -> bool {
    false
}

/// Would make the system hand several datagrams over as one message. This platform does not.
pub(super) fn coalesce(_socket: BorrowedFd<'_>) -> bool {
    false
}

/// Receives the datagrams that have arrived, without waiting, into consecutive pieces of `buffer` of `stride` bytes
/// each. Longer datagrams are truncated.
///
/// Receiving fewer datagrams than there are pieces means that no more had arrived.
pub(super) fn recv(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    stride: usize,
    _told: bool,
    arrived: &mut Vec<Arrived>,
) -> io::Result<()> {
    for piece in buffer.chunks_exact_mut(stride) {
        // Does not block: tokio's sockets are non-blocking.
        match recvfrom(socket, piece, RecvFlags::empty()) {
            Ok((_, len, Some(from))) => {
                if let Ok(from) = from.try_into() {
                    let len = len.min(stride);
                    let local = None;
                    arrived.push(Arrived {
                        len,
                        from,
                        local,
                        segment: len,
                    });
                }
            }
            Ok((_, _, None)) => {}
            Err(_) if !arrived.is_empty() => break,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Sends messages without waiting. Returns how many were sent; fails with the error of the first message if none was.
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
