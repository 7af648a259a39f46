use tracing::subscriber::Interest;
use tracing::{Callsite, Level};

use super::*;

/// A kind of line.
struct Kind;

impl Callsite for Kind {
    fn set_interest(&self, _: Interest) {}

    fn metadata(&self) -> &Metadata<'_> {
        refused()
    }
}

fn refused() -> &'static Metadata<'static> {
    static KIND: Kind = Kind;
    static REFUSED: Metadata<'static> = tracing::metadata! {
        name: "refused",
        target: "mgrok_test",
        level: Level::WARN,
        fields: &["source"],
        callsite: &KIND,
        kind: tracing::metadata::Kind::EVENT,
    };
    &REFUSED
}

fn source(text: &str) -> Source {
    Source::new(format_args!("{text}"))
}

/// How many of `lines` are written.
fn written(limiter: &Limiter, lines: u32, from: &str, now: Instant) -> u32 {
    let one = |_: &u32| {
        let verdict = limiter.judge(refused(), source(from), Allowance::STRANGER, now);
        if matches!(verdict, Verdict::WriteLast(_)) {
            limiter.keep_example(refused(), source(from), "refused: wrong token");
        }
        verdict != Verdict::LeaveOut
    };
    u32::try_from((0..lines).filter(one).count()).unwrap()
}

#[test]
fn a_source_is_its_host() {
    for (named, expect) in [
        ("192.0.2.7:4000", "192.0.2.7"),
        ("192.0.2.7", "192.0.2.7"),
        ("[::ffff:192.0.2.7]:4000", "192.0.2.7"),
        ("[2001:db8:1:2:3:4:5:6]:80", "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", "2001:db8:1:2::/64"),
        ("[fe80::1%3]:80", "fe80::/64"),
        ("[::1]:80", "::1"),
        ("3f0c9a7be1d24c55", "3f0c9a7be1d24c55"),
        ("", ""),
    ] {
        assert_eq!(source(named).as_str(), expect, "{named}");
    }
    let long = "\u{fc}".repeat(100);
    assert_eq!(source(&long).as_str(), "\u{fc}".repeat(SOURCE_LEN / 2));
}

#[test]
fn what_one_source_may_not_write_is_counted_and_told_when_the_minute_is_over() {
    let limiter = Limiter::default();
    let start = Instant::now();
    assert_eq!(written(&limiter, 1_000, "192.0.2.7:1", start), 30);
    assert_eq!(
        written(&limiter, 10, "192.0.2.8:1", start),
        10,
        "another source"
    );
    assert_eq!(limiter.report(start + WINDOW / 2, false), []);

    let due = limiter.due().unwrap();
    assert_eq!(due, start + WINDOW);
    assert_eq!(
        limiter.report(due, false),
        [LeftOut {
            count: 970,
            example: "refused: wrong token".to_owned(),
            metadata: refused(),
            source: "192.0.2.7".to_owned(),
        }]
    );
    assert_eq!(limiter.due(), None, "a quiet log wakes nobody");
    assert_eq!(written(&limiter, 1_000, "192.0.2.7:1", due), 30);
}

#[test]
fn the_end_of_the_log_tells_what_was_left_out_until_then() {
    let limiter = Limiter::default();
    let start = Instant::now();
    written(&limiter, 31, "192.0.2.7:1", start);
    let told = limiter.report(start, true);
    assert_eq!(told.iter().map(|it| it.count).collect::<Vec<_>>(), [1]);
}

#[test]
fn many_sources_share_what_a_kind_may_write() {
    let limiter = Limiter::default();
    let start = Instant::now();
    let each = |number: u32| {
        written(
            &limiter,
            5,
            &format!("10.0.{}.{}", number >> 8, number & 255),
            start,
        )
    };
    assert_eq!((0..10_000).map(each).sum::<u32>(), 600);
    let sources = limiter.lock().by_source.len();
    assert!(sources <= MAX_SOURCES, "{sources} sources are kept");

    let told = limiter.report(start + WINDOW, false);
    let counts: Vec<_> = told
        .iter()
        .map(|it| (it.count, it.source.as_str()))
        .collect();
    assert_eq!(counts, [(49_400, "")]);
    assert_eq!(
        limiter.lock().by_source.len(),
        0,
        "nothing is kept for long"
    );
}

#[test]
fn a_full_table_takes_new_sources_after_a_minute() {
    let limiter = Limiter::default();
    let start = Instant::now();
    for number in 0..2_000 {
        let client = source(&format!("client {number}"));
        limiter.judge(refused(), client, Allowance::SESSION, start);
    }
    assert_eq!(limiter.lock().by_source.len(), MAX_SOURCES);
    let later = start + WINDOW;
    assert_eq!(written(&limiter, 100, "192.0.2.7:1", later), 30);
}
