//! What the tests arrange, and how they ask the doctor.

use std::net::SocketAddr;

use mgrok_client::doctor;
use mgrok_config::{Strictness, load_client_from_str, load_server_from_str};
use mgrok_doctor::{Examination, MAX_TOTAL, Outcome, Report};
use mgrok_lab::within;
use mgrok_server::Server;
use tokio::net::TcpListener;
use tokio_util::task::AbortOnDropHandle;

/// No address of this, which must not be shown, is.
pub(crate) const TOKEN: &str = "t0p-s3cret-of-the-test";

/// A server in this process; it ends when this is dropped.
pub(crate) struct Running {
    pub(crate) addr: SocketAddr,
    pub(crate) quic: Option<SocketAddr>,
    pub(crate) kcp: Option<SocketAddr>,
    _task: AbortOnDropHandle<()>,
}

/// Starts one on loopback that knows [`TOKEN`], with more `settings`.
pub(crate) async fn server(settings: &str) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    // What is set counts, and what is not has its place.
    let mut text = format!("bindAddr = \"127.0.0.1\"\n{settings}\n");
    for (key, value) in [("proxyBindAddr", "127.0.0.1"), ("auth.token", TOKEN)] {
        if !settings.contains(key) {
            text.push_str(&format!("{key} = \"{value}\"\n"));
        }
    }
    let config = load_server_from_str(&text, "the test", Strictness::Strict).unwrap();
    let server = Server::from_listener(config.config, listener)
        .await
        .unwrap();
    let (addr, quic, kcp) = (
        server.local_addr().unwrap(),
        server.quic_addr(),
        server.kcp_addr(),
    );
    let task = tokio::spawn(async move {
        server.run(std::future::pending()).await;
    });
    Running {
        addr,
        quic,
        kcp,
        _task: AbortOnDropHandle::new(task),
    }
}

/// A client's file for the server at `addr`, whose token it knows, with more `settings`.
pub(crate) fn file(addr: SocketAddr, settings: &str) -> String {
    let mut text = String::new();
    for (key, value) in [
        ("serverAddr", format!("\"{}\"", addr.ip())),
        ("serverPort", addr.port().to_string()),
        ("auth.token", format!("\"{TOKEN}\"")),
    ] {
        if !settings.contains(key) {
            text.push_str(&format!("{key} = {value}\n"));
        }
    }
    text + settings + "\n"
}

/// What the doctor says of a client's file. Whatever it says, it says no secret.
pub(crate) async fn examine(file: &str) -> Report {
    let loaded = load_client_from_str(file, "the test", Strictness::Strict).unwrap();
    let mut examination = Examination::new(|_| {});
    let examined = doctor::examine(&loaded.config, &mut examination);
    within(MAX_TOTAL, "the doctor", examined).await;
    let report = examination.finish();
    let text = text(&report);
    for secret in [TOKEN, "pr0xy-s3cret", "adm1n-s3cret"] {
        assert!(!text.contains(secret), "{text}");
    }
    for row in &report.rows {
        assert!(doctor::CHECKS.contains(&row.check), "{}", row.check);
    }
    report
}

/// The report as people see it.
pub(crate) fn text(report: &Report) -> String {
    let rows = report.rows.iter().map(|it| mgrok_doctor::row(it, false));
    rows.collect::<Vec<_>>().join("\n")
}

/// Asserts that `check` has failed and nothing else, that it says `words`, and that what needs it was skipped.
#[track_caller]
pub(crate) fn blames(report: &Report, check: &str, words: &str) {
    let text = text(report);
    let failed: Vec<_> = report
        .rows
        .iter()
        .filter_map(|row| match &row.outcome {
            Outcome::Failed { cause, remedy } => Some((row.check, format!("{cause} → {remedy}"))),
            _ => None,
        })
        .collect();
    let names: Vec<_> = failed.iter().map(|(check, _)| *check).collect();
    assert_eq!(names, [check], "{text}");
    assert!(failed[0].1.contains(words), "no {words:?} in\n{text}");
    assert_eq!(report.exit_code(), 1);
}

/// Asserts that the login was skipped because of `check`.
#[track_caller]
pub(crate) fn skips_login(report: &Report, check: &str) {
    let because = format!("needs \"{check}\"");
    let is_skipped = report.rows.iter().any(|row| {
        row.check == "login"
            && row.outcome
                == Outcome::Skipped {
                    because: because.clone(),
                }
    });
    assert!(is_skipped, "{}", text(report));
}

/// Asserts that nothing has failed.
#[track_caller]
pub(crate) fn is_good(report: &Report) {
    assert_eq!(report.exit_code(), 0, "{}", text(report));
}

/// The word for what came of the first check of this name.
#[track_caller]
pub(crate) fn word(report: &Report, check: &str) -> &'static str {
    let row = report.rows.iter().find(|it| it.check == check);
    let row = row.unwrap_or_else(|| panic!("no {check} in\n{}", text(report)));
    row.outcome.word()
}
