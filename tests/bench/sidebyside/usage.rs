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

/// The resident memory of a process in bytes. What it shares with others, such as the code of a library, counts in full, and does not
/// depend on how many others there are.
pub(crate) fn memory(pid: u32) -> usize {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let mut lines = status.lines();
    let kib = lines.find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    kib.unwrap().parse::<usize>().unwrap() * 1024
}
