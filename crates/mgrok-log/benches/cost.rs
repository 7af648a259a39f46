//! What a line costs the task that logs it, beside writing it there and then.
//!
//! `cargo bench -p mgrok-log`. The figures that led to the writer thread are in its module.
#![expect(clippy::print_stdout, reason = "a bench reports what it measured")]

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use mgrok_log::{Format, Options, Rotation, Target};
use tracing::Level;

/// Few enough to find room in the queue, so that no line is dropped.
const LINES: u32 = 2_000;

/// Enough to measure what is nearly nothing.
const DISABLED: u32 = 10_000_000;

const ROUNDS: u32 = 10;

fn main() {
    let Ok(directory) = tempfile::tempdir() else {
        return println!("no temporary directory");
    };
    let options = Options {
        color: false,
        format: Format::Text,
        level: Level::INFO,
        rotation: Rotation::default(),
        to: Target::File(directory.path().join("log")),
    };
    let Ok(log) = mgrok_log::start(options.clone()) else {
        return println!("no log");
    };
    let session =
        tracing::info_span!(target: "mgrok_bench", "session", run_id = "3f0c9a7be1d24c55");
    let proxy = tracing::info_span!(target: "mgrok_bench", parent: &session, "proxy", name = "ssh");
    let _inside = proxy.entered();

    report("queued", LINES, |number| {
        tracing::info!(target: "mgrok_bench", "get a user connection [10.0.0.1:{number}]");
    });
    let fields = |number| {
        tracing::info!(target: "mgrok_bench", number, from = %"10.0.0.1", "get a user connection");
    };
    report("queued with fields", LINES, fields);
    let json = Options {
        format: Format::Json,
        ..options
    };
    log.control().change(&json);
    report("queued as JSON", LINES, |number| {
        tracing::info!(target: "mgrok_bench", "get a user connection [10.0.0.1:{number}]");
    });
    report("JSON with fields", LINES, fields);
    report("disabled", DISABLED, |number| {
        tracing::debug!(target: "mgrok_bench", "get a user connection [10.0.0.1:{number}]");
    });
    drop(log);

    write_directly("to a file", directory.path().join("direct"));
    write_directly("to nowhere", PathBuf::from("/dev/null"));
}

/// The system call that a task would make for each line without the queue.
fn write_directly(name: &str, path: PathBuf) {
    let Ok(mut file) = OpenOptions::new().append(true).create(true).open(path) else {
        return println!("cannot open a file");
    };
    let line = [b'x'; 100];
    report(&format!("write(2) {name}"), LINES, |_| {
        // What fails here is a figure, no log.
        let _ = file.write(&line);
    });
}

/// Prints the best of a few rounds: the others measure what else the machine does.
fn report(name: &str, count: u32, mut line: impl FnMut(u32)) {
    let round = |_| {
        // The writer catches up, as it does between bursts.
        std::thread::sleep(Duration::from_millis(50));
        let started = Instant::now();
        (0..count).for_each(&mut line);
        started.elapsed()
    };
    let best = (0..ROUNDS).map(round).min().unwrap_or_default();
    let each = best.as_secs_f64() * 1e9 / f64::from(count);
    println!("{name:20} {each:8.1} ns a line");
}
