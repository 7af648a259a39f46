//! The connections of a session that may be spread, on the end that takes streams: how a stream finds the one that it joins.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use aws_lc_rs::rand;
use bytes::Bytes;

use crate::conn::Conn;

/// The most streams that may join one connection, as many as a session may have connections.
const MAX_STREAMS: usize = 64;

/// The connections of one session that streams may join.
#[derive(Debug, Default)]
pub struct Bonds {
    places: Mutex<HashMap<u128, Arc<Inbox>>>,
}

/// A connection that streams may join until this is dropped.
#[derive(Debug)]
pub struct Place {
    bonds: Arc<Bonds>,
    id: u128,
    inbox: Arc<Inbox>,
}

/// A stream that joins a connection, and the answer that it gets once it has been taken.
#[derive(Debug)]
pub struct Join {
    /// The stream, on which nothing was said but what it joins.
    pub conn: Conn,
    /// What is sent on it before anything else.
    pub answer: Bytes,
}

/// Why a stream cannot join. Clients show the texts.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum JoinError {
    /// It has ended, or never was one of this session.
    #[error("the session has no connection of this id to join")]
    Unknown,
    /// As many as may have joined already.
    #[error("{MAX_STREAMS} streams have joined the connection already")]
    TooMany,
}

#[derive(Debug, Default)]
struct Inbox {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    joins: Vec<Join>,
    /// How many there ever were.
    joined: usize,
    waker: Option<Waker>,
}

impl Bonds {
    /// A place for one more connection, under an id that nobody can guess.
    #[expect(
        clippy::expect_used,
        reason = "a system without randomness cannot run this program"
    )]
    pub fn open(self: &Arc<Self>) -> Place {
        let mut id = [0; 16];
        rand::fill(&mut id).expect("the system's random generator works");
        let id = u128::from_be_bytes(id);
        let inbox = Arc::<Inbox>::default();
        lock(&self.places).insert(id, inbox.clone());
        Place {
            bonds: self.clone(),
            id,
            inbox,
        }
    }

    /// Has a stream join the connection of this id.
    ///
    /// # Errors
    /// If it cannot; the stream is given back.
    pub fn join(&self, id: &str, join: Join) -> Result<(), (JoinError, Conn)> {
        let id = u128::from_str_radix(id, 16).ok();
        let inbox = id.and_then(|id| lock(&self.places).get(&id).cloned());
        let Some(inbox) = inbox else {
            return Err((JoinError::Unknown, join.conn));
        };
        let mut state = lock(&inbox.state);
        if state.joined == MAX_STREAMS {
            return Err((JoinError::TooMany, join.conn));
        }
        state.joined += 1;
        state.joins.push(join);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        Ok(())
    }
}

impl Place {
    /// What a stream has to say to join: 32 hex digits.
    pub fn id(&self) -> String {
        format!("{:032x}", self.id)
    }

    /// The streams that have joined since the last call; none wakes the task again when it comes.
    pub(super) fn poll_joins(&self, cx: &mut Context<'_>) -> Poll<Vec<Join>> {
        let mut state = lock(&self.inbox.state);
        if !state.joins.is_empty() {
            return Poll::Ready(std::mem::take(&mut state.joins));
        }
        match &mut state.waker {
            Some(waker) => waker.clone_from(cx.waker()),
            None => state.waker = Some(cx.waker().clone()),
        }
        Poll::Pending
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.bonds.places).remove(&self.id);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
