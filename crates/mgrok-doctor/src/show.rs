//! How checks are shown: to people line by line, to programs as JSON.

use serde::Serialize;

use crate::outcome::{Outcome, Row};
use crate::report::Report;

/// How wide the first two columns are.
const WORD_WIDTH: usize = 8;
const CHECK_WIDTH: usize = 12;

/// The lines of one check, without the last line's end. With `colours` they are for a terminal.
pub fn row(row: &Row, colours: bool) -> String {
    let word = row.outcome.word();
    let colour = match &row.outcome {
        Outcome::Ok { .. } => "\x1b[32m",
        Outcome::Warning { .. } => "\x1b[33m",
        Outcome::Failed { .. } => "\x1b[31m",
        Outcome::Skipped { .. } => "\x1b[90m",
    };
    let (begin, end) = match colours {
        true => (colour, "\x1b[0m"),
        false => ("", ""),
    };
    let what = match &row.outcome {
        Outcome::Ok { finding } | Outcome::Warning { finding, .. } => finding,
        Outcome::Failed { cause, .. } => cause,
        Outcome::Skipped { because } => because,
    };
    let separator = match row.subject.as_str() {
        "" => "",
        _ => ": ",
    };
    let Row { check, subject, .. } = row;
    let mut lines = format!(
        "{begin}{word:<WORD_WIDTH$}{end} {check:<CHECK_WIDTH$} {}{separator}{}",
        printable(subject),
        printable(what)
    );
    if let Outcome::Warning { remedy, .. } | Outcome::Failed { remedy, .. } = &row.outcome {
        let indent = WORD_WIDTH + 1 + CHECK_WIDTH + 1;
        lines.push_str(&format!("\n{:indent$}→ {}", "", printable(remedy)));
    }
    lines
}

/// All checks as one object, in one line.
pub fn json(report: &Report, program: &str, version: &str) -> String {
    #[derive(Serialize)]
    struct Whole<'a> {
        program: &'a str,
        version: &'a str,
        good: bool,
        failed: usize,
        warnings: usize,
        checks: &'a [Row],
    }
    let whole = Whole {
        program,
        version,
        good: report.is_good(),
        failed: report.failed(),
        warnings: report.warnings(),
        checks: &report.rows,
    };
    // Nothing in it can fail: strings, numbers, and keys that are strings.
    serde_json::to_string(&whole).unwrap_or_default()
}

/// A text with its control characters escaped: some of it comes from others.
fn printable(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter.is_control() {
            true => shown.extend(letter.escape_default()),
            false => shown.push(letter),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> Row {
        Row {
            check: "tcp",
            subject: "a.test:7000 by tcp".to_owned(),
            outcome: Outcome::Failed {
                cause: "refused\x1b[1m".to_owned(),
                remedy: "start the server".to_owned(),
            },
        }
    }

    #[test]
    fn a_check_that_failed_has_a_line_of_remedy_and_steers_no_terminal() {
        assert_eq!(
            row(&failed(), false),
            "failed   tcp          a.test:7000 by tcp: refused\\u{1b}[1m\n                      → start the server"
        );
    }

    #[test]
    fn only_terminals_get_colours() {
        assert!(row(&failed(), true).starts_with("\x1b[31mfailed  \x1b[0m tcp"));
    }

    #[test]
    fn programs_find_stable_names() {
        let skipped = Row {
            check: "tls",
            subject: String::new(),
            outcome: Outcome::Skipped {
                because: "needs \"tcp\"".to_owned(),
            },
        };
        let report = Report {
            rows: vec![failed(), skipped],
        };
        assert_eq!(
            json(&report, "mgrokc", "1.0"),
            concat!(
                r#"{"program":"mgrokc","version":"1.0","good":false,"failed":1,"warnings":0,"checks":["#,
                r#"{"check":"tcp","subject":"a.test:7000 by tcp","outcome":"failed","cause":"refused\u001b[1m","remedy":"start the server"},"#,
                r#"{"check":"tls","subject":"","outcome":"skipped","because":"needs \"tcp\""}]}"#
            )
        );
    }
}
