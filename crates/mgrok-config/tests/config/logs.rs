//! What is logged: formats and limits, the same on both ends.

use mgrok_config::{AccessLog, LogFormat, LogTarget};

use super::{server, server_mistakes, server_warnings};

#[test]
fn a_log_has_a_format_and_limits() {
    let log = |text: &str| server(text).log;
    let default = log("");
    assert_eq!(default.format, LogFormat::Text);
    assert_eq!((default.max_size, default.max_files), (None, None));
    assert_eq!(log("log.format = \"json\"").format, LogFormat::Json);
    let sized = log("log.maxSize = \"100MB\"");
    assert_eq!(sized.max_size.map(|it| it.get()), Some(100 << 20));
    assert_eq!(sized.max_files, Some(10));
    let sized = log("log.maxSize = \"2GB\"\nlog.maxFiles = -1");
    assert_eq!(sized.max_size.map(|it| it.get()), Some(2 << 30));
    assert_eq!(sized.max_files, None);
    assert_eq!(log("log.maxFiles = 7").max_files, Some(7));
    server_mistakes(
        "log.format = \"xml\"",
        &["1:14: log.format: invalid log format \"xml\", must be text or json"],
    );
    for wrong in ["100", "1.5MB", "MB", "-1MB", "100 MB"] {
        server_mistakes(
            &format!("log.maxSize = \"{wrong}\""),
            &[&format!(
                "1:15: log.maxSize: {wrong:?} is no size, write one like \"100MB\", in KB, MB or GB"
            )],
        );
    }
    server_mistakes(
        "log.maxSize = \"1KB\"",
        &["1:15: log.maxSize: must be 64KB or more"],
    );
    assert!(server("reloadOnChange = true").reload_on_change);
}

#[test]
fn an_access_log_is_there_if_it_has_a_place() {
    assert_eq!(server("").access_log, None);
    let expect = AccessLog {
        to: LogTarget::File("access.log".into()),
        format: LogFormat::Json,
        max_days: None,
        max_files: Some(10),
        max_size: std::num::NonZeroU64::new(1 << 30),
    };
    let text =
        "accessLog = { to = \"access.log\", format = \"json\", maxDays = -1, maxSize = \"1GB\" }";
    assert_eq!(server(text).access_log, Some(expect));
    let console = server("accessLog.to = \"console\"").access_log;
    assert_eq!(console.map(|it| it.to), Some(LogTarget::Console));
    server_mistakes(
        "log.to = \"a.log\"\naccessLog.to = \"a.log\"",
        &["2:16: accessLog.to: is where `log.to` is, and each needs a file of its own"],
    );
    server_warnings(
        "accessLog.format = \"json\"",
        &["1:20: accessLog.format: is not used without `accessLog.to`"],
    );
}
