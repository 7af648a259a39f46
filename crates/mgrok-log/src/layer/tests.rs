use std::io;

use tracing::{Span, debug, debug_span, error, info, info_span, trace, warn};
use tracing_subscriber::layer::SubscriberExt;

use super::*;
use crate::settings::Rotation;

/// 2026-11-23 22:40:01.123 UTC, 23:40 in Berlin.
fn a_winter_night() -> Timestamp {
    Timestamp::from_millisecond(1_795_473_601_123).unwrap()
}

/// 2026-07-01 22:40:01.123 UTC, 00:40 on the next day in Berlin.
fn a_summer_night() -> Timestamp {
    Timestamp::from_millisecond(1_782_945_601_123).unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap()
}

/// Runs `code` under a log and returns what it wrote.
fn logged(level: Level, color: bool, now: fn() -> Timestamp, code: impl FnOnce()) -> String {
    let settings = Settings::new(color, Format::Text, level, Rotation::default());
    logged_with(&Arc::new(settings), now, code)
}

fn logged_with(settings: &Arc<Settings>, now: fn() -> Timestamp, code: impl FnOnce()) -> String {
    let queue = Arc::new(Queue::default());
    let layer = LineLayer {
        limiter: Arc::default(),
        now,
        queue: Arc::clone(&queue),
        settings: Arc::clone(settings),
        tail: Arc::default(),
        zone: berlin(),
    };
    tracing::subscriber::with_default(tracing_subscriber::registry().with(layer.build()), code);
    let mut text = String::new();
    queue.close(std::time::Duration::ZERO);
    queue.take(&mut text, None);
    text
}

/// The lines without time and call site, which have tests of their own.
fn messages(level: Level, code: impl FnOnce()) -> Vec<String> {
    let text = logged(level, false, a_winter_night, code);
    let message = |line: &str| line.splitn(5, ' ').nth(4).unwrap_or_default().to_owned();
    text.lines().map(message).collect()
}

#[test]
fn a_line_is_frps_line() {
    let line = line!() + 1;
    let code = || info!("frps started successfully");
    let text = logged(Level::INFO, false, a_winter_night, code);
    assert_eq!(
        text,
        format!("2026-11-23 23:40:01.123 [I] [layer/tests.rs:{line}] frps started successfully\n")
    );
}

#[test]
fn summer_time_is_followed() {
    let text = logged(Level::INFO, false, a_summer_night, || info!("warm"));
    assert!(text.starts_with("2026-07-02 00:40:01.123 [I] "), "{text}");
}

#[test]
fn every_level_has_its_letter_and_colour() {
    let text = logged(Level::TRACE, true, a_winter_night, || {
        error!("e");
        warn!("w");
        info!("i");
        debug!("d");
        trace!("t");
    });
    let frames: Vec<_> = text
        .lines()
        .map(|line| {
            let (before, rest) = line.split_once("2026").unwrap();
            let letter = rest.split_once('[').unwrap().1.split_once(']').unwrap().0;
            let after = line.rsplit_once(' ').unwrap().1;
            (before, letter, after)
        })
        .collect();
    assert_eq!(
        frames,
        [
            ("\x1b[1;31m", "E", "e\x1b[0m"),
            ("\x1b[1;33m", "W", "w\x1b[0m"),
            ("\x1b[1;34m", "I", "i\x1b[0m"),
            ("\x1b[1;36m", "D", "d\x1b[0m"),
            ("", "T", "t"),
        ]
    );
}

#[test]
fn spans_become_prefixes() {
    let lines = messages(Level::INFO, || {
        let session = info_span!("session", run_id = "3f0c", user = "ann");
        session.in_scope(|| {
            info!("client login");
            info_span!("conn", from = "somewhere").in_scope(|| {
                info_span!("proxy", name = %"ssh", kind = "tcp").in_scope(|| info!("new proxy"));
            });
        });
        info_span!("visitor", name = "db").in_scope(|| info!("start visitor success"));
        info!("outside");
    });
    assert_eq!(
        lines,
        [
            "[3f0c] client login",
            "[3f0c] [ssh] new proxy",
            "[db] start visitor success",
            "outside"
        ]
    );
}

#[test]
fn the_id_of_a_hook_says_that_it_is_one() {
    let lines = messages(Level::INFO, || {
        let hook = info_span!("hook", reqid = "7a");
        info_span!("session", run_id = "3f0c").in_scope(|| hook.in_scope(|| info!("asked")));
        info_span!(parent: &hook, "session", run_id = "3f0c").in_scope(|| info!("asked"));
    });
    assert_eq!(lines, ["[reqid: 7a] asked", "[3f0c] [reqid: 7a] asked"]);
}

#[test]
fn the_session_comes_first_however_spans_are_nested() {
    let lines = messages(Level::INFO, || {
        let proxy = info_span!("proxy", name = "web");
        let session = info_span!(parent: &proxy, "session", run_id = "1");
        session.in_scope(|| info!("x"));
        info_span!(parent: &session, "session", run_id = "2").in_scope(|| info!("inner wins"));
    });
    assert_eq!(lines, ["[1] [web] x", "[2] [web] inner wins"]);
}

#[test]
fn a_prefix_may_become_known_later() {
    let lines = messages(Level::INFO, || {
        let session = info_span!("session", run_id = tracing::field::Empty);
        session.in_scope(|| {
            info!("try to connect to server...");
            Span::current().record("run_id", "77ab");
            info!("login to server success");
        });
    });
    assert_eq!(
        lines,
        [
            "try to connect to server...",
            "[77ab] login to server success"
        ]
    );
}

#[test]
fn a_quiet_log_keeps_its_prefixes() {
    let lines = messages(Level::ERROR, || {
        info_span!("session", run_id = "5").in_scope(|| {
            warn!("not written");
            error!("written");
        });
    });
    assert_eq!(lines, ["[5] written"]);
}

#[test]
fn fields_follow_the_message() {
    let lines = messages(Level::INFO, || {
        info!(port = 6000, ok = true, name = "ssh", "up");
        info!(text = "two words", empty = "", quoted = "a\"b", "text");
        info!(path = %"a b", debug = ?Some("x"), "as asked for");
        info!(only = 1, fields = 2);
    });
    assert_eq!(
        lines,
        [
            "up port=6000 ok=true name=ssh",
            "text text=\"two words\" empty=\"\" quoted=\"a\\\"b\"",
            "as asked for path=a b debug=Some(\"x\")",
            "only=1 fields=2",
        ]
    );
}

#[test]
fn errors_print_what_caused_them() {
    #[derive(Debug, thiserror::Error)]
    #[error("cannot bind port 80")]
    struct Bind(#[source] io::Error);

    let lines = messages(Level::INFO, || {
        let error = Bind(io::Error::other("address in use"));
        warn!(error = &error as &(dyn Error + 'static), "no listener");
    });
    assert_eq!(
        lines,
        ["no listener error=cannot bind port 80: address in use"]
    );
}

#[test]
fn strangers_cannot_forge_lines() {
    let lines = messages(Level::INFO, || {
        let session = info_span!("session", run_id = "x\n2026-01-01 forged");
        session.in_scope(|| info!("host {} {}", "a\nb", "\x1b[2J"));
    });
    assert_eq!(lines, ["[x\\n2026-01-01 forged] host a\\nb \\u{1b}[2J"]);
}

#[test]
fn other_crates_are_heard_from_warn_on() {
    let code = || {
        info!(target: "rustls::server", "handshake");
        warn!(target: "rustls::server", "bad certificate");
        debug!(target: "mgrok_mux::session", "window");
        info_span!(target: "elsewhere", "session", run_id = "9").in_scope(|| info!("no prefix"));
    };
    assert_eq!(
        messages(Level::DEBUG, code),
        ["bad certificate", "window", "no prefix"]
    );
    assert_eq!(messages(Level::ERROR, code), Vec::<String>::new());
}

#[test]
fn spans_that_no_line_shows_are_not_made() {
    let text = logged(Level::TRACE, false, a_winter_night, || {
        assert!(info_span!("user", from = "10.0.0.1").is_disabled());
        assert!(debug_span!("conn").is_disabled());
        assert!(!info_span!("session", run_id = "1").is_disabled());
    });
    assert_eq!(text, "");
}

#[test]
fn a_value_may_log_while_it_is_formatted() {
    struct Chatty;
    impl fmt::Display for Chatty {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!("inner");
            f.write_str("done")
        }
    }
    // Whether the inner event is written is tracing's affair; the outer line must be whole.
    let lines = messages(Level::INFO, || info!("outer {}", Chatty));
    assert_eq!(lines.last().map(String::as_str), Some("outer done"));
}

#[test]
fn a_stranger_cannot_fill_a_line() {
    let text = "x".repeat(64 << 10);
    let lines = messages(Level::INFO, || {
        info!("hostname {text}");
        info!(source = "192.0.2.7", "hostname {text}");
        info!(text, "a field");
        info!(
            source = "192.0.2.7",
            text = "\x1b".repeat(64 << 10),
            "a field"
        );
        info_span!("session", run_id = text).in_scope(|| info!("a prefix"));
    });
    for (line, most) in lines.iter().zip([4096, 1024, 4096, 1024, 128]) {
        assert!(line.contains("more bytes]"), "{line}");
        assert!(line.len() < most + 100, "{} bytes", line.len());
    }
}

#[test]
fn a_flood_of_strangers_writes_little_and_hides_nobody() {
    let lines = messages(Level::INFO, || {
        for number in 0..100_000_u32 {
            let from = format!("10.0.{}.{}:4000", number >> 8 & 1, number & 255);
            let hostname = "x".repeat(500);
            info!(source = %from, "client login info: ip [{from}] hostname [{hostname}]");
            warn!(source = "192.0.2.7:4000", "login refused: wrong token");
            if number % 1_000 == 0 {
                warn!("the operator's own");
            }
        }
    });
    let count = |text: &str| lines.iter().filter(|it| it.contains(text)).count();
    assert_eq!(count("the operator's own"), 100);
    assert_eq!(count("client login info"), 600);
    assert_eq!(count("login refused"), 30);
    assert!(
        lines[lines.len() - 1].contains("the operator's own"),
        "not pushed out of the queue"
    );
}

#[test]
fn the_last_line_of_a_flood_says_that_the_rest_is_counted() {
    let lines = messages(Level::INFO, || {
        for _ in 0..100 {
            warn!(source = "192.0.2.7:4000", "login refused");
        }
    });
    assert_eq!(lines.len(), 30);
    assert_eq!(lines[28], "login refused");
    assert_eq!(
        lines[29],
        "login refused; what else comes like this from there is only counted for a while"
    );
}

#[test]
fn a_session_may_cause_more_and_is_told_from_others() {
    let lines = messages(Level::INFO, || {
        for run_id in ["3f0c", "77ab"] {
            info_span!("session", run_id).in_scope(|| {
                for _ in 0..5_000 {
                    info!(per_session = true, "new proxy success");
                }
            });
        }
    });
    assert_eq!(lines.len(), 4_000);
    assert_eq!(lines[0], "[3f0c] new proxy success");
    assert_eq!(lines[2_000], "[77ab] new proxy success");
}

/// The lines in JSON, without time and call site.
fn objects(code: impl FnOnce()) -> Vec<String> {
    let settings = Settings::new(true, Format::Json, Level::INFO, Rotation::default());
    let text = logged_with(&Arc::new(settings), a_winter_night, code);
    let rest = |line: &str| {
        line.split_once("tests.rs:")
            .map(|(_, rest)| rest.to_owned())
    };
    let rests = text.lines().filter_map(rest);
    rests
        .filter_map(|it| Some(it.split_once("\",")?.1.to_owned()))
        .collect()
}

#[test]
fn a_line_of_json_says_when_how_important_and_where() {
    let settings = Settings::new(true, Format::Json, Level::INFO, Rotation::default());
    let line = line!() + 2;
    let text = logged_with(&Arc::new(settings), a_winter_night, || {
        warn!("frps started successfully");
    });
    assert_eq!(
        text,
        format!(
            "{{\"time\":\"2026-11-23T23:40:01.123+01:00\",\"level\":\"warn\",\"target\":\"mgrok_log::layer::tests\",\
             \"caller\":\"layer/tests.rs:{line}\",\"message\":\"frps started successfully\"}}\n"
        )
    );
}

#[test]
fn spans_become_values_of_json() {
    let lines = objects(|| {
        let session = info_span!("session", run_id = "3f0c");
        session.in_scope(|| {
            info_span!("proxy", name = "ssh").in_scope(|| info!(port = 6000, "new proxy"));
        });
        info_span!("visitor", name = "db").in_scope(|| info!("start visitor success"));
    });
    assert_eq!(
        lines,
        [
            r#""run_id":"3f0c","proxy":"ssh","message":"new proxy","port":6000}"#,
            r#""proxy":"db","message":"start visitor success"}"#,
        ]
    );
}

#[test]
fn fields_keep_their_kinds_in_json() {
    let lines = objects(|| {
        info!(
            text = "two \"words\"",
            ok = true,
            count = -3,
            part = 0.5,
            none = f64::NAN,
            "all"
        );
        info!(debug = ?Some("x"), shown = %"a b", run_id = "event's own");
        warn!(source = "192.0.2.7:4000", "login refused");
        info!(per_session = true, "new proxy");
    });
    assert_eq!(
        lines,
        [
            r#""message":"all","text":"two \"words\"","ok":true,"count":-3,"part":0.5,"none":"NaN"}"#,
            r#""debug":"Some(\"x\")","shown":"a b","run_id_":"event's own","message":""}"#,
            r#""message":"login refused","source":"192.0.2.7:4000"}"#,
            r#""message":"new proxy"}"#,
        ]
    );
}

#[test]
fn a_stranger_cannot_fill_a_line_of_json() {
    let text = "\x1b".repeat(64 << 10);
    let lines = objects(|| {
        info!("hostname {text}");
        info!(source = "192.0.2.7", text, "hostname");
    });
    for (line, most) in lines.iter().zip([4096, 1024]) {
        assert!(line.contains("\"cut\":"), "{line}");
        assert!(line.ends_with('}'), "{line}");
        assert!(line.len() < most + 100, "{} bytes", line.len());
    }
}

#[test]
fn the_last_object_of_a_flood_says_so() {
    let lines = objects(|| {
        for _ in 0..100 {
            warn!(source = "192.0.2.7:4000", "login refused");
        }
    });
    assert_eq!(lines.len(), 30);
    assert!(!lines[28].contains("limited"));
    assert!(
        lines[29].ends_with(",\"limited\":\"source\"}"),
        "{}",
        lines[29]
    );
}

#[test]
fn a_level_that_changes_counts_from_the_next_event_on() {
    let settings = Settings::new(false, Format::Text, Level::INFO, Rotation::default());
    let settings = Arc::new(settings);
    let log = |number: u32| debug!("debug {number}");
    let text = logged_with(&settings, a_winter_night, || {
        log(1);
        settings.set_level(Level::DEBUG);
        tracing::callsite::rebuild_interest_cache();
        log(2);
        settings.set_format(Format::Json);
        log(3);
        settings.set_level(Level::WARN);
        tracing::callsite::rebuild_interest_cache();
        log(4);
        info!("nor this");
    });
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(lines[0].ends_with("] debug 2"), "{text}");
    assert!(lines[1].ends_with("\"message\":\"debug 3\"}"), "{text}");
}
