//! What processes have used, as the kernel counts it.

use std::{fs, time::Duration};

/// How many of the kernel's clock ticks make a second; fixed in Linux's interface to programs.
const TICKS: u32 = 100;

/// The processor time of a process so far.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
    // The second field may hold spaces; after its bracket, utime and stime are the 12th and 13th.
    let (_, fields) = stat.rsplit_once(')').unwrap();
    let ticks: u32 = fields
        .split_whitespace()
        .skip(11)
        .take(2)
        .map(|field| field.parse::<u32>().unwrap())
        .sum();
    Duration::from_secs(1) * ticks / TICKS
}

/// The memory of a process in bytes; pages shared with other processes count in part.
pub(crate) fn memory(pid: u32) -> f64 {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
    let line = rollup
        .lines()
        .find(|line| line.starts_with("Pss:"))
        .unwrap();
    let kib: f64 = line.split_whitespace().nth(1).unwrap().parse().unwrap();
    kib * 1024.0
}
