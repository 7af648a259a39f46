//! What a comparison has measured: medians, ratios, and a report of both in Markdown with plots.

pub mod machine;
pub mod plot;
pub mod statistics;

use std::{fmt::Write as _, fs, io, path::Path};

use statistics::{median, range};

/// Nearer than this to the best of the others, somebody is as good as they are.
const NOISE: f64 = 0.03;

/// Which values are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Better {
    /// Larger ones.
    More,
    /// Smaller ones.
    Less,
    /// It says something about the others, and is neither good nor bad.
    Neither,
}

impl Better {
    fn arrow(self) -> &'static str {
        match self {
            Self::More => " ↑",
            Self::Less => " ↓",
            Self::Neither => "",
        }
    }
}

/// One measured value.
#[derive(Clone, Debug)]
pub struct Figure {
    /// What it is, with its unit.
    pub what: &'static str,
    /// The value.
    pub value: f64,
    /// Digits after the point.
    pub digits: usize,
    /// Which values are good.
    pub better: Better,
}

impl Figure {
    /// One of which more is better.
    pub fn more(what: &'static str, value: f64, digits: usize) -> Self {
        Self::new(what, value, digits, Better::More)
    }

    /// One of which less is better.
    pub fn less(what: &'static str, value: f64, digits: usize) -> Self {
        Self::new(what, value, digits, Better::Less)
    }

    /// One that is neither good nor bad.
    pub fn neutral(what: &'static str, value: f64, digits: usize) -> Self {
        Self::new(what, value, digits, Better::Neither)
    }

    fn new(what: &'static str, value: f64, digits: usize, better: Better) -> Self {
        Self {
            what,
            value,
            digits,
            better,
        }
    }
}

/// Somebody who is measured.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The head of its column.
    pub name: &'static str,
    /// Its version, and how it is set up where that has to be said.
    pub about: String,
    /// Whether it does the same job as the first. What does not is a limit, with which nobody has to keep up.
    pub is_rival: bool,
}

/// All that was measured. The first peer is the one that the others are compared with.
#[derive(Debug)]
pub struct Report {
    peers: Vec<Peer>,
    sections: Vec<Section>,
    notes: Vec<String>,
    /// How many sections and rows of the last one were printed.
    printed: (usize, usize),
}

/// Loads of one kind: a table, and its plots.
#[derive(Debug)]
struct Section {
    name: &'static str,
    rows: Vec<Row>,
    courses: Vec<Course>,
}

/// One figure of one load.
#[derive(Debug)]
struct Row {
    load: String,
    what: &'static str,
    digits: usize,
    better: Better,
    /// Whether it is the first figure of its load, which is the one that is plotted.
    is_first: bool,
    /// For each peer the value of each round.
    values: Vec<Vec<f64>>,
}

/// How one value went over time, for each peer.
#[derive(Debug)]
struct Course {
    load: String,
    what: &'static str,
    lines: Vec<plot::Line>,
}

impl Report {
    /// An empty one.
    pub fn new(peers: Vec<Peer>) -> Self {
        Self {
            peers,
            sections: Vec::new(),
            notes: Vec::new(),
            printed: (0, 0),
        }
    }

    /// Notes one round of the peer `who`. What is no number is left out, such as the cost of a byte where there were none.
    pub fn add(&mut self, section: &'static str, load: &str, who: usize, figures: Vec<Figure>) {
        let peers = self.peers.len();
        let section = self.section(section);
        for (index, figure) in figures.into_iter().enumerate() {
            if !figure.value.is_finite() {
                continue;
            }
            let known = section
                .rows
                .iter()
                .position(|row| row.load == load && row.what == figure.what);
            let at = known.unwrap_or_else(|| {
                section.rows.push(Row {
                    load: load.to_owned(),
                    what: figure.what,
                    digits: figure.digits,
                    better: figure.better,
                    is_first: index == 0,
                    values: vec![Vec::new(); peers],
                });
                section.rows.len() - 1
            });
            section.rows[at].values[who].push(figure.value);
        }
    }

    /// Keeps how a value went: points of seconds and values. A later one of the same peer takes its place.
    pub fn add_course(
        &mut self,
        section: &'static str,
        load: &str,
        what: &'static str,
        who: usize,
        points: Vec<(f64, f64)>,
    ) {
        let section = self.section(section);
        let known = section
            .courses
            .iter()
            .position(|course| course.load == load && course.what == what);
        let at = known.unwrap_or_else(|| {
            section.courses.push(Course {
                load: load.to_owned(),
                what,
                lines: Vec::new(),
            });
            section.courses.len() - 1
        });
        let lines = &mut section.courses[at].lines;
        lines.retain(|line| line.peer != who);
        lines.push(plot::Line { peer: who, points });
    }

    /// Says something that a reader of the figures has to know, such as what has failed.
    pub fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn section(&mut self, name: &'static str) -> &mut Section {
        let known = self
            .sections
            .iter()
            .position(|section| section.name == name);
        let at = known.unwrap_or_else(|| {
            self.sections.push(Section {
                name,
                rows: Vec::new(),
                courses: Vec::new(),
            });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }

    /// A table of what was not in such a table yet.
    pub fn table_of_the_last(&mut self) -> String {
        let (sections, rows) = self.printed;
        let mut table = String::new();
        for (index, section) in self.sections.iter().enumerate().skip(sections) {
            let from = if index == sections { rows } else { 0 };
            if section.rows.len() > from {
                table += &self.table(&section.rows[from..]);
            }
        }
        if let Some(last) = self.sections.last() {
            self.printed = (self.sections.len() - 1, last.rows.len());
        }
        table
    }

    fn table(&self, rows: &[Row]) -> String {
        let mut table = String::from("| load | figure |");
        for peer in &self.peers {
            let _ = write!(table, " {} |", peer.name);
        }
        table += "\n| --- | --- |";
        table += &" ---: |".repeat(self.peers.len());
        table.push('\n');
        for row in rows {
            table += &row.line();
        }
        table
    }

    /// Where a rival does better than the first peer, one line for each figure.
    pub fn behind(&self) -> Vec<String> {
        let rows = self.sections.iter().flat_map(|section| &section.rows);
        rows.filter_map(|row| row.behind(&self.peers)).collect()
    }

    /// Writes `report.md`, the plots that it shows, and `rounds.csv` with the value of every round. `title` is its first line, `about`
    /// what it says ahead of the figures.
    ///
    /// # Errors
    /// When the directory or a file cannot be written.
    pub fn write(&self, directory: &Path, title: &str, about: &str) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut text = format!("# {title}\n\n{about}\n");
        for peer in &self.peers {
            let _ = writeln!(text, "- **{}**: {}", peer.name, peer.about);
        }
        text += "\nValues are medians over the rounds. In brackets is the first column divided by this one: with ↑ more is better, with ↓ less. \
                 `rounds.csv` has the value of every round.\n";
        for section in &self.sections {
            let _ = write!(
                text,
                "\n## {}\n\n{}",
                section.name,
                self.table(&section.rows)
            );
            for (file, alt, svg) in section.plots(&self.peers) {
                fs::write(directory.join(&file), svg)?;
                let _ = write!(text, "\n![{alt}]({file})\n");
            }
        }
        let behind = self.behind();
        let first = self.peers.first().map_or("nobody", |peer| peer.name);
        let _ = write!(text, "\n## Where a peer does better than {first}\n\n");
        if behind.is_empty() {
            text += "Nowhere by more than 3 %.\n";
        }
        for line in behind {
            let _ = writeln!(text, "- {line}");
        }
        if !self.notes.is_empty() {
            text += "\n## Notes of the run\n\n";
        }
        for note in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        fs::write(directory.join("rounds.csv"), self.rounds())?;
        fs::write(directory.join("report.md"), text)
    }

    fn rounds(&self) -> String {
        let mut text = String::from("section,load,figure,peer,round,value\n");
        for section in &self.sections {
            for row in &section.rows {
                for (peer, values) in self.peers.iter().zip(&row.values) {
                    for (round, value) in values.iter().enumerate() {
                        let _ = writeln!(
                            text,
                            "{},\"{}\",{},{},{},{value}",
                            section.name,
                            row.load,
                            row.what,
                            peer.name,
                            round + 1
                        );
                    }
                }
            }
        }
        text
    }
}

impl Section {
    /// The file, a short description, and the content of each plot.
    fn plots(&self, peers: &[Peer]) -> Vec<(String, String, String)> {
        let names: Vec<_> = peers.iter().map(|peer| peer.name).collect();
        let (mut plots, mut seen) = (Vec::new(), Vec::new());
        for Row { what, better, .. } in self.rows.iter().filter(|row| row.is_first) {
            if seen.contains(what) {
                continue;
            }
            seen.push(*what);
            let rows = self
                .rows
                .iter()
                .filter(|row| row.is_first && row.what == *what);
            let groups: Vec<_> = rows.map(Row::group).collect();
            let title = format!("{}: {what}{}", self.name, better.arrow());
            plots.push((
                file_name(self.name, what),
                title.clone(),
                plot::bars(&title, &names, &groups),
            ));
        }
        for course in &self.courses {
            let title = format!("{}: {}", course.load, course.what);
            plots.push((
                file_name(&course.load, course.what),
                title.clone(),
                plot::lines(&title, &names, "seconds", &course.lines),
            ));
        }
        plots
    }
}

/// A name for a file that needs no escaping anywhere.
fn file_name(of: &str, what: &str) -> String {
    let mut name = String::new();
    for char in format!("{of} {what}").chars() {
        if char.is_ascii_alphanumeric() {
            name.push(char.to_ascii_lowercase());
        } else if !name.ends_with('-') {
            name.push('-');
        }
    }
    format!("{}.svg", name.trim_matches('-'))
}

impl Row {
    fn medians(&self) -> Vec<Option<f64>> {
        self.values.iter().map(|values| median(values)).collect()
    }

    fn line(&self) -> String {
        let medians = self.medians();
        let mut line = format!("| {} | {}{} |", self.load, self.what, self.better.arrow());
        for (who, median) in medians.iter().enumerate() {
            let _ = match (median, medians[0]) {
                (None, _) => write!(line, " – |"),
                (Some(value), Some(first))
                    if who > 0 && *value != 0.0 && self.better != Better::Neither =>
                {
                    write!(line, " {value:.*} ({:.2}) |", self.digits, first / value)
                }
                (Some(value), _) => write!(line, " {value:.*} |", self.digits),
            };
        }
        line + "\n"
    }

    /// Says by how much the best rival does better than the first peer, if one does.
    fn behind(&self, peers: &[Peer]) -> Option<String> {
        let medians = self.medians();
        let ours = medians.first().copied().flatten()?;
        let rivals = peers.iter().zip(&medians).skip(1);
        let rivals = rivals.filter_map(|(peer, median)| Some((peer.name, (*median)?)));
        let rivals =
            rivals.filter(|(name, _)| peers.iter().any(|peer| peer.name == *name && peer.is_rival));
        let by_value = |a: &(_, f64), b: &(_, f64)| a.1.total_cmp(&b.1);
        let (name, theirs) = match self.better {
            Better::More => rivals.max_by(by_value)?,
            Better::Less => rivals.min_by(by_value)?,
            Better::Neither => return None,
        };
        let is_behind = match self.better {
            Better::More => ours < theirs * (1.0 - NOISE),
            _ => ours > theirs * (1.0 + NOISE),
        };
        is_behind.then(|| {
            format!(
                "{}, {}: {ours:.*}, {name} {theirs:.*} ({:.2})",
                self.load,
                self.what,
                self.digits,
                self.digits,
                ours / theirs
            )
        })
    }

    fn group(&self) -> plot::Group {
        let bar = |(peer, values): (usize, &Vec<f64>)| {
            let (least, most) = range(values)?;
            Some(plot::Bar {
                peer,
                value: median(values)?,
                least,
                most,
                digits: self.digits,
            })
        };
        plot::Group {
            name: self.load.clone(),
            bars: self.values.iter().enumerate().filter_map(bar).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let peer = |name, is_rival| Peer {
            name,
            about: format!("{name} 1.0"),
            is_rival,
        };
        Report::new(vec![
            peer("ours", true),
            peer("theirs", true),
            peer("direct", false),
        ])
    }

    #[test]
    fn a_cell_has_the_median_and_our_multiple_of_it() {
        let mut report = report();
        for value in [30.0, 10.0, 20.0] {
            report.add("Bulk", "up x1", 0, vec![Figure::more("Gbit/s", value, 1)]);
        }
        report.add("Bulk", "up x1", 1, vec![Figure::more("Gbit/s", 8.0, 1)]);
        let table = report.table_of_the_last();
        assert!(
            table.ends_with("| up x1 | Gbit/s ↑ | 20.0 | 8.0 (2.50) | – |\n"),
            "{table}"
        );
    }

    #[test]
    fn a_table_has_only_what_no_earlier_one_had() {
        let mut report = report();
        report.add("A", "one", 0, vec![Figure::more("x", 1.0, 0)]);
        assert!(report.table_of_the_last().contains("one"));
        report.add("A", "two", 0, vec![Figure::more("x", 1.0, 0)]);
        report.add("B", "three", 0, vec![Figure::more("x", 1.0, 0)]);
        let table = report.table_of_the_last();
        assert!(!table.contains("one") && table.contains("two") && table.contains("three"));
        assert_eq!(report.table_of_the_last(), "");
    }

    #[test]
    fn only_a_rival_that_is_better_by_more_than_noise_is_told() {
        let mut report = report();
        let mut add = |load: &str, figures: [fn(f64) -> Figure; 1], values: [f64; 3]| {
            for (who, value) in values.into_iter().enumerate() {
                report.add("A", load, who, vec![figures[0](value)]);
            }
        };
        let (more, less): (fn(f64) -> Figure, fn(f64) -> Figure) = (
            |value| Figure::more("per second", value, 0),
            |value| Figure::less("µs", value, 0),
        );
        add("ahead", [more], [100.0, 90.0, 500.0]);
        add("level", [more], [98.0, 100.0, 500.0]);
        add("slower", [more], [80.0, 100.0, 500.0]);
        add("later", [less], [120.0, 100.0, 1.0]);
        let behind = report.behind();
        assert_eq!(
            behind,
            [
                "slower, per second: 80, theirs 100 (0.80)",
                "later, µs: 120, theirs 100 (1.20)"
            ]
        );
    }

    #[test]
    fn the_report_shows_every_plot_that_it_writes() {
        let mut report = report();
        report.add("Bulk", "up x1", 0, vec![Figure::more("Gbit/s", 3.0, 1)]);
        report.add_course(
            "Bulk",
            "hold, 10",
            "pair MiB",
            0,
            vec![(0.0, 1.0), (1.0, 2.0)],
        );
        report.note("frp has failed".to_owned());
        let directory = tempfile::tempdir().unwrap();
        report.write(directory.path(), "Title", "About.").unwrap();
        let text = fs::read_to_string(directory.path().join("report.md")).unwrap();
        let mut plots = 0;
        for file in fs::read_dir(directory.path()).unwrap() {
            let name = file.unwrap().file_name().into_string().unwrap();
            if name.ends_with(".svg") {
                plots += 1;
                assert!(text.contains(&format!("({name})")), "{name} in {text}");
            }
        }
        assert_eq!(plots, 2);
        assert!(text.contains("frp has failed"), "{text}");
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name("UDP: 1 user", "µs p50"), "udp-1-user-s-p50.svg");
    }
}
