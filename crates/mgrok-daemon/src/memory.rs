//! Giving memory back to the system after a burst of users.
//!
//! glibc's allocator returns what was freed at the top of a heap only, so that one small value that is still in use keeps all
//! that was below it. It gives the rest back when asked to. Other allocators do so by themselves.

#![allow(
    unsafe_code,
    reason = "the allocator is asked by a function of C that takes and returns numbers alone"
)]

use std::time::Duration;

use tokio::time::sleep;
use tracing::debug;

/// How often it is looked, as long as memory comes back.
const LOOK: Duration = Duration::from_secs(10);

/// The same when nothing has come back for long: to ask costs the allocator some milliseconds.
const LONGEST_LOOK: Duration = Duration::from_secs(80);

/// A process that is smaller than this, in KiB, has had no burst.
const SMALL: u64 = 8 << 10;

/// As much, in KiB, is worth looking again soon.
const WORTH_IT: u64 = 1 << 10;

/// Gives free memory back from time to time, for ever.
pub(crate) async fn give_back() {
    let mut wait = LOOK;
    loop {
        sleep(wait).await;
        // On a thread where it holds up nobody.
        let freed = tokio::task::spawn_blocking(|| {
            let before = resident().filter(|&it| it > SMALL)?;
            trim();
            Some(before.saturating_sub(resident()?))
        });
        wait = match freed.await {
            Ok(Some(freed)) if freed >= WORTH_IT => {
                debug!("gave {freed} KiB of free memory back to the system");
                LOOK
            }
            Ok(Some(_)) => LONGEST_LOOK.min(wait * 2),
            Ok(None) => LOOK,
            // The runtime stops.
            Err(_) => return,
        };
    }
}

/// The memory of the process that is not a file's, in KiB; `None` where the system does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|it| it.strip_prefix("RssAnon:"))?;
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
    fn what_lies_free_below_a_value_in_use_is_given_back() {
        let mut values: Vec<Vec<u8>> = (0..64 << 10).map(|_| vec![1; 1_000]).collect();
        // The last one keeps the top of the heap.
        let last = values.pop();
        drop(values);
        let before = resident().unwrap();
        trim();
        let after = resident().unwrap();
        assert!(
            before > after + (32 << 10),
            "{before} KiB, then {after} KiB"
        );
        assert_eq!(last.map(|it| it.len()), Some(1_000));
    }
}
