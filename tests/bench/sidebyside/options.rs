//! The command line.

use std::{env, path::PathBuf, time::Duration};

use crate::mode::Mode;

/// What was asked for.
pub(crate) struct Options {
    pub(crate) rounds: usize,
    pub(crate) window: Duration,
    pub(crate) hold: usize,
    pub(crate) stalled: usize,
    pub(crate) domains: usize,
    pub(crate) pool: usize,
    pub(crate) without: Vec<String>,
    pub(crate) directory: PathBuf,
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments; what is no option selects loads.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rounds: 5,
            window: Duration::from_secs(2),
            hold: 2_000,
            stalled: 1_000,
            domains: 100,
            pool: 5,
            without: Vec::new(),
            directory: directory(),
            only: Vec::new(),
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_else(|| panic!("{arg} wants a value"));
            match arg.as_str() {
                "--rounds" => options.rounds = number(&arg, &value()).max(1),
                "--seconds" => options.window = seconds(&arg, &value()),
                "--hold" => options.hold = number(&arg, &value()),
                "--stalled" => options.stalled = number(&arg, &value()),
                "--domains" => options.domains = number(&arg, &value()),
                "--pool" => options.pool = number(&arg, &value()),
                "--without" => options.without.push(value()),
                "--out" => options.directory = value().into(),
                // What cargo says to every bench.
                "--bench" => {}
                other if other.starts_with('-') => panic!("there is no option {other}"),
                _ => options.only.push(arg),
            }
        }
        options
    }

    /// Whether this load is asked for: its title has every word that was given.
    pub(crate) fn wants(&self, load: &str, mode: Mode) -> bool {
        let title = title(load, mode);
        self.only.iter().all(|only| title.contains(only.as_str()))
    }
}

/// A load and how the ends are connected.
pub(crate) fn title(load: &str, mode: Mode) -> String {
    format!("{load}, {}", mode.name())
}

fn number(option: &str, text: &str) -> usize {
    text.parse()
        .unwrap_or_else(|_| panic!("{option} wants a number, and got {text}"))
}

fn seconds(option: &str, text: &str) -> Duration {
    let seconds = text.parse().ok();
    seconds
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
        .unwrap_or_else(|| panic!("{option} wants seconds, and got {text}"))
}

/// Where the report goes: beside what cargo builds.
fn directory() -> PathBuf {
    // <target>/<profile>/deps/<bench>
    let program = env::current_exe().unwrap();
    let target = program.ancestors().nth(3);
    target.map_or_else(PathBuf::new, |target| target.join("sidebyside"))
}
