//! The task that moves a session's bytes between the connection and the state machine.
//!
//! It is one task that polls both directions: read a slab, let the machine take it in, take out
//! a batch of frames, write it. It never waits for a stream. While the connection does not take
//! the batch, reading goes on; the machine says when it had better not.

use std::io::{self, IoSlice};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};
use tokio::time::Sleep;

use crate::config::Config;
use crate::error::SessionError;
use crate::handles::{Acceptor, Opener};
use crate::machine::Batch;
use crate::shared::Shared;
use crate::slab;

/// Room in a slab that is worth reading into, in bytes.
const MIN_READ: usize = 32 * 1024;

/// Slices that one write takes.
const MAX_SLICES: usize = 64;

/// Bytes that are worth a write of their own. Less than that is one of many small messages, if there
/// is much to do; more is part of a bulk transfer, which is not to wait.
const WORTH_WRITING: usize = 4 * 1024;

/// Where waiting for other messages has come to nothing, so many times at least, 63 messages leave at once before the next waits.
const MAX_VAIN: u8 = 6;

/// The driver lets other tasks run after so many turns, which move up to 64 KiB in and 256 KiB out.
const MAX_TURNS: usize = 8;

/// Reads what arrives next as an owned slice, empty at the end.
pub type Receive<IO> = fn(&mut IO, &mut Context<'_>) -> Poll<io::Result<Bytes>>;

/// Starts a session on `io`. Nothing happens unless the [`Driver`] is polled, usually by
/// spawning it.
pub fn session<IO>(io: IO, config: Config) -> (Opener, Acceptor, Driver<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    session_receiving(io, config, read_into_slab)
}

/// As [`session`], on a connection that has what arrives in owned slices, which saves a copy of it.
pub fn session_receiving<IO>(
    io: IO,
    config: Config,
    receive: Receive<IO>,
) -> (Opener, Acceptor, Driver<IO>)
where
    IO: AsyncWrite + Unpin + Send,
{
    let shared = Shared::new(config.clone());
    let opener = Opener::new(Arc::clone(&shared), config.open_timeout);
    let acceptor = Acceptor::new(Arc::clone(&shared));
    let driver = Driver {
        batch: Batch::new(io.is_write_vectored()),
        io,
        receive,
        shared,
        config,
        phase: Phase::Running,
        input: Bytes::new(),
        wants_input: true,
        blocked: false,
        has_progressed: false,
        is_slow: false,
        unflushed: false,
        gathering: Gathering::default(),
        timer: None,
        wakes: Vec::new(),
    };
    (opener, acceptor, driver)
}

/// Moves the session's bytes. Ends when the session ends: with `Ok` if either end closed it, else
/// with the reason. Dropping it ends the session at once.
#[derive(Debug)]
#[must_use = "a session does nothing unless its driver is polled"]
pub struct Driver<IO> {
    io: IO,
    receive: Receive<IO>,
    shared: Arc<Shared>,
    config: Config,
    phase: Phase,
    batch: Batch,
    /// What was read and the machine has yet to take in.
    input: Bytes,
    /// Whether the machine takes more input.
    wants_input: bool,
    /// The connection took nothing the last time.
    blocked: bool,
    /// The connection has taken something since it took nothing.
    has_progressed: bool,
    /// The connection has not taken all of the batch at once.
    is_slow: bool,
    /// Something was written since the last flush.
    unflushed: bool,
    gathering: Gathering,
    timer: Option<Pin<Box<Sleep>>>,
    /// An empty list, kept for its memory.
    wakes: Vec<Waker>,
}

/// Whether a small message waits for others, so that they leave with one write.
#[derive(Clone, Copy, Debug, Default)]
struct Gathering {
    /// What was to be sent, in bytes, when the driver let other tasks run.
    before: Option<usize>,
    /// Times in a row that nothing came of it.
    vain: u8,
    /// Messages that are not to wait.
    skip: u8,
}

/// How far the session is.
#[derive(Clone, Copy, Debug)]
enum Phase {
    Running,
    /// The session has ended; the rest of the output is being written.
    Flushing {
        until: Instant,
    },
    /// Our direction is shut down. Input is dropped until the other end closes as well: closing
    /// a connection with unread input could destroy what the other end has not read.
    Draining {
        until: Instant,
    },
}

/// What a turn came to.
enum Turn {
    Blocked,
    Done,
    Progress,
}

impl<IO: AsyncWrite + Unpin + Send> Future for Driver<IO> {
    type Output = Result<(), SessionError>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        if this.gathers(cx) {
            return Poll::Pending;
        }
        for _ in 0..MAX_TURNS {
            let turn = match this.phase {
                Phase::Running => this.run(cx),
                Phase::Flushing { until } => this.flush(cx, until),
                Phase::Draining { until } => this.drain(cx, until),
            };
            match turn {
                Turn::Blocked => return Poll::Pending,
                Turn::Done => return Poll::Ready(this.finish()),
                Turn::Progress => {}
            }
            if !this.input.is_empty() {
                // As many frames as this are a turn of their own.
                break;
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<IO: AsyncWrite + Unpin + Send> Driver<IO> {
    /// Lets the tasks that are ready run first if there is little to write: they may have more for the same write, and a write
    /// costs more than what is in it. Once for each time the driver is woken, and seldom where nothing has come of it: a
    /// runtime that finds nothing else to run wakes another thread to look for it, which costs a lone message more than its write.
    fn gathers(&mut self, cx: &mut Context<'_>) -> bool {
        let is_running = matches!(self.phase, Phase::Running) && self.batch.is_empty();
        let queued = match is_running {
            true => self.shared.lock().machine.usage().queued,
            false => 0,
        };
        let has_little = (1..WORTH_WRITING).contains(&queued);
        if let Some(before) = self.gathering.before.take() {
            self.gathering.note(queued > before);
            return false;
        }
        if !has_little || !self.gathering.is_worth_it() {
            return false;
        }
        self.gathering.before = Some(queued);
        // At its first poll it sees to it that the task is woken after the others.
        pin!(tokio::task::yield_now()).poll(cx).is_pending()
    }

    /// One turn of a living session.
    fn run(&mut self, cx: &mut Context<'_>) -> Turn {
        let input = if !self.wants_input {
            Poll::Pending
        } else if self.input.is_empty() {
            (self.receive)(&mut self.io, cx)
        } else {
            Poll::Ready(Ok(std::mem::take(&mut self.input)))
        };
        let has_read = input.is_ready();
        let now = now();
        let mut guard = self.shared.lock();
        match input {
            Poll::Pending => {}
            Poll::Ready(Err(error)) => guard.machine.handle_end(SessionError::Io(Arc::new(error))),
            Poll::Ready(Ok(input)) if input.is_empty() => guard.machine.handle_eof(),
            Poll::Ready(Ok(mut input)) => {
                guard.machine.handle_input(&mut input, now);
                // An empty rest would keep its slab from being filled from the front again.
                if !input.is_empty() {
                    self.input = input;
                }
            }
        }
        if std::mem::take(&mut self.has_progressed) {
            guard.machine.handle_progress(now);
        }
        if guard.machine.timeout_at().is_some_and(|at| at <= now) {
            guard.machine.handle_timeout(now);
        }
        if guard.is_abandoned() {
            guard.machine.close();
        }
        if self.batch.is_empty() {
            self.batch.set_slow(std::mem::take(&mut self.is_slow));
            guard.machine.poll_transmit(&mut self.batch, now);
        }
        self.wants_input = guard.machine.wants_input();
        let orderly = guard.machine.ended().map(SessionError::is_orderly);
        guard.finish_driving(&mut self.wakes);

        match orderly {
            Some(true) => {
                self.phase = Phase::Flushing {
                    until: now + self.config.flush_timeout,
                };
                return Turn::Progress;
            }
            Some(false) => return Turn::Done,
            None => {}
        }
        let had_output = !self.batch.is_empty();
        let written = match self.poll_write(cx) {
            Poll::Ready(Ok(())) => true,
            Poll::Ready(Err(error)) => {
                self.end(SessionError::Io(Arc::new(error)));
                return Turn::Done;
            }
            Poll::Pending => false,
        };
        if has_read || (had_output && written) {
            return Turn::Progress;
        }
        self.park(cx, written)
    }

    /// Nothing can be done now: sees to it that the driver is woken when that changes.
    fn park(&mut self, cx: &mut Context<'_>, wants_output: bool) -> Turn {
        let mut guard = self.shared.lock();
        let missed_output = wants_output && guard.machine.has_output();
        let missed_input = self.wants_input && !self.input.is_empty();
        if missed_output || missed_input || guard.machine.ended().is_some() || guard.is_abandoned()
        {
            return Turn::Progress;
        }
        guard.park_driver(cx, wants_output);
        let timeout_at = guard.machine.timeout_at();
        drop(guard);
        self.batch.release();
        self.wait_until(cx, timeout_at, Turn::Progress)
    }

    /// Writes what is left of a session that was closed, then shuts our direction down.
    fn flush(&mut self, cx: &mut Context<'_>, until: Instant) -> Turn {
        if self.batch.is_empty() {
            let mut guard = self.shared.lock();
            guard.machine.poll_transmit(&mut self.batch, now());
            guard.finish_driving(&mut self.wakes);
        }
        let had_output = !self.batch.is_empty();
        let result = match self.poll_write(cx) {
            Poll::Ready(Ok(())) if had_output => return Turn::Progress,
            Poll::Ready(Ok(())) => Pin::new(&mut self.io).poll_shutdown(cx),
            result => result,
        };
        match result {
            Poll::Ready(Ok(())) => {
                self.phase = Phase::Draining { until };
                Turn::Progress
            }
            Poll::Ready(Err(_)) => Turn::Done,
            Poll::Pending => self.wait_until(cx, Some(until), Turn::Done),
        }
    }

    /// Drops input until the other end has closed its direction too.
    fn drain(&mut self, cx: &mut Context<'_>, until: Instant) -> Turn {
        match (self.receive)(&mut self.io, cx) {
            Poll::Ready(Ok(input)) if !input.is_empty() && now() < until => Turn::Progress,
            Poll::Ready(_) => Turn::Done,
            Poll::Pending => self.wait_until(cx, Some(until), Turn::Done),
        }
    }

    /// Writes the batch; ready when all of it is written and flushed.
    fn poll_write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = &mut self.io;
        while !self.batch.is_empty() {
            let written = if io.is_write_vectored() {
                let mut slices = [IoSlice::new(&[]); MAX_SLICES];
                let used = self.batch.slices(&mut slices);
                Pin::new(&mut *io).poll_write_vectored(cx, &slices[..used])
            } else {
                Pin::new(&mut *io).poll_write(cx, self.batch.first())
            };
            let was_blocked = std::mem::replace(&mut self.blocked, written.is_pending());
            self.is_slow |= self.blocked;
            let count = ready!(written)?;
            self.has_progressed |= was_blocked;
            if count == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.batch.advance(count);
            self.unflushed = true;
        }
        if self.unflushed {
            ready!(Pin::new(io).poll_flush(cx))?;
            self.unflushed = false;
        }
        Poll::Ready(Ok(()))
    }

    /// Blocked until `at`, then `due`.
    fn wait_until(&mut self, cx: &mut Context<'_>, at: Option<Instant>, due: Turn) -> Turn {
        let Some(at) = at.map(tokio::time::Instant::from_std) else {
            return Turn::Blocked;
        };
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(tokio::time::sleep_until(at)));
        if timer.deadline() != at {
            timer.as_mut().reset(at);
        }
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => due,
            Poll::Pending => Turn::Blocked,
        }
    }
}

impl Gathering {
    /// Whether the next message is to wait.
    fn is_worth_it(&mut self) -> bool {
        let skip = self.skip > 0;
        self.skip = self.skip.saturating_sub(1);
        !skip
    }

    /// Takes note whether others had more to send.
    fn note(&mut self, had_more: bool) {
        self.vain = if had_more {
            0
        } else {
            (self.vain + 1).min(MAX_VAIN)
        };
        self.skip = (1 << self.vain) - 1;
    }
}

impl<IO> Driver<IO> {
    fn end(&mut self, reason: SessionError) {
        let mut guard = self.shared.lock();
        guard.machine.handle_end(reason);
        guard.finish();
    }

    fn finish(&mut self) -> Result<(), SessionError> {
        self.end(SessionError::Closed);
        self.shared.note_done();
        let guard = self.shared.lock();
        match guard.machine.ended() {
            None | Some(SessionError::Closed | SessionError::Eof) => Ok(()),
            Some(error) => Err(error.clone()),
        }
    }
}

impl<IO> Drop for Driver<IO> {
    fn drop(&mut self) {
        self.end(SessionError::Closed);
        self.shared.note_done();
    }
}

fn read_into_slab<IO: AsyncRead + Unpin>(
    io: &mut IO,
    cx: &mut Context<'_>,
) -> Poll<io::Result<Bytes>> {
    slab::with_local(|slabs| {
        slabs.read_with(MIN_READ, |buffer| {
            // This future keeps nothing between polls, a new one each time loses nothing.
            ready!(pin!(io.read_buf(buffer)).poll(cx))?;
            Poll::Ready(Ok(buffer.split().freeze()))
        })
    })
}

fn now() -> Instant {
    tokio::time::Instant::now().into_std()
}
