use std::time::Duration;

use super::entry::Progress;
use super::*;

fn header(name: &str, value: Option<&str>) -> Header {
    Header {
        name: name.into(),
        value: value.map(|it| it.as_bytes().into()),
    }
}

fn record(proxy: &str, path: &str, body: &[u8]) -> Record {
    let progress = Progress::default();
    progress
        .response_size
        .store(body.len() as u64, Ordering::Relaxed);
    let end = End {
        duration: Duration::from_millis(20),
        error: None,
    };
    progress.end.set(end).unwrap();
    Record {
        proxy: proxy.into(),
        remote_addr: "192.0.2.7:4711".into(),
        started_at: 1_795_473_601_123,
        to_first_byte: Some(Duration::from_millis(5)),
        method: "GET".into(),
        path: path.into(),
        query: Some("a=1&b".into()),
        http_version: "HTTP/1.1",
        status: Some(404),
        replay_of: None,
        request: Message {
            headers: vec![
                header("host", Some("www.example.test")),
                header("authorization", None),
            ],
            ..Message::default()
        },
        response: Message {
            headers: vec![header("content-type", Some("text/plain"))],
            body: body.to_vec(),
            ..Message::default()
        },
        progress: progress.into(),
    }
}

fn ids(inspector: &Inspector, filter: &Filter) -> Vec<u64> {
    inspector.list(filter).iter().map(|it| it.id).collect()
}

#[test]
fn each_proxy_keeps_its_latest() {
    let inspector = Inspector::default();
    for _ in 0..5 {
        inspector.keep(record("a", "/", b""), 2);
        inspector.keep(record("b", "/", b""), 3);
    }
    assert_eq!(ids(&inspector, &Filter::default()), [10, 9, 8, 7, 6]);
    assert_eq!(inspector.forget_all(Some("b")), 3);
    assert_eq!(ids(&inspector, &Filter::default()), [9, 7]);
    assert_eq!(inspector.forget_all(None), 2);
    let next = inspector.keep(record("a", "/", b""), 2);
    assert_eq!(next.id, 11, "numbers are not used again");
}

#[test]
fn all_proxies_together_have_one_budget() {
    let inspector = Inspector::default();
    let body = vec![0; MAX_BYTES / 10];
    for number in 0..30 {
        let proxy = format!("proxy-{}", number % 3);
        inspector.keep(record(&proxy, "/", &body), 100);
        let kept = inspector.kept();
        let bytes: usize = kept.entries.values().map(|it| it.bytes()).sum();
        assert_eq!(kept.bytes, bytes);
        assert!(bytes <= MAX_BYTES, "{bytes}");
        let listed: usize = kept.by_proxy.values().map(VecDeque::len).sum();
        assert_eq!(listed, kept.entries.len());
    }
    let kept = ids(&inspector, &Filter::default());
    assert_eq!(kept, [30, 29, 28, 27, 26, 25, 24, 23, 22]);
}

#[test]
fn a_request_that_is_larger_than_the_budget_is_not_kept() {
    let inspector = Inspector::default();
    inspector.keep(record("a", "/", &vec![0; MAX_BYTES]), 5);
    assert!(ids(&inspector, &Filter::default()).is_empty());
}

#[test]
fn requests_that_are_under_way_have_a_budget_too() {
    let inspector = Inspector::default();
    assert_eq!(inspector.grant(MAX_DRAFTS - 10), MAX_DRAFTS - 10);
    assert_eq!(inspector.grant(64), 10);
    assert_eq!(inspector.grant(64), 0);
    inspector.give_back(MAX_DRAFTS);
    assert_eq!(inspector.grant(64), 64);
}

#[test]
fn filters_let_through_what_has_all_they_name() {
    let inspector = Inspector::default();
    inspector.keep(record("a", "/shop/cart", b"12345"), 9);
    let check = |query: &str, expect: bool| {
        let filter: Filter = serde_urlencoded(query);
        assert_eq!(!inspector.list(&filter).is_empty(), expect, "{query}");
    };
    check("", true);
    check("proxy=a", true);
    check("proxy=", true);
    check("proxy=b", false);
    check("path=shop", true);
    check("path=Shop", false);
    check("method=get", true);
    check("method=POST", false);
    check("status=404", true);
    check("status=4xx", true);
    check("status=5xx", false);
    check("status=xx", false);
    check("minDuration=20", true);
    check("minDuration=21", false);
    check("minSize=5", true);
    check("minSize=6", false);
    check("header=Host", true);
    check("header=host: EXAMPLE", true);
    check("header=host:other", false);
    check("header=x-missing", false);
    check("q=CART", true);
    check("q=192.0.2.7", true);
    check("q=b", true);
    check("q=nowhere", false);
    check("status=404&method=POST", false);
}

/// A filter as a query has it, in which nothing is escaped.
fn serde_urlencoded(query: &str) -> Filter {
    let mut object = serde_json::Map::new();
    for (name, value) in query.split('&').filter_map(|it| it.split_once('=')) {
        let value = match name {
            "minDuration" | "minSize" => value.parse::<u64>().unwrap().into(),
            _ => value.into(),
        };
        object.insert(name.to_owned(), value);
    }
    serde_json::from_value(object.into()).unwrap()
}

#[test]
fn what_may_be_a_secret_is_not_shown() {
    let inspector = Inspector::default();
    let entry = inspector.keep(record("a", "/", b"\xff\x00"), 9);
    let detail = serde_json::to_value(Detail::of(&entry)).unwrap();
    let headers = &detail["request"]["headers"];
    assert_eq!(headers[1][0], "authorization");
    assert_eq!(headers[1][1], "***");
    assert_eq!(detail["response"]["bodyEncoding"], "base64");
    assert_eq!(detail["response"]["body"], "/wA=");
    assert_eq!(detail["timing"]["toFirstByte"], 5.0);
    assert_eq!(detail["query"], "a=1&b");
}

#[test]
fn an_archive_has_what_its_format_wants() {
    let inspector = Inspector::default();
    let entry = inspector.keep(record("a", "/x", b"hello"), 9);
    let archive = har(std::iter::once(&*entry));
    assert_eq!(archive["log"]["version"], "1.2");
    let entry = &archive["log"]["entries"][0];
    assert_eq!(entry["startedDateTime"], "2026-11-23T22:40:01.123Z");
    assert_eq!(entry["request"]["url"], "http://www.example.test/x?a=1&b");
    assert_eq!(entry["request"]["queryString"][1]["name"], "b");
    assert_eq!(entry["request"]["headers"][1]["value"], "***");
    assert_eq!(entry["response"]["statusText"], "Not Found");
    assert_eq!(entry["response"]["content"]["text"], "hello");
    assert_eq!(entry["response"]["content"]["mimeType"], "text/plain");
    assert_eq!(entry["timings"]["wait"], 5.0);
    assert_eq!(entry["timings"]["receive"], 15.0);
    assert!(entry["request"]["postData"].is_null());
}
