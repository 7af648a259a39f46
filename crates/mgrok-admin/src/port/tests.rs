//! What an admin port does with users who take their time.

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, sleep};

use super::*;
use crate::{Answer, Method};

fn site(routes: Routes) -> Site {
    Site::new(routes, AdminAccess::default(), CancellationToken::new())
}

/// What a user gets who sends `request`, and how long that takes.
async fn exchange(routes: Routes, request: &str) -> (String, Duration) {
    let (ours, mut theirs): (DuplexStream, DuplexStream) = duplex(64 * 1024);
    let start = Instant::now();
    let (site, stop) = (site(routes), CancellationToken::new());
    let from = ([127, 0, 0, 1], 7).into();
    let serve = serve(ours, from, &site, &stop);
    let user = async {
        theirs.write_all(request.as_bytes()).await.unwrap();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    };
    let ((), text) = tokio::join!(serve, user);
    (text, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_request_that_does_not_come_is_waited_for_a_minute() {
    for begun in ["", "GET /healthz HTTP/1.1\r\nHost: localhost\r\n"] {
        let (text, took) = exchange(Routes::default(), begun).await;
        assert!(!text.contains("200"), "{text}");
        assert!(took >= TIME_LIMIT && took < TIME_LIMIT * 2, "{took:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_kept_a_minute() {
    let request = "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    let (text, took) = exchange(Routes::default(), &request).await;
    assert_eq!(text.matches("HTTP/1.1 200 OK").count(), 2, "{text}");
    assert!(took >= TIME_LIMIT && took < TIME_LIMIT * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_does_not_come_is_waited_for_a_minute() {
    let never = std::future::pending::<Answer>;
    let routes = Routes::default().with(Method::GET, "/never", never);
    let (text, took) = exchange(routes, "GET /never HTTP/1.1\r\nHost: localhost\r\n\r\n").await;
    assert_eq!(text, "");
    assert!(took >= TIME_LIMIT && took < TIME_LIMIT * 2, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn a_request_under_way_is_answered_when_the_port_is_closed() {
    let slow = async || {
        sleep(STOP_TIME / 2).await;
        Answer::json(&"done")
    };
    let site = site(Routes::default().with(Method::GET, "/slow", slow));
    let (ours, mut theirs) = duplex(1024);
    let stop = CancellationToken::new();
    let from = ([127, 0, 0, 1], 7).into();
    let serve = serve(ours, from, &site, &stop);
    let user = async {
        let request = b"GET /slow HTTP/1.1\r\nHost: localhost\r\n\r\n";
        theirs.write_all(request).await.unwrap();
        sleep(STOP_TIME / 4).await;
        stop.cancel();
        let mut text = String::new();
        theirs.read_to_string(&mut text).await.unwrap();
        text
    };
    let ((), text) = tokio::join!(serve, user);
    assert!(text.ends_with("\"done\"\n"), "{text}");
}
