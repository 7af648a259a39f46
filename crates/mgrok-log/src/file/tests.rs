use std::os::unix::fs::{PermissionsExt, symlink};

use jiff::civil::date;
use tempfile::TempDir;

use super::*;

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

fn at(local: DateTime) -> Timestamp {
    berlin().to_timestamp(local).unwrap()
}

/// The evening on which most of these stories begin.
fn evening() -> DateTime {
    date(2026, 11, 23).at(23, 59, 0, 0)
}

struct Lab {
    directory: TempDir,
    log: LogFile,
}

impl Lab {
    fn new(name: &str, max_days: Option<u32>) -> Self {
        Self::with(
            name,
            Rotation {
                max_days,
                ..Rotation::default()
            },
        )
    }

    fn with(name: &str, rotation: Rotation) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join(name);
        let log = LogFile::new(path, rotation, berlin(), at(evening()));
        Self { directory, log }
    }

    fn write(&mut self, text: &str, now: DateTime) {
        self.log.rotate_if_due(at(now)).unwrap();
        let mut rest = text.as_bytes();
        while !rest.is_empty() {
            let written = self.log.write(rest, at(now)).unwrap();
            rest = &rest[written..];
        }
    }

    fn touch(&self, name: &str) {
        fs::write(self.directory.path().join(name), "").unwrap();
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.directory.path().join(name)).unwrap()
    }

    /// Names of all files, sorted.
    fn names(&self) -> Vec<String> {
        let mut names: Vec<_> = fs::read_dir(self.directory.path())
            .unwrap()
            .map(|it| it.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }
}

#[test]
fn a_new_file_is_private_and_brings_its_directories() {
    let mut lab = Lab::new("a/b/mgroks.log", None);
    lab.write("line\n", evening());
    let mode = |name: &str| {
        let path = lab.directory.path().join(name);
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(mode("a/b/mgroks.log"), 0o600);
    // The umask of whoever runs this may take bits away, but never from the owner.
    assert_eq!(mode("a/b") & !0o755, 0);
    assert_eq!(lab.read("a/b/mgroks.log"), "line\n");
}

#[test]
fn a_restart_goes_on_with_the_file() {
    let mut lab = Lab::new("mgroks.log", None);
    fs::write(lab.directory.path().join("mgroks.log"), "before\n").unwrap();
    lab.write("after\n", evening());
    assert_eq!(lab.read("mgroks.log"), "before\nafter\n");
    assert_eq!(lab.names(), ["mgroks.log"]);
}

#[test]
fn midnight_begins_a_new_file() {
    let mut lab = Lab::new("mgroks.log", None);
    lab.write("monday\n", evening());
    lab.write(
        "still monday\n",
        date(2026, 11, 23).at(23, 59, 59, 999_000_000),
    );
    lab.write("tuesday\n", date(2026, 11, 24).at(0, 0, 0, 0));
    lab.write("tuesday noon\n", date(2026, 11, 24).at(12, 0, 0, 0));
    assert_eq!(lab.names(), ["mgroks.20261124-000000.log", "mgroks.log"]);
    assert_eq!(
        lab.read("mgroks.20261124-000000.log"),
        "monday\nstill monday\n"
    );
    assert_eq!(lab.read("mgroks.log"), "tuesday\ntuesday noon\n");
}

#[test]
fn an_empty_file_is_rotated_too_and_names_need_no_extension() {
    let mut lab = Lab::new("log", None);
    lab.touch("log");
    lab.write("x\n", date(2026, 11, 24).at(8, 30, 1, 0));
    assert_eq!(lab.names(), ["log", "log.20261124-083001"]);
}

#[test]
fn a_rotated_file_is_never_overwritten() {
    let mut lab = Lab::new("mgroks.log", None);
    lab.write("monday\n", evening());
    fs::write(
        lab.directory.path().join("mgroks.20261124-000000.log"),
        "precious\n",
    )
    .unwrap();
    lab.write("tuesday\n", date(2026, 11, 24).at(0, 0, 0, 0));
    assert_eq!(lab.read("mgroks.20261124-000000.log"), "precious\n");
    assert_eq!(lab.read("mgroks.20261124-000001.log"), "monday\n");
}

#[test]
fn old_files_are_deleted_and_strangers_are_not() {
    let mut lab = Lab::new("mgroks.log", Some(3));
    lab.write("monday\n", evening());
    lab.touch("mgroks.20261120-235959.log"); // older than three days by a second
    lab.touch("mgroks.20261121-000000.log"); // three days old
    lab.touch("mgroks.20200101-000000.txt"); // another extension
    lab.touch("mgroks.20201301-000000.log"); // no such month
    lab.touch("mgroks.2020-01-01.log");
    lab.touch("mgrokc.20200101-000000.log"); // another log
    fs::create_dir(lab.directory.path().join("mgroks.20200101-000000.log")).unwrap();
    lab.write("tuesday\n", date(2026, 11, 24).at(0, 0, 0, 0));
    assert_eq!(
        lab.names(),
        [
            "mgrokc.20200101-000000.log",
            "mgroks.2020-01-01.log",
            "mgroks.20200101-000000.log",
            "mgroks.20200101-000000.txt",
            "mgroks.20201301-000000.log",
            "mgroks.20261121-000000.log",
            "mgroks.20261124-000000.log",
            "mgroks.log",
        ]
    );
}

#[test]
fn without_a_limit_all_files_are_kept() {
    let mut lab = Lab::new("mgroks.log", None);
    lab.touch("mgroks.20010101-000000.log");
    lab.write("x\n", date(2026, 11, 24).at(0, 0, 0, 0));
    assert_eq!(lab.names(), ["mgroks.20010101-000000.log", "mgroks.log"]);
}

#[test]
fn a_device_is_not_renamed() {
    let mut lab = Lab::new("device", Some(1));
    symlink("/dev/null", lab.directory.path().join("device")).unwrap();
    lab.write("x\n", evening());
    lab.write("y\n", date(2026, 11, 24).at(0, 0, 0, 0));
    assert_eq!(lab.names(), ["device"]);
}

#[test]
fn a_clock_that_is_set_back_harms_nothing() {
    let mut lab = Lab::new("mgroks.log", Some(3));
    lab.write("monday\n", evening());
    lab.write("tuesday\n", date(2026, 11, 24).at(0, 0, 5, 0));
    lab.write("monday again\n", evening());
    lab.write("tuesday again\n", date(2026, 11, 24).at(0, 0, 5, 0));
    let all: String = lab.names().iter().map(|it| lab.read(it)).collect();
    for line in ["monday\n", "tuesday\n", "monday again\n", "tuesday again\n"] {
        assert!(all.contains(line), "{line} in {all}");
    }
}

#[test]
fn the_writer_wakes_at_midnight_and_every_hour() {
    let log = Lab::new("mgroks.log", None).log;
    assert_eq!(log.until_due(at(evening())), Duration::from_secs(60));
    assert_eq!(
        log.until_due(at(date(2026, 11, 23).at(8, 0, 0, 0))),
        LONGEST_WAIT
    );
}

#[test]
fn a_day_without_midnight_rotates_when_it_begins() {
    // Clocks go from 24:00 on Saturday to 01:00 on Sunday.
    let zone = TimeZone::posix("XST3XDT,M3.2.0/0,M11.1.0/0").unwrap();
    let local = |it: DateTime| zone.to_timestamp(it).unwrap();
    let before = local(date(2026, 3, 7).at(23, 59, 0, 0));
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("mgroks.log");
    let mut log = LogFile::new(path, Rotation::default(), zone.clone(), before);
    assert_eq!(log.until_due(before), Duration::from_secs(60));
    log.write(b"x\n", before).unwrap();
    log.rotate_if_due(before + SignedDuration::from_secs(60))
        .unwrap();
    assert!(directory.path().join("mgroks.20260308-010000.log").exists());
}

fn sized(max_size: u64, max_files: Option<u32>) -> Rotation {
    Rotation {
        max_files,
        max_size: std::num::NonZeroU64::new(max_size),
        ..Rotation::default()
    }
}

#[test]
fn a_file_of_the_largest_size_is_rotated_between_lines() {
    let mut lab = Lab::with("mgroks.log", sized(10, None));
    lab.write("one\ntwo\nthree\nfour\n", evening());
    assert_eq!(
        lab.names(),
        [
            "mgroks.20261123-235900.log",
            "mgroks.20261123-235901.log",
            "mgroks.log",
        ]
    );
    assert_eq!(lab.read("mgroks.20261123-235900.log"), "one\ntwo\n");
    assert_eq!(lab.read("mgroks.20261123-235901.log"), "three\n");
    assert_eq!(lab.read("mgroks.log"), "four\n");
}

#[test]
fn a_file_that_is_there_counts_with_its_size() {
    let mut lab = Lab::with("mgroks.log", sized(10, None));
    fs::write(lab.directory.path().join("mgroks.log"), "before\n").unwrap();
    lab.write("after\n", evening());
    assert_eq!(lab.read("mgroks.20261123-235900.log"), "before\n");
    assert_eq!(lab.read("mgroks.log"), "after\n");
}

#[test]
fn a_line_longer_than_the_largest_size_is_whole() {
    let mut lab = Lab::with("mgroks.log", sized(4, None));
    lab.write("a\nlonger\nb\n", evening());
    assert_eq!(lab.read("mgroks.20261123-235900.log"), "a\n");
    assert_eq!(lab.read("mgroks.20261123-235901.log"), "longer\n");
    assert_eq!(lab.read("mgroks.log"), "b\n");
}

#[test]
fn a_line_that_was_written_in_part_is_ended_in_its_file() {
    let mut lab = Lab::with("mgroks.log", sized(6, None));
    lab.log.write(b"abcde", at(evening())).unwrap();
    lab.write("fgh\nnext\n", evening());
    assert_eq!(lab.read("mgroks.20261123-235900.log"), "abcdefgh\n");
    assert_eq!(lab.read("mgroks.log"), "next\n");
}

#[test]
fn of_too_many_files_the_oldest_are_deleted() {
    let mut lab = Lab::with("mgroks.log", sized(4, Some(2)));
    lab.touch("mgroks.20200101-000000.log");
    lab.touch("mgroks.20200101-000000.txt");
    lab.write("1\n1\n2\n2\n3\n3\n4\n4\n5\n", evening());
    assert_eq!(
        lab.names(),
        [
            "mgroks.20200101-000000.txt",
            "mgroks.20261123-235902.log",
            "mgroks.20261123-235903.log",
            "mgroks.log",
        ]
    );
    assert_eq!(lab.read("mgroks.20261123-235902.log"), "3\n3\n");
    assert_eq!(lab.read("mgroks.log"), "5\n");
}

#[test]
fn a_clock_that_was_far_ahead_does_not_name_the_files_of_today() {
    let mut lab = Lab::with("mgroks.log", sized(4, None));
    lab.touch("mgroks.20500101-000000.log");
    lab.write("1\n1\n2\n", evening());
    assert_eq!(lab.read("mgroks.20261123-235900.log"), "1\n1\n");
}

#[test]
fn a_device_has_no_size() {
    let mut lab = Lab::with("device", sized(2, None));
    symlink("/dev/null", lab.directory.path().join("device")).unwrap();
    lab.write("one\ntwo\n", evening());
    assert_eq!(lab.names(), ["device"]);
}

#[test]
fn a_file_that_cannot_be_rotated_is_written_on_and_that_is_told_once() {
    let mut lab = Lab::with("mgroks.log", sized(4, None));
    // All names that a rotated file may have are taken.
    for second in 0..STAMPS_TRIED {
        let stamp = evening().checked_add(second.seconds()).unwrap();
        let name = format!("mgroks.{}.log", stamp.strftime(STAMP));
        fs::create_dir(lab.directory.path().join(name)).unwrap();
    }
    lab.write("1\n2\n3\n", evening());
    assert_eq!(lab.read("mgroks.log"), "1\n2\n3\n");
    assert!(lab.log.take_problem().is_some());
    assert!(lab.log.take_problem().is_none());
}
