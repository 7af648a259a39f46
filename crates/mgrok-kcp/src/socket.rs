//! What sessions need of a socket: datagrams in batches.

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};

use tokio::net::UdpSocket;

use crate::packet::MAX_DATAGRAM;

/// Room for one received datagram: more than any that we take, so that longer ones are seen to be cut.
pub const MAX_RECEIVED: usize = 2048;

/// Bytes that a batch may grow to: what Linux cuts into datagrams in one go.
const MAX_BATCH: usize = 65_000;

/// Datagrams that are received one by one before others get their turn.
const MAX_RECEIVES: usize = 32;

/// What a datagram came by, and its answers leave by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Path {
    /// The other end.
    pub peer: SocketAddr,
    /// Which of this host's addresses was meant, and for a link-local one the number of the interface. `None`: not known, and the
    /// system chooses.
    pub local: Option<(IpAddr, u32)>,
}

/// A UDP socket, connected or not. That of tokio moves datagrams one by one, and does not say what a datagram was sent to, so that
/// answers leave from where the system chooses. One that moves many at a time is several times cheaper.
pub trait Socket: fmt::Debug + Send + Sync + 'static {
    /// The socket below, to wait for it.
    fn io(&self) -> &UdpSocket;

    /// Calls `each` for some of the datagrams that are there, without waiting. What is longer than [`MAX_RECEIVED`] is cut.
    ///
    /// # Errors
    ///
    /// There is none, or the system has news of the network instead.
    fn try_recv(&self, each: &mut dyn FnMut(&[u8], Path)) -> io::Result<()>;

    /// Sends datagrams from the front of `batch`, without waiting, and returns how many; `path` is `None` if the socket is connected.
    ///
    /// # Errors
    ///
    /// None could be sent; the error is that of the first.
    fn try_send(&self, batch: &Batch, path: Option<Path>) -> io::Result<usize>;
}

impl Socket for UdpSocket {
    fn io(&self) -> &UdpSocket {
        self
    }

    fn try_recv(&self, each: &mut dyn FnMut(&[u8], Path)) -> io::Result<()> {
        let mut buffer = [0; MAX_RECEIVED];
        for count in 0..MAX_RECEIVES {
            match self.try_recv_from(&mut buffer) {
                Ok((size, peer)) => each(&buffer[..size], Path { peer, local: None }),
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(())
    }

    fn try_send(&self, batch: &Batch, path: Option<Path>) -> io::Result<usize> {
        let mut count = 0;
        for datagram in batch.iter() {
            let result = match path {
                Some(path) => self.try_send_to(datagram, path.peer),
                None => UdpSocket::try_send(self, datagram),
            };
            match result {
                Ok(_) => count += 1,
                Err(error) if count == 0 => return Err(error),
                Err(_) => break,
            }
        }
        Ok(count)
    }
}

/// Datagrams to one place, one behind the other. Used again and again, it allocates nothing.
#[derive(Debug, Default)]
pub struct Batch {
    bytes: Vec<u8>,
    /// Where each datagram ends.
    ends: Vec<usize>,
    /// Datagrams from the front that are done with.
    done: usize,
}

impl Batch {
    /// Lets `write` append datagrams one by one, until it says that there are no more or the batch is full.
    pub(crate) fn fill(&mut self, mut write: impl FnMut(&mut Vec<u8>) -> bool) {
        while self.bytes.len() + MAX_DATAGRAM <= MAX_BATCH && write(&mut self.bytes) {
            self.ends.push(self.bytes.len());
        }
    }

    /// Lets `write` append one datagram.
    pub(crate) fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Whether no datagram is left.
    pub fn is_empty(&self) -> bool {
        self.done == self.ends.len()
    }

    /// The datagrams that are left.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut start = self.start();
        self.ends[self.done..]
            .iter()
            .map(move |&end| &self.bytes[std::mem::replace(&mut start, end)..end])
    }

    /// The bytes of all datagrams that are left.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// Is done with the first `count`.
    pub(crate) fn skip(&mut self, count: usize) {
        self.done += count;
        if self.done >= self.ends.len() {
            self.clear();
        }
    }

    /// Is done with all.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.ends.clear();
        self.done = 0;
    }

    /// Gives memory back, if no datagram is left.
    pub(crate) fn release(&mut self) {
        if self.is_empty() {
            *self = Self::default();
        }
    }

    fn start(&self) -> usize {
        match self.done {
            0 => 0,
            done => self.ends[done - 1],
        }
    }
}
