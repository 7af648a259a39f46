//! What is remembered of proxies by their names: what their users have moved on each of the last days, and when they came and went.
//!
//! The rows of the table of proxies count. What they have counted since the last look is added here from time to time, whenever
//! somebody asks, and when a row goes, so that nothing of this is on the way of a byte.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use mgrok_net::connections::Moved;

/// How many days are told apart, with the present one.
// frp: the same (pkg/metrics/mem)
pub(super) const DAYS: usize = 7;

/// How many proxies are remembered that are not published. The one that stopped first is forgotten first.
const MAX_STOPPED: usize = 16_384;

/// How long they are remembered.
// frp: the same
const REMEMBERED_FOR: Duration = Duration::from_hours(7 * 24);

/// The longest time between two looks at what the rows have counted.
const LOOK_INTERVAL: Duration = Duration::from_secs(60);

/// How long before midnight there is a look, so that what was moved until then counts for the day.
const BEFORE_MIDNIGHT: Duration = Duration::from_millis(100);

/// Statistics of one server.
#[derive(Debug)]
pub(super) struct Statistics {
    /// Whose midnight ends a day.
    zone: TimeZone,
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    records: HashMap<Arc<str>, Record>,
    /// Those that are not published, in the order in which they stopped.
    stopped: BTreeMap<u64, Arc<str>>,
    stops: u64,
    /// Of all proxies, also of those that are forgotten.
    days: Days,
    moved: Moved,
    /// How many are published of each kind. One that has come stays here.
    kinds: BTreeMap<&'static str, usize>,
}

/// What is remembered of one name.
#[derive(Clone, Debug)]
pub(super) struct Record {
    pub(super) kind: &'static str,
    pub(super) user: Arc<str>,
    /// The client's own name, or its run id.
    pub(super) client_id: Arc<str>,
    pub(super) started_at: SystemTime,
    pub(super) stopped_at: Option<SystemTime>,
    pub(super) moved: Moved,
    days: Days,
    /// Its place among those that stopped; `None` while it is published.
    stop: Option<u64>,
}

/// What was moved on each of the last days, the latest first.
#[derive(Clone, Copy, Debug, Default)]
struct Days {
    latest: Date,
    moved: [Moved; DAYS],
}

impl Days {
    fn add(&mut self, today: Date, moved: Moved) {
        self.turn_to(today);
        let [latest, ..] = &mut self.moved;
        *latest = latest.plus(moved);
    }

    fn turn_to(&mut self, today: Date) {
        // Not below nothing: if the clock was set back, the day goes on.
        let age = today.duration_since(self.latest).as_hours() / 24;
        let age = usize::try_from(age).unwrap_or(0).min(DAYS);
        if age > 0 {
            self.moved.rotate_right(age);
            self.moved
                .iter_mut()
                .take(age)
                .for_each(|it| *it = Moved::default());
            self.latest = today;
        }
    }

    fn as_of(mut self, today: Date) -> [Moved; DAYS] {
        self.turn_to(today);
        self.moved
    }
}

impl Record {
    /// What was moved today, yesterday, and so on.
    pub(super) fn days(&self, today: Date) -> [Moved; DAYS] {
        self.days.as_of(today)
    }
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            // Its rules are all here, so that a change to summer time is followed.
            zone: TimeZone::system(),
            table: Mutex::default(),
        }
    }
}

impl Statistics {
    /// The day of this moment.
    pub(super) fn today(&self) -> Date {
        self.zone.to_datetime(Timestamp::now()).date()
    }

    /// How long to wait until the next look at what the rows have counted.
    pub(super) fn until_look(&self) -> Duration {
        let tomorrow = self.today().tomorrow();
        let midnight = tomorrow.and_then(|it| self.zone.to_timestamp(it.at(0, 0, 0, 0)));
        let left = midnight.map(|it| Timestamp::now().duration_until(it));
        let left = left.ok().and_then(|it| Duration::try_from(it).ok());
        let left = left.and_then(|it| it.checked_sub(BEFORE_MIDNIGHT));
        // That of this midnight was the latest, or is now.
        let left = left.filter(|it| !it.is_zero()).unwrap_or(LOOK_INTERVAL);
        left.min(LOOK_INTERVAL)
    }

    /// A proxy `name` lets users in from `now` on.
    pub(super) fn started(
        &self,
        name: &Arc<str>,
        kind: &'static str,
        user: &Arc<str>,
        client_id: &Arc<str>,
        now: SystemTime,
    ) {
        let mut table = self.table();
        *table.kinds.entry(kind).or_default() += 1;
        let before = table.records.remove(name);
        if let Some(stop) = before.as_ref().and_then(|it| it.stop) {
            table.stopped.remove(&stop);
        }
        // frp: one of another kind begins anew
        let before = before.filter(|it| it.kind == kind);
        let record = Record {
            kind,
            user: user.clone(),
            client_id: client_id.clone(),
            started_at: now,
            stopped_at: before.as_ref().and_then(|it| it.stopped_at),
            moved: before.as_ref().map(|it| it.moved).unwrap_or_default(),
            days: before.map(|it| it.days).unwrap_or_default(),
            stop: None,
        };
        table.records.insert(name.clone(), record);
    }

    /// The proxy `name`, which was of this kind, lets nobody in any more.
    pub(super) fn stopped(&self, name: &Arc<str>, kind: &'static str, now: SystemTime) {
        let mut table = self.table();
        if let Some(count) = table.kinds.get_mut(kind) {
            *count = count.saturating_sub(1);
        }
        let stop = table.stops;
        table.stops += 1;
        let Some(record) = table.records.get_mut(name) else {
            return;
        };
        record.stopped_at = Some(now);
        record.stop = Some(stop);
        table.stopped.insert(stop, name.clone());
        if table.stopped.len() > MAX_STOPPED {
            table.forget_first();
        }
    }

    /// Users of the proxy `name` have moved so much since they were looked at before. It counts for no later proxy of that name if that
    /// is of another kind.
    pub(super) fn count(&self, name: &str, kind: &'static str, moved: Moved, today: Date) {
        let mut table = self.table();
        table.days.add(today, moved);
        table.moved = table.moved.plus(moved);
        if let Some(record) = table.records.get_mut(name).filter(|it| it.kind == kind) {
            record.moved = record.moved.plus(moved);
            record.days.add(today, moved);
        }
    }

    /// Forgets proxies that stopped long before `now`.
    pub(super) fn forget_old(&self, now: SystemTime) {
        let mut table = self.table();
        while let Some(name) = table.stopped.values().next()
            && let Some(record) = table.records.get(name)
            && let Some(stopped_at) = record.stopped_at
            && now
                .duration_since(stopped_at)
                .is_ok_and(|age| age > REMEMBERED_FOR)
        {
            table.forget_first();
        }
    }

    /// Forgets all proxies that are not published; how many there were, and how many of any kind.
    pub(super) fn forget_stopped(&self) -> (usize, usize) {
        let mut table = self.table();
        let (stopped, all) = (table.stopped.len(), table.records.len());
        table.stopped.clear();
        table.records.retain(|_, record| record.stop.is_none());
        (stopped, all)
    }

    /// All that is remembered, in no order.
    pub(super) fn list(&self) -> Vec<(Arc<str>, Record)> {
        let table = self.table();
        let records = table.records.iter();
        records
            .map(|(name, it)| (name.clone(), it.clone()))
            .collect()
    }

    /// What is remembered of `name`.
    pub(super) fn find(&self, name: &str) -> Option<Record> {
        self.table().records.get(name).cloned()
    }

    /// What users of all proxies have moved so far, and what of it today.
    pub(super) fn moved(&self) -> (Moved, Moved) {
        let today = self.today();
        let table = self.table();
        let [of_today, ..] = table.days.as_of(today);
        (table.moved, of_today)
    }

    /// How many proxies are published of each kind that has been.
    pub(super) fn kinds(&self) -> BTreeMap<&'static str, usize> {
        self.table().kinds.clone()
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Table {
    fn forget_first(&mut self) {
        if let Some((_, name)) = self.stopped.pop_first() {
            self.records.remove(&name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_hours(24);

    fn moved(received: u64) -> Moved {
        Moved {
            sent: 2 * received,
            received,
        }
    }

    fn day(number: i8) -> Date {
        Date::constant(2026, 3, 1)
            .checked_add(jiff::Span::new().days(number))
            .unwrap()
    }

    fn start(statistics: &Statistics, name: &str, kind: &'static str, now: SystemTime) {
        statistics.started(&name.into(), kind, &"ann".into(), &"laptop".into(), now);
    }

    fn received(statistics: &Statistics, name: &str, today: Date) -> [u64; DAYS] {
        statistics
            .find(name)
            .unwrap()
            .days(today)
            .map(|it| it.received)
    }

    #[test]
    fn days_pass_and_the_eighth_is_forgotten() {
        let statistics = Statistics::default();
        start(&statistics, "ssh", "tcp", SystemTime::now());
        for (number, bytes) in [(0, 1), (0, 2), (1, 4), (4, 8)] {
            statistics.count("ssh", "tcp", moved(bytes), day(number));
        }
        assert_eq!(received(&statistics, "ssh", day(4)), [8, 0, 0, 4, 3, 0, 0]);
        assert_eq!(received(&statistics, "ssh", day(7)), [0, 0, 0, 8, 0, 0, 4]);
        assert_eq!(received(&statistics, "ssh", day(60)), [0; DAYS]);
        // A clock that is set back.
        statistics.count("ssh", "tcp", moved(16), day(3));
        assert_eq!(received(&statistics, "ssh", day(4)), [24, 0, 0, 4, 3, 0, 0]);
        assert_eq!(statistics.find("ssh").unwrap().moved, moved(31));
        assert_eq!(statistics.moved().0, moved(31));
    }

    #[test]
    fn a_proxy_that_comes_again_goes_on_unless_its_kind_is_another() {
        let statistics = Statistics::default();
        let now = SystemTime::now();
        let name: Arc<str> = "ssh".into();
        start(&statistics, &name, "tcp", now);
        statistics.count(&name, "tcp", moved(1), day(0));
        statistics.stopped(&name, "tcp", now + DAY);
        start(&statistics, &name, "tcp", now + 2 * DAY);
        let record = statistics.find(&name).unwrap();
        assert_eq!(record.stopped_at, Some(now + DAY));
        assert_eq!(received(&statistics, &name, day(0)), [1, 0, 0, 0, 0, 0, 0]);
        statistics.stopped(&name, "tcp", now + 3 * DAY);
        start(&statistics, &name, "udp", now + 3 * DAY);
        // Of a user who was there before.
        statistics.count(&name, "tcp", moved(1), day(0));
        assert_eq!(received(&statistics, &name, day(0)), [0; DAYS]);
        assert_eq!(statistics.find(&name).unwrap().stopped_at, None);
        assert_eq!(statistics.kinds(), [("tcp", 0), ("udp", 1)].into());
        assert_eq!(statistics.moved().0, moved(2));
    }

    #[test]
    fn proxies_that_stopped_are_forgotten_after_a_week_or_on_demand() {
        let statistics = Statistics::default();
        let now = SystemTime::now();
        for (name, days) in [("first", 0), ("second", 1), ("third", 2), ("again", 0)] {
            start(&statistics, name, "tcp", now);
            statistics.stopped(&name.into(), "tcp", now + days * DAY);
        }
        start(&statistics, "again", "tcp", now);
        statistics.forget_old(now + 7 * DAY + Duration::from_secs(1));
        let names = |statistics: &Statistics| {
            let mut names: Vec<_> = statistics
                .list()
                .into_iter()
                .map(|(name, _)| name)
                .collect();
            names.sort();
            names
        };
        assert_eq!(
            names(&statistics),
            ["again", "second", "third"].map(Arc::from)
        );
        assert_eq!(statistics.forget_stopped(), (2, 3));
        assert_eq!(statistics.forget_stopped(), (0, 1));
        assert_eq!(names(&statistics), ["again"].map(Arc::from));
    }

    #[test]
    fn the_one_that_stopped_first_is_forgotten_for_the_next() {
        let statistics = Statistics::default();
        let now = SystemTime::now();
        for number in 0..=MAX_STOPPED {
            let name = number.to_string();
            start(&statistics, &name, "tcp", now);
            statistics.stopped(&name.into(), "tcp", now);
        }
        assert_eq!(statistics.list().len(), MAX_STOPPED);
        assert!(statistics.find("0").is_none());
        assert!(statistics.find("1").is_some());
    }
}
