//! What a session may use and how long it waits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::frame::INITIAL_WINDOW;

/// Which end of the session this is; it decides who numbers streams how.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The end that made the connection: its streams have odd ids, from 1.
    Client,
    /// The end that accepted the connection: its streams have even ids, from 2.
    Server,
}

/// Limits and intervals of one session.
#[derive(Clone, Debug)]
pub struct Config {
    /// Which end of the session this is.
    pub role: Role,
    /// How often the other end is asked for a sign of life; the first time one interval after
    /// the start. `None` never asks, so that a dead link is noticed by TCP only.
    pub keepalive_interval: Option<Duration>,
    /// How long the answer to a ping may take, unless other bytes arrive meanwhile, before the
    /// session is given up. Without effect if `keepalive_interval` is `None`.
    pub keepalive_timeout: Duration,
    /// Largest receive window of one stream in bytes. Every stream starts with 256 KiB (the
    /// protocol's constant, a smaller value here counts as that) and grows to this as it proves
    /// that it is read faster than the window allows.
    pub max_stream_window: u32,
    /// Bytes by which the windows of all streams together may exceed their initial 256 KiB. A stream
    /// takes at most half of what is left at a time, so that those that come later can grow too.
    pub max_session_memory: usize,
    /// A bound on the same bytes that many sessions share, with the same rule.
    pub window_budget: Option<WindowBudget>,
    /// Unread bytes of all streams together from which on [streams are held back](crate::machine#memory), and of all sessions that share
    /// `window_budget`. Of each stream no more than 256 KiB count.
    pub hold_back_at: [usize; 2],
    /// Streams opened by the other end that wait for [`Acceptor::accept`](crate::Acceptor::accept);
    /// what comes beyond is reset.
    pub accept_backlog: usize,
    /// Streams that may exist at a time, including closed ones that wait for the other end's FIN.
    /// Opening one more fails on this side and is answered with a reset on the other.
    pub max_streams: usize,
    /// What the other end may do until it is [trusted](crate::Opener::trust). `None`: it is trusted from the start.
    pub untrusted: Option<UntrustedLimits>,
    /// Bytes of stream data that wait to be written to the connection, over all streams. Messages that go
    /// [first](crate::Stream::send_first) and the first bytes of new streams may exceed it by
    /// [`EXPRESS_ROOM`](crate::machine::EXPRESS_ROOM).
    pub send_queue: usize,
    /// How long [`Opener::open`](crate::Opener::open) waits while too many opened streams are
    /// not acknowledged.
    pub open_timeout: Duration,
    /// How long a dropped stream goes on draining what the other end sends before it is reset.
    pub close_timeout: Duration,
    /// How long a session that is being closed may take to write what is queued.
    pub flush_timeout: Duration,
}

impl Config {
    /// The configuration of the end that made the connection.
    pub fn client() -> Self {
        Self::new(Role::Client)
    }

    /// The configuration of the end that accepted the connection.
    pub fn server() -> Self {
        Self::new(Role::Server)
    }

    fn new(role: Role) -> Self {
        Self {
            role,
            // frp: 30 s and 10 s (yamux const.go#DefaultConfig)
            keepalive_interval: Some(Duration::from_secs(30)),
            keepalive_timeout: Duration::from_secs(10),
            // 2.6 Gbit/s over a path of 100 ms. frp opens every stream with 6 MiB, and stays at that (client/connector.go).
            max_stream_window: 32 * 1024 * 1024,
            max_session_memory: 128 * 1024 * 1024,
            window_budget: None,
            hold_back_at: [16 * 1024 * 1024, 64 * 1024 * 1024],
            accept_backlog: 256,
            max_streams: 65_536,
            untrusted: None,
            send_queue: 512 * 1024,
            // frp: gives a stream up 75 s after opening and closes it after 5 min
            // (yamux const.go#DefaultConfig)
            open_timeout: Duration::from_secs(75),
            close_timeout: Duration::from_secs(300),
            flush_timeout: Duration::from_secs(5),
        }
    }

    /// The largest receive window that a stream can really get.
    pub(crate) fn largest_window(&self) -> u32 {
        self.max_stream_window.max(INITIAL_WINDOW)
    }
}

/// What the other end may do before it has shown who it is: as much as it takes to show that. The session ends if it does more.
#[derive(Clone, Copy, Debug)]
pub struct UntrustedLimits {
    /// Bytes that it may send, frames and all. So also how much may lie unread, and how many frames there may be.
    pub input: usize,
    /// Streams that it may open, whether they still exist or not.
    pub streams: usize,
}

/// Bytes that the windows of many sessions may promise together, and how many lie unread in all of them. Clones share one account.
#[derive(Clone, Debug)]
pub struct WindowBudget {
    left: Arc<AtomicUsize>,
    unread: Arc<AtomicUsize>,
}

impl WindowBudget {
    /// A budget of `bytes` beyond the initial windows.
    pub fn new(bytes: usize) -> Self {
        Self {
            left: Arc::new(AtomicUsize::new(bytes)),
            unread: Arc::default(),
        }
    }

    /// The bytes that lie unread in all sessions; each adds and takes away only what is worth it.
    pub fn unread(&self) -> usize {
        self.unread.load(Ordering::Relaxed)
    }

    /// Has `now` unread bytes counted where `before` were.
    pub(crate) fn count_unread(&self, before: usize, now: usize) {
        // Wraps as the sum does, so that one operation does for more and for less.
        self.unread
            .fetch_add(now.wrapping_sub(before), Ordering::Relaxed);
    }

    /// The bytes that are not promised to anyone.
    pub fn left(&self) -> usize {
        self.left.load(Ordering::Relaxed)
    }

    /// Takes `bytes` if they are no more than half of what is left.
    pub(crate) fn take(&self, bytes: usize) -> bool {
        self.left
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
                (bytes <= left / 2).then(|| left - bytes)
            })
            .is_ok()
    }

    pub(crate) fn give_back(&self, bytes: usize) {
        self.left.fetch_add(bytes, Ordering::Relaxed);
    }
}
