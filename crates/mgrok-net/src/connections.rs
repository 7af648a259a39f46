//! The live connections of one proxy's users, and what its users have moved: the table of either end.
//!
//! A connection counts into its own [`Traffic`] while it lives. The lock of this table is taken when a connection opens, ends, or is
//! looked at, and never while bytes move.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Poll, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use slab::Slab;

use crate::relay::Traffic;

/// An empty table gives its room back if it had room for more.
const KEPT_ROOM: usize = 64;

/// A live connection of a user, as it is at this moment.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ConnectionInfo {
    /// No other connection of this program has or had it.
    pub id: u64,
    /// The name of the proxy.
    pub proxy: Arc<str>,
    /// Where the user comes from; an unspecified address if nobody says.
    pub from: SocketAddr,
    /// When the connection reached its service.
    pub since: SystemTime,
    /// Bytes that the user was sent.
    pub sent: u64,
    /// Bytes that the user has sent.
    pub received: u64,
}

/// Bytes that have moved.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Moved {
    /// To the user.
    pub sent: u64,
    /// From the user.
    pub received: u64,
}

/// A live connection. There is one of these for each user, so that it is kept small.
#[derive(Debug)]
pub struct Connection {
    /// Where the user comes from; an unspecified address if nobody says.
    pub from: SocketAddr,
    /// What it moves is counted here.
    pub traffic: Traffic,
    /// In milliseconds since 1970.
    since: u64,
    is_closed: AtomicBool,
    /// Wakes whoever serves the connection.
    waker: Waker,
}

/// The connections of one proxy.
#[derive(Debug, Default)]
pub struct Connections(Mutex<Table>);

#[derive(Debug, Default)]
struct Table {
    /// Each with its id.
    live: Slab<(u64, Arc<Connection>)>,
    /// What those have moved that have ended.
    ended: Moved,
    opened: u64,
}

/// What the connections of one proxy come to.
#[derive(Clone, Copy, Debug, Default)]
pub struct Totals {
    /// Those that live.
    pub live: usize,
    /// Those that live and those that have ended.
    pub opened: u64,
    /// What all of them have moved.
    pub moved: Moved,
}

impl Connection {
    /// A connection of a user who comes from `from`. `waker` wakes the task that is to end if the connection is to be closed.
    pub fn new(from: SocketAddr, waker: Waker) -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let since = since.unwrap_or_default().as_millis();
        Self {
            from,
            traffic: Traffic::default(),
            since: u64::try_from(since).unwrap_or(u64::MAX),
            is_closed: AtomicBool::new(false),
            waker,
        }
    }

    /// What `serving` comes to; `None` if the connection is to be closed before. It has to be awaited in the task that `waker` wakes.
    // Not an async function, which would hold `serving` twice.
    pub fn until_closed<F: Future + Unpin>(
        &self,
        mut serving: F,
    ) -> impl Future<Output = Option<F::Output>> {
        poll_fn(move |cx| {
            if self.is_closed.load(Ordering::Acquire) {
                return Poll::Ready(None);
            }
            Pin::new(&mut serving).poll(cx).map(Some)
        })
    }

    fn close(&self) {
        self.is_closed.store(true, Ordering::Release);
        self.waker.wake_by_ref();
    }

    /// The connection as it is now, whose proxy is called `proxy`.
    pub fn info(&self, id: u64, proxy: &Arc<str>) -> ConnectionInfo {
        let Moved { sent, received } = Moved::of(&self.traffic);
        ConnectionInfo {
            id,
            proxy: proxy.clone(),
            from: self.from,
            since: UNIX_EPOCH + Duration::from_millis(self.since),
            sent,
            received,
        }
    }
}

impl Connections {
    /// Adds a connection; returns its place in the table.
    pub fn insert(&self, id: u64, connection: Arc<Connection>) -> usize {
        let mut table = self.table();
        table.opened += 1;
        table.live.insert((id, connection))
    }

    /// Takes a connection out. What it moved counts among what has ended from the same moment. Returns its id.
    pub fn remove(&self, place: usize) -> Option<u64> {
        let mut table = self.table();
        let (id, connection) = table.live.try_remove(place)?;
        table.ended = table.ended.plus(Moved::of(&connection.traffic));
        if table.live.is_empty() && table.live.capacity() > KEPT_ROOM {
            table.live = Slab::new();
        }
        drop(table);
        Some(id)
    }

    /// What they come to now.
    pub fn totals(&self) -> Totals {
        let table = self.table();
        let live = table.live.iter().map(|(_, (_, it))| Moved::of(&it.traffic));
        Totals {
            live: table.live.len(),
            opened: table.opened,
            moved: live.fold(table.ended, Moved::plus),
        }
    }

    /// Whether none lives.
    pub fn is_empty(&self) -> bool {
        self.live() == 0
    }

    /// How many live.
    pub fn live(&self) -> usize {
        self.table().live.len()
    }

    /// The live connections of the proxy, whose name is `proxy`.
    pub fn list(&self, proxy: &Arc<str>) -> Vec<ConnectionInfo> {
        let live = self.all();
        live.iter().map(|(id, it)| it.info(*id, proxy)).collect()
    }

    /// Has the connection `id` closed; `false` if there is none.
    pub fn close(&self, id: u64) -> bool {
        let found = {
            let table = self.table();
            let found = table.live.iter().find(|(_, (it, _))| *it == id);
            found.map(|(_, (_, connection))| connection.clone())
        };
        found.inspect(|it| it.close()).is_some()
    }

    /// Has all connections closed; returns how many.
    pub fn close_all(&self) -> usize {
        // Woken without the lock: whoever ends takes it.
        let live = self.all();
        live.iter().for_each(|(_, connection)| connection.close());
        live.len()
    }

    fn all(&self) -> Vec<(u64, Arc<Connection>)> {
        let table = self.table();
        table.live.iter().map(|(_, row)| row.clone()).collect()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Moved {
    /// What `traffic` has counted.
    pub fn of(traffic: &Traffic) -> Self {
        Self {
            sent: traffic.sent.load(Ordering::Relaxed),
            received: traffic.received.load(Ordering::Relaxed),
        }
    }

    /// What has moved since it was `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            sent: self.sent.saturating_sub(before.sent),
            received: self.received.saturating_sub(before.received),
        }
    }

    /// Both together.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            sent: self.sent + other.sent,
            received: self.received + other.received,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connection() -> Arc<Connection> {
        let from = "192.0.2.1:7".parse().unwrap();
        Arc::new(Connection::new(from, Waker::noop().clone()))
    }

    /// There may be hundreds of thousands. With its place in the table, its references and what the allocator adds it is to cost 150
    /// bytes at most.
    #[test]
    fn a_connection_is_small() {
        let counts = 2 * size_of::<usize>();
        let place = size_of::<(u64, Arc<Connection>)>();
        let size = size_of::<Connection>() + counts + place;
        assert!(size <= 112, "{size} bytes");
    }

    #[test]
    fn what_a_connection_moved_counts_once_before_and_after_its_end() {
        let connections = Connections::default();
        let (first, second) = (connection(), connection());
        let places = [&first, &second].map(|it| connections.insert(0, it.clone()));
        first.traffic.sent.fetch_add(3, Ordering::Relaxed);
        second.traffic.received.fetch_add(5, Ordering::Relaxed);
        let expect = Moved {
            sent: 3,
            received: 5,
        };
        for place in places {
            assert_eq!(connections.totals().moved, expect);
            connections.remove(place);
        }
        let totals = connections.totals();
        assert_eq!((totals.moved, totals.live, totals.opened), (expect, 0, 2));
    }

    #[test]
    fn the_room_of_a_rush_is_given_back() {
        let connections = Connections::default();
        let places: Vec<_> = (0..1_000)
            .map(|id| connections.insert(id, connection()))
            .collect();
        for place in places {
            connections.remove(place);
        }
        assert_eq!(connections.table().live.capacity(), 0);
    }
}
