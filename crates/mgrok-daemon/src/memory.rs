//! Giving memory back to the system after the start and after a burst of users.
//!
//! glibc's allocator returns what was freed at the top of a heap only, so that one small value that is still in use keeps all
//! that was below it. It gives the rest back when asked to. Other allocators do so by themselves. Pages of the program's file are the
//! other part: see [`program_pages`].

#![allow(
    unsafe_code,
    reason = "the allocator is asked by a function of C that takes and returns numbers alone"
)]

mod program_pages;

use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::time::sleep;
use tracing::debug;

/// When it is looked for the first time: when the start is over.
const FIRST_LOOK: Duration = Duration::from_secs(2);

/// How often it is looked, as long as memory comes back.
const LOOK: Duration = Duration::from_secs(10);

/// The same when nothing has come back for long: to ask costs the allocator some milliseconds.
const LONGEST_LOOK: Duration = Duration::from_secs(80);

/// A process that has less memory of its own than this, in KiB, has had no burst.
const SMALL: u64 = 3 << 10;

/// As much, in KiB, is worth looking again soon, and worth some page faults.
const WORTH_IT: u64 = 1 << 10;

/// Who uses more than this part of a processor uses the pages that it has.
const QUIET: u32 = 20;

/// Gives free memory back from time to time, for ever.
pub(crate) async fn give_back() {
    let (mut wait, mut pages) = (FIRST_LOOK, Pages::default());
    // What the process had when it was looked last, in KiB.
    let mut had = 0;
    loop {
        sleep(wait).await;
        pages.look(wait);
        let own = kib_of("RssAnon:").unwrap_or_default();
        let grown = own.saturating_sub(had);
        had = own;
        if own <= SMALL {
            wait = LOOK;
            continue;
        }
        // On a thread where it holds up nobody.
        let freed = tokio::task::spawn_blocking(|| {
            let before = kib_of("RssAnon:")?;
            trim();
            Some(before.saturating_sub(kib_of("RssAnon:")?))
        });
        wait = match freed.await {
            Ok(Some(freed)) => {
                if freed >= WORTH_IT {
                    debug!("gave {freed} KiB of free memory back to the system");
                }
                had = own.saturating_sub(freed);
                next_wait(wait, grown, freed)
            }
            Ok(None) => LOOK,
            // The runtime stops.
            Err(_) => return,
        };
    }
}

/// How long to wait after a look, `wait` after the one before, that found the process to have `grown` and `freed` so many KiB. Where it has grown, a
/// burst may be under way, whose memory is free soon.
fn next_wait(wait: Duration, grown: u64, freed: u64) -> Duration {
    match grown.max(freed) >= WORTH_IT {
        true => LOOK,
        false => LONGEST_LOOK.min(LOOK.max(wait * 2)),
    }
}

/// The pages of the program's file that are mapped.
#[derive(Default)]
struct Pages {
    /// How many KiB were in use a while after the others had been taken.
    in_use: Option<u64>,
    are_taken: bool,
    /// The processor time of the process at the last look.
    busy: Duration,
}

impl Pages {
    /// Takes those that are not in use from a program that has been quiet since the last look, `wait` ago.
    fn look(&mut self, wait: Duration) {
        let busy = processor_time();
        let has_been_quiet = busy.saturating_sub(self.busy) * QUIET < wait;
        self.busy = busy;
        let Some(mapped) = kib_of("RssFile:") else {
            return;
        };
        if std::mem::take(&mut self.are_taken) {
            self.in_use = Some(mapped);
        }
        let is_worth_it = self.in_use.is_none_or(|it| mapped >= it + WORTH_IT);
        if has_been_quiet && is_worth_it {
            program_pages::unmap();
            self.are_taken = true;
        }
    }
}

/// What the process has used of all processors so far.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

/// A number of KiB that the system says of the process; `None` where it does not.
fn kib_of(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix(name))?;
    line.trim().strip_suffix(" kB")?.parse().ok()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn trim() {
    // SAFETY: it takes a number, may be called at any time on any thread, and invalidates nothing that is in use (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn trim() {}

#[cfg(all(test, target_os = "linux", target_env = "gnu"))]
mod tests {
    use super::*;

    #[test]
    fn it_is_looked_soon_after_a_burst_began_and_seldom_when_nothing_happens() {
        let looks = |grown| {
            let mut wait = FIRST_LOOK;
            [0, 0, grown, 0, 0, 0, 0].map(|grown| {
                wait = next_wait(wait, grown, 0);
                wait.as_secs()
            })
        };
        assert_eq!(looks(0), [10, 20, 40, 80, 80, 80, 80]);
        assert_eq!(looks(WORTH_IT), [10, 20, 10, 20, 40, 80, 80]);
        assert_eq!(next_wait(LONGEST_LOOK, 0, WORTH_IT), LOOK);
    }

    #[test]
    fn what_lies_free_below_a_value_in_use_is_given_back() {
        let mut values: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1_000]).collect();
        // The last one keeps the top of the heap.
        let last = values.pop();
        drop(values);
        let before = kib_of("RssAnon:").unwrap();
        trim();
        let after = kib_of("RssAnon:").unwrap();
        assert!(
            before > after + (32 << 10),
            "{before} KiB, then {after} KiB"
        );
        assert_eq!(last.map(|it| it.len()), Some(1_000));
    }
}
