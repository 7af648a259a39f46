//! Requests that must not reach a backend.

use std::sync::{Arc, Mutex};

use crate::support::{Proxy, backend, mirror};

/// Sends `request` and expects a refusal with `status`, a closed connection, and that no backend is
/// asked for.
#[track_caller]
fn check(request: impl AsRef<[u8]>, status: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (answer, dials) = runtime.block_on(async {
        let proxy = Proxy::start(mirror().await).await;
        (proxy.exchange(&request).await, proxy.dials())
    });
    let shown = String::from_utf8_lossy(request.as_ref());
    let shown = &shown[..shown.floor_char_boundary(200)];
    let expected = format!("HTTP/1.1 {status} ");
    assert!(answer.starts_with(&expected), "{shown:?} got {answer:?}");
    assert!(
        answer.to_lowercase().contains("connection: close"),
        "{answer:?}"
    );
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
    assert_eq!(dials, 0, "{shown:?} reached the backend");
}

#[test]
fn lengths_that_contradict_are_refused() {
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        "400",
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 3\r\n\r\nabc",
        "400",
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
        "400",
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
        "400",
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
        "400",
    );
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\nabc",
        "400",
    );
}

#[test]
fn encodings_other_than_chunked_once_are_refused() {
    for encoding in [
        "gzip",
        "gzip, chunked",
        "chunked, chunked",
        "chunked, identity",
        "xchunked",
        "\"chunked\"",
        "chunked;q=1",
        "",
    ] {
        let request =
            format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: {encoding}\r\n\r\n0\r\n\r\n");
        check(request, "400");
    }
    check(
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    );
    check(
        "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "400",
    );
}

#[test]
fn hosts_that_are_missing_or_several_or_none_are_refused() {
    check("GET / HTTP/1.1\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", "400");
    for host in [
        "a b",
        "a/b",
        "u@a",
        "a:b",
        "a:1:2",
        "[::1",
        "[::g]",
        "a\\b",
        "a,b\u{e9}",
        "a?",
        "[::1]x",
    ] {
        check(format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n"), "400");
    }
}

#[test]
fn targets_that_contradict_the_host_or_the_method_are_refused() {
    check("GET http://a/ HTTP/1.1\r\nHost: b\r\n\r\n", "400");
    check("GET http://a:81/ HTTP/1.1\r\nHost: a:80\r\n\r\n", "400");
    check("GET http://u:p@a/ HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("GET a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "400");
    check("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("GET index HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("CONNECT http://a:1/ HTTP/1.1\r\nHost: a:1\r\n\r\n", "400");
    check("CONNECT a:1 HTTP/1.1\r\nHost: b:1\r\n\r\n", "400");
    check(
        "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 3\r\n\r\nabc",
        "400",
    );
}

#[test]
fn malformed_heads_are_refused() {
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r\n 2\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\n X: 1\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost : a\r\n\r\n", "400");
    check(
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length : 3\r\n\r\nabc",
        "400",
    );
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 1\x002\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\nX: 1\r2\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\nX\x0b: 1\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n", "400");
    check("GET / HTTP/1.1\r\nHost: a\r\n: 1\r\n\r\n", "400");
    check("GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("GET / /b HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "400");
    check("G@T / HTTP/1.1\r\nHost: a\r\n\r\n", "400");
    check("\x16\x03\x01\x02\x00\x01\x00", "400");
    check("PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n", "400");
}

#[test]
fn targets_that_end_early_or_hide_something_are_refused() {
    for target in [
        "/\x7f",
        "/\x01",
        "/<\x7f",
        "/a b",
        "/< >",
        "<",
        "http://<a>/",
        "\"/",
    ] {
        check(format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n"), "400");
    }
    check(b"GET \xff HTTP/1.1\r\nHost: a\r\n\r\n", "400");
}

#[test]
fn heads_without_end_are_refused() {
    let long = "x".repeat(70_000);
    check(
        format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}\r\n\r\n"),
        "431",
    );
    check(format!("GET / HTTP/1.1\r\nHost: a\r\nX: {long}"), "431");
    let many = "X: 1\r\n".repeat(101);
    check(format!("GET / HTTP/1.1\r\nHost: a\r\n{many}\r\n"), "431");
    check(format!("GET /{long} HTTP/1.1\r\nHost: a\r\n\r\n"), "431");
    check(format!("GET /{long}"), "431");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_comes_too_slowly_closes_the_connection() {
    let proxy = Proxy::start(mirror().await).await;
    for begun in [
        "",
        "P",
        "PRI * HTTP/2.0\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX",
    ] {
        let mut user = proxy.user().await;
        user.send(begun).await;
        let answer = user.read_to_end().await;
        assert_eq!(answer, "", "{begun:?}");
    }
    assert_eq!(proxy.dials(), 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let proxy = Proxy::start(mirror().await).await;
    let mut user = proxy.user().await;
    user.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").await;
    assert!(user.read_message().await.starts_with("HTTP/1.1 200"));
    assert_eq!(user.read_to_end().await, "");
}

/// hyper hides the length of a request that has chunks too (see `refusal`).
#[tokio::test]
async fn a_length_beside_chunks_smuggles_nothing() {
    let both = [
        "Content-Length: 60\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 60",
        "Transfer-Encoding: chunked\r\nContent-Length: 5\r\nContent-Length: 6",
        "Content-Length: 5\r\nTransfer-Encoding: Chunked\r\nContent-Length: 7",
    ];
    for both in both {
        let seen = Arc::new(Mutex::new(String::new()));
        let seen_by_backend = Arc::clone(&seen);
        let backend = backend(move |mut peer| {
            let seen = Arc::clone(&seen_by_backend);
            async move {
                while let Some(request) = peer.try_read_message().await {
                    *seen.lock().unwrap() += &request;
                    peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                        .await;
                }
            }
        });
        let proxy = Proxy::start(backend.await).await;
        let answer = proxy
            .exchange(format!(
                "POST / HTTP/1.1\r\nHost: a\r\n{both}\r\n\r\n3\r\nabc\r\n0\r\n\r\n\
                 GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"
            ))
            .await;
        assert_eq!(
            answer.matches("HTTP/1.1 200").count(),
            1,
            "{both}: {answer}"
        );
        assert!(
            answer.to_lowercase().contains("connection: close"),
            "{answer}"
        );
        let seen = seen.lock().unwrap();
        assert!(
            seen.ends_with("\r\n\r\n3\r\nabc\r\n0\r\n\r\n"),
            "{both}: {seen}"
        );
        assert!(
            !seen.to_lowercase().contains("content-length"),
            "{both}: {seen}"
        );
        assert_eq!(seen.matches("HTTP/1.1").count(), 1, "{both}: {seen}");
    }
}

#[tokio::test]
async fn bad_chunks_end_at_the_proxy() {
    for chunks in [
        "x\r\n",
        "3\r\nabcd\r\n",
        "-3\r\nabc\r\n",
        "FFFFFFFFFFFFFFFFF\r\n",
        "3\nabc\n0\n\n",
        "3;\n\r\nabc\r\n",
    ] {
        let ends = Arc::new(Mutex::new(Vec::new()));
        let ends_of_backend = Arc::clone(&ends);
        let backend = backend(move |mut peer| {
            let ends = Arc::clone(&ends_of_backend);
            async move {
                let request = peer.read_to_end().await;
                ends.lock().unwrap().push(request);
            }
        });
        let proxy = Proxy::start(backend.await).await;
        let answer = proxy
            .exchange(format!(
                "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}"
            ))
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 400 "),
            "{chunks:?}: {answer:?}"
        );
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer:?}");
        for end in &*ends.lock().unwrap() {
            assert!(
                !end.ends_with("0\r\n\r\n"),
                "{chunks:?} looked complete: {end:?}"
            );
        }
    }
}

#[tokio::test]
async fn requests_in_a_row_are_answered_in_order() {
    let proxy = Proxy::start(mirror().await).await;
    let answers = proxy
        .exchange(
            "GET /1 HTTP/1.1\r\nHost: a\r\n\r\nPOST /2 HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc\
             GET /3 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
        )
        .await;
    let at = |path: &str| answers.find(path).unwrap();
    assert!(
        at("GET /1") < at("POST /2") && at("POST /2") < at("GET /3"),
        "{answers}"
    );
    assert_eq!(proxy.dials(), 1);
}
