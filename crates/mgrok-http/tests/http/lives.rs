//! How long connections live, on both sides.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mgrok_http::{Rules, UpstreamOptions};
use mgrok_net::layers::Layers;
use tokio::io::AsyncWriteExt;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::timeout;

use crate::support::{PATIENCE, Proxy, answering, backend, mirror, unwrapping};

const GET: &str = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
const EMPTY: &str = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";

/// Says once that something has happened. Each of many tasks may hold a copy.
type Tell = Arc<Mutex<Option<oneshot::Sender<()>>>>;

fn once() -> (Tell, oneshot::Receiver<()>) {
    let (sender, receiver) = oneshot::channel();
    (Arc::new(Mutex::new(Some(sender))), receiver)
}

#[tokio::test]
async fn one_backend_connection_serves_many_requests_of_many_users() {
    let proxy = Proxy::start(mirror().await).await;
    for _ in 0..3 {
        let mut user = proxy.user().await;
        for request in [
            GET,
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\n",
        ] {
            user.send(request).await;
            assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
        }
    }
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn requests_at_once_do_not_wait_for_each_other() {
    const USERS: usize = 20;
    let arrived = Arc::new(AtomicUsize::new(0));
    let all_here = Arc::new(Notify::new());
    let backend = backend(move |mut peer| {
        let (arrived, all_here) = (Arc::clone(&arrived), Arc::clone(&all_here));
        async move {
            peer.read_message().await;
            if arrived.fetch_add(1, Ordering::SeqCst) + 1 == USERS {
                all_here.notify_waiters();
            } else {
                all_here.notified().await;
            }
            peer.send(EMPTY).await;
            peer.read_to_end().await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut users = Vec::new();
    for _ in 0..USERS {
        let mut user = proxy.user().await;
        user.send(GET).await;
        users.push(user);
    }
    for user in &mut users {
        assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
    }
    assert_eq!(proxy.dials(), USERS);
}

/// Answers so many requests on every connection; the next ends it without an answer.
async fn answering_times(times: usize) -> std::net::SocketAddr {
    backend(move |mut peer| async move {
        for _ in 0..times {
            peer.read_message().await;
            peer.send(EMPTY).await;
        }
        peer.read_message().await;
    })
    .await
}

/// The first request on every connection is answered; the second ends it without an answer.
async fn answering_once() -> std::net::SocketAddr {
    answering_times(1).await
}

#[tokio::test]
async fn an_idempotent_request_on_a_dead_connection_is_sent_again() {
    let proxy = Proxy::start(answering_once().await).await;
    let methods = ["GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "PUT"];
    for (dials, method) in (1..).zip(methods) {
        let mut user = proxy.user().await;
        let request = format!("{method} /<{dials}> HTTP/1.1\r\nHost: a\r\n\r\n");
        user.send(request).await;
        assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
        assert_eq!(proxy.dials(), dials);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_is_not_used_after_the_time_that_its_backend_gives_it() {
    for (keep_alive, reused_after) in [("timeout=5", 3), ("timeout=1000", 50)] {
        let answer =
            format!("HTTP/1.1 200 OK\r\nKeep-Alive: {keep_alive}\r\nContent-Length: 0\r\n\r\n");
        let proxy = Proxy::start(answering(answer.leak()).await).await;
        let mut asked = 0;
        for pause in [0, reused_after, 70] {
            tokio::time::sleep(Duration::from_secs(pause)).await;
            let mut user = proxy.user().await;
            user.send(GET).await;
            assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
            asked += 1;
            assert_eq!(proxy.dials(), if asked < 3 { 1 } else { 2 }, "{keep_alive}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_has_come_to_rest_serves_again_and_is_missed_when_it_ends() {
    let (hang_up, hung_up) = once();
    let hung_up = Arc::new(tokio::sync::Mutex::new(Some(hung_up)));
    let backend = backend(move |mut peer| {
        let hung_up = Arc::clone(&hung_up);
        async move {
            for _ in 0..2 {
                peer.read_message().await;
                peer.send(EMPTY).await;
            }
            let wait = hung_up.lock().await.take();
            wait.unwrap().await.unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    for _ in 0..2 {
        let mut user = proxy.user().await;
        user.send(GET).await;
        assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
        tokio::time::sleep(Duration::from_secs(10)).await;
    }
    assert_eq!(proxy.dials(), 1);
    hang_up.lock().unwrap().take().unwrap().send(()).unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    // It would be answered with a 502 on the dead one.
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    user.read_head().await;
    assert_eq!(proxy.dials(), 2);
}

/// A backend that logs in connections: a request with a password makes its connection that of whoever sent it.
async fn logging_in() -> std::net::SocketAddr {
    backend(|mut peer| async move {
        let mut who = "nobody".to_owned();
        while let Some(request) = peer.try_read_message().await {
            let secret = request.split("Authorization: ntlm ").nth(1);
            if let Some(name) = secret.and_then(|it| it.lines().next()) {
                who = name.to_owned();
            }
            let challenge = if request.contains("/login") {
                "WWW-Authenticate: Negotiate\r\n"
            } else {
                ""
            };
            let len = who.len();
            peer.send(format!(
                "HTTP/1.1 200 OK\r\n{challenge}Content-Length: {len}\r\n\r\n{who}"
            ))
            .await;
        }
    })
    .await
}

#[tokio::test]
async fn a_connection_that_a_user_logged_in_is_that_users_alone() {
    let proxy = Proxy::start(logging_in().await).await;
    let (mut alice, mut bob) = (proxy.user().await, proxy.user().await);
    alice
        .send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: ntlm alice\r\n\r\n")
        .await;
    assert!(alice.read_message().await.ends_with("\r\n\r\nalice"));
    for _ in 0..2 {
        bob.send(GET).await;
        assert!(bob.read_message().await.ends_with("\r\n\r\nnobody"));
        alice.send(GET).await;
        assert!(alice.read_message().await.ends_with("\r\n\r\nalice"));
    }
    assert_eq!(proxy.dials(), 2);
    // One that was asked to log in may do so with what it sends next.
    bob.send("GET /login HTTP/1.1\r\nHost: a\r\n\r\n").await;
    bob.read_message().await;
    let mut carol = proxy.user().await;
    carol.send(GET).await;
    carol.read_message().await;
    assert_eq!(proxy.dials(), 3);
}

#[tokio::test]
async fn a_connection_that_a_user_logged_in_ends_with_the_user() {
    let (ended, end) = once();
    let backend = backend(move |mut peer| {
        let ended = Arc::clone(&ended);
        async move {
            while peer.try_read_message().await.is_some() {
                peer.send(EMPTY).await;
            }
            let ended = ended.lock().unwrap().take();
            ended.unwrap().send(()).unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send("GET / HTTP/1.1\r\nHost: a\r\nAuthorization: Negotiate x\r\n\r\n")
        .await;
    user.read_message().await;
    drop(user);
    timeout(PATIENCE, end).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_user_who_sends_no_more_gets_the_answer() {
    for request in [
        GET,
        "GET / HTTP/1.0\r\nHost: a\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
    ] {
        let (go, went) = once();
        let went = Arc::new(tokio::sync::Mutex::new(Some(went)));
        let backend = backend(move |mut peer| {
            let went = Arc::clone(&went);
            async move {
                peer.read_message().await;
                went.lock().await.take().unwrap().await.unwrap();
                peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
                    .await;
                tokio::task::yield_now().await;
                peer.send("hi").await;
            }
        });
        let proxy = Proxy::start(backend.await).await;
        let mut user = proxy.user().await;
        user.send(request).await;
        user.socket().shutdown().await.unwrap();
        // The proxy has seen the end, if it looks.
        tokio::time::sleep(Duration::from_millis(50)).await;
        go.lock().unwrap().take().unwrap().send(()).unwrap();
        let answer = user.read_to_end().await;
        assert!(
            answer.starts_with("HTTP/1.") && answer.ends_with("\r\n\r\nhi"),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_request_that_ends_before_its_body_is_none() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\nabc",
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ] {
        let (ended, end) = once();
        let backend = backend(move |mut peer| {
            let ended = Arc::clone(&ended);
            async move {
                let got = peer.read_to_end().await;
                assert!(!got.ends_with("0\r\n\r\n"), "{got}");
                ended.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        });
        let proxy = Proxy::start(backend.await).await;
        let mut user = proxy.user().await;
        user.send(request).await;
        user.socket().shutdown().await.unwrap();
        timeout(Duration::from_secs(20), end)
            .await
            .unwrap()
            .unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_user_who_sends_no_more_and_gets_nothing_has_left_after_a_minute() {
    let (ended, end) = once();
    let backend = backend(move |mut peer| {
        let ended = Arc::clone(&ended);
        async move {
            peer.read_to_end().await;
            ended.lock().unwrap().take().unwrap().send(()).unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(GET).await;
    let start = tokio::time::Instant::now();
    user.socket().shutdown().await.unwrap();
    end.await.unwrap();
    let waited = start.elapsed();
    assert!((55..70).contains(&waited.as_secs()), "{waited:?}");
}

/// Answers an upload of which it reads the head alone, and closes, which resets the connection.
async fn refusing() -> std::net::SocketAddr {
    backend(|mut peer| async move {
        peer.read_head().await;
        peer.send(
            "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        )
        .await;
    })
    .await
}

#[tokio::test]
async fn the_answer_that_refuses_an_upload_arrives() {
    const TRIES: usize = 50;
    let backend = refusing().await;
    let body = vec![b'a'; 4 * 1024 * 1024];
    for (framing, proxy) in [
        ("Content-Length: 4194304", Proxy::start(backend).await),
        ("Transfer-Encoding: chunked", Proxy::start(backend).await),
    ] {
        for _ in 0..TRIES {
            let mut user = proxy.user().await;
            user.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{framing}\r\n\r\n"))
                .await;
            let mut sent = true;
            for piece in body.chunks(64 * 1024) {
                if framing.starts_with('T') {
                    user.send(format!("{:x}\r\n", piece.len())).await;
                }
                sent &= timeout(Duration::from_millis(200), user.send(piece))
                    .await
                    .is_ok();
                if framing.starts_with('T') {
                    user.send("\r\n").await;
                }
                if !sent {
                    break;
                }
            }
            let head = user.read_head().await;
            assert!(head.starts_with("HTTP/1.1 413 "), "{head:?}");
            assert_eq!(user.read_exact(3).await, "big");
        }
    }
}

#[tokio::test]
async fn a_request_that_may_have_had_an_effect_is_not_sent_again() {
    for request in [
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PATCH / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
        "PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
        "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na",
    ] {
        let proxy = Proxy::start(answering_once().await).await;
        let mut user = proxy.user().await;
        user.send(GET).await;
        assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
        user.send(request).await;
        assert!(user.read_message().await.starts_with("HTTP/1.1 502 "));
        assert_eq!(proxy.dials(), 1);
    }
}

#[tokio::test]
async fn what_was_kept_of_an_earlier_request_is_not_sent_in_place_of_a_later_one() {
    let proxy = Proxy::start(answering_times(2).await).await;
    let mut user = proxy.user().await;
    for _ in 0..2 {
        user.send(GET).await;
        assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
    }
    user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
        .await;
    assert!(user.read_message().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn a_request_is_sent_again_as_it_was_sent_before() {
    let (heads, mut seen) = mpsc::unbounded_channel();
    let backend = backend(move |mut peer| {
        let heads = heads.clone();
        async move {
            heads.send(peer.read_message().await).unwrap();
            peer.send(EMPTY).await;
            heads.send(peer.read_message().await).unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(GET).await;
    user.read_message().await;
    seen.recv().await.unwrap();
    let odd = "GET /<\"> HTTP/1.1\r\nHost: a\r\nsec-ch-UA: x\r\nX-ODD: y\r\nCookie: a=1\r\n\r\n";
    user.send(odd).await;
    assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
    let first = seen.recv().await.unwrap();
    assert!(first.starts_with("GET /<\"> HTTP/1.1\r\n"), "{first}");
    assert!(
        first.contains("\r\nsec-ch-UA: x\r\nX-ODD: y\r\n"),
        "{first}"
    );
    assert_eq!(first, seen.recv().await.unwrap());
    assert_eq!(proxy.dials(), 2);
}

#[tokio::test]
async fn a_new_connection_that_fails_is_not_tried_again() {
    let backend = backend(|mut peer| async move {
        peer.read_message().await;
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(GET).await;
    assert!(user.read_message().await.starts_with("HTTP/1.1 502 "));
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn a_connection_that_the_backend_closes_is_not_used_again() {
    for answer in [
        "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
        // It would be spoken to in HTTP/1.0, which has no chunks.
        "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nKeep-Alive: timeout=0\r\nContent-Length: 0\r\n\r\n",
    ] {
        let proxy = Proxy::start(answering(answer).await).await;
        let mut user = proxy.user().await;
        for dials in 1..3 {
            user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\na")
                .await;
            assert!(user.read_message().await.starts_with("HTTP/1.1 200 "));
            assert_eq!(proxy.dials(), dials);
        }
    }
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_seen_to() {
    for (answer, part) in [
        (
            "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nUntil-End",
            "Until-End",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nUntil-End\r\n",
            "9\r\nUntil-End\r\n",
        ),
        (
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nUntil-End\r\nzz\r\n",
            "9\r\nUntil-End\r\n",
        ),
    ] {
        let proxy = Proxy::start(answering(answer).await).await;
        let got = proxy.exchange(GET).await;
        // hyper may drop what it has not written when it cuts the connection.
        let body = got.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        assert!(part.starts_with(body), "{got}");
    }
}

/// Ends a connection as one does who wants to hear nothing any more.
fn reset(user: &mut crate::support::Peer) {
    user.socket().set_zero_linger().unwrap();
}

#[tokio::test]
async fn a_user_who_resets_costs_the_backend_its_connection() {
    for begun in [
        "",
        "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc",
        "HTTP/1.1 200 OK\r\n\r\nabc",
    ] {
        let ((ended, end), (asked, ask)) = (once(), once());
        let backend = backend(move |mut peer| {
            let (ended, asked) = (Arc::clone(&ended), Arc::clone(&asked));
            async move {
                peer.read_message().await;
                peer.send(begun).await;
                asked.lock().unwrap().take().unwrap().send(()).unwrap();
                peer.read_to_end().await;
                ended.lock().unwrap().take().unwrap().send(()).unwrap();
            }
        });
        let proxy = Proxy::start(backend.await).await;
        let mut user = proxy.user().await;
        user.send(GET).await;
        ask.await.unwrap();
        if !begun.is_empty() {
            user.read_until("abc").await;
        }
        reset(&mut user);
        drop(user);
        timeout(Duration::from_secs(5), end)
            .await
            .expect("in time")
            .unwrap();
    }
}

#[tokio::test]
async fn a_user_who_leaves_an_upload_leaves_it_unfinished() {
    let (ended, end) = oneshot::channel();
    let ended = Arc::new(Mutex::new(Some(ended)));
    let backend = backend(move |mut peer| {
        let ended = Arc::clone(&ended);
        async move {
            let got = peer.read_to_end().await;
            ended.lock().unwrap().take().unwrap().send(got).unwrap();
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        .await;
    drop(user);
    let got = end.await.unwrap();
    assert!(!got.ends_with("0\r\n\r\n"), "{got}");
}

/// Answers before it has read, and never reads.
#[tokio::test]
async fn an_upload_waits_for_the_backend_and_ends_with_its_answer() {
    // What the kernel and the proxy hold on the way.
    const ROOM: usize = 32 * 1024 * 1024;
    let answer = Arc::new(Notify::new());
    let answer_now = Arc::clone(&answer);
    let backend = backend(move |mut peer| {
        let answer = Arc::clone(&answer);
        async move {
            peer.read_head().await;
            answer.notified().await;
            peer.send("HTTP/1.1 413 Payload Too Large\r\nContent-Length: 0\r\n\r\n")
                .await;
            std::future::pending::<()>().await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2147483648\r\n\r\n")
        .await;
    let piece = vec![b'x'; 64 * 1024];
    let mut sent = 0;
    while let Ok(written) = timeout(Duration::from_millis(500), user.socket().write(&piece)).await {
        sent += written.unwrap();
        assert!(sent < ROOM, "somebody gathers the body");
    }
    answer_now.notify_one();
    assert!(user.read_head().await.starts_with("HTTP/1.1 413 "));
    // Nobody takes the rest.
    timeout(PATIENCE, async {
        while user.socket().write_all(&piece).await.is_ok() {}
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn a_download_waits_for_the_user() {
    const ROOM: usize = 32 * 1024 * 1024;
    let sent = Arc::new(AtomicUsize::new(0));
    let (stalled, stall) = once();
    let sent_by_backend = Arc::clone(&sent);
    let backend = backend(move |mut peer| {
        let (sent, stalled) = (Arc::clone(&sent_by_backend), Arc::clone(&stalled));
        async move {
            peer.read_head().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2147483648\r\n\r\n")
                .await;
            let piece = vec![b'x'; 64 * 1024];
            while let Ok(Ok(written)) =
                timeout(Duration::from_millis(500), peer.socket().write(&piece)).await
            {
                sent.fetch_add(written, Ordering::Relaxed);
            }
            stalled.lock().unwrap().take().unwrap().send(()).unwrap();
            std::future::pending::<()>().await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut user = proxy.user().await;
    user.send(GET).await;
    user.read_head().await;
    stall.await.unwrap();
    assert!(sent.load(Ordering::Relaxed) < ROOM);
}

#[tokio::test]
async fn large_bodies_arrive_whole() {
    let proxy = Proxy::with_rules(mirror().await, Rules::default()).await;
    let body: String = (0..2_000_000)
        .map(|i| char::from(b'a' + (i % 23) as u8))
        .collect();
    let mut user = proxy.user().await;
    user.send(format!(
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n",
        body.len()
    ))
    .await;
    user.send(&body).await;
    let answer = user.read_message().await;
    assert!(answer.ends_with(&body));
}

#[tokio::test]
async fn what_carries_the_bytes_does_not_matter() {
    let layers = Layers {
        compression: true,
        ..Layers::default()
    };
    let backend = unwrapping(layers.clone(), mirror().await).await;
    let proxy = Proxy::with_layers(backend, UpstreamOptions::default(), layers).await;
    let body = "abcdefgh".repeat(50_000);
    let mut user = proxy.user().await;
    for _ in 0..2 {
        let len = body.len();
        user.send(format!(
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len}\r\n\r\n{body}"
        ))
        .await;
        assert!(user.read_message().await.ends_with(&body));
    }
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn a_stop_finishes_what_is_under_way() {
    let (asked, ask) = once();
    let go = Arc::new(Notify::new());
    let go_on = Arc::clone(&go);
    let backend = backend(move |mut peer| {
        let (go, asked) = (Arc::clone(&go), Arc::clone(&asked));
        async move {
            peer.read_message().await;
            asked.lock().unwrap().take().unwrap().send(()).unwrap();
            go.notified().await;
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                .await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut silent = proxy.user().await;
    let mut user = proxy.user().await;
    user.send(GET).await;
    ask.await.unwrap();
    proxy.stop.cancel();
    assert_eq!(silent.read_to_end().await, "");
    go_on.notify_one();
    let answer = user.read_to_end().await;
    assert!(
        answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("ok"),
        "{answer}"
    );
    assert!(answer.contains("Connection: close\r\n"), "{answer}");
}
