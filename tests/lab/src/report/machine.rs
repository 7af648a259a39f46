//! What a run was made on, as Linux tells it.

use std::{fs, thread};

/// The processor, the system and its settings that matter to a network, one line of Markdown each.
pub fn describe() -> String {
    let cores = thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let tcp = |name: &str| setting(&format!("net/ipv4/{name}"));
    format!(
        "- processor: {}, {cores} cores\n- memory: {}\n- kernel: {}\n- tcp_rmem {}; tcp_wmem {}; rmem_max {}; congestion control {}\n",
        processor(),
        memory(),
        setting("kernel/osrelease"),
        tcp("tcp_rmem"),
        tcp("tcp_wmem"),
        setting("net/core/rmem_max"),
        tcp("tcp_congestion_control"),
    )
}

/// How many have wanted to run during the last minute, in the mean.
pub fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    field(&text, "model name").unwrap_or_else(|| std::env::consts::ARCH.to_owned())
}

fn memory() -> String {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total = field(&text, "MemTotal");
    let kib = total.and_then(|it| it.split(' ').next()?.parse::<f64>().ok());
    kib.map_or_else(
        || "?".to_owned(),
        |kib| format!("{:.1} GiB", kib / 1024.0 / 1024.0),
    )
}

/// A line of `name : value`.
fn field(text: &str, name: &str) -> Option<String> {
    text.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    })
}

/// A setting of the kernel on one line.
fn setting(path: &str) -> String {
    let text = fs::read_to_string(format!("/proc/sys/{path}")).unwrap_or_else(|_| "?".to_owned());
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_however_they_are_spaced() {
        let text = "MemTotal:       24576 kB\nmodel name\t: A: B\n";
        assert_eq!(field(text, "MemTotal").as_deref(), Some("24576 kB"));
        assert_eq!(field(text, "model name").as_deref(), Some("A: B"));
        assert_eq!(field(text, "model"), None);
    }

    #[test]
    fn every_line_says_something() {
        for line in describe().lines() {
            assert!(line.starts_with("- ") && line.len() > 10, "{line}");
        }
    }
}
