//! What the operating system says of this process, under the names that all programs have for it.

use crate::exposition::Exposition;

/// Adds what the operating system says of this process: time of the processors, memory, open files, and when it started. What it does not
/// say is left out, which on other systems than Linux is most.
///
/// Reads a few files of `/proc`, which takes well below a millisecond.
pub fn process(exposition: &mut Exposition) {
    let cpu = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = cpu.tv_sec as f64 + cpu.tv_nsec as f64 / 1e9;
    exposition.counter(
        "process_cpu_seconds_total",
        "Total user and system CPU time spent in seconds.",
        seconds,
    );
    let files = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    if let Some(limit) = files.current {
        exposition.gauge(
            "process_max_fds",
            "Maximum number of open file descriptors.",
            limit,
        );
    }
    #[cfg(target_os = "linux")]
    linux::add(exposition);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs;

    use crate::exposition::Exposition;

    /// In how many parts of a second the kernel tells a process its times, whatever its own clock does.
    const TICKS: f64 = 100.0;

    pub(super) fn add(exposition: &mut Exposition) {
        if let Some(open) = open_files() {
            exposition.gauge("process_open_fds", "Number of open file descriptors.", open);
        }
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        // `VmRSS:     3184 kB`
        let number = |key: &str| {
            let rest = status.lines().find_map(|line| line.strip_prefix(key))?;
            rest.split_whitespace().next()?.parse::<u64>().ok()
        };
        for (name, help, value) in [
            (
                "process_virtual_memory_bytes",
                "Virtual memory size in bytes.",
                number("VmSize:").map(|it| it * 1024),
            ),
            (
                "process_resident_memory_bytes",
                "Resident memory size in bytes.",
                number("VmRSS:").map(|it| it * 1024),
            ),
            (
                "process_threads",
                "Number of OS threads.",
                number("Threads:"),
            ),
        ] {
            if let Some(value) = value {
                exposition.gauge(name, help, value);
            }
        }
        if let Some(at) = started_at() {
            exposition.gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
                at,
            );
        }
    }

    /// When the process started, in seconds since 1970.
    fn started_at() -> Option<f64> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // The name of the program, in parentheses, may have anything in it.
        let (_, fields) = stat.rsplit_once(')')?;
        let ticks: u64 = fields.split_whitespace().nth(19)?.parse().ok()?;
        Some(boot_time()? as f64 + ticks as f64 / TICKS)
    }

    fn open_files() -> Option<u64> {
        // Since Linux 6.2 it is the size of the directory, which saves a look at each.
        let size = fs::metadata("/proc/self/fd").ok()?.len();
        if size > 0 {
            return Some(size);
        }
        let open = fs::read_dir("/proc/self/fd").ok()?.count();
        // One of them is the directory.
        Some((open as u64).saturating_sub(1))
    }

    /// When the system started, in seconds since 1970.
    fn boot_time() -> Option<u64> {
        let stat = fs::read_to_string("/proc/stat").ok()?;
        let line = stat.lines().find_map(|it| it.strip_prefix("btime "))?;
        line.trim().parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use std::time::{SystemTime, UNIX_EPOCH};

    use super::*;
    use crate::exposition::Format;

    #[cfg(target_os = "linux")]
    #[test]
    fn the_numbers_are_those_of_this_process() {
        let mut exposition = Exposition::new(Format::Text);
        process(&mut exposition);
        let text = exposition.finish();
        let value = |name: &str| -> f64 {
            let line = text.lines().find_map(|it| it.strip_prefix(name));
            let value = line.unwrap_or_else(|| panic!("{name}: {text}")).trim();
            value.parse().unwrap()
        };
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let age = now.as_secs_f64() - value("process_start_time_seconds");
        assert!((-2.0..3_600.0).contains(&age), "{age}");
        assert!((3.0..10_000.0).contains(&value("process_open_fds")));
        assert!(value("process_max_fds") >= value("process_open_fds"));
        let resident = value("process_resident_memory_bytes");
        assert!((1e5..1e10).contains(&resident), "{resident}");
        assert!(value("process_virtual_memory_bytes") >= resident);
        assert!(value("process_cpu_seconds_total") > 0.0);
        assert!(value("process_threads") >= 1.0);
    }
}
