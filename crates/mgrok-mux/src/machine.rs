//! A session as a state machine: no sockets, no tasks, no clock.
//!
//! Bytes that arrived go in through [`Machine::handle_input`], bytes to write come out of
//! [`Machine::poll_transmit`], time goes in as `now`. Streams are operated by their id. Whoever
//! has to wait leaves a [`Waker`]; the machine never wakes anyone itself but collects wakers
//! for [`Machine::take_wakes`], so that its owner can wake after releasing its lock.
//!
//! # Memory
//!
//! Memory is bounded: unread data by the windows (see `chunks` for what it pins), data to send
//! by [`Config::send_queue`], frames without data by one entry per stream and
//! [`MAX_PENDING_REPLIES`], streams by [`Config::max_streams`].
//!
//! Every stream may bring 256 KiB that nobody reads, and there may be thousands. Once much lies unread in all, those of whom something lies
//! unread, and new ones, are *held back*: a window update without flags and credit asks the other end to send as if their windows
//! had been 32 KiB from the start. Ends that do not know this ignore such an update, and nothing relies on its being heeded.

mod backlog;
mod batch;
mod chunks;
mod input;
mod keepalive;
mod output;
mod state;
mod streams;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

pub use batch::Batch;

use foldhash::HashMap;
use foldhash::HashMapExt as _;

use crate::config::{Config, Role, UntrustedLimits, WindowBudget};
use crate::error::{OpenError, SessionError};
use crate::frame::Header;
use backlog::Backlog;
use input::Parser;
use keepalive::Keepalive;
use state::State;

/// Streams that may be opened before the first of them is acknowledged.
// frp: as many as its accept backlog (yamux session.go#OpenStream)
pub const MAX_UNACKNOWLEDGED: usize = 256;

/// Frames that answer the other end's frames and have not been written. When there are more,
/// the machine wants no input. Honest ends cannot block each other by this, because they leave
/// fewer than [`MAX_UNACKNOWLEDGED`] opens and a few pings unanswered.
pub const MAX_PENDING_REPLIES: usize = 1024;

/// Frames that [`Machine::handle_input`] takes at a time, so that whoever sends the smallest of them, 5,000 in one read, does not
/// keep others from their turn.
pub const MAX_FRAMES_AT_ONCE: usize = 256;

/// Bytes by which what goes first may exceed [`Config::send_queue`].
pub const EXPRESS_ROOM: usize = 64 * 1024;

/// A table with room for as many streams stays as it is when they are gone.
const KEPT_STREAMS: usize = 1_024;

/// Unread bytes of a stream from which on it is held back.
const HELD_BACK_AT: usize = 16 * 1024;

/// So many unread bytes of a stream count among those of all; what its window has grown by has a bound of its own.
const COUNTED_OF_STREAM: usize = crate::frame::INITIAL_WINDOW as usize;

/// Unread bytes that are counted among those of all sessions at a time.
const COUNTED_UNREAD: usize = 64 * 1024;

/// How much of a new stream goes ahead of the data of older ones, in bytes: what says what the stream is for, and a small
/// request.
pub const FIRST_BYTES: u16 = 4 * 1024;

/// The state of one session.
#[derive(Debug)]
pub struct Machine {
    config: Config,
    /// What is left to an other end that is not trusted.
    untrusted: Option<UntrustedLimits>,
    parser: Parser,
    /// Looked into about ten times for a request and its answer, so the hash is a quick one. Its seed is random, and an id costs the
    /// other end a frame, so nobody makes many ids collide.
    streams: HashMap<u32, Box<State>>,
    /// The id of the next stream that we open; `None` if all are used.
    next_id: Option<u32>,
    /// Streams that we opened and that are not acknowledged.
    unacknowledged: usize,
    /// Of these, how many have ceased to be so since the last question.
    freed_opens: usize,
    /// Streams that a `Stream` stands for.
    attached: usize,
    backlog: Backlog,
    keepalive: Keepalive,
    /// Frames that belong to no stream that we keep.
    control: VecDeque<Header>,
    /// Streams that have a frame without data to send. May name streams that are gone.
    urgent: VecDeque<u32>,
    /// Streams whose data goes ahead of that of `round`, each once. May name streams that are gone.
    express: VecDeque<u32>,
    /// Streams that have data to send, each once, in turn. May name streams that are gone.
    round: VecDeque<u32>,
    /// Streams that wait for room in the send queue. May name streams that are gone.
    room_waiters: VecDeque<u32>,
    /// How many of them have been woken and have come back to the front, since others were woken.
    returned_waiters: usize,
    /// Bytes of data that wait to be sent, over all streams.
    queued: usize,
    /// Bytes by which windows exceed their initial size, over all streams.
    grown: usize,
    /// Bytes that lie unread, over all streams, of each no more than [`COUNTED_OF_STREAM`].
    unread: usize,
    /// Of these, how many are counted in the budget that many sessions share.
    counted_unread: usize,
    /// Dropped streams that wait for the other end's FIN.
    lingering: BTreeSet<(Instant, u32)>,
    wakes: Vec<Waker>,
    /// We said that we take no new streams.
    sent_go_away: bool,
    /// The other end said that it takes no new streams.
    received_go_away: bool,
    ended: Option<SessionError>,
}

/// What a session uses at one moment.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Streams, also those that nobody uses any more and that wait for the other end.
    pub streams: usize,
    /// Bytes of data that wait to be sent.
    pub queued: usize,
    /// Bytes by which receive windows exceed their initial size: so much more may be on its way here.
    pub grown: usize,
    /// Bytes that have arrived and were not read, of each stream no more than its first window.
    pub unread: usize,
}

impl Machine {
    /// A session that starts now.
    pub fn new(config: Config, now: Instant) -> Self {
        Self {
            untrusted: config.untrusted,
            parser: Parser::default(),
            streams: HashMap::new(),
            next_id: Some(match config.role {
                Role::Client => 1,
                Role::Server => 2,
            }),
            unacknowledged: 0,
            freed_opens: 0,
            attached: 0,
            backlog: Backlog::default(),
            keepalive: Keepalive::new(config.keepalive_interval, config.keepalive_timeout, now),
            control: VecDeque::new(),
            urgent: VecDeque::new(),
            express: VecDeque::new(),
            round: VecDeque::new(),
            room_waiters: VecDeque::new(),
            returned_waiters: 0,
            queued: 0,
            grown: 0,
            unread: 0,
            counted_unread: 0,
            lingering: BTreeSet::new(),
            wakes: Vec::new(),
            sent_go_away: false,
            received_go_away: false,
            ended: None,
            config,
        }
    }

    /// Does what is due: pings, giving up a dead connection, resetting streams that were closed
    /// long ago.
    pub fn handle_timeout(&mut self, now: Instant) {
        if self.ended.is_some() {
            return;
        }
        if self.keepalive.handle_timeout(now).is_err() {
            self.end(SessionError::KeepaliveTimeout);
            return;
        }
        while let Some(&(until, id)) = self.lingering.first()
            && until <= now
        {
            self.reset_stream(id);
        }
    }

    /// When to call [`handle_timeout`](Self::handle_timeout).
    pub fn timeout_at(&self) -> Option<Instant> {
        if self.ended.is_some() {
            return None;
        }
        let lingering = self.lingering.first().map(|&(until, _)| until);
        [self.keepalive.timeout_at(), lingering]
            .into_iter()
            .flatten()
            .min()
    }

    /// As [`Opener::watch_closely`](crate::Opener::watch_closely).
    pub fn watch_closely(&mut self, interval: Duration, timeout: Duration, now: Instant) {
        self.keepalive.watch_closely(interval, timeout, now);
        // A ping that was under way for this is forgotten.
        self.measure_path(now);
    }

    /// Takes note that the other end's system has made room for more: it is alive, though perhaps too busy with our data to say so.
    pub fn handle_progress(&mut self, now: Instant) {
        self.keepalive.handle_sign_of_life(now);
    }

    /// Opens a stream. It may be used at once.
    pub fn open(&mut self) -> Result<u32, OpenError> {
        if let Some(error) = &self.ended {
            return Err(OpenError::SessionEnded(error.clone()));
        }
        if self.sent_go_away || self.received_go_away {
            return Err(OpenError::GoingAway);
        }
        if self.streams.len() >= self.config.max_streams {
            return Err(OpenError::TooManyStreams {
                limit: self.config.max_streams,
            });
        }
        if self.unacknowledged >= MAX_UNACKNOWLEDGED {
            return Err(OpenError::TooManyUnacknowledged);
        }
        let id = self.next_id.ok_or(OpenError::Exhausted)?;
        self.next_id = id.checked_add(2);
        let mut state = State::opened();
        if self.lacks_memory() {
            state.recv.hold_back();
        }
        self.streams.insert(id, Box::new(state));
        self.unacknowledged += 1;
        self.attached += 1;
        self.note_urgent(id);
        Ok(id)
    }

    /// Takes note that a stream was opened `now`, which the other end is to acknowledge.
    pub fn note_opened(&mut self, now: Instant) {
        self.keepalive.handle_asked(now);
    }

    /// Whether a stream that we opened needs no wait: the other end has acknowledged it, or there is no reason to doubt that it will. An
    /// error if the stream was reset or the session has ended.
    pub fn is_answered(&self, id: u32, now: Instant) -> io::Result<bool> {
        if let Some(error) = &self.ended {
            return Err(error.to_io());
        }
        match self.streams.get(&id) {
            Some(state) if state.reset => Err(io::ErrorKind::ConnectionReset.into()),
            Some(state) => Ok(!state.unacknowledged || !self.keepalive.is_silent(now)),
            None => Err(io::ErrorKind::NotConnected.into()),
        }
    }

    /// Ready when the other end has acknowledged a stream that we opened, or reset it, or the session has ended.
    pub fn poll_acknowledged(&mut self, id: u32, cx: &mut Context<'_>) -> Poll<()> {
        match self.streams.get_mut(&id) {
            Some(state) if state.unacknowledged && !state.reset && self.ended.is_none() => {
                set_waker(&mut state.recv.waker, cx);
                Poll::Pending
            }
            Some(_) | None => Poll::Ready(()),
        }
    }

    /// The next stream that the other end opened; `None` when the session has ended.
    pub fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<Option<u32>> {
        if self.ended.is_some() {
            return Poll::Ready(None);
        }
        while let Some(id) = self.backlog.pop() {
            if let Some(state) = self.streams.get_mut(&id) {
                state.backlog_ticket = None;
                state.attached = true;
                self.attached += 1;
                return Poll::Ready(Some(id));
            }
        }
        set_waker(&mut self.backlog.waker, cx);
        Poll::Pending
    }

    /// Refuses all streams that the other end opens from now on, and those that wait.
    pub fn stop_accepting(&mut self) {
        self.backlog.closed = true;
        while let Some(id) = self.backlog.pop() {
            self.reset_stream(id);
        }
    }

    /// From now on the other end may do all that [`Config`] allows.
    pub fn trust(&mut self, now: Instant) {
        self.untrusted = None;
        self.measure_path(now);
    }

    /// As [`Opener::share_windows`](crate::Opener::share_windows).
    pub fn share_windows(&mut self, budget: &WindowBudget, now: Instant) {
        if self.config.window_budget.is_none() && self.grown == 0 {
            self.config.window_budget = Some(budget.clone());
        }
        self.measure_path(now);
    }

    /// Has the round trip known by the time when windows are to grow. Strangers are not asked.
    fn measure_path(&mut self, now: Instant) {
        if self.untrusted.is_none() {
            self.keepalive.round_trip(now);
        }
    }

    /// Whether so much lies unread that streams are held back.
    fn lacks_memory(&self) -> bool {
        let [session, all] = self.config.hold_back_at;
        let budget = self.config.window_budget.as_ref();
        self.unread >= session || budget.is_some_and(|budget| budget.unread() >= all)
    }

    /// Takes note that of a stream so much lies unread, where it was `before`.
    fn note_unread(&mut self, before: usize, now: usize) {
        self.unread = self.unread + now.min(COUNTED_OF_STREAM) - before.min(COUNTED_OF_STREAM);
        self.share_unread();
    }

    /// Counts what lies unread among that of all sessions.
    fn share_unread(&mut self) {
        if let Some(budget) = &self.config.window_budget
            && self.unread.abs_diff(self.counted_unread) >= COUNTED_UNREAD
        {
            budget.count_unread(self.counted_unread, self.unread);
            self.counted_unread = self.unread;
        }
    }

    /// Announces that there will be no new streams. Those that exist go on.
    pub fn go_away(&mut self) {
        if self.ended.is_none() && !self.sent_go_away {
            self.sent_go_away = true;
            self.control
                .push_back(Header::go_away(crate::frame::GO_AWAY_NORMAL));
        }
    }

    /// Ends the session in an orderly way: what is queued may still be sent, everything else
    /// fails.
    pub fn close(&mut self) {
        self.end(SessionError::Closed);
    }

    /// Takes note that there is no more input.
    pub fn handle_eof(&mut self) {
        let reason = if self.parser.is_between_frames() {
            SessionError::Eof
        } else {
            SessionError::Io(Arc::new(io::ErrorKind::UnexpectedEof.into()))
        };
        self.end(reason);
    }

    /// Takes note that the session cannot go on. The first reason counts.
    pub fn handle_end(&mut self, reason: SessionError) {
        self.end(reason);
    }

    /// Why the session ended.
    pub fn ended(&self) -> Option<&SessionError> {
        self.ended.as_ref()
    }

    /// Whether no new streams can be opened for good.
    pub fn is_going_away(&self) -> bool {
        self.sent_go_away || self.received_go_away || self.ended.is_some()
    }

    /// Streams of which this end knows, whether somebody uses them or not.
    pub fn stream_count(&self) -> usize {
        self.streams.len()
    }

    /// What the session uses.
    pub fn usage(&self) -> Usage {
        Usage {
            streams: self.streams.len(),
            queued: self.queued,
            grown: self.grown,
            unread: self.unread,
        }
    }

    /// Streams that somebody uses.
    pub fn attached_count(&self) -> usize {
        self.attached
    }

    /// Opened streams that ceased to be unacknowledged since the last call.
    pub fn take_freed_opens(&mut self) -> usize {
        std::mem::take(&mut self.freed_opens)
    }

    /// Exchanges the list of those to wake for `empty`.
    pub fn take_wakes(&mut self, empty: &mut Vec<Waker>) {
        debug_assert!(empty.is_empty(), "wakers would be lost");
        std::mem::swap(&mut self.wakes, empty);
    }

    fn end(&mut self, reason: SessionError) {
        if self.ended.is_some() {
            return;
        }
        if !matches!(reason, SessionError::Closed) {
            self.drop_output();
        }
        if let SessionError::Protocol(_) | SessionError::Untrusted = reason {
            self.control
                .push_back(Header::go_away(crate::frame::GO_AWAY_PROTOCOL));
        }
        self.ended = Some(reason);
        for state in self.streams.values_mut() {
            self.wakes.extend(state.recv.waker.take());
            self.wakes.extend(state.send.waker.take());
        }
        self.wakes.extend(self.backlog.waker.take());
        self.lingering.clear();
        self.streams
            .retain(|_, state| state.attached || state.send.queued() > 0 || state.has_urgent());
        let unread = self.streams.values().map(|state| state.recv.unread());
        self.unread = unread.map(|it| it.min(COUNTED_OF_STREAM)).sum();
        self.share_unread();
    }

    fn drop_output(&mut self) {
        self.control.clear();
        self.urgent.clear();
        self.express.clear();
        self.round.clear();
        self.room_waiters.clear();
        self.queued = 0;
        for state in self.streams.values_mut() {
            state.send.discard();
        }
    }

    /// Sees to it that the stream's frames without data are sent.
    fn note_urgent(&mut self, id: u32) {
        if let Some(state) = self.streams.get_mut(&id)
            && state.has_urgent()
            && !state.in_urgent
            && !state.reset
        {
            state.in_urgent = true;
            self.urgent.push_back(id);
        }
    }

    /// Resets a stream that has refused something, but not before the other end has all that it was sent.
    fn reset_if_refused(&mut self, id: u32) {
        let state = self.streams.get(&id);
        if state.is_some_and(|it| it.has_refused && it.send.fin_sent) {
            self.reset_stream(id);
        }
    }

    /// Ends a stream at once in both directions and tells the other end.
    fn reset_stream(&mut self, id: u32) {
        if self.forget(id) {
            self.control
                .push_back(Header::window_update(crate::frame::RST, id, 0));
        }
    }

    /// Takes a stream out of the books. Whether it was in them.
    fn forget(&mut self, id: u32) -> bool {
        let Some(mut state) = self.streams.remove(&id) else {
            return false;
        };
        self.shrink();
        self.queued -= state.send.discard();
        self.note_unread(state.recv.unread(), 0);
        if state.unacknowledged {
            self.note_acknowledged();
        }
        if state.attached {
            self.attached -= 1;
        }
        if let Some(until) = state.lingers_until {
            self.lingering.remove(&(until, id));
        }
        let grown = (state.recv.window() - crate::frame::INITIAL_WINDOW) as usize;
        self.grown -= grown;
        if let Some(budget) = &self.config.window_budget {
            budget.give_back(grown);
        }
        true
    }

    /// Gives back what many streams needed and few do not.
    fn shrink(&mut self) {
        let few = self.streams.len() * 8;
        if self.streams.capacity() > KEPT_STREAMS && self.streams.capacity() > few {
            self.streams.shrink_to(few / 4);
        }
    }

    fn note_acknowledged(&mut self) {
        self.unacknowledged -= 1;
        self.freed_opens += 1;
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(budget) = &self.config.window_budget {
            budget.give_back(self.grown);
            budget.count_unread(self.counted_unread, 0);
        }
    }
}

fn set_waker(slot: &mut Option<Waker>, cx: &Context<'_>) {
    match slot {
        Some(waker) => waker.clone_from(cx.waker()),
        None => *slot = Some(cx.waker().clone()),
    }
}
