//! Which connection leads to which address: those that visitors name, and those that packets have come from.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::Queue;

/// The most connections of a virtual network.
const MAX_CONNECTIONS: usize = 1024;
/// The most addresses that packets of one connection have come from: those of a network behind a visitor.
const MAX_SOURCES_OF_ONE: usize = 256;
/// The same of all connections.
const MAX_SOURCES: usize = 16_384;
/// How long an address may be silent, when there is no room for another.
const MAX_SILENCE: Duration = Duration::from_secs(300);
/// The least time from one search for silent addresses to the next.
const SWEEP_INTERVAL: Duration = Duration::from_secs(10);

/// A connection.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) struct ConnectionId(u64);

/// The table. Everything of a connection is in it from [`join`](Self::join) to [`leave`](Self::leave).
#[derive(Debug, Default)]
pub(super) struct Routes {
    last_id: u64,
    connections: HashMap<ConnectionId, Connection>,
    /// What visitors lead to.
    destinations: HashMap<IpAddr, (ConnectionId, Arc<Queue>)>,
    /// What has been learned from packets.
    sources: HashMap<IpAddr, Source>,
    swept: Option<Instant>,
    is_closed: bool,
}

#[derive(Debug)]
struct Connection {
    queue: Arc<Queue>,
    /// How many of the sources are its own.
    sources: usize,
}

#[derive(Debug)]
struct Source {
    id: ConnectionId,
    queue: Arc<Queue>,
    seen: Instant,
}

impl Routes {
    /// Adds a connection, which leads to `destination` if there is one, instead of any other that does; `None` if there are too many,
    /// or the network is closed.
    pub(super) fn join(
        &mut self,
        queue: &Arc<Queue>,
        destination: Option<IpAddr>,
    ) -> Option<ConnectionId> {
        if self.is_closed || self.connections.len() >= MAX_CONNECTIONS {
            return None;
        }
        self.last_id += 1;
        let id = ConnectionId(self.last_id);
        let connection = Connection {
            queue: queue.clone(),
            sources: 0,
        };
        self.connections.insert(id, connection);
        if let Some(destination) = destination {
            self.destinations.insert(destination, (id, queue.clone()));
        }
        Some(id)
    }

    /// Forgets a connection, and what leads to it.
    pub(super) fn leave(&mut self, id: ConnectionId) {
        let left = self.connections.remove(&id);
        self.destinations.retain(|_, (of, _)| *of != id);
        if left.is_some_and(|it| it.sources > 0) {
            self.sources.retain(|_, it| it.id != id);
        }
    }

    /// Ends all connections there are, and has no others.
    pub(super) fn close(&mut self) {
        self.is_closed = true;
        for connection in self.connections.values() {
            connection.queue.close();
        }
    }

    /// Notes that a packet from `addr` has come by a connection, so that answers take it; `false` if there is no room for that.
    // frp: of several connections the last counts too (pkg/vnet/controller.go#registerSrcIP)
    pub(super) fn learn(&mut self, addr: IpAddr, id: ConnectionId, now: Instant) -> bool {
        if let Some(source) = self.sources.get_mut(&addr)
            && source.id == id
        {
            source.seen = now;
            return true;
        }
        if !self.has_room_for(id) {
            self.sweep(now);
            if !self.has_room_for(id) {
                return false;
            }
        }
        let Some(connection) = self.connections.get_mut(&id) else {
            return false;
        };
        connection.sources += 1;
        let source = Source {
            id,
            queue: connection.queue.clone(),
            seen: now,
        };
        if let Some(before) = self.sources.insert(addr, source) {
            self.forget_one_of(before.id);
        }
        true
    }

    /// Where packets for `addr` wait to be sent.
    pub(super) fn find(&self, addr: IpAddr) -> Option<&Arc<Queue>> {
        match self.destinations.get(&addr) {
            Some((_, queue)) => Some(queue),
            None => self.sources.get(&addr).map(|it| &it.queue),
        }
    }

    fn has_room_for(&self, id: ConnectionId) -> bool {
        let own = self.connections.get(&id).map_or(0, |it| it.sources);
        own < MAX_SOURCES_OF_ONE && self.sources.len() < MAX_SOURCES
    }

    fn forget_one_of(&mut self, id: ConnectionId) {
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.sources = connection.sources.saturating_sub(1);
        }
    }

    /// Forgets addresses that have been silent for long, unless that was done just now.
    fn sweep(&mut self, now: Instant) {
        let since = |then: Instant| now.saturating_duration_since(then);
        if self.swept.is_some_and(|then| since(then) < SWEEP_INTERVAL) {
            return;
        }
        self.swept = Some(now);
        let silent = self
            .sources
            .extract_if(|_, source| since(source.seen) >= MAX_SILENCE);
        let silent: Vec<ConnectionId> = silent.map(|(_, source)| source.id).collect();
        for id in silent {
            self.forget_one_of(id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn addr(number: u32) -> IpAddr {
        Ipv4Addr::from(0x6456_0000 + number).into()
    }

    fn leads(routes: &Routes, to: u32, queue: &Arc<Queue>) -> bool {
        routes
            .find(addr(to))
            .is_some_and(|it| Arc::ptr_eq(it, queue))
    }

    #[test]
    fn a_route_lasts_as_long_as_its_connection() {
        let mut routes = Routes::default();
        let now = Instant::now();
        let [visit, host] = [(); 2].map(|()| Arc::new(Queue::default()));
        let visitor = routes.join(&visit, Some(addr(1))).unwrap();
        let learner = routes.join(&host, None).unwrap();
        assert!(routes.learn(addr(2), learner, now));
        assert!(leads(&routes, 1, &visit) && leads(&routes, 2, &host));
        assert!(routes.find(addr(3)).is_none());
        // What a visitor names goes before what somebody claims to be.
        assert!(routes.learn(addr(1), learner, now));
        assert!(leads(&routes, 1, &visit));
        routes.leave(visitor);
        assert!(leads(&routes, 1, &host));
        routes.leave(learner);
        assert!(routes.find(addr(1)).is_none() && routes.find(addr(2)).is_none());
        assert!(routes.sources.is_empty() && routes.destinations.is_empty());
    }

    #[test]
    fn of_two_connections_the_later_counts() {
        let mut routes = Routes::default();
        let now = Instant::now();
        let [old, new] = [(); 2].map(|()| Arc::new(Queue::default()));
        let first = routes.join(&old, Some(addr(1))).unwrap();
        assert!(routes.learn(addr(2), first, now));
        let second = routes.join(&new, Some(addr(1))).unwrap();
        assert!(routes.learn(addr(2), second, now));
        assert!(leads(&routes, 1, &new) && leads(&routes, 2, &new));
        routes.leave(first);
        assert!(leads(&routes, 1, &new) && leads(&routes, 2, &new));
    }

    #[test]
    fn one_connection_cannot_fill_the_table() {
        let mut routes = Routes::default();
        let begin = Instant::now();
        let [flood, other] = [(); 2].map(|()| Arc::new(Queue::default()));
        let flooding = routes.join(&flood, None).unwrap();
        let learned = (0..100_000)
            .filter(|number| routes.learn(addr(*number), flooding, begin))
            .count();
        assert_eq!(learned, MAX_SOURCES_OF_ONE);
        assert_eq!(routes.sources.len(), MAX_SOURCES_OF_ONE);
        let quiet = routes.join(&other, None).unwrap();
        assert!(routes.learn(addr(200_000), quiet, begin));
        // Addresses that somebody keeps using stay, the others make room.
        let later = begin + MAX_SILENCE;
        assert!(routes.learn(addr(7), flooding, later));
        assert!(routes.learn(addr(300_000), flooding, later));
        assert!(leads(&routes, 7, &flood) && leads(&routes, 300_000, &flood));
        assert!(routes.find(addr(8)).is_none());
        assert_eq!(routes.connections[&flooding].sources, 2);
    }

    #[test]
    fn connections_are_bounded_too_and_leave_room_when_they_end() {
        let mut routes = Routes::default();
        let queue = Arc::new(Queue::default());
        let ids: Vec<_> = std::iter::from_fn(|| routes.join(&queue, None)).collect();
        assert_eq!(ids.len(), MAX_CONNECTIONS);
        routes.leave(ids[0]);
        assert!(routes.join(&queue, None).is_some());
        routes.close();
        routes.leave(ids[1]);
        assert!(routes.join(&queue, None).is_none(), "it is closed");
    }
}
