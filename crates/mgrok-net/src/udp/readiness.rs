//! How a UDP socket learns that it can be read or written.
#![expect(
    unsafe_code,
    reason = "who registers a file for one kind of event has to promise that it stays the same file"
)]

use std::io;
use std::net::UdpSocket as Plain;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::task::{Context, Poll, ready};

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// A socket that is registered with the runtime.
pub trait Registered: AsFd + Sized {
    /// Registers a socket that does not block.
    fn register(socket: Plain) -> io::Result<Self>;

    /// Makes a call that reads. One that would block says that the socket is not readable until the runtime says that it is.
    fn try_read<R>(&self, call: impl FnOnce() -> io::Result<R>) -> io::Result<R>;
}

impl Registered for tokio::net::UdpSocket {
    fn register(socket: Plain) -> io::Result<Self> {
        Self::from_std(socket)
    }

    fn try_read<R>(&self, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.try_io(Interest::READABLE, call)
    }
}

/// A socket that waits for datagrams, and for room only if a call has found none. Who is registered for both is woken each time that a
/// datagram which it has sent is taken in, since that makes room: once more for each.
#[derive(Debug)]
pub struct Reading {
    socket: AsyncFd<Plain>,
    /// The same socket, registered for room once it has lacked some. Boxed, since most never do.
    room: OnceLock<Box<AsyncFd<OwnedFd>>>,
}

impl Reading {
    pub(super) fn local_addr(&self) -> io::Result<std::net::SocketAddr> {
        self.socket.get_ref().local_addr()
    }

    /// Ready when there may be something to read.
    pub(super) fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.socket.poll_read_ready(cx))?.retain_ready();
        Poll::Ready(Ok(()))
    }

    /// Ready when there may be room again, after a call that has found none.
    pub(super) fn poll_room(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let room = match self.room.get() {
            Some(room) => room,
            None => {
                let socket = self.socket.as_fd().try_clone_to_owned()?;
                let room = register(socket, Interest::WRITABLE)?;
                self.room.get_or_init(|| Box::new(room))
            }
        };
        ready!(room.poll_write_ready(cx))?.clear_ready();
        Poll::Ready(Ok(()))
    }
}

/// Registers `socket`, which owns its file, for events of one kind.
fn register<T: AsRawFd + From<OwnedFd> + Into<OwnedFd>>(
    socket: T,
    interest: Interest,
) -> io::Result<AsyncFd<T>> {
    // SAFETY: the callers' two types own one file each, which they neither close nor exchange as long as they live.
    unsafe { AsyncFd::register_with_interest(socket, interest) }.map_err(Into::into)
}

impl AsFd for Reading {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Registered for Reading {
    fn register(socket: Plain) -> io::Result<Self> {
        Ok(Self {
            socket: register(socket, Interest::READABLE)?,
            room: OnceLock::new(),
        })
    }

    fn try_read<R>(&self, call: impl FnOnce() -> io::Result<R>) -> io::Result<R> {
        self.socket.try_io(Interest::READABLE, |_| call())
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn who_has_found_no_room_is_told_of_it_once() {
        let socket = Plain::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let reading = Reading::register(socket).unwrap();
        let room = timeout(Duration::from_secs(20), poll_fn(|cx| reading.poll_room(cx)));
        room.await.unwrap().unwrap();
        let again = poll_fn(|cx| Poll::Ready(reading.poll_room(cx).is_pending())).await;
        assert!(again, "what has been told is not told again");
    }
}
