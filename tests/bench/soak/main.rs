//! A long run of everything at once: users of all kinds who come, go, break off and stall, a client that is killed, and reloads, while every
//! byte is checked and the memory and open files of both ends are watched.
//!
//! ```text
//! cargo bench --bench soak -- [options]
//!
//!   --minutes M    how long users go on (30); a fraction is possible
//!   --out DIR      where the report goes (soak in cargo's target directory)
//! ```
//!
//! mgrok's programs are built in the bench's profile unless `MGROKS_BIN` and `MGROKC_BIN` name others. The steady client's users must lose
//! nothing; those of the client that is killed may lose their connections, but what arrives has to be right. It ends with 1 if a byte was
//! wrong, a steady user failed, or a program ended.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its results, and a panic is how it fails"
)]

mod content;
mod pair;
mod services;
mod summary;
mod tally;
mod users;

use std::{
    env,
    path::PathBuf,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use pair::Pair;
use services::Services;
use summary::Sample;
use tally::Tally;

/// How often programs are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// How long they are watched after the users have gone.
const AFTER: Duration = Duration::from_secs(25);

/// Between two reloads, and between two deaths of the client that is killed.
const RELOAD: Duration = Duration::from_secs(11);
const KILL: Duration = Duration::from_secs(17);

/// What is asked for.
struct Options {
    length: Duration,
    directory: PathBuf,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Self {
        // <target>/<profile>/deps/<bench>
        let program = env::current_exe().unwrap();
        let target = program.ancestors().nth(3).unwrap();
        let mut options = Self {
            length: Duration::from_mins(30),
            directory: target.join("soak"),
        };
        while let Some(arg) = args.next() {
            let mut value = || args.next().unwrap_or_default();
            match arg.as_str() {
                "--minutes" => {
                    let minutes: f64 = value().parse().unwrap();
                    options.length = Duration::from_secs_f64(minutes * 60.0);
                }
                "--out" => options.directory = value().into(),
                "--bench" => {}
                other => panic!("there is no option {other}"),
            }
        }
        options
    }
}

fn main() -> ExitCode {
    let options = Options::parse(env::args().skip(1));
    let services = Services::start();
    let mut pair = Pair::start(&services);
    let tally = Tally::default();
    let users = users::start(&pair.public, &tally);
    let began = Instant::now();
    let mut samples = Vec::new();
    let (mut reload_at, mut kill_at) = (RELOAD, KILL);
    while began.elapsed() < options.length {
        thread::sleep(LOOK);
        let now = began.elapsed();
        samples.push(Sample::take(now, &pair));
        if now >= reload_at {
            reload_at = now + RELOAD;
            pair.reload();
        }
        if now >= kill_at {
            kill_at = now + KILL;
            pair.kill_and_start();
        }
        if samples.len() % 60 == 0 {
            println!("{}", summary::line(&samples, &tally));
        }
    }
    users.stop();
    let loaded = samples.len();
    let end = began.elapsed() + AFTER;
    while began.elapsed() < end {
        thread::sleep(LOOK);
        samples.push(Sample::take(began.elapsed(), &pair));
    }
    let lost = pair.lost();
    let report = summary::report(&samples, loaded, &tally, &lost);
    println!("{report}");
    summary::write(&options.directory, &report, &samples);
    println!(
        "The report: {}",
        options.directory.join("report.md").display()
    );
    match tally.is_clean() && lost.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
