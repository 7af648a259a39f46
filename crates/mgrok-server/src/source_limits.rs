//! How many connections one source may have, and how many new ones in a second.
//!
//! A source is in the table while it has connections or has had one lately, and only where there is a limit.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use mgrok_config::SourceLimits;
use tokio::time::Instant;

use crate::source::Source;

/// How many sources may be in a table. Those beyond it are let in: whoever has so many addresses is not stopped by such limits.
const MAX_SOURCES: usize = 65_536;

/// How often it is looked at most for sources that can be forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

/// Counts the connections of sources. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct SourceLimiter {
    table: Arc<Mutex<Table>>,
}

#[derive(Debug, Default)]
struct Table {
    sources: HashMap<Source, Usage>,
    forgotten_at: Option<Instant>,
}

#[derive(Debug)]
struct Usage {
    connections: u32,
    /// How many new ones there may be at once, as of `at`.
    left: f64,
    at: Instant,
}

/// A connection of a source, until this is dropped.
#[derive(Debug)]
pub(crate) struct Visit {
    limiter: SourceLimiter,
    source: Source,
}

/// Which limit a source has reached.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reached {
    Connections,
    Rate,
}

impl SourceLimiter {
    /// Lets one more connection of `source` in, as far as `limits` go. `None` if it is not counted.
    pub(crate) fn enter(
        &self,
        source: Source,
        limits: SourceLimits,
    ) -> Result<Option<Visit>, Reached> {
        if limits.is_open() {
            return Ok(None);
        }
        let now = Instant::now();
        let mut table = self.table();
        if table.sources.len() >= MAX_SOURCES {
            table.forget(now);
        }
        if table.sources.len() >= MAX_SOURCES && !table.sources.contains_key(&source) {
            return Ok(None);
        }
        let rate = limits.rate.map(|rate| f64::from(rate.get()));
        let usage = table.sources.entry(source).or_insert(Usage {
            connections: 0,
            left: rate.unwrap_or_default(),
            at: now,
        });
        let most = limits.connections;
        if most.is_some_and(|most| usage.connections >= most.get()) {
            return Err(Reached::Connections);
        }
        if let Some(rate) = rate {
            let since = now.saturating_duration_since(usage.at).as_secs_f64();
            usage.left = (usage.left + since * rate).min(rate);
            usage.at = now;
            if usage.left < 1.0 {
                return Err(Reached::Rate);
            }
            usage.left -= 1.0;
        }
        usage.connections += 1;
        Ok(Some(Visit {
            limiter: self.clone(),
            source,
        }))
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    /// Forgets those who have no connection and had none lately, if that was not done just now.
    fn forget(&mut self, now: Instant) {
        let next = self.forgotten_at.map(|at| at + FORGET_INTERVAL);
        if next.is_none_or(|next| now >= next) {
            self.forgotten_at = Some(now);
            let second = Duration::from_secs(1);
            self.sources.retain(|_, it| {
                it.connections > 0 || now.saturating_duration_since(it.at) < second
            });
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut table = self.limiter.table();
        if let Some(usage) = table.sources.get_mut(&self.source) {
            usage.connections = usage.connections.saturating_sub(1);
        }
        table.forget(Instant::now());
    }
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;
    use std::num::NonZeroU32;

    use super::*;

    fn source(number: u32) -> Source {
        Source::of(IpAddr::from(number.to_be_bytes()))
    }

    fn limits(connections: u32, rate: u32) -> SourceLimits {
        SourceLimits {
            connections: NonZeroU32::new(connections),
            rate: NonZeroU32::new(rate),
        }
    }

    #[tokio::test]
    async fn a_source_has_so_many_connections_and_no_more() {
        let limiter = SourceLimiter::default();
        let enter = |number| limiter.enter(source(number), limits(2, 0));
        let first = enter(1).unwrap();
        let _second = enter(1).unwrap();
        assert_eq!(enter(1).unwrap_err(), Reached::Connections);
        let _other = enter(2).unwrap();
        drop(first);
        enter(1).unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn new_connections_come_no_faster_than_they_may() {
        let limiter = SourceLimiter::default();
        let enter = || limiter.enter(source(1), limits(0, 4));
        for _ in 0..4 {
            enter().unwrap();
        }
        assert_eq!(enter().unwrap_err(), Reached::Rate);
        tokio::time::advance(Duration::from_millis(500)).await;
        for _ in 0..2 {
            enter().unwrap();
        }
        assert_eq!(enter().unwrap_err(), Reached::Rate);
        tokio::time::advance(Duration::from_secs(60)).await;
        for _ in 0..4 {
            enter().unwrap();
        }
        assert_eq!(enter().unwrap_err(), Reached::Rate);
    }

    #[tokio::test(start_paused = true)]
    async fn without_a_limit_nothing_is_counted_and_the_table_empties_itself() {
        let limiter = SourceLimiter::default();
        assert!(limiter.enter(source(1), limits(0, 0)).unwrap().is_none());
        for number in 0..MAX_SOURCES as u32 + 100 {
            limiter.enter(source(number), limits(1, 0)).unwrap();
        }
        assert!(limiter.table().sources.len() <= MAX_SOURCES);
        tokio::time::advance(Duration::from_secs(2)).await;
        drop(limiter.enter(source(7), limits(1, 0)).unwrap());
        assert!(limiter.table().sources.len() <= 1);
    }
}
