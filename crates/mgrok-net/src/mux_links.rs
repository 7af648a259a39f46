//! The multiplexed connections of one session, and on which of them a stream is opened.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mgrok_mux::{OpenError, Opener, Stream};
use slab::Slab;
use tokio::time::timeout;

/// How many connections a session has. Clones are the same, and equal while the numbers are.
#[derive(Clone, Debug)]
pub struct LinkCount(Arc<AtomicUsize>);

impl LinkCount {
    /// One.
    pub fn one() -> Self {
        Self(Arc::new(AtomicUsize::new(1)))
    }

    /// How many there are at this moment.
    pub fn get(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    fn add(&self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }

    fn remove(&self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl PartialEq for LinkCount {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl Eq for LinkCount {}

/// How long one link may take to let one more stream be opened, where one is to be opened on each.
const EACH_TIMEOUT: Duration = Duration::from_secs(2);

/// Opens streams on the links of one session. Clones are the same.
#[derive(Clone, Debug)]
pub struct MuxLinks {
    /// The one with the control stream, which the session does not outlive.
    first: Opener,
    more: Arc<Mutex<Slab<Opener>>>,
    count: LinkCount,
}

/// A link beyond the first, which takes streams until this is dropped.
#[derive(Debug)]
pub struct AddedLink {
    links: Arc<Mutex<Slab<Opener>>>,
    count: LinkCount,
    place: usize,
}

impl MuxLinks {
    /// Of a session that has one.
    pub fn new(first: Opener) -> Self {
        Self {
            first,
            more: Arc::default(),
            count: LinkCount::one(),
        }
    }

    /// The one with the control stream.
    pub fn first(&self) -> &Opener {
        &self.first
    }

    /// How many there are, now and later.
    pub fn count(&self) -> LinkCount {
        self.count.clone()
    }

    /// Has streams opened on `link` as well.
    pub fn add(&self, link: &Self) -> AddedLink {
        let place = lock(&self.more).insert(link.first.clone());
        self.count.add();
        AddedLink {
            links: self.more.clone(),
            count: self.count.clone(),
            place,
        }
    }

    /// Opens a stream on the link with the fewest. Streams live for a moment or for days, so to take turns would in time leave the long ones
    /// on few links. Waits as [`Opener::open`] does, and fails as it does.
    pub async fn open(&self) -> Result<Stream, OpenError> {
        match self.less_busy() {
            None => self.first.open().await,
            // Boxed: few sessions have more than one, and all have many streams that are being opened.
            Some(link) => Box::pin(self.open_on(link)).await,
        }
    }

    /// Opens a stream on each link that can take one now.
    pub async fn open_on_each(&self) -> Vec<Stream> {
        let mut links = vec![self.first.clone()];
        links.extend(lock(&self.more).iter().map(|(_, link)| link.clone()));
        let mut streams = Vec::with_capacity(links.len());
        for link in links {
            // One that is not acknowledged for long, or cannot be opened, is no loss.
            if let Ok(Ok(stream)) = timeout(EACH_TIMEOUT, link.open()).await {
                streams.push(stream);
            }
        }
        streams
    }

    async fn open_on(&self, link: Opener) -> Result<Stream, OpenError> {
        match link.open().await {
            Ok(stream) => Ok(stream),
            // The session needs this one anyway.
            Err(_) => self.first.open().await,
        }
    }

    /// The link that has fewer streams than the first, and than all others.
    fn less_busy(&self) -> Option<Opener> {
        let more = lock(&self.more);
        if more.is_empty() {
            return None;
        }
        let streams = |link: &Opener| link.usage_watch().usage().streams;
        let links = more.iter().map(|(_, link)| link);
        let open = links.filter(|link| !link.is_closed());
        let (fewest, link) = open
            .map(|link| (streams(link), link))
            .min_by_key(|(streams, _)| *streams)?;
        (fewest < streams(&self.first)).then(|| link.clone())
    }
}

impl Drop for AddedLink {
    fn drop(&mut self) {
        self.count.remove();
        let link = lock(&self.links).try_remove(self.place);
        // Without the lock: it may be the last to hold the connection.
        drop(link);
    }
}

fn lock(links: &Mutex<Slab<Opener>>) -> MutexGuard<'_, Slab<Opener>> {
    links.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use mgrok_mux::{Config, session};

    use super::*;

    /// A link whose other end takes all that is opened, while the value beside it lives.
    fn link() -> (MuxLinks, impl Sized) {
        let (here, there) = tokio::io::duplex(65_536);
        let (opener, _, driver) = session(here, Config::client());
        let (other, acceptor, other_driver) = session(there, Config::server());
        // Ends them when it is dropped.
        let mut drivers = tokio::task::JoinSet::new();
        drivers.spawn(driver);
        drivers.spawn(other_driver);
        (MuxLinks::new(opener), (other, acceptor, drivers))
    }

    fn streams(link: &MuxLinks) -> usize {
        link.first.usage_watch().usage().streams
    }

    #[tokio::test]
    async fn streams_spread_over_all_links() {
        let (session, _other_ends) = link();
        let more: Vec<_> = (0..3).map(|_| link()).collect();
        let added: Vec<_> = more.iter().map(|(link, _)| session.add(link)).collect();
        assert_eq!(session.count().get(), 4);
        let mut held = Vec::new();
        for _ in 0..12 {
            held.push(session.open().await.unwrap());
        }
        assert_eq!(streams(&session), 3);
        assert!(more.iter().all(|(link, _)| streams(link) == 3));
        drop(added);
        held.push(session.open().await.unwrap());
        assert_eq!((streams(&session), session.count().get()), (4, 1));
    }

    #[tokio::test]
    async fn a_link_that_has_ended_gets_no_streams() {
        let (session, _other_ends) = link();
        let (dead, _its_other_ends) = link();
        let _added = session.add(&dead);
        dead.first.close();
        dead.first.closed().await;
        let _held = [session.open().await.unwrap(), session.open().await.unwrap()];
        assert_eq!(streams(&session), 2);
    }
}
