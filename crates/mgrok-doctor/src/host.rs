//! What both ends need of the host that they run on.

use std::fs;
use std::time::{Duration, SystemTime};

use rustix::process::{Resource, getrlimit};

use crate::outcome::{Fault, Sound, Verdict};

/// With fewer open files than this nothing of use can be served: the program itself, a session and a few users.
const FEWEST_FILES: u64 = 256;
/// With fewer than this a busy service stands still one day.
const FEW_FILES: u64 = 4096;

/// With fewer outgoing ports than this one local service stands still one day.
const FEW_PORTS: u32 = 10_000;

/// What sockets of KCP ask for; those of QUIC ask for more. With less, datagrams are lost that come while the program does something else.
const WANTED_BUFFER: u64 = 4 * 1024 * 1024;

/// The start of 2026: a clock that says less is older than this program.
const EARLIEST: Duration = Duration::from_secs(1_767_225_600);

/// How many files may be open. `per_user` is how many of them a user takes.
///
/// The hard limit counts, to which both programs raise theirs.
pub fn open_files(per_user: u64) -> Verdict<()> {
    judge_files(getrlimit(Resource::Nofile).maximum, per_user)
}

fn judge_files(limit: Option<u64>, per_user: u64) -> Verdict<()> {
    let remedy = "raise the hard limit: LimitNOFILE= of a systemd unit, ulimit -Hn of a shell, --ulimit nofile= of a container";
    let Some(limit) = limit else {
        return Ok(Sound::good((), "no limit"));
    };
    let users = limit / per_user;
    let finding = format!("at most {limit} open files, which is less than {users} users at a time");
    match limit {
        ..FEWEST_FILES => Err(Fault::new(finding, remedy)),
        FEWEST_FILES..FEW_FILES => Ok(Sound::doubtful((), finding, remedy)),
        FEW_FILES.. => Ok(Sound::good((), format!("at most {limit} open files"))),
    }
}

/// How many connections to one address and port there can be at a time; `None` where the system does not say.
pub fn outgoing_ports() -> Option<Verdict<()>> {
    let range = fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    judge_ports(&range)
}

fn judge_ports(range: &str) -> Option<Verdict<()>> {
    let mut ends = range.split_whitespace().map(str::parse::<u32>);
    let (Some(Ok(first)), Some(Ok(last))) = (ends.next(), ends.next()) else {
        return None;
    };
    let count = (last + 1).checked_sub(first)?;
    let finding = format!("{count} outgoing ports, so that many connections to one service");
    Some(Ok(match count {
        ..FEW_PORTS => Sound::doubtful(
            (),
            finding,
            "widen net.ipv4.ip_local_port_range, as in `sysctl net.ipv4.ip_local_port_range='10240 65535'`",
        ),
        FEW_PORTS.. => Sound::good((), finding),
    }))
}

/// Whether the kernel lets sockets of UDP have the buffers that QUIC and KCP ask for; `None` where the system does not say, as in some
/// containers.
pub fn udp_buffers() -> Option<Verdict<()>> {
    let read = |name: &str| {
        let text = fs::read_to_string(format!("/proc/sys/net/core/{name}")).ok()?;
        text.trim().parse::<u64>().ok()
    };
    Some(Ok(judge_buffers(read("rmem_max")?, read("wmem_max")?)))
}

fn judge_buffers(receive: u64, send: u64) -> Sound<()> {
    let finding = format!("sockets may have {receive} bytes to receive and {send} to send");
    match receive.min(send) < WANTED_BUFFER {
        true => Sound::doubtful(
            (),
            format_args!("{finding}; QUIC and KCP lose datagrams when much comes at once"),
            "sysctl -w net.core.rmem_max=7500000 net.core.wmem_max=7500000, and keep it in /etc/sysctl.d",
        ),
        false => Sound::good((), finding),
    }
}

/// Whether the clock can be right.
pub fn clock() -> Verdict<()> {
    judge_clock(SystemTime::now())
}

fn judge_clock(now: SystemTime) -> Verdict<()> {
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH);
    match since_epoch {
        Ok(since) if since >= EARLIEST => Ok(Sound::good((), "later than this program was made")),
        Ok(_) | Err(_) => Err(Fault::new(
            "the clock of this host is slow: it says a time before this program was made",
            "set the clock, best by NTP: certificates are not valid yet by a slow clock",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn word(verdict: &Verdict<()>) -> &'static str {
        match verdict {
            Err(_) => "failed",
            Ok(Sound { remedy: None, .. }) => "ok",
            Ok(_) => "warning",
        }
    }

    #[test]
    fn few_files_are_told() {
        for (limit, expect) in [
            (None, "ok"),
            (Some(1_048_576), "ok"),
            (Some(1024), "warning"),
            (Some(64), "failed"),
        ] {
            assert_eq!(word(&judge_files(limit, 2)), expect, "{limit:?}");
        }
    }

    #[test]
    fn few_outgoing_ports_are_told() {
        assert_eq!(word(&judge_ports("32768\t60999\n").unwrap()), "ok");
        assert_eq!(word(&judge_ports("60000 60999\n").unwrap()), "warning");
        for odd in ["", "1", "a b", "9 1"] {
            assert!(judge_ports(odd).is_none(), "{odd:?}");
        }
    }

    #[test]
    fn small_buffers_are_told() {
        assert!(judge_buffers(212_992, 212_992).remedy.is_some());
        assert!(judge_buffers(7_500_000, 212_992).remedy.is_some());
        assert!(judge_buffers(7_500_000, 7_500_000).remedy.is_none());
    }

    #[test]
    fn a_clock_from_before_this_program_is_told() {
        assert_eq!(word(&judge_clock(SystemTime::UNIX_EPOCH)), "failed");
        assert_eq!(word(&judge_clock(SystemTime::UNIX_EPOCH + EARLIEST)), "ok");
    }
}
