//! What a backend gets, and what a user gets.

use std::time::Duration;

use hyper::header::{HeaderName, HeaderValue};
use mgrok_http::{AnswerLimits, Forwarded, Rules, UpstreamOptions};
use tokio::io::AsyncReadExt;

use crate::support::{Proxy, answering, backend, mirror};

/// The head of a message as the set of its lines, in order of the alphabet but for the first.
fn lines(head: &str) -> Vec<String> {
    let head = head.split("\r\n\r\n").next().unwrap();
    let mut lines: Vec<String> = head.split("\r\n").map(str::to_owned).collect();
    lines[1..].sort();
    lines
}

/// What a backend gets of `request`.
async fn forwarded(proxy: &Proxy, request: &str) -> String {
    let mut user = proxy.user().await;
    user.send(request).await;
    let answer = user.read_message().await;
    let (head, request) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    request.to_owned()
}

/// What a user gets of `answer`, apart from the date.
async fn answered(request: &str, answer: &'static str) -> String {
    let proxy = Proxy::start(answering(answer).await).await;
    let got = proxy.exchange(request).await;
    let lines = got
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("Date: "));
    lines.collect()
}

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";

#[tokio::test]
async fn headers_of_the_connection_stay_on_it() {
    let proxy = Proxy::start(mirror().await).await;
    let request = forwarded(
        &proxy,
        "GET /p HTTP/1.1\r\n\
         Host: Example.test:8080\r\n\
         Connection: keep-alive, X-Private, Host, Content-Length\r\n\
         Keep-Alive: timeout=5\r\n\
         Proxy-Connection: keep-alive\r\n\
         Proxy-Authenticate: Basic\r\n\
         Proxy-Authorization: Basic eDp5\r\n\
         TE: gzip, trailers\r\n\
         Trailer: X-Sum\r\n\
         Upgrade: websocket\r\n\
         X-Private: 1\r\n\
         Authorization: Basic eDp5\r\n\
         Forwarded: for=1.2.3.4\r\n\
         X-Forwarded-For: 1.2.3.4\r\n\
         X-Forwarded-For: 5.6.7.8, 9.9.9.9\r\n\
         X-Forwarded-Host: other\r\n\
         X-Forwarded-Proto: https\r\n\
         X-Same: 1\r\n\
         X-Same: 2\r\n\r\n",
    )
    .await;
    assert_eq!(
        lines(&request),
        [
            "GET /p HTTP/1.1",
            "Authorization: Basic eDp5",
            "Host: Example.test:8080",
            "TE: trailers",
            "X-Forwarded-For: 1.2.3.4, 5.6.7.8, 9.9.9.9, 127.0.0.1",
            "X-Forwarded-Host: Example.test:8080",
            "X-Forwarded-Proto: http",
            "X-Same: 1",
            "X-Same: 2",
        ]
    );
}

#[tokio::test]
async fn nothing_is_invented_and_targets_stay_as_they_are() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    for target in [
        "/",
        "//a//b/../c/.",
        "/p?a=1;b",
        "/p?a=%zz&b=%",
        "/%2e%2E/%41",
        "/{a}|b^c\"d\\e[]",
        "/?q={y}|\\^`'[]",
        "/<a>`{b}\"?<c>\"`",
        "/a#b?c#d",
        "http://a/<?\">",
        "/?",
        "/??a?b",
        "/\u{e9}?\u{e9}",
        "http://a/p?q",
        "https://A:443/p",
    ] {
        let host = if target.contains("A:443") { "a" } else { "A" };
        let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
        assert_eq!(forwarded(&proxy, &request).await, request);
    }
    let request = forwarded(&proxy, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(request, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n");
    let request = forwarded(&proxy, "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert_eq!(request, "BREW /pot HTTP/1.1\r\nHost: a\r\n\r\n");
}

#[tokio::test]
async fn http_1_0_is_answered_and_its_missing_host_made_up_for() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    let answer = proxy.exchange("GET / HTTP/1.0\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert!(
        answer.ends_with("GET / HTTP/1.1\r\nHost:\r\n\r\n"),
        "{answer}"
    );
    let answer = proxy.exchange("GET http://a/ HTTP/1.0\r\n\r\n").await;
    assert!(
        answer.ends_with("GET http://a/ HTTP/1.1\r\nHost: a\r\n\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn the_host_is_rewritten_and_headers_are_set() {
    let header = |name: &'static str, value| {
        (
            HeaderName::from_static(name),
            HeaderValue::from_static(value),
        )
    };
    let rules = Rules {
        forwarded: Forwarded::Append { proto: "https" },
        host: Some(HeaderValue::from_static("inner:81")),
        request_headers: vec![
            header("x-from", "proxy"),
            header("x-forwarded-proto", "gopher"),
            header("host", "ignored"),
            header("content-length", "7"),
            header("user-agent", "mgrok"),
        ],
        response_headers: vec![
            header("server", "mine"),
            header("transfer-encoding", "gzip"),
        ],
    };
    let answer = "HTTP/1.1 200 OK\r\nServer: theirs\r\nContent-Length: 0\r\n\r\n";
    let proxy = Proxy::with_rules(answering(answer).await, rules.clone()).await;
    let got = proxy.exchange(GET).await;
    assert!(got.contains("\r\nServer: mine\r\n"), "{got}");
    assert!(!got.contains("theirs") && !got.contains("gzip"), "{got}");

    let proxy = Proxy::with_rules(mirror().await, rules).await;
    let request = "GET http://a/ HTTP/1.1\r\nHost: a\r\nX-From: user\r\nUser-Agent: u\r\n\r\n";
    assert_eq!(
        lines(&forwarded(&proxy, request).await),
        [
            "GET http://inner:81/ HTTP/1.1",
            "Host: inner:81",
            "User-Agent: mgrok",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Host: a",
            "X-Forwarded-Proto: gopher",
            "X-From: proxy",
        ]
    );
}

#[tokio::test]
async fn forwarding_headers_are_kept_or_removed_as_asked() {
    let request = "GET / HTTP/1.1\r\nHost: a\r\nForwarded: for=b\r\nX-Forwarded-For: b\r\n\
                   X-Forwarded-Host: b\r\nX-Forwarded-Proto: b\r\n\r\n";
    for (forwarding, count) in [(Forwarded::Keep, 4), (Forwarded::Remove, 0)] {
        let rules = Rules {
            forwarded: forwarding,
            ..Rules::default()
        };
        let proxy = Proxy::with_rules(mirror().await, rules).await;
        let request = forwarded(&proxy, request).await;
        assert_eq!(lines(&request).len(), 2 + count, "{request}");
    }
}

#[tokio::test]
async fn bodies_pass_on_every_method() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    for method in ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEADER"] {
        let request = format!("{method} / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc");
        let got = forwarded(&proxy, &request).await;
        assert!(
            got.ends_with("\r\n\r\nabc") && got.contains("Content-Length: 3\r\n"),
            "{got}"
        );
        let request = format!(
            "{method} / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"
        );
        let got = forwarded(&proxy, &request).await;
        assert!(got.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{got}");
        assert!(got.contains("Transfer-Encoding: chunked\r\n"), "{got}");
    }
    let request = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n";
    assert!(
        forwarded(&proxy, request)
            .await
            .contains("Content-Length: 0\r\n")
    );
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn trailers_pass_both_ways_if_they_are_announced() {
    let proxy = Proxy::start(mirror().await).await;
    let request = "POST / HTTP/1.1\r\nHost: a\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
                   3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n";
    let got = forwarded(&proxy, request).await;
    assert!(got.ends_with("3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"), "{got}");
    let got = answered(
        "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTrailer: X-Sum\r\nTransfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n",
    )
    .await;
    assert!(got.contains("Trailer: X-Sum\r\n"), "{got}");
    assert!(got.ends_with("3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n"), "{got}");
}

#[tokio::test]
async fn a_user_who_waits_is_told_to_continue() {
    let proxy = Proxy::start(mirror().await).await;
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        .await;
    assert_eq!(user.read_head().await, "HTTP/1.1 100 Continue\r\n\r\n");
    user.send("abc").await;
    let answer = user.read_message().await;
    assert!(answer.contains("Expect: 100-continue\r\n"), "{answer}");
    assert!(answer.ends_with("abc"), "{answer}");
}

#[tokio::test]
async fn answers_pass_as_they_are() {
    let same = [
        "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\nabc",
        "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 200 Fine By Me\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 299 Odd\r\nX-A: \u{e9}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nEtag: \"1\"\r\nConnection: close\r\n\r\n",
    ];
    for answer in same {
        let got = answered(GET, answer).await;
        assert_eq!(lines(&got), lines(answer));
        assert_eq!(
            got.split("\r\n\r\n").nth(1),
            answer.split("\r\n\r\n").nth(1)
        );
    }
    let hop_by_hop = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: X-P, close\r\nX-P: 1\r\n\
                      Keep-Alive: 5\r\nProxy-Authenticate: Basic\r\nUpgrade: h2c\r\n\r\n";
    assert_eq!(
        answered(GET, hop_by_hop).await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
    assert_eq!(
        answered(
            GET,
            "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
        )
        .await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
    );
}

#[tokio::test]
async fn answers_to_head_have_their_length_and_no_body() {
    const HEAD: &str = "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    assert_eq!(
        answered(HEAD, "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n").await,
        "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        answered(
            HEAD,
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        .await,
        "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"
    );
}

#[tokio::test]
async fn answers_without_length_are_chunked_or_end_with_the_connection() {
    const ANSWER: &str = "HTTP/1.1 200 OK\r\nX-Kind: Until-End\r\n\r\nabc";
    let got = answered(GET, ANSWER).await;
    assert!(got.contains("Transfer-Encoding: chunked\r\n"), "{got}");
    assert!(got.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"), "{got}");
    let got = answered("GET / HTTP/1.0\r\n\r\n", ANSWER).await;
    assert!(got.ends_with("\r\n\r\nabc"), "{got}");
    assert!(!got.to_lowercase().contains("chunked"), "{got}");
    let got = answered(GET, "HTTP/1.0 200 OK\r\nX-Kind: Until-End\r\n\r\nabc").await;
    assert!(got.starts_with("HTTP/1.1 200 OK\r\n"), "{got}");
}

#[tokio::test]
async fn answers_that_cannot_be_passed_on_are_not() {
    for answer in [
        "SSH-2.0-x\r\nUntil-End\r\n\r\n",
        "HTTP/1.1 200 OK\r\nX: \0Until-End\r\n\r\n",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nUntil-End",
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n",
    ] {
        let got = answered(GET, answer).await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{answer:?}: {got:?}");
    }
    let got = answered(
        GET,
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 9\r\n\r\n0\r\n\r\n",
    )
    .await;
    assert!(
        !got.contains("Content-Length") && got.ends_with("0\r\n\r\n"),
        "{got}"
    );
}

#[tokio::test]
async fn events_arrive_as_they_are_sent() {
    let backend = backend(|mut peer| async move {
        peer.read_head().await;
        peer.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            .await;
        for event in ["data: 1\n\n", "data: 2\n\n"] {
            peer.send(event).await;
            // The user has it before there is more.
            assert_eq!(peer.read_exact(3).await, "ack");
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 6\r\n\r\n")
        .await;
    user.read_head().await;
    for event in ["9\r\ndata: 1\n\n\r\n", "9\r\ndata: 2\n\n\r\n"] {
        assert_eq!(user.read_exact(event.len()).await, event);
        user.send("ack").await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_silent_backend_times_out_once_it_has_the_request() {
    let silent = backend(|mut peer| async move {
        peer.read_to_end().await;
    });
    let options = UpstreamOptions {
        response_timeout: Some(Duration::from_secs(10)),
        ..UpstreamOptions::default()
    };
    let proxy = Proxy::with_options(silent.await, options.clone()).await;
    let got = proxy.exchange(GET).await;
    assert!(got.starts_with("HTTP/1.1 504 Gateway Timeout\r\n"), "{got}");

    let proxy = Proxy::with_options(mirror().await, options).await;
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        .await;
    for byte in ["a", "b", "c"] {
        tokio::time::sleep(Duration::from_secs(9)).await;
        user.send(byte).await;
    }
    let got = user.read_message().await;
    assert!(got.starts_with("HTTP/1.1 200 "), "{got}");
}

#[tokio::test]
async fn a_backend_that_cannot_be_reached_is_told_from_a_broken_one() {
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = gone.local_addr().unwrap();
    drop(gone);
    let got = Proxy::start(addr).await.exchange(GET).await;
    assert!(got.starts_with("HTTP/1.1 404 "), "{got}");
    let closing = backend(|mut peer| async move {
        peer.read_head().await;
    });
    let got = Proxy::start(closing.await).await.exchange(GET).await;
    assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
}

/// The first line of `answer` as a user gets it, and its headers but for those of the connection.
async fn passed(answer: &'static str) -> (String, Vec<String>, String) {
    let got = answered(GET, answer).await;
    let (head, body) = got.split_once("\r\n\r\n").unwrap_or((&got, ""));
    let mut lines = head.split("\r\n").map(str::to_owned);
    let first = lines.next().unwrap();
    let ours = ["Connection", "Content-Length", "Transfer-Encoding"];
    let theirs = lines.filter(|line| !ours.iter().any(|name| line.starts_with(name)));
    (first, theirs.collect(), body.to_owned())
}

#[track_caller]
fn expect_passed(got: &(String, Vec<String>, String), first: &str, headers: &[&str]) {
    assert_eq!(got.0, first);
    assert_eq!(got.1, headers);
    assert!(got.2 == "hi" || got.2 == "2\r\nhi\r\n0\r\n\r\n", "{got:?}");
}

#[tokio::test]
async fn heads_that_are_not_quite_right_are_mended() {
    const OK: &str = "HTTP/1.1 200 OK";
    for (answer, headers) in [
        (
            "HTTP/1.1 200 OK\r\nServer : cam\r\nContent-Length: 2\r\n\r\nhi",
            &["Server: cam"][..],
        ),
        (
            "HTTP/1.1 200 OK\r\nX-Thing: one,\r\n\ttwo\r\n  three\r\nX-B: b\r\nContent-Length: 2\r\n\r\nhi",
            &["X-Thing: one, two three", "X-B: b"],
        ),
        (
            "HTTP/1.1 200 OK\r\nX-Thing:\r\n one\r\nContent-Length:\r\n 2\r\n\r\nhi",
            &["X-Thing: one"],
        ),
        (
            "HTTP/1.1 200 OK\nServer: cam\nContent-Length: 2\n\nhi",
            &["Server: cam"],
        ),
        (
            "HTTP/1.1 200 OK\r\nX Powered: cam\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi",
            &["X-A: 1"],
        ),
        (
            "HTTP/1.1 200 OK\r\nPHP Warning something\r\n in line 7\r\nX-A: 1\r\nContent-Length: 2\r\n\r\nhi",
            &["X-A: 1"],
        ),
        (
            "HTTP/1.1 200 OK\r\nX-(Odd): cam\r\n: none\r\nContent-Length: 2\r\n\r\nhi",
            &[],
        ),
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
            &[],
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n2  \r\nhi\r\n0  \r\n\r\n",
            &[],
        ),
    ] {
        expect_passed(&passed(answer).await, OK, headers);
    }
    for (answer, first) in [
        ("HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", OK),
        (
            "HTTP/1.1 999 Odd\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 999 Odd",
        ),
        (
            "HTTP/1.1 200 \u{412}\r\nContent-Length: 2\r\n\r\nhi",
            "HTTP/1.1 200 \u{412}",
        ),
    ] {
        let got = passed(answer).await;
        assert!(got.0.starts_with(&first[..12]) && got.2 == "hi", "{got:?}");
    }
}

#[tokio::test]
async fn an_answer_may_have_many_headers_and_long_ones() {
    let cookies: String = (0..900)
        .map(|i| format!("Set-Cookie: c{i}=1\r\n"))
        .collect();
    let long = format!("X-Long: {}\r\n", "a".repeat(500_000));
    for headers in [cookies, long] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nhi");
        let got = answered(GET, answer.leak()).await;
        assert!(
            got.contains(&headers) && got.ends_with("\r\n\r\nhi"),
            "{}",
            got.len()
        );
    }
}

#[tokio::test]
async fn the_length_of_answers_is_limited() {
    let limits = AnswerLimits {
        head: 10_000,
        headers: 20,
    };
    let cookies = "Set-Cookie: c=1\r\n".repeat(20);
    let long = format!("X-Long: {}\r\n", "a".repeat(10_000));
    for headers in [cookies, long] {
        let answer = format!("HTTP/1.1 200 OK\r\n{headers}Content-Length: 2\r\n\r\nhi");
        let options = UpstreamOptions {
            answer_limits: limits,
            ..UpstreamOptions::default()
        };
        let proxy = Proxy::with_options(answering(answer.leak()).await, options).await;
        let got = proxy.exchange(GET).await;
        assert!(got.starts_with("HTTP/1.1 502 "), "{got}");
    }
}

#[tokio::test]
async fn names_of_headers_keep_their_case_both_ways() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    let request = "GET / HTTP/1.1\r\nhost: a\r\nSec-WebSocket-Key: k\r\nx-lower: 1\r\nX-REQUEST-ID: 2\r\n\r\n";
    assert_eq!(forwarded(&proxy, request).await, request);
    let answer =
        "HTTP/1.1 200 OK\r\nETag: 1\r\nwww-authenticate: Basic\r\nContent-Length: 2\r\n\r\nhi";
    let headers = ["ETag: 1", "www-authenticate: Basic"];
    expect_passed(&passed(answer).await, "HTTP/1.1 200 OK", &headers);
}

#[tokio::test]
async fn bytes_that_are_no_text_stay_in_the_target() {
    let (tell, seen) = tokio::sync::oneshot::channel();
    let tell = std::sync::Mutex::new(Some(tell));
    let backend = backend(move |mut peer| {
        let tell = tell.lock().unwrap().take();
        async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                peer.socket().read_buf(&mut head).await.unwrap();
            }
            tell.unwrap().send(head).unwrap();
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let proxy = Proxy::with_rules(backend.await, Rules::default()).await;
    let request = b"GET /caf\xe9%E9?q=\xff<> HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut user = proxy.user().await;
    // However it arrives.
    for piece in request.chunks(9) {
        user.send(piece).await;
        tokio::task::yield_now().await;
    }
    assert!(user.read_head().await.starts_with("HTTP/1.1 200 "));
    let seen = seen.await.unwrap();
    assert!(seen.starts_with(&request[..30]), "{}", seen.escape_ascii());
}

#[tokio::test]
async fn a_raw_target_is_that_of_its_own_request_only() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    let mut user = proxy.user().await;
    for target in ["/<1>", "/%3C1%3E", "/<2>?\"", "/", "/<1>"] {
        let request = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
        user.send(&request).await;
        assert!(user.read_message().await.ends_with(&request), "{target}");
    }
    assert_eq!(proxy.dials(), 1);
}
