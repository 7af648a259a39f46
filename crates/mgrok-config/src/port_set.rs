//! Which ports proxies may take.

use std::fmt;
use std::ops::RangeInclusive;

/// A set of ports between 1 and 65535, which need not hold any.
///
/// Ranges are kept sorted, apart from each other and numbered through, so that both "may this port be taken" and
/// "which is the n-th port" are a binary search. The second makes a fair random choice one call.
#[derive(Clone, PartialEq, Eq)]
pub struct PortSet {
    runs: Vec<Run>,
}

/// Ports without a gap.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Run {
    first: u16,
    last: u16,
    /// How many ports the runs before this one hold.
    before: u16,
}

impl PortSet {
    /// Every port but 0.
    pub fn unrestricted() -> Self {
        Self::from_ranges([1..=u16::MAX])
    }

    /// The ports of all `ranges`, which may overlap. Empty ranges and port 0, which stands for any port, add nothing.
    pub fn from_ranges(ranges: impl IntoIterator<Item = RangeInclusive<u16>>) -> Self {
        let mut ranges: Vec<(u16, u16)> = ranges
            .into_iter()
            .map(|range| ((*range.start()).max(1), *range.end()))
            .filter(|(first, last)| first <= last)
            .collect();
        ranges.sort_unstable();

        let mut runs: Vec<Run> = Vec::new();
        for (first, last) in ranges {
            match runs.last_mut() {
                Some(run) if first <= run.last.saturating_add(1) => run.last = run.last.max(last),
                Some(_) | None => runs.push(Run {
                    first,
                    last,
                    before: 0,
                }),
            }
        }
        let mut before = 0;
        for run in &mut runs {
            run.before = before;
            before += run.last - run.first + 1;
        }
        Self { runs }
    }

    /// Whether a proxy may take `port`.
    pub fn allows(&self, port: u16) -> bool {
        let later = self.runs.partition_point(|run| run.first <= port);
        self.runs[..later]
            .last()
            .is_some_and(|run| port <= run.last)
    }

    /// How many ports there are.
    pub fn len(&self) -> u16 {
        self.runs
            .last()
            .map_or(0, |run| run.before + (run.last - run.first) + 1)
    }

    /// Whether there is no port at all.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    /// Whether every port but 0 is there.
    pub fn is_unrestricted(&self) -> bool {
        self.len() == u16::MAX
    }

    /// The port that `index` smaller ones come before; `None` from [`len`](Self::len) on.
    pub fn nth(&self, index: u16) -> Option<u16> {
        let later = self.runs.partition_point(|run| run.before <= index);
        let run = self.runs[..later].last()?;
        let port = run.first.checked_add(index - run.before)?;
        (port <= run.last).then_some(port)
    }

    /// All ports, the smallest first.
    pub fn iter(&self) -> impl Iterator<Item = u16> + '_ {
        self.runs.iter().flat_map(|run| run.first..=run.last)
    }
}

impl Default for PortSet {
    /// Every port but 0.
    fn default() -> Self {
        Self::unrestricted()
    }
}

/// As frp writes it: `6000-6010,7000`.
impl fmt::Display for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, run) in self.runs.iter().enumerate() {
            let comma = if number > 0 { "," } else { "" };
            match run.first == run.last {
                true => write!(f, "{comma}{}", run.first)?,
                false => write!(f, "{comma}{}-{}", run.first, run.last)?,
            }
        }
        Ok(())
    }
}

impl fmt::Debug for PortSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set()
            .entries(self.runs.iter().map(|run| run.first..=run.last))
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn unrestricted_is_all_but_zero() {
        let ports = PortSet::default();
        assert!(ports.is_unrestricted());
        assert!(!ports.allows(0));
        assert!(ports.allows(1));
        assert!(ports.allows(65535));
        assert_eq!(ports.nth(0), Some(1));
        assert_eq!(ports.nth(65534), Some(65535));
        assert_eq!(ports.nth(65535), None);
    }

    #[test]
    fn neighbours_become_one_run() {
        let ports = PortSet::from_ranges([10..=11, 12..=12, 5..=5, 11..=13, 65535..=65535]);
        assert_eq!(format!("{ports:?}"), "{5..=5, 10..=13, 65535..=65535}");
        assert_eq!(ports.to_string(), "5,10-13,65535");
    }

    #[test]
    fn an_empty_set_allows_nothing() {
        #[expect(clippy::reversed_empty_ranges, reason = "the case under test")]
        let ports = PortSet::from_ranges([9..=3, 0..=0]);
        assert!(ports.is_empty());
        assert!(!ports.is_unrestricted());
        assert_eq!(ports.nth(0), None);
        assert!(!ports.allows(0));
    }

    proptest! {
        #[test]
        fn behaves_as_a_set(ranges in proptest::collection::vec((0u16.., 0u16..300), 0..12), probe: u16) {
            let ranges: Vec<_> = ranges
                .into_iter()
                .map(|(first, more)| first..=first.saturating_add(more))
                .collect();
            let mut model: BTreeSet<u16> = ranges.iter().cloned().flatten().collect();
            model.remove(&0);
            let ports = PortSet::from_ranges(ranges);
            prop_assert_eq!(usize::from(ports.len()), model.len());
            prop_assert_eq!(ports.is_empty(), model.is_empty());
            prop_assert_eq!(ports.allows(probe), model.contains(&probe));
            prop_assert!(ports.iter().eq(model.iter().copied()));
            let by_index: Vec<_> = (0..ports.len()).filter_map(|index| ports.nth(index)).collect();
            prop_assert!(by_index.into_iter().eq(model));
            prop_assert_eq!(ports.nth(ports.len()), None);
        }
    }
}
