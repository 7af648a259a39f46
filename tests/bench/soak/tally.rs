//! What has become of what users did.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicU64, Ordering},
};

use crate::content::Fault;

/// How many faults are told in words.
const TOLD: usize = 20;

/// Users of one kind.
#[derive(Debug)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// Whether a failure is a mistake, and not what its client's death brings about.
    is_steady: bool,
    pub(crate) done: AtomicU64,
    pub(crate) bytes: AtomicU64,
    pub(crate) failed: AtomicU64,
    pub(crate) wrong: AtomicU64,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Kind {
    /// Takes note of how something ended: of how many bytes it was, or what went wrong.
    pub(crate) fn note(&self, ended: Result<usize, Fault>) {
        match ended {
            Ok(bytes) => {
                self.done.fetch_add(1, Ordering::Relaxed);
                self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
            }
            Err(Fault::Io(error)) => {
                self.failed.fetch_add(1, Ordering::Relaxed);
                if self.is_steady {
                    self.tell(format!("{}: {error}", self.name));
                }
            }
            Err(Fault::Wrong) => {
                self.wrong.fetch_add(1, Ordering::Relaxed);
                self.tell(format!("{}: wrong bytes", self.name));
            }
        }
    }

    fn tell(&self, fault: String) {
        eprintln!("{fault}");
        let mut faults = self.faults.lock().unwrap();
        if faults.len() < TOLD {
            faults.push(fault);
        }
    }
}

/// Users of all kinds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    kinds: Mutex<Vec<Arc<Kind>>>,
    faults: Arc<Mutex<Vec<String>>>,
}

impl Tally {
    /// A new kind.
    pub(crate) fn kind(&self, name: &'static str, is_steady: bool) -> Arc<Kind> {
        let kind = Arc::new(Kind {
            name,
            is_steady,
            done: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            wrong: AtomicU64::new(0),
            faults: self.faults.clone(),
        });
        self.kinds.lock().unwrap().push(kind.clone());
        kind
    }

    pub(crate) fn kinds(&self) -> Vec<Arc<Kind>> {
        self.kinds.lock().unwrap().clone()
    }

    /// The first faults, in words.
    pub(crate) fn faults(&self) -> Vec<String> {
        self.faults.lock().unwrap().clone()
    }

    /// Whether all went as it should.
    pub(crate) fn is_clean(&self) -> bool {
        self.kinds().iter().all(|kind| {
            let failed = kind.failed.load(Ordering::Relaxed);
            kind.wrong.load(Ordering::Relaxed) == 0 && (failed == 0 || !kind.is_steady)
        })
    }
}
