//! What is under way on a user's connection, so that it can be told when nothing is.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::raw_target::RawTarget;

/// What is under way on one connection.
#[derive(Debug, Default)]
pub(crate) struct Activity {
    /// Requests and answers of which something is still to come.
    in_flight: AtomicUsize,
    /// Requests that have been answered, perhaps without the body.
    answered: AtomicUsize,
    /// A body was left before its end, so that what follows may be the rest of it.
    is_torn: AtomicBool,
    /// Bytes may wait for the user to take them.
    is_behind: AtomicBool,
    /// The first line of a head has been read, but its request has not begun.
    has_line: AtomicBool,
    /// The target in that line, if hyper was shown another.
    target: Mutex<Option<Box<RawTarget>>>,
    /// The user sends no more.
    has_ended: AtomicBool,
    /// The user sends no more, and a request is not complete.
    is_cut_off: AtomicBool,
    /// Who reads the connection after its end.
    reader: Mutex<Option<Waker>>,
    /// Who waits for more of a request's body.
    body_reader: Mutex<Option<Waker>>,
}

/// A request or an answer that is under way, as long as this lives.
#[derive(Debug)]
pub(crate) struct InFlight(Arc<Activity>);

impl Activity {
    pub(crate) fn begin(self: &Arc<Self>) -> InFlight {
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        InFlight(Arc::clone(self))
    }

    /// Notes that the head of a request is complete. Returns its target if hyper was shown another.
    pub(crate) fn note_request(&self) -> Option<Box<RawTarget>> {
        // All that came before was understood.
        self.is_torn.store(false, Ordering::Relaxed);
        self.has_line.store(false, Ordering::Relaxed);
        lock(&self.target).take()
    }

    /// Notes that a request has its answer.
    pub(crate) fn note_answer(&self) {
        self.answered.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn answered(&self) -> usize {
        self.answered.load(Ordering::Relaxed)
    }

    pub(crate) fn has_requests(&self) -> bool {
        self.in_flight.load(Ordering::Acquire) > 0
    }

    /// Whether nothing is between two requests but, perhaps, the beginning of the next head.
    pub(crate) fn is_between_requests(&self) -> bool {
        !self.has_requests()
            && !self.is_torn.load(Ordering::Relaxed)
            && !self.is_behind.load(Ordering::Relaxed)
    }

    /// Notes that bytes wait for the user to take them, or that none do.
    pub(crate) fn set_behind(&self, is_behind: bool) {
        self.is_behind.store(is_behind, Ordering::Relaxed);
    }

    /// Whether what is read next is the first line of a request.
    pub(crate) fn awaits_line(&self) -> bool {
        !self.has_line.load(Ordering::Relaxed)
            && !self.is_torn.load(Ordering::Relaxed)
            && !self.has_requests()
    }

    /// Notes that the first line of a request has been read, and its target if hyper is shown another.
    pub(crate) fn note_line(&self, target: Option<RawTarget>) {
        self.has_line.store(true, Ordering::Relaxed);
        if let Some(target) = target {
            *lock(&self.target) = Some(Box::new(target));
        }
    }

    /// Whether some of what the user sent was not or will not be read.
    pub(crate) fn leaves_unread(&self) -> bool {
        self.is_torn.load(Ordering::Relaxed) || self.has_line.load(Ordering::Relaxed)
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Notes that the user sends no more. Whoever waits for more of a body finds that out.
    pub(crate) fn note_end(&self) {
        if !self.has_ended.swap(true, Ordering::AcqRel)
            && let Some(waker) = lock(&self.body_reader).take()
        {
            waker.wake();
        }
    }

    /// Whether the user has ended in the middle of a request; if not, the reader of the connection is woken if it turns out.
    pub(crate) fn is_cut_off(&self, cx: &Context<'_>) -> bool {
        *lock(&self.reader) = Some(cx.waker().clone());
        self.is_cut_off.load(Ordering::Acquire)
    }
}

impl InFlight {
    /// Notes that a body is left before its end.
    pub(crate) fn tear(&self) {
        self.0.is_torn.store(true, Ordering::Relaxed);
    }

    /// Notes that somebody waits for more of a request's body. All that has arrived of it has been passed on by now.
    pub(crate) fn note_waiting(&self, cx: &Context<'_>) {
        let activity = &*self.0;
        {
            let mut reader = lock(&activity.body_reader);
            if !reader.as_ref().is_some_and(|it| it.will_wake(cx.waker())) {
                *reader = Some(cx.waker().clone());
            }
        }
        if activity.has_ended() {
            activity.is_cut_off.store(true, Ordering::Release);
            if let Some(waker) = lock(&activity.reader).take() {
                waker.wake();
            }
        }
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.in_flight.fetch_sub(1, Ordering::Release);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
