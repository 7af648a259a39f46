//! What is to be reached: a figure of the first peer, as it is or as a multiple of another figure.

use std::fmt::Write as _;

use super::Report;

/// One thing to reach.
#[derive(Debug)]
pub struct Target {
    /// The figure of the first peer.
    pub ours: Value,
    /// What it is divided by; without it, it stands for itself.
    pub theirs: Option<(Whose, Value)>,
    /// What it has to be.
    pub bound: Bound,
}

/// A figure of a load.
#[derive(Clone, Debug)]
pub struct Value {
    /// The title of the load.
    pub load: String,
    /// The name of the figure.
    pub what: &'static str,
}

/// With whom the first peer is compared.
#[derive(Clone, Copy, Debug)]
pub enum Whose {
    /// With the peer of this name. It may be the first one, at another load.
    Peer(&'static str),
    /// With the rival who is the best at this figure of the load, which need not be the one that is compared.
    Best(&'static str),
}

/// What is enough.
#[derive(Clone, Copy, Debug)]
pub enum Bound {
    /// This or more.
    AtLeast(f64),
    /// This or less.
    AtMost(f64),
}

impl Bound {
    fn is_met(self, reached: f64) -> bool {
        match self {
            Self::AtLeast(least) => reached >= least,
            Self::AtMost(most) => reached <= most,
        }
    }
}

/// What came out.
#[derive(Debug)]
struct Outcome {
    ours: f64,
    /// Name and value of the other.
    theirs: Option<(String, f64)>,
    reached: f64,
}

impl Target {
    /// `None` if it was not measured.
    fn outcome(&self, report: &Report) -> Option<Outcome> {
        let first = report.peers.first()?;
        let median = |value: &Value, of: &str| report.row(&value.load, value.what)?.median_of(of);
        let ours = median(&self.ours, &first.name)?;
        let Some((whose, value)) = &self.theirs else {
            return Some(Outcome {
                ours,
                theirs: None,
                reached: ours,
            });
        };
        let name = match whose {
            Whose::Peer(name) => name,
            Whose::Best(what) => report.row(&value.load, what)?.best_rival(&report.peers)?.0,
        };
        let theirs = median(value, name)?;
        Some(Outcome {
            ours,
            theirs: Some((name.to_owned(), theirs)),
            reached: ours / theirs,
        })
    }

    fn line(&self, report: &Report) -> String {
        let Value { load, what } = &self.ours;
        let times = if self.theirs.is_some() { " ×" } else { "" };
        let wanted = match self.bound {
            Bound::AtLeast(least) => format!("≥ {least:.3}"),
            Bound::AtMost(most) => format!("≤ {most:.3}"),
        };
        // Two digits of a third say enough; a whole number needs none.
        let wanted = wanted.trim_end_matches('0').trim_end_matches('.');
        let digits = report.row(load, what).map_or(2, |row| row.digits);
        let mut line = format!("| {load}: {what} |");
        let _ = match self.outcome(report) {
            None => {
                let whom = match &self.theirs {
                    None => "",
                    Some((Whose::Peer(name), _)) => name,
                    Some((Whose::Best(_), _)) => "the best",
                };
                write!(line, " | {whom} | {wanted}{times} | | not measured |")
            }
            Some(outcome) => {
                let theirs = match (&outcome.theirs, &self.theirs) {
                    (Some((name, theirs)), Some((_, value))) => {
                        let elsewhere = if value.load == *load {
                            String::new()
                        } else {
                            format!(" ({})", value.load)
                        };
                        format!("{name} {theirs:.digits$}{elsewhere}")
                    }
                    _ => String::new(),
                };
                let is_met = self.bound.is_met(outcome.reached);
                let verdict = if is_met { "yes" } else { "**no**" };
                write!(
                    line,
                    " {:.digits$} | {theirs} | {wanted}{times} | {:.2}{times} | {verdict} |",
                    outcome.ours, outcome.reached
                )
            }
        };
        line + "\n"
    }
}

/// A line for each, and how many were reached.
pub(super) fn table(targets: &[Target], report: &Report) -> String {
    let first = report.peers.first().map_or("", |peer| &peer.name);
    let mut table = format!(
        "| load: figure | {first} | against | wanted | reached | |\n| --- | ---: | --- | --- | --- | --- |\n"
    );
    for target in targets {
        table += &target.line(report);
    }
    let outcomes: Vec<_> = targets
        .iter()
        .filter_map(|target| Some((target.bound, target.outcome(report)?.reached)))
        .collect();
    let met = outcomes.iter().filter(|(bound, it)| bound.is_met(*it));
    let _ = write!(
        table,
        "\n{} of {} that were measured are reached; there are {}.\n",
        met.count(),
        outcomes.len(),
        targets.len()
    );
    table
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Figure, Peer};

    /// At `bulk` "slow" is the best rival; "direct" is none.
    fn report() -> Report {
        let mut report = Report::default();
        let peer = |name: &str| Peer {
            name: name.to_owned(),
            about: String::new(),
            is_rival: name != "direct",
        };
        report.set_peers(["ours", "lean", "slow", "direct"].map(peer).to_vec());
        for (name, rate, cpu) in [
            ("ours", 9.0, 1.0),
            ("lean", 2.0, 2.0),
            ("slow", 3.0, 4.0),
            ("direct", 90.0, 0.1),
        ] {
            let figures = vec![Figure::more("rate", rate, 1), Figure::less("cpu", cpu, 1)];
            report.add("Bulk", "bulk", name, figures);
        }
        report.add(
            "Bulk",
            "bulk x8",
            "ours",
            vec![Figure::more("rate", 8.0, 1)],
        );
        report
    }

    fn value(load: &str, what: &'static str) -> Value {
        Value {
            load: load.to_owned(),
            what,
        }
    }

    fn line(ours: Value, theirs: Option<(Whose, Value)>, bound: Bound) -> String {
        Target {
            ours,
            theirs,
            bound,
        }
        .line(&report())
    }

    #[test]
    fn the_best_rival_is_the_one_that_is_best_at_the_figure_that_was_said() {
        let bulk = |what| value("bulk", what);
        let rate = line(
            bulk("rate"),
            Some((Whose::Best("rate"), bulk("rate"))),
            Bound::AtLeast(3.0),
        );
        assert_eq!(
            rate,
            "| bulk: rate | 9.0 | slow 3.0 | ≥ 3 × | 3.00 × | yes |\n"
        );
        let cpu = line(
            bulk("cpu"),
            Some((Whose::Best("rate"), bulk("cpu"))),
            Bound::AtMost(0.2),
        );
        assert_eq!(
            cpu,
            "| bulk: cpu | 1.0 | slow 4.0 | ≤ 0.2 × | 0.25 × | **no** |\n"
        );
    }

    #[test]
    fn one_may_be_compared_with_oneself_elsewhere_or_stand_alone() {
        let x8 = value("bulk x8", "rate");
        let to_one = Some((Whose::Peer("ours"), value("bulk", "rate")));
        assert_eq!(
            line(x8.clone(), to_one, Bound::AtLeast(1.0)),
            "| bulk x8: rate | 8.0 | ours 9.0 (bulk) | ≥ 1 × | 0.89 × | **no** |\n"
        );
        assert_eq!(
            line(x8, None, Bound::AtMost(10.0)),
            "| bulk x8: rate | 8.0 |  | ≤ 10 | 8.00 | yes |\n"
        );
    }

    #[test]
    fn what_was_not_measured_is_not_called_reached() {
        let missing = |load: &str, whose| Target {
            ours: value(load, "rate"),
            theirs: Some((whose, value(load, "rate"))),
            bound: Bound::AtLeast(2.0),
        };
        let targets = [
            missing("bulk", Whose::Peer("ours")),
            missing("bulk", Whose::Peer("gone")),
            missing("bulk x8", Whose::Best("rate")),
            missing("none", Whose::Best("rate")),
        ];
        let table = table(&targets, &report());
        assert_eq!(table.matches("not measured").count(), 3, "{table}");
        let gone = "| bulk: rate | | gone | ≥ 2 × | | not measured |\n";
        assert!(table.contains(gone), "{table}");
        assert!(
            table.ends_with("\n0 of 1 that were measured are reached; there are 4.\n"),
            "{table}"
        );
    }
}
