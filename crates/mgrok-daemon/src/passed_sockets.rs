//! Sockets that the service manager has opened for this program, as `sd_listen_fds(3)` describes it.
//!
//! The manager keeps them open while the program is restarted, so that users who come meanwhile wait instead of being refused.

#![allow(
    unsafe_code,
    reason = "file descriptors that a process is started with can be had by their numbers alone"
)]

use std::env;
use std::os::fd::{FromRawFd as _, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::io::{FdFlags, fcntl_setfd};

/// The number of the first file descriptor that is passed.
const FIRST: RawFd = 3;

/// More than a manager passes. A larger number is a mistake in the environment.
const MOST: RawFd = 1_024;

/// The sockets were given away, which can be done once.
static ARE_TAKEN: AtomicBool = AtomicBool::new(false);

/// The sockets that were passed to this process, each with the name that its unit gives it (`FileDescriptorName=`); none if they were
/// taken before.
pub fn take_passed_sockets() -> Vec<(String, OwnedFd)> {
    let variable = |name| env::var(name).ok();
    let count = count_for(
        std::process::id(),
        variable("LISTEN_PID").as_deref(),
        variable("LISTEN_FDS").as_deref(),
    );
    if count == 0 || ARE_TAKEN.swap(true, Ordering::AcqRel) {
        return Vec::new();
    }
    let names = variable("LISTEN_FDNAMES").unwrap_or_default();
    let mut names = names.split(':');
    (FIRST..FIRST + count)
        .map(|number| {
            // SAFETY: the process was started with the descriptor open, and it is this process that it is for, because LISTEN_PID
            // names it. Nobody else owns it: no other code takes descriptors by their numbers, and this is done once.
            let socket = unsafe { OwnedFd::from_raw_fd(number) };
            // Programs that are started from here are not to have it. It cannot fail for one that is open.
            let _ = fcntl_setfd(&socket, FdFlags::CLOEXEC);
            (names.next().unwrap_or_default().to_owned(), socket)
        })
        .collect()
}

/// How many are passed to the process `id`. The environment may be that of a program which has started this one.
fn count_for(id: u32, listen_pid: Option<&str>, listen_fds: Option<&str>) -> RawFd {
    let is_ours = listen_pid.and_then(|it| it.parse().ok()) == Some(id);
    let count: Option<RawFd> = listen_fds.and_then(|it| it.parse().ok());
    match count {
        Some(count) if is_ours && (0..=MOST).contains(&count) => count,
        Some(_) | None => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_passed_to_this_process_counts() {
        assert_eq!(count_for(7, Some("7"), Some("2")), 2);
        assert_eq!(count_for(7, Some("8"), Some("2")), 0);
        assert_eq!(count_for(7, None, Some("2")), 0);
        for wrong in [None, Some(""), Some("-1"), Some("x"), Some("99999999")] {
            assert_eq!(count_for(7, Some("7"), wrong), 0);
        }
    }
}
