//! The requests that a client keeps, with their answers, for whoever may use its admin port.
//!
//! Requests get here through [`Exchange`](crate::exchange::Exchange), which looks on while they pass. What is here is memory only, and as much
//! as [`MAX_BYTES`] at most.

mod entry;
mod frames;

mod filter;
mod har;
mod view;

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(crate) use self::entry::{End, Entry, Header, Message, Record};
pub(crate) use self::filter::Filter;
pub(crate) use self::frames::FrameCounter;
pub(crate) use self::har::har;
pub(crate) use self::view::{Detail, Summary};

/// What all requests that are kept may take together, in bytes.
const MAX_BYTES: usize = 64 << 20;

/// What the bodies of all requests that are under way may take together, in bytes. Beyond that nothing more is kept of them.
const MAX_DRAFTS: usize = 32 << 20;

/// The requests of one client that are kept. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Inspector(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    kept: Mutex<Kept>,
    /// What the bodies of requests take that are under way.
    drafts: AtomicUsize,
}

#[derive(Debug, Default)]
struct Kept {
    last_id: u64,
    /// In the order of their numbers, which is that of their answers.
    entries: BTreeMap<u64, Arc<Entry>>,
    by_proxy: BTreeMap<Arc<str>, VecDeque<u64>>,
    bytes: usize,
}

impl Inspector {
    /// Keeps one more, and of its proxy so many at most.
    pub(crate) fn keep(&self, record: Record, most: usize) -> Arc<Entry> {
        let bytes = record.bytes();
        let mut kept = self.kept();
        kept.last_id += 1;
        let entry = Arc::new(Entry::new(kept.last_id, record));
        while kept.bytes + bytes > MAX_BYTES && kept.forget_oldest() {}
        if bytes > MAX_BYTES {
            return entry;
        }
        let of_proxy = kept.by_proxy.entry(entry.proxy.clone()).or_default();
        of_proxy.push_back(entry.id);
        let surplus = of_proxy.len().saturating_sub(most);
        let surplus: Vec<_> = of_proxy.drain(..surplus).collect();
        for id in surplus {
            kept.forget(id);
        }
        kept.bytes += bytes;
        kept.entries.insert(entry.id, entry.clone());
        entry
    }

    /// How many of so many bytes of a body may be kept while the request is under way; they are to be
    /// [given back](Self::give_back).
    pub(crate) fn grant(&self, bytes: usize) -> usize {
        let drafts = &self.0.drafts;
        let before = drafts.fetch_add(bytes, Ordering::Relaxed);
        let granted = MAX_DRAFTS.saturating_sub(before).min(bytes);
        self.give_back(bytes - granted);
        granted
    }

    /// Takes back what was [granted](Self::grant).
    pub(crate) fn give_back(&self, bytes: usize) {
        self.0.drafts.fetch_sub(bytes, Ordering::Relaxed);
    }

    pub(crate) fn get(&self, id: u64) -> Option<Arc<Entry>> {
        self.kept().entries.get(&id).cloned()
    }

    /// Those that `filter` lets through, the newest first.
    pub(crate) fn list(&self, filter: &Filter) -> Vec<Arc<Entry>> {
        let all: Vec<_> = self.kept().entries.values().rev().cloned().collect();
        // Without the lock, which requests wait for.
        all.into_iter().filter(|it| filter.lets(it)).collect()
    }

    /// Forgets all, or those of one proxy; returns how many.
    pub(crate) fn forget_all(&self, proxy: Option<&str>) -> usize {
        let mut kept = self.kept();
        let Some(proxy) = proxy else {
            let count = kept.entries.len();
            let last_id = kept.last_id;
            *kept = Kept {
                last_id,
                ..Kept::default()
            };
            return count;
        };
        let ids = kept.by_proxy.remove(proxy).unwrap_or_default();
        for id in &ids {
            kept.forget(*id);
        }
        ids.len()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Forgets an entry that is not in the list of its proxy any more.
    fn forget(&mut self, id: u64) {
        if let Some(entry) = self.entries.remove(&id) {
            self.bytes = self.bytes.saturating_sub(entry.bytes());
        }
    }

    /// Forgets the oldest of all; `false` if there is none.
    fn forget_oldest(&mut self) -> bool {
        let Some((&id, entry)) = self.entries.first_key_value() else {
            return false;
        };
        let proxy = entry.proxy.clone();
        if let Some(of_proxy) = self.by_proxy.get_mut(&proxy) {
            // Both are in the same order.
            of_proxy.pop_front();
            if of_proxy.is_empty() {
                self.by_proxy.remove(&proxy);
            }
        }
        self.forget(id);
        true
    }
}

#[cfg(test)]
mod tests;
