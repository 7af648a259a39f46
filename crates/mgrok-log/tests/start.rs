//! The log as a program starts it. A process has one, so there is one test.

use mgrok_log::{Format, Options, Rotation, StartError, Target};
use tracing::Level;

#[test]
fn a_process_has_one_log_and_its_end_writes_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/mgroks.log");
    let options = Options {
        color: true,
        format: Format::Text,
        level: Level::INFO,
        rotation: Rotation::default(),
        to: Target::File(path.clone()),
    };
    let log = mgrok_log::start(options.clone()).unwrap();
    assert!(matches!(
        mgrok_log::start(options.clone()),
        Err(StartError::AlreadyStarted)
    ));

    tracing::info!(target: "mgroks", "first");
    tracing::debug!(target: "mgroks", "not written");
    let control = log.control();
    let talkative = Options {
        level: Level::DEBUG,
        ..options.clone()
    };
    for (options, word) in [(&talkative, "written"), (&options, "not-written")] {
        control.change(options);
        tracing::debug!(target: "mgroks", "{word}");
    }
    tracing::info!(target: "mgroks", "last");
    drop(log);
    let text = std::fs::read_to_string(path).unwrap();
    let messages: Vec<_> = text.lines().map(|it| it.rsplit(' ').next()).collect();
    assert_eq!(
        messages,
        [Some("first"), Some("written"), Some("last")],
        "{text}"
    );
    assert!(!text.contains('\x1b'), "a file has no colours: {text}");
}
