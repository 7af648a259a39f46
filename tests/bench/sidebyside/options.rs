//! The command line.

use std::{env, path::PathBuf, process, time::Duration};

use crate::mode::Mode;

const USAGE: &str = "\
FRPS_BIN=… FRPC_BIN=… RATHOLE_BIN=… BORE_BIN=… NFRP_SERVER_BIN=… NFRP_CLIENT_BIN=… \\
    cargo bench --bench sidebyside -- [options] [word…]

  --rounds N     how often each product does each load (5)
  --seconds S    how long one measurement takes (1)
  --hold N       how many connections are held in the default mode (10000); elsewhere a fifth of it
  --stalled N    how many users do not read beside one who does (1000)
  --domains N    how many domains the HTTP loads publish beside one (100)
  --pool N       how many connections are kept ready in plain mode (5)
  --without NAME leave a product out, even if it is there
  --out DIR      where the report goes (sidebyside in cargo's target directory)
  --add          add to the report that is there; a load that is measured again takes the place of itself
  --missing      the same, and measure only what has not all its rounds yet
  word           only loads whose title has all of these words: bulk, 'ping-pong, tls+mux', http, hold, '100 ms', kcp
";

/// What becomes of an earlier report in the same directory.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Keeping {
    /// It is replaced.
    Nothing,
    /// It is added to; a load that is measured takes the place of itself.
    Others,
    /// The same, and a load that has all its rounds is not measured.
    All,
}

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
    pub(crate) keeping: Keeping,
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments; what is no option selects loads.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rounds: 5,
            window: Duration::from_secs(1),
            hold: 10_000,
            stalled: 1_000,
            domains: 100,
            pool: 5,
            without: Vec::new(),
            directory: directory(),
            keeping: Keeping::Nothing,
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
                "--add" => options.keeping = Keeping::Others,
                "--missing" => options.keeping = Keeping::All,
                "--help" => {
                    println!("{USAGE}");
                    process::exit(0);
                }
                // What cargo says to every bench.
                "--bench" => {}
                other if other.starts_with('-') => panic!("there is no option {other}"),
                _ => options.only.push(arg),
            }
        }
        options
    }

    /// How many connections are held where not so many are.
    pub(crate) fn hold_few(&self) -> usize {
        self.hold.div_ceil(5)
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
