//! Permits for work that nobody has vouched for yet: connections whose client has not logged in, handshakes, first packets.
//!
//! Such work is bounded in total and per source, so that one source cannot take what all have. A source is
//! what one subscriber gets, see [`Source`]. Thousands of clients may share a source behind a NAT and come back
//! in the same second, so whoever finds its source's share taken waits for its turn instead of being refused; and as long as all
//! permits are taken, whoever holds one has to be quick ([`Permit::expired`]). So silent connections slow their own
//! source down and nobody else, and even of that source everybody gets in, if it takes longer.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use crate::metrics::{Limit, Metrics};
use crate::source::Source;

/// How long work that is never vouched for may hold a permit while there are others left, as in frp (PROTOCOL 1.2).
pub(crate) const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// How long it may do so while all permits of its source, or all at all, are taken. A TLS handshake and a login take five round
/// trips at most, and the slowest transport around the world 0.4 s for each.
const HURRIED_TIMEOUT: Duration = Duration::from_secs(2);

/// How often somebody who holds a permit looks whether all are taken.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Refusals are logged once in so much time.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How much unproven work there may be.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// What the work is, in the plural, for the log.
    pub(crate) what: &'static str,
    /// As which refusals are counted.
    pub(crate) limit: Limit,
    /// Permits of all sources together.
    pub(crate) total: usize,
    /// Permits of one source.
    pub(crate) per_source: usize,
    /// Those of all sources who may wait for a permit.
    pub(crate) waiting: usize,
    /// Those of one source who may wait for a permit.
    pub(crate) waiting_per_source: usize,
}

/// Gives out permits. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct PerSource {
    inner: Arc<Inner>,
}

/// The right to do unproven work, given back by the drop: when the other end has proved itself, or is given up.
#[derive(Debug)]
pub(crate) struct Permit {
    _own: OwnedSemaphorePermit,
    _common: OwnedSemaphorePermit,
    entry: SourceEntry,
}

/// There are too many already, of this source or at all.
#[derive(Debug, thiserror::Error)]
#[error("too many {what} of {source_prefix}, or at all, are unproven")]
pub(crate) struct Refused {
    what: &'static str,
    source_prefix: Source,
}

/// Why work was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkError {
    #[error("it took longer than it may")]
    Late,
    #[error(transparent)]
    Refused(#[from] Refused),
}

#[derive(Debug)]
struct Inner {
    limits: Limits,
    permits: Arc<Semaphore>,
    /// Those who hold a permit or wait for one.
    present: AtomicUsize,
    /// Sources of which somebody is present, so that there are no more of them than that.
    sources: Mutex<HashMap<Source, Arc<Share>>>,
    refusals: Mutex<Refusals>,
    metrics: Arc<Metrics>,
}

/// What one source has of it.
#[derive(Debug)]
struct Share {
    permits: Arc<Semaphore>,
    /// Those who hold a permit or wait for one. It changes under the lock of the map only.
    present: AtomicUsize,
}

#[derive(Debug, Default)]
struct Refusals {
    /// Since the start.
    count: u64,
    logged_at: Option<Instant>,
}

/// Somebody is present. The drop takes it out of the books.
#[derive(Debug)]
struct SourceEntry {
    source: Source,
    share: Arc<Share>,
    inner: Arc<Inner>,
}

impl PerSource {
    /// Counts refusals in `metrics`.
    pub(crate) fn new(limits: Limits, metrics: &Arc<Metrics>) -> Self {
        Self {
            inner: Arc::new(Inner {
                permits: Arc::new(Semaphore::new(limits.total)),
                present: AtomicUsize::new(0),
                sources: Mutex::default(),
                refusals: Mutex::default(),
                metrics: metrics.clone(),
                limits,
            }),
        }
    }

    /// A permit for work that comes from `addr`, after a wait for the turn of its source if need be: for connections that cost
    /// nothing while they wait. Refuses when too many wait, or the wait is too long.
    ///
    /// To drop the future gives the turn up.
    pub(crate) async fn acquire(&self, addr: IpAddr) -> Result<Permit, Refused> {
        let Limits {
            waiting,
            waiting_per_source,
            ..
        } = self.inner.limits;
        let source = Source::of(addr);
        let entry = self.enter(source, waiting, waiting_per_source);
        let entry = entry.ok_or_else(|| self.refuse(source))?;
        let turn = async {
            // First its own source's turn: who waits for that takes nothing from others.
            let own = entry.share.permits.clone().acquire_owned().await.ok()?;
            let common = self.inner.permits.clone().acquire_owned().await.ok()?;
            Some((own, common))
        };
        match timeout(OPENING_TIMEOUT, turn).await {
            Ok(Some((own, common))) => Ok(Permit {
                _own: own,
                _common: common,
                entry,
            }),
            Ok(None) | Err(_) => Err(self.refuse(source)),
        }
    }

    /// Does `work` that comes from `addr` under a permit, in `longest` at most, and in 2 s while all permits are taken.
    pub(crate) async fn work<T>(
        &self,
        addr: IpAddr,
        longest: Duration,
        work: impl Future<Output = T>,
    ) -> Result<T, WorkError> {
        let permit = self.acquire(addr).await?;
        tokio::select! {
            done = work => Ok(done),
            () = permit.expired_within(longest) => Err(WorkError::Late),
        }
    }

    /// A permit for work that comes from `addr` if there is one left: for packets, whose sender sends them again.
    pub(crate) fn try_acquire(&self, addr: IpAddr) -> Result<Permit, Refused> {
        let source = Source::of(addr);
        let permit = self.enter(source, 0, 0).and_then(|entry| {
            Some(Permit {
                _own: entry.share.permits.clone().try_acquire_owned().ok()?,
                _common: self.inner.permits.clone().try_acquire_owned().ok()?,
                entry,
            })
        });
        permit.ok_or_else(|| self.refuse(source))
    }

    /// Whether more than half of all permits are taken, or of those for `addr`. From then on, only those should be given one who
    /// have shown that they are where they say they are, so that who forges addresses keeps nobody out.
    pub(crate) fn is_busy(&self, addr: IpAddr) -> bool {
        let Inner {
            limits,
            present,
            sources,
            ..
        } = &*self.inner;
        let share = lock(sources).get(&Source::of(addr)).cloned();
        let own = share.map_or(0, |share| share.present.load(Ordering::Relaxed));
        own * 2 >= limits.per_source || present.load(Ordering::Relaxed) * 2 >= limits.total
    }

    /// How many refusals there were since the start.
    #[cfg(test)]
    fn refused(&self) -> u64 {
        lock(&self.inner.refusals).count
    }

    /// Writes somebody into the books, unless that makes too many.
    fn enter(
        &self,
        source: Source,
        waiting: usize,
        waiting_per_source: usize,
    ) -> Option<SourceEntry> {
        let inner = &self.inner;
        let mut sources = lock(&inner.sources);
        if inner.present.load(Ordering::Relaxed) >= inner.limits.total + waiting {
            return None;
        }
        let share = match sources.entry(source) {
            Entry::Occupied(share) => share.into_mut(),
            Entry::Vacant(entry) => entry.insert(Arc::new(Share {
                permits: Arc::new(Semaphore::new(inner.limits.per_source)),
                present: AtomicUsize::new(0),
            })),
        };
        if share.present.load(Ordering::Relaxed) >= inner.limits.per_source + waiting_per_source {
            return None;
        }
        share.present.fetch_add(1, Ordering::Relaxed);
        inner.present.fetch_add(1, Ordering::Relaxed);
        Some(SourceEntry {
            source,
            share: share.clone(),
            inner: inner.clone(),
        })
    }

    /// Counts a refusal, and logs those of late if that was not done lately.
    fn refuse(&self, source: Source) -> Refused {
        let Limits { what, limit, .. } = self.inner.limits;
        self.inner.metrics.refusals_of(limit).inc();
        let count = {
            let mut refusals = lock(&self.inner.refusals);
            refusals.count += 1;
            let now = Instant::now();
            let is_due = refusals
                .logged_at
                .is_none_or(|at| now.duration_since(at) >= LOG_INTERVAL);
            is_due.then(|| {
                refusals.logged_at = Some(now);
                refusals.count
            })
        };
        if let Some(count) = count {
            warn!(
                "{count} {what} refused so far, the last from {source}: too many come from there, or from everywhere, that do \
                 not get as far as a login; if they are no clients of yours, keep the source out with a firewall"
            );
        }
        Refused {
            what,
            source_prefix: source,
        }
    }
}

impl Permit {
    /// Ends when work that begins now and needs a permit like this has had its time: 10 s, or 2 s while all permits are
    /// taken. It does not hold the permit.
    pub(crate) fn expired(&self) -> impl Future<Output = ()> + Send + use<> {
        self.expired_within(OPENING_TIMEOUT)
    }

    /// As [`expired`](Self::expired), for work that may take `longest` while there are permits left.
    fn expired_within(&self, longest: Duration) -> impl Future<Output = ()> + Send + use<> {
        let (share, inner) = (self.entry.share.clone(), self.entry.inner.clone());
        async move {
            let started = Instant::now();
            sleep(HURRIED_TIMEOUT).await;
            while started.elapsed() < longest && !inner.is_full(&share) {
                sleep(LOOK_INTERVAL).await;
            }
        }
    }
}

impl Inner {
    /// Whether others may go without, because all permits are taken or all of this share.
    fn is_full(&self, share: &Share) -> bool {
        share.present.load(Ordering::Relaxed) >= self.limits.per_source
            || self.present.load(Ordering::Relaxed) >= self.limits.total
    }
}

impl Drop for SourceEntry {
    fn drop(&mut self) {
        let mut sources = lock(&self.inner.sources);
        self.inner.present.fetch_sub(1, Ordering::Relaxed);
        if self.share.present.fetch_sub(1, Ordering::Relaxed) == 1 {
            sources.remove(&self.source);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
