//! Numbers that many tasks change at once.

use std::fmt::{self, Debug, Formatter};
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::label::Label;

/// Counts up, from 0.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

/// One counter for each value of a label.
pub struct CounterBy<L> {
    counters: Box<[Counter]>,
    label: PhantomData<fn() -> L>,
}

/// A number that goes up and down. It is the sum of the [shares](GaugeShare) that there are.
#[derive(Debug, Default)]
pub struct Gauge(AtomicI64);

/// What one part of the program adds to a gauge, until it is dropped.
#[derive(Debug)]
pub struct GaugeShare {
    gauge: Arc<Gauge>,
    share: i64,
}

impl Counter {
    /// Counts one more.
    pub fn inc(&self) {
        self.add(1);
    }

    /// Counts `number` more.
    pub fn add(&self, number: u64) {
        self.0.fetch_add(number, Ordering::Relaxed);
    }

    /// What it has come to.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl<L: Label> CounterBy<L> {
    /// The counter of one value.
    pub fn of(&self, label: L) -> &Counter {
        &self.counters[label.index()]
    }

    /// All of them together.
    pub fn total(&self) -> u64 {
        self.counters.iter().map(Counter::get).sum()
    }
}

impl<L: Label> Default for CounterBy<L> {
    fn default() -> Self {
        Self {
            counters: L::ALL.iter().map(|_| Counter::default()).collect(),
            label: PhantomData,
        }
    }
}

impl<L: Label> Debug for CounterBy<L> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let counts = L::ALL.iter().map(|it| (it.as_str(), self.of(*it).get()));
        f.debug_map().entries(counts).finish()
    }
}

impl Gauge {
    /// What it is now.
    pub fn get(&self) -> i64 {
        self.0.load(Ordering::Relaxed)
    }

    /// A share of it, which is 0 at first.
    pub fn share(self: &Arc<Self>) -> GaugeShare {
        GaugeShare {
            gauge: self.clone(),
            share: 0,
        }
    }
}

impl GaugeShare {
    /// Changes the share.
    pub fn set(&mut self, share: usize) {
        let share = i64::try_from(share).unwrap_or(i64::MAX);
        if share != self.share {
            self.gauge
                .0
                .fetch_add(share - self.share, Ordering::Relaxed);
            self.share = share;
        }
    }
}

impl Drop for GaugeShare {
    fn drop(&mut self) {
        self.set(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    crate::labels! {
        enum Side {
            Left = "left",
            Right = "right",
        }
    }

    #[test]
    fn each_value_of_a_label_has_its_counter() {
        let counters = CounterBy::<Side>::default();
        counters.of(Side::Left).inc();
        counters.of(Side::Right).add(5);
        assert_eq!(counters.of(Side::Left).get(), 1);
        assert_eq!(counters.total(), 6);
        assert_eq!(format!("{counters:?}"), r#"{"left": 1, "right": 5}"#);
    }

    #[test]
    fn a_share_that_is_dropped_is_taken_back() {
        let gauge = Arc::new(Gauge::default());
        let (mut first, mut second) = (gauge.share(), gauge.share());
        first.set(3);
        second.set(4);
        first.set(1);
        assert_eq!(gauge.get(), 5);
        drop(second);
        assert_eq!(gauge.get(), 1);
    }
}
