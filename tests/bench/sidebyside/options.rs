//! The command line, and who runs when.

use std::time::Duration;

use crate::{
    product::Mode,
    report::{Figure, Report},
};

/// What was asked for.
pub(crate) struct Options {
    rounds: usize,
    pub(crate) window: Duration,
    pub(crate) hold: usize,
    pub(crate) without: Vec<String>,
    only: Vec<String>,
}

impl Options {
    /// Reads the arguments; what is not known selects workloads.
    pub(crate) fn parse(mut args: impl Iterator<Item = String>) -> Self {
        let mut options = Self {
            rounds: 3,
            window: Duration::from_secs(2),
            hold: 2_000,
            without: Vec::new(),
            only: Vec::new(),
        };
        while let Some(arg) = args.next() {
            let mut number = || {
                let text = args.next().unwrap_or_default();
                text.parse::<f64>()
                    .unwrap_or_else(|_| panic!("{arg} wants a number"))
            };
            match arg.as_str() {
                "--rounds" => options.rounds = number() as usize,
                "--seconds" => options.window = Duration::from_secs_f64(number()),
                "--hold" => options.hold = number() as usize,
                "--without" => options.without.extend(args.next()),
                // What cargo says to every bench.
                "--bench" => {}
                _ => options.only.push(arg),
            }
        }
        options
    }

    /// Whether this workload is asked for.
    pub(crate) fn wants(&self, work: &str, mode: Mode) -> bool {
        let title = title(work, mode);
        self.only.iter().all(|only| title.contains(only.as_str()))
    }

    /// Lets everyone do the work, in turns, and notes what came out.
    pub(crate) fn run<T>(
        &self,
        report: &mut Report,
        mode: Mode,
        work: &str,
        everyone: &[T],
        mut measure: impl FnMut(&T) -> Vec<Figure>,
    ) {
        if !self.wants(work, mode) {
            return;
        }
        let title = title(work, mode);
        for round in 0..self.rounds {
            eprintln!("{title}: round {} of {}", round + 1, self.rounds);
            for (who, one) in everyone.iter().enumerate() {
                report.add(&title, who, measure(one));
            }
        }
        report.print_last();
    }
}

/// A workload and how it was connected.
fn title(work: &str, mode: Mode) -> String {
    format!("{work}, {}", mode.name())
}
