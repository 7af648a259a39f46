use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;

use tempfile::TempDir;
use tracing::{Level, warn};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::layer::LineLayer;
use crate::queue::Room;
use crate::settings::Rotation;

fn now() -> Timestamp {
    Timestamp::from_second(1_795_473_601).unwrap()
}

fn settings(format: Format) -> Arc<Settings> {
    let settings = Settings::new(false, format, Level::INFO, Rotation::default());
    Arc::new(settings)
}

/// A writer to `log` in a directory of its own.
fn writer() -> (TempDir, PathBuf, Writer) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("log");
    let file = LogFile::new(path.clone(), Rotation::default(), TimeZone::UTC, now());
    let writer = Writer::new(
        Content::Log,
        Sink::File(file),
        settings(Format::Text),
        TimeZone::UTC,
    );
    (directory, path, writer)
}

#[test]
fn a_file_that_cannot_be_opened_is_told_once_and_the_log_recovers() {
    let (_directory, path, mut writer) = writer();
    fs::create_dir(&path).unwrap();
    let complaint = writer.deliver("one\n", now()).unwrap();
    assert!(complaint.contains("cannot write to"), "{complaint}");
    assert!(complaint.contains(path.to_str().unwrap()), "{complaint}");
    assert_eq!(writer.deliver("two\nthree\n", now()), None);

    fs::remove_dir(&path).unwrap();
    assert_eq!(writer.deliver("four\n", now()), None);
    let text = fs::read_to_string(&path).unwrap();
    let (notice, rest) = text.split_once('\n').unwrap();
    assert!(notice.starts_with("2026-11-23 "), "{notice}");
    assert!(notice.contains("[W] [log/writer.rs:"), "{notice}");
    assert!(notice.contains("] 3 lines are missing here"), "{notice}");
    assert_eq!(rest, "four\n");

    fs::remove_file(&path).unwrap();
    writer.deliver("five\n", now());
    assert_eq!(writer.lost, 0);
}

#[test]
fn a_full_disk_is_told_once_and_the_log_recovers() {
    let (_directory, path, mut writer) = writer();
    symlink("/dev/full", &path).unwrap();
    let complaint = writer.deliver("one\ntwo\n", now()).unwrap();
    assert!(complaint.contains("No space left"), "{complaint}");
    assert_eq!(writer.deliver("three\n", now()), None);

    fs::remove_file(&path).unwrap();
    assert_eq!(writer.deliver("four\n", now()), None);
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.contains("] 3 lines are missing here"), "{text}");
    assert!(text.ends_with("\nfour\n"), "{text}");

    fs::remove_file(&path).unwrap();
    symlink("/dev/full", &path).unwrap();
    writer.sink = Sink::File(LogFile::new(
        path,
        Rotation::default(),
        TimeZone::UTC,
        now(),
    ));
    assert!(
        writer.deliver("five\n", now()).is_some(),
        "a new trouble is told again"
    );
}

#[test]
fn a_torn_line_is_ended_before_the_log_goes_on() {
    let (_directory, path, mut writer) = writer();
    fs::write(&path, "whole\nto").unwrap();
    writer.torn = true;
    writer.lost = 1;
    writer.deliver("next\n", now());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("whole\nto\n2026-"), "{text}");
    assert!(text.contains("] 1 line is missing here"), "{text}");
    assert!(text.ends_with("\nnext\n"), "{text}");
}

#[test]
fn what_the_queue_dropped_is_told() {
    let (_directory, path, mut writer) = writer();
    writer.lost = 7;
    writer.deliver("x\n", now());
    assert!(
        fs::read_to_string(&path)
            .unwrap()
            .contains("] 7 lines are missing here")
    );
    assert_eq!(writer.lost, 0);
}

#[test]
fn the_thread_writes_everything_before_it_ends() {
    let (_directory, path, writer) = writer();
    let queue = Arc::new(Queue::default());
    writer.spawn(Arc::clone(&queue), Arc::default()).unwrap();
    let mut expect = String::new();
    for number in 0..1000 {
        let line = format!("line {number}\n");
        queue.push(&line, Room::All);
        expect.push_str(&line);
    }
    queue.close(Duration::from_secs(30));
    assert_eq!(fs::read_to_string(&path).unwrap(), expect);
}

#[test]
fn what_strangers_were_not_allowed_to_write_is_told() {
    let (_directory, path, writer) = writer();
    let queue = Arc::new(Queue::default());
    let limiter = Arc::new(Limiter::default());
    let layer = LineLayer {
        limiter: Arc::clone(&limiter),
        now,
        queue: Arc::clone(&queue),
        settings: settings(Format::Text),
        tail: Arc::default(),
        zone: TimeZone::UTC,
    };
    writer.spawn(Arc::clone(&queue), limiter).unwrap();
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.build()), || {
        for _ in 0..1_000 {
            warn!(source = "192.0.2.7:4000", "login refused: wrong token");
        }
    });
    queue.close(Duration::from_secs(30));
    let text = fs::read_to_string(&path).unwrap();
    let told = "970 more lines like this were left out, from 192.0.2.7: login refused: wrong token";
    assert!(text.lines().last().unwrap().ends_with(told), "{text}");
    assert!(text.contains(" [W] [writer/tests.rs:"), "{text}");
    assert_eq!(text.lines().count(), 31);
}

#[test]
fn the_writers_own_lines_are_in_the_format_of_the_others() {
    let (_directory, path, mut writer) = writer();
    writer.settings.set_format(Format::Json);
    writer.lost = 7;
    writer.deliver("x\n", now());
    let text = fs::read_to_string(&path).unwrap();
    assert!(text.starts_with("{\"time\":\"2026-11-23T"), "{text}");
    assert!(text.contains("\"level\":\"warn\""), "{text}");
    assert!(text.ends_with(",\"missing\":7}\nx\n"), "{text}");

    writer.content = Content::Records;
    writer.lost = 2;
    assert_eq!(
        writer.notice(now()),
        "{\"time\":\"2026-11-23T22:40:01.000Z\",\"missing\":2}\n"
    );
    writer.settings.set_format(Format::Text);
    assert_eq!(writer.notice(now()), "2026-11-23 22:40:01.000 missing=2\n");
}
