//! What is no HTTP any more: changed protocols and CONNECT.

use hyper::header::{HeaderName, HeaderValue};
use mgrok_http::{Forwarded, Rules};

use crate::support::{Peer, Proxy, backend};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\n\
                       Upgrade: WebSocket\r\nSec-WebSocket-Key: k\r\n\r\n";

/// A backend that answers the head of a request with `answer` and then sends bytes back, each in
/// upper case.
async fn shouting(answer: &'static str) -> std::net::SocketAddr {
    backend(move |mut peer| async move {
        let head = peer.read_head().await;
        peer.send(answer).await;
        let lower = peer.read_exact(3).await;
        peer.send(lower.to_uppercase()).await;
        peer.send(head).await;
    })
    .await
}

async fn expect(user: &mut Peer, bytes: &str) {
    assert_eq!(user.read_exact(bytes.len()).await, bytes);
}

#[tokio::test]
async fn a_websocket_is_passed_on_with_what_comes_early() {
    let backend = shouting(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\
         Keep-Alive: 1\r\nSec-WebSocket-Accept: x\r\n\r\nearly",
    );
    let rules = Rules {
        forwarded: Forwarded::Append { proto: "http" },
        response_headers: vec![(
            HeaderName::from_static("x-set"),
            HeaderValue::from_static("1"),
        )],
        ..Rules::default()
    };
    let proxy = Proxy::with_rules(backend.await, rules).await;
    let mut user = proxy.user().await;
    user.send(format!("{UPGRADE}abc")).await;
    let head = user.read_head().await;
    let mut lines: Vec<&str> = head.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    lines.retain(|line| !line.starts_with("Date"));
    assert_eq!(
        lines,
        [
            "HTTP/1.1 101 Switching Protocols",
            "Connection: Upgrade",
            "Sec-WebSocket-Accept: x",
            "Upgrade: websocket",
            "X-Set: 1"
        ]
    );
    expect(&mut user, "earlyABC").await;
    let request = user.read_to_end().await;
    for line in [
        "GET /chat HTTP/1.1\r\n",
        "\r\nConnection: Upgrade\r\n",
        "\r\nUpgrade: WebSocket\r\n",
        "\r\nSec-WebSocket-Key: k\r\n",
        "\r\nX-Forwarded-For: 127.0.0.1\r\n",
    ] {
        assert!(request.contains(line), "{request}");
    }
}

#[tokio::test]
async fn an_upgrade_that_the_backend_declines_is_an_ordinary_answer() {
    let backend = backend(|mut peer| async move {
        while peer.try_read_message().await.is_some() {
            peer.send("HTTP/1.1 426 Upgrade Required\r\nUpgrade: x\r\nContent-Length: 2\r\n\r\nno")
                .await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    for _ in 0..2 {
        user.send(UPGRADE).await;
        let answer = user.read_message().await;
        assert!(
            answer.starts_with("HTTP/1.1 426 ") && answer.ends_with("no"),
            "{answer}"
        );
    }
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn a_change_to_another_protocol_than_asked_for_is_refused() {
    let answer =
        "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n";
    let proxy = Proxy::start(shouting(answer).await).await;
    let mut user = proxy.user().await;
    user.send(UPGRADE).await;
    assert!(user.read_message().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn a_change_to_what_was_asked_for_need_not_say_so() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nSec-WebSocket-Accept: x\r\n\r\n";
    let proxy = Proxy::start(shouting(answer).await).await;
    let mut user = proxy.user().await;
    user.send(format!("{UPGRADE}abc")).await;
    let head = user.read_head().await;
    assert!(head.contains("\r\nUpgrade: WebSocket\r\n"), "{head}");
    expect(&mut user, "ABC").await;
}

#[tokio::test]
async fn a_change_to_http2_is_not_passed_on() {
    let backend = shouting("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 3\r\n\r\n");
    let proxy = Proxy::start(backend.await).await;
    let answer = proxy
        .exchange(
            "POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings, close\r\n\
             Upgrade: h2c\r\nHTTP2-Settings: AAMAAABk\r\nContent-Length: 3\r\n\r\nabc",
        )
        .await;
    assert!(answer.ends_with("\r\n\r\nABC"), "{answer}");
}

#[tokio::test]
async fn connect_is_replayed_and_then_raw() {
    let backend = shouting("HTTP/1.1 200 Go Ahead\r\nX-Proxy: 1\r\n\r\nearly");
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(
        "CONNECT far.test:443 HTTP/1.1\r\nHost: far.test:443\r\n\
         Proxy-Authorization: Basic eDp5\r\nProxy-Connection: keep-alive\r\n\r\nabc",
    )
    .await;
    let head = user.read_head().await;
    assert!(
        head.starts_with("HTTP/1.1 200 Go Ahead\r\nX-Proxy: 1\r\n"),
        "{head}"
    );
    assert!(
        !head.contains("Content-Length") && !head.contains("Transfer"),
        "{head}"
    );
    expect(&mut user, "earlyABC").await;
    let request = user.read_to_end().await;
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "CONNECT far.test:443 HTTP/1.1",
            "Host: far.test:443",
            "Proxy-Authorization: Basic eDp5",
            "Proxy-Connection: keep-alive",
        ]
    );
}

#[tokio::test]
async fn connect_that_the_backend_refuses_can_be_tried_again() {
    let backend = backend(|mut peer| async move {
        let head = peer.read_head().await;
        if head.contains("Proxy-Authorization") {
            peer.send("HTTP/1.1 200 OK\r\n\r\nraw").await;
        } else {
            let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\
                           Content-Length: 2\r\n\r\nno";
            peer.send(refusal).await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n").await;
    let answer = user.read_message().await;
    assert!(
        answer.contains("\r\nProxy-Authenticate: Basic\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("no"), "{answer}");
    user.send("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\nProxy-Authorization: x\r\n\r\n")
        .await;
    assert!(user.read_head().await.starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(user.read_to_end().await, "raw");
    assert_eq!(proxy.dials(), 2);
}

#[tokio::test]
async fn lengths_in_a_success_of_connect_mean_nothing() {
    for length in [
        "Content-Length: 0",
        "Content-Length: 5",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
    ] {
        let backend = backend(move |mut peer| async move {
            peer.read_head().await;
            peer.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\nraw"))
                .await;
            assert_eq!(peer.read_exact(3).await, "abc");
        });
        let proxy = Proxy::start(backend.await).await;
        let mut user = proxy.user().await;
        user.send("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n").await;
        assert!(
            user.read_head().await.starts_with("HTTP/1.1 200 OK\r\n"),
            "{length}"
        );
        user.send("abc").await;
        assert_eq!(user.read_to_end().await, "raw", "{length}");
    }
}

#[tokio::test]
async fn connect_does_not_change_the_protocol() {
    let answer = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let proxy = Proxy::start(shouting(answer).await).await;
    let mut user = proxy.user().await;
    user.send("CONNECT b:1 HTTP/1.1\r\nHost: b:1\r\n\r\n").await;
    assert!(user.read_head().await.starts_with("HTTP/1.1 502 "));
}

#[tokio::test]
async fn raw_bytes_end_when_one_side_does() {
    let (ended, end) = tokio::sync::oneshot::channel();
    let ended = std::sync::Arc::new(std::sync::Mutex::new(Some(ended)));
    let backend = backend(move |mut peer| {
        let ended = ended.lock().unwrap().take();
        async move {
            peer.read_head().await;
            peer.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n")
                .await;
            assert_eq!(peer.read_to_end().await, "bye");
            ended.unwrap().send(()).unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(UPGRADE).await;
    user.read_head().await;
    // A stop does not end what is raw.
    proxy.stop.cancel();
    user.send("bye").await;
    drop(user);
    end.await.unwrap();
}
