//! Implements the socket interface of KCP.

use std::io;

use mgrok_kcp::{Batch, MAX_RECEIVED, Path, Socket};
use tokio::io::Interest;

use super::datagrams::Entry;
use super::socket::{LocalAddr, SharedUdpSocket};

/// The most datagrams of one sending call.
const MAX_SENT: usize = 64;

impl Socket for SharedUdpSocket {
    fn io(&self) -> &tokio::net::UdpSocket {
        &self.io
    }

    fn try_recv(&self, each: &mut dyn FnMut(&[u8], Path)) -> io::Result<()> {
        self.try_recv(MAX_RECEIVED, |datagram, peer, local| {
            let local = local.map(|local| (local.ip, local.interface));
            each(datagram, Path { peer, local });
        })
    }

    fn try_send(&self, batch: &Batch, path: Option<Path>) -> io::Result<usize> {
        // A connected socket ignores this address.
        let addr = path.map_or(([0; 4], 0).into(), |path| path.peer);
        let local = path.and_then(|path| path.local);
        let none = Entry {
            start: 0,
            len: 0,
            addr,
            local: local.map(|(ip, interface)| LocalAddr { ip, interface }),
        };
        let mut entries = [none; MAX_SENT];
        let (mut start, mut count) = (0, 0);
        for (entry, datagram) in entries.iter_mut().zip(batch.iter()) {
            entry.start = start;
            entry.len = datagram.len();
            start += entry.len;
            count += 1;
        }
        let sent = self.io.try_io(Interest::WRITABLE, || {
            self.send_some(batch.bytes(), &entries[..count])
        });
        sent.map(|(count, _)| count)
    }
}
