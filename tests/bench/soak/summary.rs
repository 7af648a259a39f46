//! What came out: a table of users, the memory and files over time, and two plots.

use std::{fmt::Write as _, fs, path::Path, sync::atomic::Ordering, time::Duration};

use mgrok_lab::report::{
    machine,
    plot::{Line, lines},
};

use crate::{pair::Pair, tally::Tally};

/// What is plotted, in this order.
const NAMES: [&str; 4] = [
    "server, resident",
    "client, resident",
    "server, its own",
    "client, its own",
];

const KIB: f64 = 1024.0;

/// What a program has at one moment.
#[derive(Clone, Copy, Debug, Default)]
struct Use {
    /// All resident memory, and what of it is no file's, in MiB.
    resident: f64,
    own: f64,
    files: usize,
}

impl Use {
    /// Nothing of a program that has ended.
    fn of(pid: u32) -> Self {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name));
            let kib = line.and_then(|it| it.split_whitespace().next()?.parse().ok());
            kib.unwrap_or(0.0) / KIB
        };
        let files = fs::read_dir(format!("/proc/{pid}/fd"));
        Self {
            resident: mib("VmRSS:"),
            own: mib("RssAnon:"),
            files: files.map_or(0, Iterator::count),
        }
    }
}

/// Both programs at one moment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sample {
    at: Duration,
    server: Use,
    client: Use,
}

impl Sample {
    pub(crate) fn take(at: Duration, pair: &Pair) -> Self {
        Self {
            at,
            server: Use::of(pair.server.id()),
            client: Use::of(pair.client.id()),
        }
    }
}

/// How it goes.
pub(crate) fn line(samples: &[Sample], tally: &Tally) -> String {
    let Some(last) = samples.last() else {
        return String::new();
    };
    let sum = |what: fn(&crate::tally::Kind) -> &std::sync::atomic::AtomicU64| -> u64 {
        let kinds = tally.kinds();
        kinds
            .iter()
            .map(|it| what(it).load(Ordering::Relaxed))
            .sum()
    };
    format!(
        "{:4.0} s: server {:.1} MiB, {} files; client {:.1} MiB, {} files; {} done, {:.1} GB, {} failed, {} wrong",
        last.at.as_secs_f64(),
        last.server.resident,
        last.server.files,
        last.client.resident,
        last.client.files,
        sum(|it| &it.done),
        sum(|it| &it.bytes) as f64 / 1e9,
        sum(|it| &it.failed),
        sum(|it| &it.wrong),
    )
}

/// All of it as Markdown. Of the samples, the first `loaded` were taken under load.
pub(crate) fn report(samples: &[Sample], loaded: usize, tally: &Tally, lost: &[String]) -> String {
    let mut text = format!(
        "# Soak of {:.0} s\n\n{}\n| users | done | GB | failed | wrong |\n| --- | ---: | ---: | ---: | ---: |\n",
        samples
            .get(loaded.saturating_sub(1))
            .map_or(0.0, |it| it.at.as_secs_f64()),
        machine::describe(),
    );
    for kind in tally.kinds() {
        let _ = writeln!(
            text,
            "| {} | {} | {:.3} | {} | {} |",
            kind.name,
            kind.done.load(Ordering::Relaxed),
            kind.bytes.load(Ordering::Relaxed) as f64 / 1e9,
            kind.failed.load(Ordering::Relaxed),
            kind.wrong.load(Ordering::Relaxed),
        );
    }
    let (under_load, after) = samples.split_at(loaded);
    // The first tenth is the way there.
    let steady = &under_load[loaded / 10..];
    let (first, rest) = steady.split_at(steady.len() / 3);
    let (_, last) = rest.split_at(rest.len() / 2);
    text += "\nMedians of the first, the last third under load (without its first tenth), and the end, after the users have gone:\n\n";
    text += "| | first | last | most | afterwards |\n| --- | ---: | ---: | ---: | ---: |\n";
    let mut row = |name: &str, of: fn(&Sample) -> f64| {
        let median = |samples: &[Sample]| {
            let mut values: Vec<_> = samples.iter().map(of).collect();
            values.sort_by(f64::total_cmp);
            values.get(values.len() / 2).copied().unwrap_or(0.0)
        };
        let most = under_load.iter().map(of).fold(0.0, f64::max);
        let afterwards = after.last().map_or(0.0, of);
        let _ = writeln!(
            text,
            "| {name} | {:.1} | {:.1} | {most:.1} | {afterwards:.1} |",
            median(first),
            median(last),
        );
    };
    row("server, resident MiB", |it| it.server.resident);
    row("server, its own MiB", |it| it.server.own);
    row("server, files", |it| it.server.files as f64);
    row("client, resident MiB", |it| it.client.resident);
    row("client, its own MiB", |it| it.client.own);
    row("client, files", |it| it.client.files as f64);
    for fault in tally.faults().iter().chain(lost) {
        let _ = writeln!(text, "\n- {fault}");
    }
    text += "\n![memory](memory.svg)\n\n![files](files.svg)\n";
    text
}

/// Writes the report, the samples and the plots.
pub(crate) fn write(directory: &Path, report: &str, samples: &[Sample]) {
    fs::create_dir_all(directory).unwrap();
    let mut table =
        "seconds,server MiB,server own MiB,server files,client MiB,client own MiB,client files\n"
            .to_owned();
    for Sample { at, server, client } in samples {
        let _ = write!(table, "{:.1}", at.as_secs_f64());
        for end in [server, client] {
            let _ = write!(table, ",{:.2},{:.2},{}", end.resident, end.own, end.files);
        }
        table.push('\n');
    }
    let over_time = |peer, of: fn(&Sample) -> f64| Line {
        peer,
        points: samples
            .iter()
            .map(|it| (it.at.as_secs_f64(), of(it)))
            .collect(),
    };
    let memory = [
        over_time(0, |it| it.server.resident),
        over_time(1, |it| it.client.resident),
        over_time(2, |it| it.server.own),
        over_time(3, |it| it.client.own),
    ];
    let files = [
        over_time(0, |it| it.server.files as f64),
        over_time(1, |it| it.client.files as f64),
    ];
    let memory = lines("Memory, MiB", &NAMES, "seconds", &memory);
    let files = lines("Open files", &["server", "client"], "seconds", &files);
    for (name, content) in [
        ("report.md", report),
        ("samples.csv", &table),
        ("memory.svg", &memory),
        ("files.svg", &files),
    ] {
        fs::write(directory.join(name), content).unwrap();
    }
}
