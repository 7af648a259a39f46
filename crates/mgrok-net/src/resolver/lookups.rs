//! Lookups in progress: one per name, shared by all its callers, and a limited number in all.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::Instant;

use super::{Found, Source};

/// How many lookups of one resolver run at a time. Each may be a thread that blocks for half a minute because a DNS
/// server does not answer.
pub(super) const MAX_LOOKUPS: usize = 32;
/// How many of these may run for one name.
const MAX_PER_NAME: usize = 2;
/// How long after the start of a lookup a second one for the same name may start. The first may hang at a DNS server
/// that is gone, while the system may use another one by now.
const RETRY_AFTER: Duration = Duration::from_secs(3);

/// The lookups of one resolver.
#[derive(Debug)]
pub(super) struct Lookups {
    source: Source,
    permits: Arc<Semaphore>,
    by_name: Mutex<HashMap<String, Lookup>>,
}

/// The lookups for one name, which share one outcome.
#[derive(Debug)]
struct Lookup {
    /// `None` until a lookup has ended.
    outcome: watch::Sender<Option<Found>>,
    /// When the latest lookup began.
    began_at: Instant,
    /// How many lookups have not ended.
    running: usize,
}

impl Lookups {
    pub(super) fn new(source: Source) -> Self {
        Self {
            source,
            permits: Arc::new(Semaphore::new(MAX_LOOKUPS)),
            by_name: Mutex::default(),
        }
    }

    /// Looks `name` up, or joins a lookup in progress. Cancel-safe.
    pub(super) async fn find(self: &Arc<Self>, name: &str) -> io::Result<Vec<SocketAddr>> {
        let mut outcome = self.join(name);
        let found = outcome.wait_for(Option::is_some).await;
        match found.ok().and_then(|found| found.clone()) {
            Some(found) => Ok(found?),
            // The runtime is shutting down.
            None => Err(io::Error::other("the lookup was given up")),
        }
    }

    /// Subscribes to the outcome of the lookups for `name`. Starts one unless a recent one is running, or as many as
    /// allowed.
    fn join(self: &Arc<Self>, name: &str) -> watch::Receiver<Option<Found>> {
        let mut by_name = self.lock();
        let lookup = by_name.entry(name.to_owned()).or_insert_with(|| Lookup {
            outcome: watch::Sender::default(),
            began_at: Instant::now(),
            running: 0,
        });
        let outcome = lookup.outcome.subscribe();
        let is_due = lookup.running == 0
            || lookup.running < MAX_PER_NAME && lookup.began_at.elapsed() >= RETRY_AFTER;
        if is_due {
            lookup.running += 1;
            lookup.began_at = Instant::now();
            tokio::spawn(self.clone().run(name.to_owned(), lookup.outcome.clone()));
        }
        outcome
    }

    async fn run(self: Arc<Self>, name: String, outcome: watch::Sender<Option<Found>>) {
        let mut lookup = Running {
            lookups: self.clone(),
            name,
            outcome,
            has_ended: false,
        };
        loop {
            tokio::select! {
                permit = self.permit() => {
                    let found = self.source.ask(&lookup.name, permit).await;
                    return lookup.end(found);
                }
                () = lookup.outcome.closed() => if lookup.give_up() { return },
            }
        }
    }

    async fn permit(&self) -> OwnedSemaphorePermit {
        match self.permits.clone().acquire_owned().await {
            Ok(permit) => permit,
            // Unreachable: the semaphore is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    #[cfg(test)]
    #[cfg(feature = "dns-server")]
    pub(super) fn len(&self) -> usize {
        self.lock().len()
    }

    #[cfg(test)]
    #[cfg(feature = "dns-server")]
    pub(super) fn running(&self, name: &str) -> usize {
        self.lock().get(name).map_or(0, |lookup| lookup.running)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Lookup>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A lookup that runs or waits for its permit. Dropping it ends the lookup as failed.
struct Running {
    lookups: Arc<Lookups>,
    name: String,
    outcome: watch::Sender<Option<Found>>,
    has_ended: bool,
}

impl Running {
    /// Sends the outcome to all waiting callers, unless another lookup for the name may still succeed.
    fn end(&mut self, found: Found) {
        self.has_ended = true;
        let mut by_name = self.lookups.lock();
        let Some(lookup) = by_name.get_mut(&self.name) else {
            return;
        };
        // Another lookup may have set the outcome already, and the entry may belong to a later lookup.
        if !lookup.outcome.same_channel(&self.outcome) {
            return;
        }
        lookup.running -= 1;
        if found.is_ok() || lookup.running == 0 {
            by_name.remove(&self.name);
            self.outcome.send_replace(Some(found));
        }
    }

    /// Ends the lookup if no caller waits for it any more, and returns whether it did.
    fn give_up(&mut self) -> bool {
        let mut by_name = self.lookups.lock();
        // No caller can join meanwhile, because joining takes the same lock.
        if self.outcome.receiver_count() > 0 {
            return false;
        }
        self.has_ended = true;
        if let Some(lookup) = by_name.get_mut(&self.name)
            && lookup.outcome.same_channel(&self.outcome)
        {
            lookup.running -= 1;
            if lookup.running == 0 {
                by_name.remove(&self.name);
            }
        }
        true
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.has_ended {
            self.end(Err(io::Error::other("the lookup was given up").into()));
        }
    }
}
