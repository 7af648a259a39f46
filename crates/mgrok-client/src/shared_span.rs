//! One span of the log for all users of a proxy or visitor.
//!
//! A span of its own for each user would say the same of all of them, and the log's registry keeps the room of every span that it ever
//! had at once: a kilobyte for each user of the largest burst, strewn over pages that could otherwise be given back.

use std::sync::{Mutex, PoisonError};

use tracing::{Id, Span};

/// The span of those who came last, which is also that of the next ones if the span around them is the same.
#[derive(Debug, Default)]
pub(crate) struct SharedSpan {
    last: Mutex<Option<Last>>,
}

#[derive(Debug)]
struct Last {
    /// Stays good for comparisons: a span keeps the one around it.
    parent: Option<Id>,
    span: Span,
}

impl SharedSpan {
    /// The span within `parent`, which `make` makes if there is none yet.
    pub(crate) fn within(&self, parent: Option<Id>, make: impl FnOnce(Option<Id>) -> Span) -> Span {
        let mut slot = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(last) = slot.as_ref().filter(|last| last.parent == parent) {
            return last.span.clone();
        }
        let span = make(parent.clone());
        let before = slot.replace(Last {
            parent,
            span: span.clone(),
        });
        drop(slot);
        drop(before);
        span
    }
}

#[cfg(test)]
mod tests {
    use tracing::error_span;

    use super::*;

    fn proxy(parent: Option<Id>) -> Span {
        error_span!(parent: parent, "proxy", name = "web")
    }

    #[test]
    fn users_of_one_session_share_a_span() {
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry());
        let session = error_span!("session", run_id = "a");
        let shared = SharedSpan::default();
        let first = shared.within(session.id(), proxy);
        let second = shared.within(session.id(), proxy);
        assert!(first.id().is_some());
        assert_eq!(first.id(), second.id());
        let next_session = error_span!("session", run_id = "b");
        assert_ne!(shared.within(next_session.id(), proxy).id(), first.id());
    }

    #[test]
    fn the_span_of_an_ended_session_is_not_taken_for_that_of_the_next() {
        let _log = tracing::subscriber::set_default(tracing_subscriber::registry());
        let shared = SharedSpan::default();
        let spans: Vec<_> = (0..3)
            .map(|_| {
                let session = error_span!("session", run_id = "a");
                let span = shared.within(session.id(), proxy);
                // Its place in the registry would be the next one's.
                drop(session);
                span.id()
            })
            .collect();
        assert!(spans[0] != spans[1] && spans[1] != spans[2], "{spans:?}");
    }
}
