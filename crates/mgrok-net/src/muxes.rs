//! The multiplexed connections of a program, for whoever asks what they come to.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mgrok_metrics::Exposition;
use mgrok_mux::{Opener, UsageWatch, WindowBudget};
use slab::Slab;

/// Bytes by which the windows of all streams of a program may exceed their initial size. They are what readers who were fast and then
/// stop can make it keep.
const WINDOWS: usize = 512 * 1024 * 1024;

/// The multiplexed connections of a program. Clones are the same.
#[derive(Clone, Debug)]
pub struct Muxes {
    watched: Arc<Mutex<Slab<UsageWatch>>>,
    windows: WindowBudget,
}

impl Default for Muxes {
    fn default() -> Self {
        Self {
            watched: Arc::default(),
            windows: WindowBudget::new(WINDOWS),
        }
    }
}

/// A connection is looked at until this is dropped.
#[derive(Debug)]
pub struct MuxShown {
    muxes: Muxes,
    place: usize,
}

/// What all of them come to.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
struct Sums {
    connections: usize,
    streams: usize,
    queued: usize,
    grown: usize,
}

impl Muxes {
    /// Looks at a connection from now on, which ends as if nobody did, and has it share the memory for windows with the others.
    pub fn show(&self, opener: &Opener) -> MuxShown {
        opener.share_windows(&self.windows);
        let place = self.lock().insert(opener.usage_watch());
        MuxShown {
            muxes: self.clone(),
            place,
        }
    }

    /// Adds what they come to, under names that begin with `prefix`; `what` says what they are. Each is locked for a moment.
    pub fn expose(&self, exposition: &mut Exposition, prefix: &str, what: &str) {
        let Sums {
            connections,
            streams,
            queued,
            grown,
        } = self.sums();
        for (name, help, value) in [
            ("connections", what, connections),
            (
                "streams",
                "Streams in them, also those that wait for the other end to close.",
                streams,
            ),
            (
                "queued_bytes",
                "Bytes in them that wait to be sent.",
                queued,
            ),
            (
                "window_bytes",
                "Bytes by which their receive windows exceed the initial size.",
                grown,
            ),
        ] {
            exposition.gauge(&format!("{prefix}_mux_{name}"), help, value);
        }
    }

    fn sums(&self) -> Sums {
        let muxes = self.lock();
        let usages = muxes.iter().map(|(_, watch)| watch.usage());
        usages.fold(Sums::default(), |sums, usage| Sums {
            connections: sums.connections + 1,
            streams: sums.streams + usage.streams,
            queued: sums.queued + usage.queued,
            grown: sums.grown + usage.grown,
        })
    }

    fn lock(&self) -> MutexGuard<'_, Slab<UsageWatch>> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for MuxShown {
    fn drop(&mut self) {
        let watch = self.muxes.lock().try_remove(self.place);
        // What it may be the last to hold is freed without the lock.
        drop(watch);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_looks_does_not_keep_a_connection_from_ending() {
        let (one, _other) = tokio::io::duplex(1024);
        let (opener, _, driver) = mgrok_mux::session(one, mgrok_mux::Config::client());
        let driver = tokio::spawn(driver);
        let muxes = Muxes::default();
        let shown = muxes.show(&opener);
        let stream = opener.open().await.unwrap();
        let sums = muxes.sums();
        assert_eq!((sums.connections, sums.streams), (1, 1));
        drop((opener, stream));
        let ended = tokio::time::timeout(Duration::from_secs(20), driver).await;
        let _ = ended.unwrap().unwrap();
        drop(shown);
        assert_eq!(muxes.sums(), Sums::default());
    }
}
