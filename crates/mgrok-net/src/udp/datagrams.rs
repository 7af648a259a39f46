//! A batch of datagrams, stored one after the other in one buffer.

use std::net::SocketAddr;
use std::ops::Range;

use bytes::BytesMut;
use mgrok_proto::DecodeError;
use mgrok_proto::udp::binary;

use super::LocalAddr;

/// A larger buffer is released when it is empty, so that a burst does not occupy memory for ever. The next buffer is as
/// large as the last batch was, up to [`MAX_FRESH`], so that it need not grow from nothing.
const KEPT_CAPACITY: usize = 16 * 1024;
const MAX_FRESH: usize = 64 * 1024;
/// The same limit for the list of entries.
const KEPT_ENTRIES: usize = 256;

/// Datagrams with their addresses, in order. Allocates nothing when it is reused.
#[derive(Debug, Default)]
pub struct Datagrams {
    bytes: BytesMut,
    entries: Vec<Entry>,
    /// The size of the last batch in bytes.
    last_len: usize,
    /// How many entries at the front have been consumed.
    done: usize,
}

/// One datagram of a batch.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Entry {
    pub(super) start: usize,
    pub(super) len: usize,
    pub(super) addr: SocketAddr,
    /// The local address to send from; `None` lets the system choose.
    pub(super) local: Option<LocalAddr>,
}

impl Datagrams {
    /// Adds a datagram.
    pub fn push(&mut self, payload: &[u8], addr: SocketAddr) {
        let start = self.bytes.len();
        self.bytes_mut().extend_from_slice(payload);
        self.push_from(start, addr);
    }

    /// The buffer of all payloads, to which more may be appended.
    pub(super) fn bytes_mut(&mut self) -> &mut BytesMut {
        if self.bytes.capacity() == 0 {
            self.bytes.reserve(self.last_len);
        }
        &mut self.bytes
    }

    /// Adds a datagram whose payload has been appended to the buffer, from `start` on.
    pub(super) fn push_from(&mut self, start: usize, addr: SocketAddr) {
        self.entries.push(Entry {
            start,
            len: self.bytes.len() - start,
            addr,
            local: None,
        });
    }

    /// Adds the datagrams of a frame that arrived in a QUIC datagram.
    pub(super) fn push_frame(&mut self, frame: &[u8]) -> Result<(), DecodeError> {
        let mut start = self.bytes_mut().len();
        let entries = &mut self.entries;
        binary::Decoder::decode_quic(frame, &mut self.bytes, |bytes, addr| {
            let len = bytes.len() - start;
            entries.push(Entry {
                start,
                len,
                addr,
                local: None,
            });
            start = bytes.len();
        })
    }

    /// Whether no datagram is left.
    pub fn is_empty(&self) -> bool {
        self.done == self.entries.len()
    }

    /// How many datagrams are left.
    pub fn len(&self) -> usize {
        self.entries.len() - self.done
    }

    /// The remaining datagrams.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.left().iter().map(|it| (self.payload(it), it.addr))
    }

    /// The address of the first remaining datagram, and how many datagrams in a row have it.
    pub fn front_run(&self) -> Option<(SocketAddr, usize)> {
        let addr = self.left().first()?.addr;
        let same = self.left().iter().take_while(|it| it.addr == addr);
        Some((addr, same.count()))
    }

    /// Calls `route` for the local address that datagrams to each address leave from, and drops those for which it
    /// returns `None`. Returns how many were dropped. Calls it once for datagrams in a row to one address.
    pub(super) fn route(
        &mut self,
        mut route: impl FnMut(SocketAddr) -> Option<Option<LocalAddr>>,
    ) -> u64 {
        self.entries.drain(..self.done);
        self.done = 0;
        let before = self.entries.len();
        let mut last = None;
        self.entries.retain_mut(|entry| {
            let local = match last {
                Some((addr, local)) if addr == entry.addr => local,
                Some(_) | None => route(entry.addr),
            };
            last = Some((entry.addr, local));
            entry.local = local.flatten();
            local.is_some()
        });
        let dropped = before - self.entries.len();
        if self.is_empty() {
            self.clear();
        }
        dropped as u64
    }

    /// Consumes the first `count` datagrams.
    pub fn skip(&mut self, count: usize) {
        self.done = self.entries.len().min(self.done + count);
        if self.is_empty() {
            self.clear();
        }
    }

    pub(super) fn left(&self) -> &[Entry] {
        &self.entries[self.done..]
    }

    pub(super) fn payload(&self, entry: &Entry) -> &[u8] {
        &self.bytes[entry.range()]
    }

    /// The buffer that holds the payloads.
    pub(super) fn all_bytes(&self) -> &[u8] {
        &self.bytes
    }

    fn clear(&mut self) {
        self.done = 0;
        self.last_len = self.bytes.len().min(MAX_FRESH);
        self.entries.clear();
        self.bytes.clear();
        if self.bytes.capacity() > KEPT_CAPACITY {
            self.bytes = BytesMut::new();
        }
        if self.entries.capacity() > KEPT_ENTRIES {
            self.entries = Vec::new();
        }
    }
}

impl Entry {
    fn range(self) -> Range<usize> {
        self.start..self.start + self.len
    }
}
