//! What a quick tunnel prints: for people on a terminal, one fact a line elsewhere.

use std::fmt::Write as _;
use std::io::{self, IsTerminal as _, Write as _};
use std::net::SocketAddr;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use mgrok_client::{UserEvent, UserEventKind};
use mgrok_daemon::terminal::{shown, size, time};

use super::details::details;
use super::view::Show;

/// The longest target of a request that is shown, in characters.
const MAX_TARGET: usize = 200;

/// Standard output.
#[derive(Clone, Copy, Debug)]
pub(super) struct Screen {
    is_terminal: bool,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self {
            is_terminal: io::stdout().is_terminal(),
        }
    }

    /// Shows where users reach `service`, and where their requests are shown if they are.
    pub(super) fn show_urls(self, urls: &[String], service: &str, inspector: Option<&str>) {
        self.print(&if self.is_terminal {
            headline(urls, service, inspector)
        } else {
            let mut text: String = urls.iter().map(|url| shown(url) + "\n").collect();
            if let Some(inspector) = inspector {
                let _ = writeln!(text, "requests: {inspector}");
            }
            text
        });
    }

    /// Shows what a user did, with what else is wanted of a request, after how many events that are missing.
    pub(super) fn show_event(self, event: &UserEvent, more: Option<Show>, missed: u64) {
        let now = TimeZone::system()
            .to_datetime(Timestamp::now())
            .strftime("%H:%M:%S")
            .to_string();
        let mut text = String::new();
        if missed > 0 {
            let _ = writeln!(text, "{now}  {missed} lines are left out");
        }
        let _ = writeln!(text, "{now}  {}", line(event));
        if let (Some(more), UserEventKind::Request { kept, .. }) = (more, &event.what)
            && let Some(detail) = kept.detail()
        {
            details(&detail, more, &mut text);
        }
        self.print(&text);
    }

    fn print(self, text: &str) {
        // Whoever reads it may have left.
        let mut stdout = io::stdout().lock();
        let _ = stdout.write_all(text.as_bytes());
        let _ = stdout.flush();
    }
}

/// The URLs in a frame of their own.
fn headline(urls: &[String], service: &str, inspector: Option<&str>) -> String {
    let urls: Vec<_> = urls.iter().map(|url| shown(url)).collect();
    let width = urls.iter().map(|url| url.chars().count()).max();
    let width = width.unwrap_or_default();
    let bar = "─".repeat(width + 4);
    let mut text = format!("\n  ┌{bar}┐\n");
    for url in urls {
        let _ = writeln!(text, "  │  \x1b[1;32m{url:width$}\x1b[0m  │");
    }
    let _ = writeln!(text, "  └{bar}┘");
    let _ = writeln!(text, "  leads to {}; Ctrl-C ends it.", shown(service));
    if let Some(inspector) = inspector {
        let _ = writeln!(text, "  Requests are shown at {inspector}");
    }
    text.push('\n');
    text
}

/// One line about a user.
fn line(event: &UserEvent) -> String {
    let from = match event.from {
        Some(from) => from.to_string(),
        None => "somebody".to_owned(),
    };
    match &event.what {
        UserEventKind::Connected => format!("{from} connected"),
        UserEventKind::Closed {
            received,
            sent,
            after,
        } => format!(
            "{from} closed after {}, {} in, {} out",
            time(*after),
            size(*received),
            size(*sent)
        ),
        UserEventKind::Unreachable => {
            format!("{from} was turned away: the local service does not answer")
        }
        UserEventKind::Request {
            method,
            target,
            status,
            after,
            kept: _,
        } => {
            let from = event.from.as_ref().map(SocketAddr::ip);
            let status = status.map_or_else(|| "---".to_owned(), |it| it.to_string());
            let from = from.map_or_else(|| "somebody".to_owned(), |ip| ip.to_string());
            let target: String = target.chars().take(MAX_TARGET).collect();
            format!(
                "{} {}  {status}  {}  {from}",
                shown(method),
                shown(&target),
                time(*after)
            )
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mgrok_client::KeptRequest;

    use super::*;

    #[track_caller]
    fn check(what: UserEventKind, expect: &str) {
        let from = Some("192.0.2.7:5000".parse().unwrap());
        assert_eq!(line(&UserEvent { from, what }), expect);
    }

    #[test]
    fn users_have_a_line_each() {
        check(UserEventKind::Connected, "192.0.2.7:5000 connected");
        check(
            UserEventKind::Closed {
                received: 999,
                sent: 1_234_567,
                after: Duration::from_millis(75_000),
            },
            "192.0.2.7:5000 closed after 1m15s, 999 B in, 1.2 MB out",
        );
        let request = |target: &str| UserEventKind::Request {
            method: "GET".to_owned(),
            target: target.to_owned(),
            status: Some(200),
            after: Duration::from_millis(12),
            kept: KeptRequest::default(),
        };
        check(request("/a?b=c"), "GET /a?b=c  200  12ms  192.0.2.7");
        check(
            request("/\u{1b}[2J"),
            "GET /\\u{1b}[2J  200  12ms  192.0.2.7",
        );
        let mut cut = request("/");
        if let UserEventKind::Request { status, .. } = &mut cut {
            *status = None;
        }
        check(cut, "GET /  ---  12ms  192.0.2.7");
        let event = UserEvent {
            from: None,
            what: UserEventKind::Unreachable,
        };
        assert!(line(&event).starts_with("somebody was turned away"));
    }

    #[test]
    fn a_headline_has_every_url_in_a_frame() {
        let urls = ["http://a.test".to_owned(), "http://long.a.test".to_owned()];
        let text = headline(
            &urls,
            "127.0.0.1:3000",
            Some("http://127.0.0.1:4040/#/requests"),
        );
        let lines: Vec<_> = text
            .lines()
            .map(|it| it.replace("\x1b[1;32m", "").replace("\x1b[0m", ""))
            .collect();
        assert_eq!(lines[2], "  │  http://a.test       │");
        assert_eq!(lines[3], "  │  http://long.a.test  │");
        assert_eq!(lines[1].chars().count(), lines[3].chars().count());
        let inspector = "  Requests are shown at http://127.0.0.1:4040/#/requests";
        assert_eq!(lines[6], inspector);
    }
}
