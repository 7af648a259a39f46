//! How many lines a stranger can cause.
//!
//! An event that somebody else can cause as often as they like says so in a field, and at most so many lines of its kind are
//! written for them in a minute; the rest are counted, and the count is written when the minute is over. A kind is a place in the
//! source: what is logged there has one reason. Addresses count by the host, which in IPv6 is a network of 64 bits.

use std::collections::HashMap;
use std::fmt::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::Metadata;
use tracing::callsite::Identifier;

/// How long lines are counted together.
pub(crate) const WINDOW: Duration = Duration::from_secs(60);

/// How many sources are told apart at a time, over all kinds. Those beyond share what a kind may write in all.
const MAX_SOURCES: usize = 1024;

/// How long a full table of sources is left as it is.
const SWEEP_PAUSE: Duration = Duration::from_secs(1);

/// The longest name of a source that is told from others, in bytes. Addresses are shorter.
const SOURCE_LEN: usize = 64;

/// How much of a line is repeated where lines like it are counted, in bytes.
const EXAMPLE_LEN: usize = 200;

/// How many lines of one kind are written in a [`WINDOW`].
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Allowance {
    /// Because of one source.
    per_source: u32,
    /// Because of all sources together, however many there are.
    of_a_kind: u32,
}

impl Allowance {
    /// For whoever can reach a port. Enough to read what a user or a scanner does; at the length that a line of strangers may have, a
    /// kind writes 10 KiB/s at the worst.
    const STRANGER: Self = Self {
        per_source: 30,
        of_a_kind: 600,
    };

    /// For a session of a client that has logged in: some start with a thousand proxies, of which each has its lines.
    const SESSION: Self = Self {
        per_source: 2_000,
        of_a_kind: 20_000,
    };

    /// What events with a field of this name are allowed; `None` if it is a field like any other.
    pub(crate) fn of_field(name: &str) -> Option<Self> {
        match name {
            "source" => Some(Self::STRANGER),
            "per_session" => Some(Self::SESSION),
            _ => None,
        }
    }
}

/// Who causes an event: a host, or any short text.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub(crate) struct Source {
    len: usize,
    text: [u8; SOURCE_LEN],
}

impl Source {
    const NOBODY: Self = Self {
        len: 0,
        text: [0; SOURCE_LEN],
    };

    /// The source that a field names, which may be an address with a port.
    pub(crate) fn new(named: fmt::Arguments<'_>) -> Self {
        let named = Self::cut(named);
        let text = named.as_str();
        let ip = text
            .parse()
            .map(|it: SocketAddr| it.ip())
            .or_else(|_| text.parse::<IpAddr>());
        match ip.map(|it| it.to_canonical()) {
            Ok(IpAddr::V4(ip)) => Self::cut(format_args!("{ip}")),
            Ok(IpAddr::V6(ip)) if ip.is_loopback() => Self::cut(format_args!("{ip}")),
            Ok(IpAddr::V6(ip)) => {
                let network = Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64);
                Self::cut(format_args!("{network}/64"))
            }
            Err(_) => named,
        }
    }

    fn cut(text: fmt::Arguments<'_>) -> Self {
        let mut source = Self::NOBODY;
        // It is cut at the end of its room, which is no failure here.
        let _ = source.write_fmt(text);
        source
    }

    fn as_str(&self) -> &str {
        let text = self.text.get(..self.len).unwrap_or_default();
        std::str::from_utf8(text).unwrap_or_default()
    }
}

impl fmt::Write for Source {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            let end = self.len + character.len_utf8();
            let room = self.text.get_mut(self.len..end).ok_or(fmt::Error)?;
            character.encode_utf8(room);
            self.len = end;
        }
        Ok(())
    }
}

/// What becomes of an event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Verdict {
    /// It is counted only.
    LeaveOut,
    /// It is written, as the last one of these until so much time has passed.
    WriteLast(Last),
    /// It is written.
    Write,
}

/// Of whom a line is the last one for the time being.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Last {
    /// Of everybody.
    OfKind,
    /// Of its source.
    OfSource,
}

/// Lines that were counted only, for one line that tells of them.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct LeftOut {
    pub(crate) count: u64,
    /// The beginning of the message of a line like them.
    pub(crate) example: String,
    /// What is common to them.
    pub(crate) metadata: &'static Metadata<'static>,
    /// Who caused them; empty if that were many.
    pub(crate) source: String,
}

/// Counts lines by kind and source. Shared by whoever logs and the writer, who reports.
#[derive(Default)]
pub(crate) struct Limiter {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    by_kind: HashMap<Identifier, Count>,
    by_source: HashMap<(Identifier, Source), Count>,
    /// When the first window ends in which lines may be left out.
    due: Option<Instant>,
    /// When sources were last forgotten.
    swept: Option<Instant>,
}

/// The lines of one kind, or of one source and kind, in one window.
struct Count {
    ends: Instant,
    example: String,
    /// No more lines are written.
    is_full: bool,
    left_out: u64,
    metadata: &'static Metadata<'static>,
    written: u32,
}

impl Count {
    fn new(metadata: &'static Metadata<'static>, now: Instant) -> Self {
        Self {
            ends: now + WINDOW,
            example: String::new(),
            is_full: false,
            left_out: 0,
            metadata,
            written: 0,
        }
    }

    /// Begins another window if this one is over and hides nothing that has to be told.
    fn roll(&mut self, now: Instant) {
        if self.ends <= now && self.left_out == 0 {
            *self = Self::new(self.metadata, now);
        }
    }
}

impl Limiter {
    /// Judges an event of a kind that `source` has caused.
    pub(crate) fn judge(
        &self,
        metadata: &'static Metadata<'static>,
        source: Source,
        allowance: Allowance,
        now: Instant,
    ) -> Verdict {
        let mut state = self.lock();
        state.make_room(now);
        let State {
            by_kind,
            by_source,
            due,
            ..
        } = &mut *state;
        let id = metadata.callsite();
        let kind = by_kind
            .entry(id.clone())
            .or_insert_with(|| Count::new(metadata, now));
        kind.roll(now);

        let key = (id, source);
        let has_room = by_source.len() < MAX_SOURCES || by_source.contains_key(&key);
        let mut one = has_room.then(|| {
            let one = by_source
                .entry(key)
                .or_insert_with(|| Count::new(metadata, now));
            one.roll(now);
            one
        });
        if let Some(one) = &mut one {
            if one.written >= allowance.per_source {
                one.left_out += 1;
                return Verdict::LeaveOut;
            }
            one.written += 1;
        }
        if kind.written >= allowance.of_a_kind {
            kind.left_out += 1;
            return Verdict::LeaveOut;
        }
        kind.written += 1;
        let mut verdict = Verdict::Write;
        if kind.written == allowance.of_a_kind {
            kind.is_full = true;
            earlier(due, kind.ends);
            verdict = Verdict::WriteLast(Last::OfKind);
        }
        if let Some(one) = one
            && one.written == allowance.per_source
        {
            one.is_full = true;
            earlier(due, one.ends);
            verdict = Verdict::WriteLast(Last::OfSource);
        }
        verdict
    }

    /// Keeps the message of the last line that is written, to tell by it what was left out after it.
    pub(crate) fn keep_example(
        &self,
        metadata: &'static Metadata<'static>,
        source: Source,
        message: &str,
    ) {
        let message = &message[..message.floor_char_boundary(EXAMPLE_LEN)];
        let mut state = self.lock();
        let State {
            by_kind, by_source, ..
        } = &mut *state;
        let id = metadata.callsite();
        for count in [by_kind.get_mut(&id), by_source.get_mut(&(id, source))] {
            if let Some(count) = count.filter(|it| it.is_full && it.example.is_empty()) {
                count.example.push_str(message);
            }
        }
    }

    /// When there may be something to report.
    pub(crate) fn due(&self) -> Option<Instant> {
        self.lock().due
    }

    /// What was left out in the windows that are over, or in all of them at the `end` of the log.
    pub(crate) fn report(&self, now: Instant, end: bool) -> Vec<LeftOut> {
        let mut state = self.lock();
        if state.due.is_none_or(|due| now < due) && !end {
            return Vec::new();
        }
        let mut left_out = Vec::new();
        let mut due: Option<Instant> = None;
        let mut keep = |count: &mut Count, source: &str| {
            if now < count.ends && !end {
                if count.is_full {
                    earlier(&mut due, count.ends);
                }
                return true;
            }
            if count.left_out > 0 {
                left_out.push(LeftOut {
                    count: count.left_out,
                    example: std::mem::take(&mut count.example),
                    metadata: count.metadata,
                    source: source.to_owned(),
                });
            }
            false
        };
        state
            .by_source
            .retain(|(_, source), count| keep(count, source.as_str()));
        state.by_kind.retain(|_, count| keep(count, ""));
        state.due = due;
        left_out
    }

    /// No code panics while it holds the lock, and a log must outlive any panic.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Forgets sources of windows that are over when there are too many, but not for each event of a flood.
    fn make_room(&mut self, now: Instant) {
        let rests = self.swept.is_some_and(|at| now < at + SWEEP_PAUSE);
        if self.by_source.len() >= MAX_SOURCES && !rests {
            self.swept = Some(now);
            self.by_source
                .retain(|_, count| now < count.ends || count.left_out > 0);
        }
    }
}

fn earlier(due: &mut Option<Instant>, at: Instant) {
    *due = Some(due.map_or(at, |it| it.min(at)));
}

#[cfg(test)]
mod tests;
