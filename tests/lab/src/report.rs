//! What a comparison has measured: medians, ratios, and a report of both in Markdown with plots. It is kept in a file too, so that a
//! comparison can be made in parts.

pub mod machine;
pub mod plot;
pub mod statistics;
pub mod target;

use std::{collections::BTreeMap, fmt::Write as _, fs, io, path::Path};

use serde::{Deserialize, Serialize};
use statistics::{median, range};
use target::Target;

/// Nearer than this to the best of the others, somebody is as good as they are.
const NOISE: f64 = 0.03;

/// A round that brought less than this part of what another one brought was a standstill for the most of it, whatever the median is.
const STANDSTILL: f64 = 0.1;

/// The file in a report's directory that has all of it, for [`Report::read`].
const FILE: &str = "results.json";

/// Which values are good.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Peer {
    /// The head of its column.
    pub name: String,
    /// Its version, and how it is set up where that has to be said.
    pub about: String,
    /// Whether it does the same job as the first. What does not is a limit, with which nobody has to keep up.
    pub is_rival: bool,
}

/// All that was measured. The first peer is the one that the others are compared with.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Report {
    peers: Vec<Peer>,
    sections: Vec<Section>,
    notes: Vec<Note>,
    parts: Vec<String>,
}

/// Loads of one kind: a table, and its plots.
#[derive(Debug, Serialize, Deserialize)]
struct Section {
    name: String,
    rows: Vec<Row>,
    courses: Vec<Course>,
}

/// One figure of one load.
#[derive(Debug, Serialize, Deserialize)]
struct Row {
    load: String,
    what: String,
    digits: usize,
    better: Better,
    /// Whether it is the first figure of its load, which is the one that is plotted.
    is_first: bool,
    /// For each peer, by its name, the value of each round.
    values: BTreeMap<String, Vec<f64>>,
}

/// How one value went over time.
#[derive(Debug, Serialize, Deserialize)]
struct Course {
    load: String,
    what: String,
    /// For each peer, by its name, seconds and values.
    lines: BTreeMap<String, Vec<(f64, f64)>>,
}

/// What a reader of the figures has to know.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Note {
    /// What it is about; empty if it is about all.
    load: String,
    text: String,
}

impl Report {
    /// What an earlier run has written to `directory`.
    ///
    /// # Errors
    /// When there is nothing, or nothing that this version understands.
    pub fn read(directory: &Path) -> io::Result<Self> {
        let text = fs::read(directory.join(FILE))?;
        serde_json::from_slice(&text).map_err(io::Error::other)
    }

    /// Says who takes part, in the order of their columns. Those of an earlier part who are not among them keep theirs, behind the others.
    /// Who is not the same as then, such as another version, is told of in a note.
    pub fn set_peers(&mut self, mut peers: Vec<Peer>) {
        for old in std::mem::take(&mut self.peers) {
            match peers.iter().find(|peer| peer.name == old.name) {
                None => peers.push(old),
                Some(new) if *new != old => {
                    let note = format!("{}: in an earlier part it was {}", old.name, old.about);
                    self.note("", note);
                }
                Some(_) => {}
            }
        }
        self.peers = peers;
    }

    /// Has these sections, in this order; others come behind them.
    pub fn set_sections(&mut self, names: &[&str]) {
        for name in names {
            self.section(name);
        }
        let place = |section: &Section| names.iter().position(|name| *name == section.name);
        self.sections
            .sort_by_key(|section| place(section).unwrap_or(names.len()));
    }

    /// Begins a part, a run of its own, and says what is to be known of it. The last one can be told more.
    pub fn begin_part(&mut self, about: String) {
        self.parts.push(about);
    }

    /// Says more about the part that was begun last.
    pub fn tell_of_part(&mut self, more: &str) {
        if let Some(part) = self.parts.last_mut() {
            part.push_str(more);
        }
    }

    /// Whether somebody has done this load so often.
    pub fn has(&self, load: &str, rounds: usize) -> bool {
        let mut rows = self.rows().filter(|row| row.load == load);
        rows.any(|row| row.values.values().any(|values| values.len() >= rounds))
    }

    /// Forgets what is known of a load, which is then measured anew.
    pub fn forget(&mut self, load: &str) {
        for section in &mut self.sections {
            // A row keeps its place.
            let rows = section.rows.iter_mut().filter(|row| row.load == load);
            rows.for_each(|row| row.values.clear());
            section.courses.retain(|course| course.load != load);
        }
        self.notes.retain(|note| note.load != load);
    }

    /// Notes one round of the peer of this name. What is no number is left out, such as the cost of a byte where there were none.
    pub fn add(&mut self, section: &str, load: &str, peer: &str, figures: Vec<Figure>) {
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
                    what: figure.what.to_owned(),
                    digits: figure.digits,
                    better: figure.better,
                    is_first: index == 0,
                    values: BTreeMap::new(),
                });
                section.rows.len() - 1
            });
            let values = &mut section.rows[at].values;
            values
                .entry(peer.to_owned())
                .or_default()
                .push(figure.value);
        }
    }

    /// Keeps how a value went: points of seconds and values. A later one of the same peer takes its place.
    pub fn add_course(
        &mut self,
        section: &str,
        load: &str,
        what: &str,
        peer: &str,
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
                what: what.to_owned(),
                lines: BTreeMap::new(),
            });
            section.courses.len() - 1
        });
        let lines = &mut section.courses[at].lines;
        lines.insert(peer.to_owned(), points);
    }

    /// Says something that a reader of a load's figures has to know, such as who has failed; without a load, of all.
    pub fn note(&mut self, load: &str, text: String) {
        let note = Note {
            load: load.to_owned(),
            text,
        };
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn section(&mut self, name: &str) -> &mut Section {
        let known = self
            .sections
            .iter()
            .position(|section| section.name == name);
        let at = known.unwrap_or_else(|| {
            self.sections.push(Section {
                name: name.to_owned(),
                rows: Vec::new(),
                courses: Vec::new(),
            });
            self.sections.len() - 1
        });
        &mut self.sections[at]
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.sections.iter().flat_map(|section| &section.rows)
    }

    /// The row of a figure.
    fn row(&self, load: &str, what: &str) -> Option<&Row> {
        self.rows().find(|row| row.load == load && row.what == what)
    }

    /// A table of one load; empty if nothing is known of it.
    pub fn table_of(&self, load: &str) -> String {
        self.table(self.rows().filter(|row| row.load == load))
    }

    fn table<'a>(&self, rows: impl Iterator<Item = &'a Row>) -> String {
        let lines: String = rows
            .filter(|row| !row.values.is_empty())
            .map(|row| row.line(&self.peers))
            .collect();
        if lines.is_empty() {
            return lines;
        }
        let mut table = String::from("| load | figure |");
        for peer in &self.peers {
            let _ = write!(table, " {} |", peer.name);
        }
        table += "\n| --- | --- |";
        table += &" ---: |".repeat(self.peers.len());
        table + "\n" + &lines
    }

    /// Where a rival does better than the first peer, one line for each figure.
    pub fn behind(&self) -> Vec<String> {
        self.rows()
            .filter_map(|row| row.behind(&self.peers))
            .collect()
    }

    /// Where somebody stood still in some of the rounds, which medians do not show; one line for each figure.
    pub fn standstills(&self) -> Vec<String> {
        self.rows().flat_map(Row::standstills).collect()
    }

    /// Writes `report.md`, the plots that it shows, `rounds.csv` with the value of every round, and what [`Report::read`] reads. `title` is
    /// the first line, `about` what is said ahead of the figures, and `targets` what was to be reached.
    ///
    /// # Errors
    /// When the directory or a file cannot be written.
    pub fn write(
        &self,
        directory: &Path,
        title: &str,
        about: &str,
        targets: &[Target],
    ) -> io::Result<()> {
        fs::create_dir_all(directory)?;
        let mut text = format!("# {title}\n\n{about}");
        for peer in &self.peers {
            let _ = writeln!(text, "- **{}**: {}", peer.name, peer.about);
        }
        text += "\nParts of the run:\n\n";
        for part in &self.parts {
            let _ = writeln!(text, "- {part}");
        }
        if !targets.is_empty() {
            text += "\n## What is to be reached\n\n";
            text += &target::table(targets, self);
        }
        text += "\n## Figures\n\nValues are medians over the rounds, and ± half of what lies between the least and the most. \
                 In brackets is the first column divided by this one: with ↑ more is better, with ↓ less. \
                 `rounds.csv` has the value of every round.\n";
        for section in &self.sections {
            let table = self.table(section.rows.iter());
            if table.is_empty() {
                continue;
            }
            let _ = write!(text, "\n### {}\n\n{table}", section.name);
            for (file, alt, svg) in section.plots(&self.peers) {
                fs::write(directory.join(&file), svg)?;
                let _ = write!(text, "\n![{alt}]({file})\n");
            }
        }
        let behind = self.behind();
        let first = self.peers.first().map_or("nobody", |peer| &peer.name);
        let _ = write!(text, "\n## Where a peer does better than {first}\n\n");
        if behind.is_empty() {
            text += "Nowhere by more than 3 %.\n";
        }
        for line in behind {
            let _ = writeln!(text, "- {line}");
        }
        let standstills = self.standstills();
        if !standstills.is_empty() {
            text += "\n## Rounds in which little or nothing moved\n\n";
        }
        for line in standstills {
            let _ = writeln!(text, "- {line}");
        }
        if !self.notes.is_empty() {
            text += "\n## Notes of the run\n\n";
        }
        for Note { text: note, .. } in &self.notes {
            let _ = writeln!(text, "- {note}");
        }
        fs::write(directory.join("rounds.csv"), self.rounds())?;
        fs::write(directory.join("report.md"), text)?;
        let all = serde_json::to_vec(self).map_err(io::Error::other)?;
        // Not one that is cut off, if this program is stopped meanwhile.
        let unfinished = directory.join(FILE).with_extension("new");
        fs::write(&unfinished, all)?;
        fs::rename(unfinished, directory.join(FILE))
    }

    fn rounds(&self) -> String {
        let mut text = String::from("section,load,figure,peer,round,value\n");
        for section in &self.sections {
            for Row {
                load, what, values, ..
            } in &section.rows
            {
                for (peer, values) in values {
                    for (round, value) in values.iter().enumerate() {
                        let (section, round) = (&section.name, round + 1);
                        let _ = writeln!(
                            text,
                            "{section},\"{load}\",\"{what}\",{peer},{round},{value}"
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
        let names: Vec<_> = peers.iter().map(|peer| peer.name.as_str()).collect();
        let (mut plots, mut seen) = (Vec::new(), Vec::new());
        let of_loads = || {
            let rows = self.rows.iter();
            rows.filter(|row| row.is_first && !row.values.is_empty())
        };
        for Row { what, better, .. } in of_loads() {
            if seen.contains(&what) {
                continue;
            }
            seen.push(what);
            let groups: Vec<_> = of_loads()
                .filter(|row| row.what == *what)
                .map(|row| row.group(&names))
                .collect();
            let title = format!("{}: {what}{}", self.name, better.arrow());
            plots.push((
                file_name(&self.name, what),
                title.clone(),
                plot::bars(&title, &names, &groups),
            ));
        }
        for course in &self.courses {
            let title = format!("{}: {}", course.load, course.what);
            let line = |(name, points): (&String, &Vec<_>)| {
                Some(plot::Line {
                    peer: names.iter().position(|it| it == name)?,
                    points: points.clone(),
                })
            };
            let lines: Vec<_> = course.lines.iter().filter_map(line).collect();
            plots.push((
                file_name(&course.load, &course.what),
                title.clone(),
                plot::lines(&title, &names, "seconds", &lines),
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
    fn median_of(&self, peer: &str) -> Option<f64> {
        median(self.values.get(peer)?)
    }

    fn line(&self, peers: &[Peer]) -> String {
        let first = peers.first().and_then(|peer| self.median_of(&peer.name));
        let mut line = format!("| {} | {}{} |", self.load, self.what, self.better.arrow());
        for (who, peer) in peers.iter().enumerate() {
            let Some(value) = self.median_of(&peer.name) else {
                line += " – |";
                continue;
            };
            let _ = write!(line, " {value:.*}", self.digits);
            let spread = self.values.get(&peer.name).and_then(|values| range(values));
            if let Some((least, most)) = spread
                && most > least
            {
                let _ = write!(line, " ±{:.*}", self.digits, (most - least) / 2.0);
            }
            if let Some(first) = first
                && who > 0
                && value != 0.0
                && self.better != Better::Neither
            {
                let _ = write!(line, " ({:.2})", first / value);
            }
            line += " |";
        }
        line + "\n"
    }

    /// The rival, which the first peer is not, of the best median.
    fn best_rival<'a>(&self, peers: &'a [Peer]) -> Option<(&'a str, f64)> {
        let rivals = peers.iter().skip(1).filter(|peer| peer.is_rival);
        let values = rivals.filter_map(|peer| Some((&*peer.name, self.median_of(&peer.name)?)));
        let by_value = |a: &(_, f64), b: &(_, f64)| a.1.total_cmp(&b.1);
        match self.better {
            Better::More => values.max_by(by_value),
            Better::Less => values.min_by(by_value),
            Better::Neither => None,
        }
    }

    /// Says by how much the best rival does better than the first peer, if one does.
    fn behind(&self, peers: &[Peer]) -> Option<String> {
        let ours = self.median_of(&peers.first()?.name)?;
        let (name, theirs) = self.best_rival(peers)?;
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

    /// Says who had next to nothing in some rounds, where more is better.
    fn standstills(&self) -> Vec<String> {
        if self.better != Better::More {
            return Vec::new();
        }
        let of = |(name, values): (&String, &Vec<f64>)| {
            let (_, most) = range(values)?;
            let still = values.iter().filter(|value| **value < most * STANDSTILL);
            let still: Vec<_> = still
                .map(|value| format!("{value:.*}", self.digits))
                .collect();
            (!still.is_empty()).then(|| {
                format!(
                    "{}, {}: {name} had {} in {} of {} rounds, and up to {most:.*}",
                    self.load,
                    self.what,
                    still.join(" and "),
                    still.len(),
                    values.len(),
                    self.digits,
                )
            })
        };
        self.values.iter().filter_map(of).collect()
    }

    fn group(&self, names: &[&str]) -> plot::Group {
        let bar = |(peer, name): (usize, &&str)| {
            let values = self.values.get(*name)?;
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
            bars: names.iter().enumerate().filter_map(bar).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 3] = ["ours", "theirs", "direct"];

    fn peer(name: &str, version: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            about: format!("{name} {version}"),
            is_rival: name != "direct",
        }
    }

    fn report() -> Report {
        let mut report = Report::default();
        report.set_peers(NAMES.map(|name| peer(name, "1.0")).to_vec());
        report
    }

    #[test]
    fn a_cell_has_the_median_and_its_spread_and_our_multiple_of_it() {
        let mut report = report();
        for value in [30.0, 10.0, 20.0] {
            let figure = Figure::more("Gbit/s", value, 1);
            report.add("Bulk", "up x1", "ours", vec![figure]);
        }
        let figure = Figure::more("Gbit/s", 8.0, 1);
        report.add("Bulk", "up x1", "theirs", vec![figure]);
        let table = report.table_of("up x1");
        assert!(
            table.ends_with("| up x1 | Gbit/s ↑ | 20.0 ±10.0 | 8.0 (2.50) | – |\n"),
            "{table}"
        );
        assert_eq!(report.table_of("another"), "");
    }

    #[test]
    fn only_a_rival_that_is_better_by_more_than_noise_is_told() {
        let mut report = report();
        let mut add = |load: &str, figure: fn(f64) -> Figure, values: [f64; 3]| {
            for (name, value) in NAMES.into_iter().zip(values) {
                report.add("A", load, name, vec![figure(value)]);
            }
        };
        let more = |value| Figure::more("per second", value, 0);
        let less = |value| Figure::less("µs", value, 0);
        add("ahead", more, [100.0, 90.0, 500.0]);
        add("level", more, [98.0, 100.0, 500.0]);
        add("slower", more, [80.0, 100.0, 500.0]);
        add("later", less, [120.0, 100.0, 1.0]);
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
    fn rounds_in_which_nothing_moved_are_told_although_the_median_is_good() {
        let mut report = report();
        for (value, theirs) in [(0.0, 3.0), (5.5, 0.0), (0.04, 3.1), (5.0, 3.0), (5.4, 3.0)] {
            for (name, value) in [("ours", value), ("theirs", theirs)] {
                let figures = vec![
                    Figure::more("Gbit/s", value, 2),
                    Figure::less("µs", value, 2),
                    Figure::neutral("lost", value, 2),
                ];
                report.add("Bulk", "up x1", name, figures);
            }
            report.add(
                "Bulk",
                "up x1",
                "direct",
                vec![Figure::more("Gbit/s", 9.0, 2)],
            );
        }
        assert_eq!(
            report.standstills(),
            [
                "up x1, Gbit/s: ours had 0.00 and 0.04 in 2 of 5 rounds, and up to 5.50",
                "up x1, Gbit/s: theirs had 0.00 in 1 of 5 rounds, and up to 3.10"
            ]
        );
    }

    #[test]
    fn the_report_shows_every_plot_that_it_writes() {
        let mut report = report();
        let figure = Figure::more("Gbit/s", 3.0, 1);
        report.add("Bulk", "up x1", "ours", vec![figure]);
        let points = vec![(0.0, 1.0), (1.0, 2.0)];
        report.add_course("Bulk", "hold, 10", "pair MiB", "ours", points);
        report.note("", "frp has failed".to_owned());
        let directory = tempfile::tempdir().unwrap();
        report
            .write(directory.path(), "Title", "About.", &[])
            .unwrap();
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
    fn parts_add_up_and_a_load_that_is_repeated_takes_the_place_of_itself() {
        let directory = tempfile::tempdir().unwrap();
        let value = |value| vec![Figure::more("Gbit/s", value, 1)];
        let mut first = report();
        first.begin_part("first".to_owned());
        for load in ["one", "two", "three"] {
            first.add("Bulk", load, "ours", value(1.0));
            first.add("Bulk", load, "theirs", value(1.0));
            first.note(load, format!("{load} was hard"));
        }
        first.write(directory.path(), "Title", "", &[]).unwrap();

        let mut second = Report::read(directory.path()).unwrap();
        second.set_peers(vec![peer("ours", "2.0")]);
        second.begin_part("second".to_owned());
        assert!(second.has("two", 1) && !second.has("two", 2) && !second.has("four", 1));
        second.forget("two");
        assert!(!second.has("two", 1));
        second.add("Bulk", "two", "ours", value(2.0));
        second.write(directory.path(), "Title", "", &[]).unwrap();

        let text = fs::read_to_string(directory.path().join("report.md")).unwrap();
        let rows: Vec<_> = text
            .lines()
            .filter(|line| line.contains("Gbit/s ↑"))
            .collect();
        assert_eq!(
            rows[..3],
            [
                "| one | Gbit/s ↑ | 1.0 | 1.0 (1.00) | – |",
                "| two | Gbit/s ↑ | 2.0 | – | – |",
                "| three | Gbit/s ↑ | 1.0 | 1.0 (1.00) | – |"
            ]
        );
        assert!(text.contains("- first\n- second\n"), "{text}");
        assert!(
            text.contains("ours: in an earlier part it was ours 1.0"),
            "{text}"
        );
        assert!(
            text.contains("one was hard") && !text.contains("two was hard"),
            "{text}"
        );
    }

    #[test]
    fn sections_are_in_the_order_that_was_said_whatever_was_measured_first() {
        let mut report = report();
        report.add("B", "b", "ours", vec![Figure::more("x", 1.0, 0)]);
        report.set_sections(&["A", "B"]);
        let names: Vec<_> = report.sections.iter().map(|it| &*it.name).collect();
        assert_eq!(names, ["A", "B"]);
    }

    #[test]
    fn names_of_files_are_plain() {
        assert_eq!(file_name("UDP: 1 user", "µs p50"), "udp-1-user-s-p50.svg");
    }
}
