//! Sources that have guessed wrong too often, and are kept out for a while.
//!
//! A ban is of one source (an IPv4 address, a /64 of IPv6) and one scope: logins, or one proxy. So whoever guesses the password of a
//! site keeps those who share its address out of that site alone. What was guessed right wipes out what went wrong before. A source from
//! which a client is logged in is not banned from logins, because a fleet behind a NAT must not be shut out by the one of it that has an old
//! token; whoever shares an address with a client may go on guessing, which a long token makes vain.

use std::collections::HashMap;
use std::fmt;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use mgrok_config::BanRules;
use mgrok_metrics::{CounterBy, labels};
use tokio::time::Instant;
use tracing::{info, warn};

use crate::source::Source;

/// How many sources and scopes may be in the books. Beyond it failures are not counted until some are forgotten: whoever has so many
/// addresses is not stopped by bans.
const MAX_ENTRIES: usize = 65_536;

/// How often it is looked at most for what can be forgotten.
const FORGET_INTERVAL: Duration = Duration::from_secs(1);

labels! {
    /// What was guessed.
    pub(crate) enum Guess {
        HttpPassword = "http_password",
        Token = "token",
        VisitorKey = "visitor_key",
    }
}

/// What somebody is kept out of.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(crate) enum Scope {
    Logins,
    /// The proxy of this name.
    Proxy(Arc<str>),
}

/// A ban as operators see it.
#[derive(Clone, Debug)]
pub(crate) struct BanInfo {
    /// No other ban of this process has or had it.
    pub(crate) id: u64,
    pub(crate) source: Source,
    pub(crate) scope: Scope,
    pub(crate) guess: Guess,
    /// How many there were until then.
    pub(crate) failures: u32,
    pub(crate) since: SystemTime,
    pub(crate) until: SystemTime,
}

/// The books. Clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bans {
    inner: Arc<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    books: Mutex<Books>,
    /// How many entries there are, for whoever only looks whether there are any.
    entries: AtomicUsize,
    made: CounterBy<Guess>,
}

#[derive(Debug, Default)]
struct Books {
    entries: HashMap<(Source, Scope), Entry>,
    /// Clients that are logged in, by where they come from.
    clients: HashMap<Source, usize>,
    next_id: u64,
    forgotten_at: Option<Instant>,
}

#[derive(Debug)]
struct Entry {
    failures: u32,
    /// Until when they count, or the ban lasts.
    ends: Instant,
    ban: Option<Ban>,
}

#[derive(Debug)]
struct Ban {
    id: u64,
    guess: Guess,
    since: SystemTime,
    until: SystemTime,
}

/// A client is logged in, until this is dropped.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    bans: Bans,
    source: Source,
}

impl Bans {
    /// Whether nobody is in the books.
    pub(crate) fn is_empty(&self) -> bool {
        self.inner.entries.load(Ordering::Relaxed) == 0
    }

    /// Until when whoever comes from `addr` is kept out of `scope`; `None` if it is not.
    pub(crate) fn until(&self, addr: IpAddr, scope: &Scope) -> Option<SystemTime> {
        if self.is_empty() {
            return None;
        }
        let books = self.books();
        let entry = books.entries.get(&(Source::of(addr), scope.clone()))?;
        let ban = entry.ban.as_ref().filter(|_| Instant::now() < entry.ends)?;
        Some(ban.until)
    }

    /// Counts a wrong guess by whoever comes from `addr`, and bans it if that is one too many by `rules`.
    pub(crate) fn failed(&self, addr: IpAddr, scope: &Scope, guess: Guess, rules: &BanRules) {
        let source = Source::of(addr);
        let now = Instant::now();
        let mut books = self.books();
        books.forget(now);
        if books.entries.len() >= MAX_ENTRIES {
            return;
        }
        let has_clients = *scope == Scope::Logins && books.clients.contains_key(&source);
        let id = books.next_id;
        let entry = books
            .entries
            .entry((source, scope.clone()))
            .or_insert(Entry {
                failures: 0,
                ends: now + rules.window,
                ban: None,
            });
        if entry.ends <= now {
            *entry = Entry {
                failures: 0,
                ends: now + rules.window,
                ban: None,
            };
        }
        entry.failures = entry.failures.saturating_add(1);
        let failures = entry.failures;
        let is_due = failures >= rules.failures.get() && entry.ban.is_none() && !has_clients;
        if is_due {
            let since = SystemTime::now();
            entry.ends = now + rules.duration;
            entry.ban = Some(Ban {
                id,
                guess,
                since,
                until: since + rules.duration,
            });
            books.next_id += 1;
        }
        self.note_size(&books);
        drop(books);
        if is_due {
            self.inner.made.of(guess).inc();
            warn!(
                source = %source,
                "{source} is banned from {scope} for {} s after {failures} wrong guesses at a {}; the admin port can lift that",
                rules.duration.as_secs(),
                guess.in_words()
            );
        }
    }

    /// Whoever comes from `addr` has guessed right, and so what went wrong before counts no more.
    pub(crate) fn succeeded(&self, addr: IpAddr, scope: &Scope) {
        if self.is_empty() {
            return;
        }
        let mut books = self.books();
        let key = (Source::of(addr), scope.clone());
        if books.entries.get(&key).is_some_and(|it| it.ban.is_none()) {
            books.entries.remove(&key);
        }
        self.note_size(&books);
    }

    /// A client has logged in from `addr`.
    pub(crate) fn logged_in(&self, addr: IpAddr) -> LoggedIn {
        let source = Source::of(addr);
        *self.books().clients.entry(source).or_default() += 1;
        self.succeeded(addr, &Scope::Logins);
        LoggedIn {
            bans: self.clone(),
            source,
        }
    }

    /// Those that are banned, the latest first.
    pub(crate) fn list(&self) -> Vec<BanInfo> {
        let now = Instant::now();
        let books = self.books();
        let banned = books.entries.iter().filter(|(_, it)| now < it.ends);
        let banned = banned.filter_map(|((source, scope), entry)| {
            let ban = entry.ban.as_ref()?;
            Some(BanInfo {
                id: ban.id,
                source: *source,
                scope: scope.clone(),
                guess: ban.guess,
                failures: entry.failures,
                since: ban.since,
                until: ban.until,
            })
        });
        let mut banned: Vec<_> = banned.collect();
        drop(books);
        banned.sort_by_key(|it| std::cmp::Reverse(it.id));
        banned
    }

    /// Lets those in again that the ban `id` keeps out, which `who` wants. Returns what was lifted.
    pub(crate) fn lift(&self, id: u64, who: &str) -> Option<(Source, Scope)> {
        let mut books = self.books();
        let mut banned = books.entries.iter();
        let found = banned.find(|(_, it)| it.ban.as_ref().is_some_and(|ban| ban.id == id));
        let key = found.map(|(key, _)| key.clone())?;
        let is_live = books
            .entries
            .remove(&key)
            .is_some_and(|it| Instant::now() < it.ends);
        self.note_size(&books);
        drop(books);
        if !is_live {
            return None;
        }
        let (source, scope) = &key;
        info!("{source} is banned from {scope} no longer, as {who} wants");
        Some(key)
    }

    /// How many were made so far.
    pub(crate) fn made(&self) -> &CounterBy<Guess> {
        &self.inner.made
    }

    fn note_size(&self, books: &Books) {
        let entries = books.entries.len();
        self.inner.entries.store(entries, Ordering::Relaxed);
    }

    fn books(&self) -> MutexGuard<'_, Books> {
        self.inner
            .books
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl Books {
    /// Forgets what counts no more, if that was not done just now.
    fn forget(&mut self, now: Instant) {
        let next = self.forgotten_at.map(|at| at + FORGET_INTERVAL);
        if next.is_some_and(|next| now < next) {
            return;
        }
        self.forgotten_at = Some(now);
        self.entries.retain(|_, it| now < it.ends);
        if self.entries.is_empty() {
            self.entries.shrink_to_fit();
        }
    }
}

impl Guess {
    fn in_words(self) -> &'static str {
        match self {
            Self::HttpPassword => "password",
            Self::Token => "token",
            Self::VisitorKey => "secretKey",
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Logins => f.write_str("logins"),
            Self::Proxy(name) => write!(f, "[{}]", crate::excerpt::Excerpt(name)),
        }
    }
}

impl Drop for LoggedIn {
    fn drop(&mut self) {
        let mut books = self.bans.books();
        let left = books.clients.get_mut(&self.source).map(|clients| {
            *clients -= 1;
            *clients
        });
        if left == Some(0) {
            books.clients.remove(&self.source);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    fn rules() -> BanRules {
        BanRules {
            failures: NonZeroU32::new(3).unwrap(),
            window: Duration::from_secs(60),
            duration: Duration::from_secs(600),
            exempt: Vec::new(),
        }
    }

    fn addr(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    /// So many wrong guesses; whether it is banned then.
    fn fail(bans: &Bans, from: &str, scope: &Scope, times: usize) -> bool {
        for _ in 0..times {
            bans.failed(addr(from), scope, Guess::Token, &rules());
        }
        bans.until(addr(from), scope).is_some()
    }

    fn site(name: &str) -> Scope {
        Scope::Proxy(name.into())
    }

    #[tokio::test(start_paused = true)]
    async fn who_guesses_wrong_too_often_is_kept_out_for_a_while() {
        let bans = Bans::default();
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 2));
        assert!(fail(&bans, "::ffff:192.0.2.1", &Scope::Logins, 1));
        assert_eq!(bans.until(addr("192.0.2.2"), &Scope::Logins), None);
        assert_eq!(bans.made().of(Guess::Token).get(), 1);
        // What still comes makes it no longer.
        tokio::time::advance(Duration::from_secs(599)).await;
        assert!(fail(&bans, "192.0.2.1", &Scope::Logins, 5));
        tokio::time::advance(Duration::from_secs(2)).await;
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 2));
        assert!(bans.list().is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn failures_count_for_a_while_and_until_it_went_right() {
        let bans = Bans::default();
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 2));
        tokio::time::advance(Duration::from_secs(61)).await;
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 2));
        bans.succeeded(addr("192.0.2.1"), &Scope::Logins);
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 2));
    }

    #[tokio::test]
    async fn a_ban_is_of_one_proxy_and_of_a_whole_64() {
        let bans = Bans::default();
        assert!(fail(&bans, "2001:db8::1", &site("a"), 3));
        assert!(bans.until(addr("2001:db8::9"), &site("a")).is_some());
        assert_eq!(bans.until(addr("2001:db8:0:1::9"), &site("a")), None);
        assert_eq!(bans.until(addr("2001:db8::1"), &site("b")), None);
        assert_eq!(bans.until(addr("2001:db8::1"), &Scope::Logins), None);
    }

    #[tokio::test]
    async fn a_fleet_is_not_shut_out_by_one_of_it() {
        let bans = Bans::default();
        let client = bans.logged_in(addr("192.0.2.1"));
        assert!(!fail(&bans, "192.0.2.1", &Scope::Logins, 100));
        // It says nothing of a site.
        assert!(fail(&bans, "192.0.2.1", &site("a"), 3));
        drop(client);
        assert!(fail(&bans, "192.0.2.1", &Scope::Logins, 1));
        assert!(bans.books().clients.is_empty());
    }

    #[tokio::test]
    async fn a_ban_can_be_lifted() {
        let bans = Bans::default();
        fail(&bans, "192.0.2.1", &site("a"), 3);
        fail(&bans, "192.0.2.2", &site("a"), 3);
        let ids: Vec<_> = bans.list().iter().map(|it| it.id).collect();
        assert_eq!(ids, [1, 0]);
        assert_eq!(bans.lift(7, "nobody"), None);
        let (source, _) = bans.lift(1, "ann").unwrap();
        assert_eq!(source.to_string(), "192.0.2.2");
        assert_eq!(bans.lift(1, "ann"), None);
        assert!(!fail(&bans, "192.0.2.2", &site("a"), 2));
        assert_eq!(bans.list().len(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn the_books_are_bounded_and_empty_themselves() {
        let bans = Bans::default();
        for number in 0..MAX_ENTRIES as u32 + 1_000 {
            let from = IpAddr::from(number.to_be_bytes());
            bans.failed(from, &Scope::Logins, Guess::Token, &rules());
        }
        assert_eq!(bans.books().entries.len(), MAX_ENTRIES);
        tokio::time::advance(Duration::from_secs(61)).await;
        fail(&bans, "192.0.2.1", &Scope::Logins, 1);
        assert_eq!(bans.books().entries.len(), 1);
    }
}
