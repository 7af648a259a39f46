//! The log as a program starts it. A process has one, so there is one test.

use mgrok_log::{Options, StartError, Target};
use tracing::Level;

#[test]
fn a_process_has_one_log_and_its_end_writes_the_last_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("logs/mgroks.log");
    let options = Options {
        color: true,
        level: Level::INFO,
        max_days: Some(3),
        to: Target::File(path.clone()),
    };
    let log = mgrok_log::start(options.clone()).unwrap();
    assert!(matches!(
        mgrok_log::start(options),
        Err(StartError::AlreadyStarted)
    ));

    tracing::info!(target: "mgroks", "first");
    tracing::debug!(target: "mgroks", "not written");
    tracing::info!(target: "mgroks", "last");
    drop(log);
    let text = std::fs::read_to_string(path).unwrap();
    let messages: Vec<_> = text.lines().map(|it| it.rsplit(' ').next()).collect();
    assert_eq!(messages, [Some("first"), Some("last")], "{text}");
    assert!(!text.contains('\x1b'), "a file has no colours: {text}");
}
