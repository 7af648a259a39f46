//! A daemon around services that go wrong. A process has one log, so there is one test.

use std::process::ExitCode;

use mgrok_config::{Log, LogTarget};
use mgrok_daemon::Daemon;

#[test]
fn what_goes_wrong_inside_is_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let log = Log {
        to: LogTarget::File(path.clone()),
        ..Log::default()
    };
    let daemon = Daemon::start("test", &log).unwrap();
    let ended = daemon.block_on(async |running| {
        running.ready();
        let task = tokio::spawn(async { panic!("one bad connection") });
        assert!(task.await.is_err());
        Ok(2)
    });
    assert_eq!(ended.unwrap(), ExitCode::SUCCESS);

    let text = std::fs::read_to_string(path).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert!(lines[0].contains("[E] [daemon/running.rs:"), "{text}");
    assert!(lines[0].contains("internal error: panicked at "), "{text}");
    assert!(lines[0].contains("one bad connection"), "{text}");
    assert!(
        lines[1].ends_with("stopped, 2 user connections were cut"),
        "{text}"
    );
    assert_eq!(lines.len(), 2, "a panic is one line: {text}");
}
