//! The links of one session: its first connection, and those that its client adds to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mgrok_net::bond::Bonds;
use mgrok_net::mux_links::{AddedLink, MuxLinks};
use tokio_util::sync::CancellationToken;

/// How many links one session may have, the first among them. A client is configured with no more.
pub(crate) const MAX_LINKS: usize = 64;

/// The links of one session.
#[derive(Debug, Default)]
pub(crate) struct SessionLinks {
    /// How many there are beyond the first.
    more: AtomicUsize,
    bonds: Arc<Bonds>,
    /// Where streams can be opened to the client; `None` if the first is not multiplexed.
    streams: Option<MuxLinks>,
    over: CancellationToken,
    moved: CancellationToken,
}

/// A link beyond the first, until this is dropped.
#[derive(Debug)]
pub(crate) struct JoinedLink {
    links: Arc<SessionLinks>,
    /// Has streams opened on it.
    _added: Option<AddedLink>,
}

/// What became of a session, and so of its links.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum LinksEnd {
    /// The client goes on over others, and closes these when it likes.
    Moved,
    Over,
}

impl SessionLinks {
    /// Those of a session whose end `over` tells, unless `moved` tells that it has gone elsewhere. `streams` are on its first.
    pub(crate) fn new(
        streams: Option<MuxLinks>,
        over: CancellationToken,
        moved: CancellationToken,
    ) -> Arc<Self> {
        Arc::new(Self {
            more: AtomicUsize::new(0),
            bonds: Arc::default(),
            streams,
            over,
            moved,
        })
    }

    /// How many there are.
    pub(crate) fn count(&self) -> usize {
        1 + self.more.load(Ordering::Relaxed)
    }

    /// The session's work connections that are spread over them.
    pub(crate) fn bonds(&self) -> &Arc<Bonds> {
        &self.bonds
    }

    /// Where streams can be opened to the client; `None` if the first link is not multiplexed.
    pub(crate) fn streams(&self) -> Option<&MuxLinks> {
        self.streams.as_ref()
    }

    /// Adds one with these `streams`; `None` if there are as many as may be.
    pub(crate) fn join(self: &Arc<Self>, streams: Option<&MuxLinks>) -> Option<JoinedLink> {
        let added = self
            .more
            .try_update(Ordering::Relaxed, Ordering::Relaxed, |more| {
                (more + 1 < MAX_LINKS).then_some(more + 1)
            });
        added.ok()?;
        let mine = self.streams.as_ref();
        Some(JoinedLink {
            links: self.clone(),
            _added: mine.zip(streams).map(|(mine, streams)| mine.add(streams)),
        })
    }
}

impl JoinedLink {
    /// Waits until the session is over or has moved.
    pub(crate) async fn ended(&self) -> LinksEnd {
        tokio::select! {
            () = self.links.moved.cancelled() => LinksEnd::Moved,
            () = self.links.over.cancelled() => LinksEnd::Over,
        }
    }
}

impl Drop for JoinedLink {
    fn drop(&mut self) {
        self.links.more.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_has_so_many_links_and_no_more() {
        let links = Arc::new(SessionLinks::default());
        let mut joined: Vec<_> = (1..MAX_LINKS).map(|_| links.join(None).unwrap()).collect();
        assert_eq!(links.count(), MAX_LINKS);
        assert!(links.join(None).is_none());
        joined.pop();
        assert!(links.join(None).is_some());
    }
}
