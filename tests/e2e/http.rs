//! http proxies.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt, StreamExt};
use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, eventually, ports,
    service::{self, Service},
    traffic,
    web::{self, User, Web},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    sync::Notify,
};
use tokio_tungstenite::tungstenite::Message;

use crate::{Shared, named, refuses};

async fn published(for_server: &str, proxies: &[Proxy]) -> Shared {
    Shared::with("vhostHTTPPort", for_server, proxies).await
}

/// One service behind `a.test`, with more lines for its proxy.
async fn one(web: &Web, more: &str) -> Shared {
    published("", &[named("http", "web", web.addr(), "a.test").with(more)]).await
}

/// A service that reads the head of a request, writes `answer`, and sends everything else back.
async fn raw_echo(answer: &'static str) -> Service {
    service::tcp(async move |stream: TcpStream| {
        let mut user = User::on(stream);
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match user.stream().read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        user.send(answer).await;
        user.send(&String::from_utf8_lossy(&head)).await;
        let (mut from, mut to) = tokio::io::split(user.stream());
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

#[tokio::test]
async fn the_most_specific_host_gets_the_request() {
    let web = Web::start("web").await;
    let names = ["A.B.test", "*.b.test", "*.test.org", "*"];
    let proxies = names.map(|name| {
        named("http", name, web.addr(), name)
            .with(&format!("responseHeaders.set.x-proxy = {name:?}"))
    });
    let shared = published("", &proxies).await;
    for (host, expect) in [
        ("a.b.test", "A.B.test"),
        ("A.B.TEST:8080", "A.B.test"),
        ("a.b.test.", "A.B.test"),
        ("x.b.test", "*.b.test"),
        ("x.y.b.test", "*.b.test"),
        ("b.test", "*"),
        ("x.test.org", "*.test.org"),
        ("test.org", "*"),
        ("127.0.0.1:80", "*"),
    ] {
        let answer = web::get(shared.at, host, "/").await;
        assert_eq!(answer.header("x-proxy"), expect, "{host}");
    }
}

#[tokio::test]
async fn locations_and_users_choose_among_services_of_one_host() {
    let webs = [Web::start("all").await, Web::start("a").await];
    let [ab, ann] = [Web::start("ab").await, Web::start("ann").await];
    let proxies = [
        named("http", "all", webs[0].addr(), "a.test"),
        named("http", "a", webs[1].addr(), "a.test").with("locations = [\"/a\", \"/other\"]"),
        named("http", "ab", ab.addr(), "a.test").with("locations = [\"/a/b\"]"),
        named("http", "ann", ann.addr(), "a.test").with("routeByHTTPUser = \"ann\""),
    ];
    let shared = published("", &proxies).await;
    for (path, expect) in [
        ("/", "all"),
        ("/a", "a"),
        ("/abc?/a/b", "a"),
        ("/a/b/c", "ab"),
        ("/%61/b", "ab"),
        ("/A", "all"),
        ("/other/", "a"),
    ] {
        let answer = web::get(shared.at, "a.test", path).await;
        assert_eq!(answer.service(), expect, "{path}");
    }
    // ann:x and bob:x
    for (credentials, expect) in [("YW5uOng=", "ann"), ("Ym9iOng=", "a")] {
        let request = format!(
            "GET /a HTTP/1.1\r\nHost: a.test\r\nAuthorization: Basic {credentials}\r\n\r\n"
        );
        assert_eq!(web::ask(shared.at, &request).await.service(), expect);
    }
}

#[tokio::test]
async fn a_subdomain_is_below_the_host_of_the_server() {
    let web = Web::start("web").await;
    let proxy = Proxy::new("http", "web", web.addr()).with("subdomain = \"shop\"");
    let shared = published("subDomainHost = \"tunnel.test\"", &[proxy]).await;
    let answer = web::get(shared.at, "shop.tunnel.test", "/").await;
    assert_eq!(answer.service(), "web");
    let answer = web::get(shared.at, "tunnel.test", "/").await;
    assert_eq!(answer.status, 404);

    let below = named("http", "below", web.addr(), "mail.tunnel.test");
    let why = "custom domain [mail.tunnel.test] should not belong to subdomain host [tunnel.test]";
    shared.refuses(below, why).await;
}

#[tokio::test]
async fn a_password_is_asked_for() {
    let web = Web::start("web").await;
    let shared = one(&web, "httpUser = \"ann\"\nhttpPassword = \"key\"").await;
    // ann:key and ann:no
    let (right, wrong) = ("Basic YW5uOmtleQ==", "Basic YW5uOm5v");
    let plain = |field: &str| format!("GET / HTTP/1.1\r\nHost: a.test\r\n{field}\r\n");
    let proxied =
        |field: &str| format!("GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n{field}\r\n");
    let mut user = User::of(shared.at).await;
    for request in [
        plain(""),
        plain(&format!("Authorization: {wrong}\r\n")),
        plain(&format!("Proxy-Authorization: {right}\r\n")),
    ] {
        let answer = user.ask(&request).await;
        assert_eq!(answer.status, 401, "{request}");
        let challenge = "Basic realm=\"Restricted\"";
        assert_eq!(answer.header("www-authenticate"), challenge);
        assert_eq!(answer.body, "Unauthorized\n");
    }
    for request in [proxied(""), proxied(&format!("Authorization: {right}\r\n"))] {
        let answer = user.ask(&request).await;
        assert_eq!(answer.status, 407, "{request}");
        let challenge = "Basic realm=\"Restricted\"";
        assert_eq!(answer.header("proxy-authenticate"), challenge);
    }
    assert_eq!(web.requests().len(), 0);

    // The same connection, now with the password, which the service may want to see, too.
    let answer = user
        .ask(&plain(&format!("Authorization: {right}\r\n")))
        .await;
    assert_eq!(answer.status, 200);
    assert!(answer.shows(&format!("authorization: {right}")));
    let answer = user
        .ask(&proxied(&format!("Proxy-Authorization: {right}\r\n")))
        .await;
    assert_eq!(answer.status, 200);
    assert!(!answer.body.contains("proxy-authorization"));
}

#[tokio::test]
async fn a_request_passes_as_it_is_but_for_what_is_told_of_the_user() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let answer = web::ask(
        shared.at,
        "POST /p%2Fq/./..?a=1;b=%zz&&c HTTP/1.1\r\nHost: A.test:81\r\nX-Forwarded-For: 192.0.2.1, 192.0.2.2\r\n\
         X-Forwarded-Host: evil.test\r\nX-Forwarded-Proto: https\r\nForwarded: for=192.0.2.9\r\n\
         Connection: keep-alive, X-Mine\r\nX-Mine: for the server\r\nKeep-Alive: 5\r\nTE: gzip\r\n\
         Proxy-Connection: keep-alive\r\nX-Twice: 1\r\nX-Twice: 2\r\nContent-Length: 4\r\n\r\nbody",
    )
    .await;
    let (head, body) = answer.body.split_once("\n\n").unwrap();
    assert_eq!(body, "body");
    let mut lines: Vec<_> = head.lines().collect();
    lines[1..].sort_unstable();
    let expected = [
        "POST /p%2Fq/./..?a=1;b=%zz&&c HTTP/1.1",
        "content-length: 4",
        "host: A.test:81",
        "x-forwarded-for: 192.0.2.1, 192.0.2.2, 127.0.0.1",
        "x-forwarded-host: A.test:81",
        "x-forwarded-proto: http",
        "x-twice: 1",
        "x-twice: 2",
    ];
    assert_eq!(lines, expected);
}

#[tokio::test]
async fn an_answer_passes_as_it_is() {
    let body = "\u{1f}\u{8b} not gzip at all";
    let answer = format!(
        "HTTP/1.1 203 Perhaps\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nContent-Encoding: gzip\r\n\
         Date: yesterday\r\nContent-Length: {}\r\n\r\n{body}",
        body.len(),
    );
    let service = service::tcp(move |stream: TcpStream| {
        let answer = answer.clone();
        async move {
            let mut user = User::on(stream);
            let mut request = [0; 1_000];
            if let Ok(1..) = user.stream().read(&mut request).await {
                user.send(&answer).await;
            }
        }
    })
    .await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    let mut got = web::get(shared.at, "a.test", "/").await;
    assert_eq!((got.status, got.body.as_str()), (203, body));
    got.headers.sort_unstable();
    let expected = [
        format!("Content-Length: {}", body.len()),
        "Content-Encoding: gzip".to_owned(),
        "Date: yesterday".to_owned(),
        "Set-Cookie: a=1".to_owned(),
        "Set-Cookie: b=2".to_owned(),
    ];
    let mut expected = expected.to_vec();
    expected.sort_unstable();
    assert_eq!(got.headers, expected);
}

#[tokio::test]
async fn headers_are_set_as_the_proxy_says() {
    let web = Web::start("web").await;
    let more = "hostHeaderRewrite = \"inner.test\"\n\
                requestHeaders.set.x-from = \"tunnel\"\nrequestHeaders.set.x-forwarded-proto = \"https\"\n\
                responseHeaders.set.x-overwritten = \"by the proxy\"\nresponseHeaders.set.x-new = \"1\"";
    let shared = one(&web, more).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-From: user\r\n\r\n";
    let answer = web::ask(shared.at, request).await;
    for line in [
        "host: inner.test",
        "x-from: tunnel",
        "x-forwarded-host: a.test",
        "x-forwarded-proto: https",
    ] {
        assert!(answer.shows(line), "no {line} in {}", answer.body);
    }
    assert_eq!(answer.header("x-overwritten"), "by the proxy");
    assert_eq!(answer.header("x-new"), "1");
}

#[tokio::test]
async fn who_means_no_service_is_told_that_there_is_none() {
    let web = Web::start("web").await;
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("404.html");
    for custom in [false, true] {
        let settings = if custom {
            format!("custom404Page = {page:?}")
        } else {
            String::new()
        };
        let proxy = named("http", "web", web.addr(), "a.test").with("locations = [\"/here\"]");
        let shared = published(&settings, &[proxy]).await;
        // One user, who may go on after each of them.
        let mut user = User::of(shared.at).await;
        for text in ["one", "another"] {
            std::fs::write(&page, text).unwrap();
            for target in ["/", "http://other.test/here"] {
                let host = if target == "/" {
                    "a.test"
                } else {
                    "other.test"
                };
                let request = format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n");
                let answer = user.ask(&request).await;
                assert_eq!(answer.status, 404, "{request}");
                assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
                let ours = answer.body.contains("There is nothing here");
                assert_eq!(
                    (ours, answer.body == text),
                    (!custom, custom),
                    "{}",
                    answer.body
                );
            }
        }
        let answer = user.ask("GET /here HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(answer.service(), "web");
    }
    assert_eq!(web.requests().len(), 2);
}

#[tokio::test]
async fn a_service_that_is_down_is_told_from_one_that_is_not_there() {
    let directory = tempfile::tempdir().unwrap();
    let [missing, down] = ["404.html", "502.html"].map(|name| directory.path().join(name));
    std::fs::write(&missing, "missing").unwrap();
    std::fs::write(&down, "down").unwrap();
    let settings = format!("custom404Page = {missing:?}\ncustom502Page = {down:?}");
    let port = ports::free();
    for (settings, body) in [("", "The service does not answer"), (&settings, "down")] {
        let proxy = named("http", "web", ([127, 0, 0, 1], port).into(), "a.test");
        let shared = published(settings, &[proxy]).await;
        let mut user = User::of(shared.at).await;
        for method in ["GET", "POST"] {
            let request =
                format!("{method} / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 0\r\n\r\n");
            let answer = user.ask(&request).await;
            assert_eq!(answer.status, 502);
            assert_eq!(answer.header("content-type"), "text/html; charset=utf-8");
            assert_eq!(answer.header("mgrok-unreachable"), "");
            assert!(answer.body.contains(body), "{}", answer.body);
        }
        let answer = user.ask("GET / HTTP/1.1\r\nHost: b.test\r\n\r\n").await;
        assert_eq!(answer.status, 404);
    }
}

#[tokio::test]
async fn a_service_that_closes_without_a_word_looks_as_it_does_with_frp() {
    let service = service::tcp(async |mut stream: TcpStream| {
        let _ = stream.read(&mut [0; 1_000]).await;
    })
    .await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    assert_eq!(web::get(shared.at, "a.test", "/").await.status, 404);
}

#[tokio::test]
async fn a_service_that_was_down_is_found_when_it_is_up() {
    let port = ports::free();
    let proxy = named("http", "web", ([127, 0, 0, 1], port).into(), "a.test");
    let shared = published("", &[proxy]).await;
    let mut user = User::of(shared.at).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    assert_eq!(user.ask(request).await.status, 502);
    let why = format!("connect to local service [127.0.0.1:{port}] error");
    shared.client.log().wait_for(&why).await;

    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port))
        .await
        .unwrap();
    let serve = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        let request = stream.read(&mut [0; 1_000]).await;
        assert!(request.unwrap() > 0);
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nup";
        stream.write_all(answer).await.unwrap();
    };
    let ((), answer) = tokio::join!(serve, user.ask(request));
    assert_eq!(answer.body, "up");
}

#[tokio::test]
async fn a_service_that_takes_too_long_is_given_up() {
    let web = Web::start("web").await;
    let proxy = named("http", "web", web.addr(), "a.test");
    let shared = published("vhostHTTPTimeout = 1", &[proxy]).await;
    let mut user = User::of(shared.at).await;
    let answer = user
        .ask("GET /never HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    assert_eq!((answer.status, answer.body.as_str()), (504, ""));
    let answer = user.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(answer.service(), "web");

    // What begins in time may take as long as it likes.
    user.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    assert_eq!(user.head().await.status, 200);
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    web.send_event("late");
    let mut chunk = [0; 9];
    let read = user.stream().read_exact(&mut chunk);
    within(PATIENCE, "a late event", read).await.unwrap();
    assert_eq!(&chunk, b"4\r\nlate\r\n");
}

#[tokio::test]
async fn messages_of_a_websocket_come_back() {
    let service = service::tcp(async |stream: TcpStream| {
        let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
            return;
        };
        while let Some(Ok(message)) = next(&mut socket).await {
            if message.is_close() || send(&mut socket, message).await.is_err() {
                return;
            }
        }
    })
    .await;
    let more = "responseHeaders.set.x-new = \"1\"\ntransport.useEncryption = true\ntransport.useCompression = true";
    let proxy = named("http", "web", service.addr(), "a.test").with(more);
    let shared = published("", &[proxy]).await;
    let stream = TcpStream::connect(shared.at).await.unwrap();
    let opened = tokio_tungstenite::client_async("ws://a.test/chat", stream);
    let (mut socket, answer) = within(PATIENCE, "a websocket", opened).await.unwrap();
    assert_eq!(answer.headers()["x-new"], "1");
    for message in [
        Message::text("hello"),
        Message::binary(traffic::Pattern::new(4).take(1_000_000)),
        Message::text(""),
    ] {
        send(&mut socket, message.clone()).await.unwrap();
        let back = within(PATIENCE, "a message", next(&mut socket)).await;
        assert!(back.unwrap().unwrap() == message);
    }
    socket.close(None).await.unwrap();
}

type Socket = tokio_tungstenite::WebSocketStream<TcpStream>;
type WebSocketResult<T> = Result<T, tokio_tungstenite::tungstenite::Error>;

async fn next(socket: &mut Socket) -> Option<WebSocketResult<Message>> {
    StreamExt::next(socket).await
}

async fn send(socket: &mut Socket, message: Message) -> WebSocketResult<()> {
    SinkExt::send(socket, message).await
}

#[tokio::test]
async fn connect_leads_to_the_service_which_answers_it() {
    let service = raw_echo("HTTP/1.1 200 Come in\r\n\r\n").await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    let mut user = User::of(shared.at).await;
    let request = "CONNECT a.test:443 HTTP/1.1\r\nHost: a.test:443\r\nProxy-Authorization: Basic YW5uOng=\r\n\r\n";
    // Bytes that come along with it are for the service.
    user.send(&format!("{request}early")).await;
    assert_eq!(user.head().await.status, 200);
    let mut early = vec![0; request.len() + 5];
    let read = user.stream().read_exact(&mut early);
    within(PATIENCE, "the request comes back", read)
        .await
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&early), format!("{request}early"));
    traffic::echo(user.stream().get_mut(), 300_000)
        .await
        .unwrap();

    let answer = web::ask(
        shared.at,
        "CONNECT other.test:443 HTTP/1.1\r\nHost: other.test:443\r\n\r\n",
    );
    assert_eq!(answer.await.status, 404);
}

#[tokio::test]
async fn a_target_that_is_a_whole_url_passes_as_it_is() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let request = "GET http://a.test/p?q HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let answer = web::ask(shared.at, request).await;
    assert!(
        answer.shows("GET http://a.test/p?q HTTP/1.1"),
        "{}",
        answer.body
    );
}

#[tokio::test]
async fn http2_is_spoken_with_those_who_begin_with_it() {
    let webs = [Web::start("a").await, Web::start("b").await];
    let shared = published(
        "",
        &[
            named("http", "a", webs[0].addr(), "a.test"),
            named("http", "b", webs[1].addr(), "b.test"),
        ],
    )
    .await;
    let urls = [
        "http://a.test/1",
        "http://b.test/2?x=1;y",
        "http://c.test/3",
    ];
    let answers = web::get_by_http2(shared.at, &urls.repeat(20)).await;
    for answers in answers.chunks(3) {
        assert_eq!(answers[0].service(), "a");
        assert!(answers[0].shows("host: a.test"), "{}", answers[0].body);
        assert_eq!(answers[1].service(), "b");
        assert!(answers[1].shows("GET /2?x=1;y HTTP/1.1"));
        assert_eq!(answers[2].status, 404);
    }
}

#[tokio::test]
async fn events_arrive_when_they_are_sent() {
    let web = Web::start("web").await;
    let shared = one(&web, "transport.useCompression = true").await;
    let mut user = User::of(shared.at).await;
    user.send("GET /events HTTP/1.1\r\nHost: a.test\r\n\r\n")
        .await;
    let head = user.head().await;
    assert_eq!(head.header("content-type"), "text/event-stream");
    for _ in 0..3 {
        // The next is sent only when the last has arrived.
        assert_eq!(web.send_event("data: x\n\n"), 1);
        let mut chunk = [0; 14];
        let read = user.stream().read_exact(&mut chunk);
        within(PATIENCE, "an event", read).await.unwrap();
        assert_eq!(&chunk, b"9\r\ndata: x\n\n\r\n");
    }
    drop(user);
    // The service hears that the user has left.
    eventually("the service's side ends", async || {
        (web.send_event("data: x\n\n") == 0).then_some(())
    })
    .await;
}

/// What the two ends and all that is between them may hold of a body that is not read: sockets' buffers of several
/// connections, windows of the multiplexed one. Far less than what is tried to send.
const HELD: u64 = 48 << 20;

/// Writes chunks until the other side takes no more for a while, counting bytes.
async fn fill(stream: &mut (impl AsyncWriteExt + Unpin), sent: &AtomicU64) {
    let chunk = [&b"10000\r\n"[..], &vec![b'x'; 0x1_0000], b"\r\n"].concat();
    let pause = Duration::from_millis(700);
    // A chunk that was written in part must be written to its end, so the wait is for the count to stand still.
    while let Ok(Ok(())) = tokio::time::timeout(pause, stream.write_all(&chunk)).await {
        // What is around the payload may be written otherwise on the other side.
        let before = sent.fetch_add(0x1_0000, Ordering::SeqCst);
        assert!(before < HELD, "more than {HELD} bytes are held somewhere");
    }
}

#[tokio::test]
async fn an_upload_is_as_slow_as_the_service() {
    let read_on = Arc::new(Notify::new());
    let resume = read_on.clone();
    let (seen, mut counted) = tokio::sync::watch::channel(0);
    let service = service::tcp(move |mut stream: TcpStream| {
        let (read_on, seen) = (read_on.clone(), seen.clone());
        async move {
            let mut buffer = vec![0; 1 << 16];
            read_on.notified().await;
            while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                seen.send_modify(|total| *total += read as u64);
            }
        }
    })
    .await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    let mut stream = TcpStream::connect(shared.at).await.unwrap();
    let head = b"POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head).await.unwrap();
    let sent = AtomicU64::new(0);
    fill(&mut stream, &sent).await;

    // Others are served meanwhile, and what waits flows on when the service reads.
    assert_eq!(web::get(shared.at, "other.test", "/").await.status, 404);
    resume.notify_one();
    let sent = sent.into_inner();
    let all = counted.wait_for(|total| *total >= sent);
    within(PATIENCE, "the service gets all of it", all)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_download_is_as_slow_as_the_user() {
    let sent = Arc::new(AtomicU64::new(0));
    let counted = sent.clone();
    let stands = Arc::new(Notify::new());
    let told = stands.clone();
    let service = service::tcp(move |mut stream: TcpStream| {
        let (sent, stands) = (sent.clone(), stands.clone());
        async move {
            let mut request = [0; 1_000];
            let _ = stream.read(&mut request).await;
            let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
            let _ = stream.write_all(head).await;
            fill(&mut stream, &sent).await;
            stands.notify_one();
            let _ = stream.read(&mut request).await;
        }
    })
    .await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    let mut user = User::of(shared.at).await;
    user.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
    assert_eq!(user.head().await.status, 200);
    within(PATIENCE, "the service can send no more", told.notified()).await;
    let whole = counted.load(Ordering::SeqCst);
    let mut read = 0;
    let mut buffer = vec![0; 1 << 16];
    let all = async {
        while read < whole {
            read += user.stream().read(&mut buffer).await.unwrap() as u64;
        }
    };
    within(PATIENCE, "the user gets all of it", all).await;
}

#[tokio::test]
async fn trailers_pass_both_ways() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let request = "POST /trailers HTTP/1.1\r\nHost: a.test\r\nTE: trailers\r\nTrailer: X-Check\r\n\
                   Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\nX-Check: 9\r\n\r\n";
    let answer = web::ask(shared.at, request).await;
    assert!(
        answer.shows("abc") && answer.shows("x-check: 9"),
        "{}",
        answer.body
    );
    assert_eq!(answer.trailers.len(), 1);
    assert_eq!(answer.trailers[0].to_lowercase(), "x-sum: 7");
}

#[tokio::test]
async fn connections_to_the_service_are_kept_for_other_users() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    for _ in 0..20 {
        assert_eq!(web::get(shared.at, "a.test", "/").await.status, 200);
    }
    assert_eq!(web.requests().len(), 20);
    // A user may come before the connection of the last answer is ready, so it is not always the same.
    assert!(web.connections() <= 4, "{}", web.connections());
}

#[tokio::test]
async fn a_connection_that_the_service_has_closed_is_replaced() {
    // It does not announce that it closes, as a service that restarts.
    let service = service::tcp(async |mut stream: TcpStream| {
        if let Ok(1..) = stream.read(&mut [0; 1_000]).await {
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nOK";
            let _ = stream.write_all(answer).await;
        }
    })
    .await;
    let shared = published("", &[named("http", "web", service.addr(), "a.test")]).await;
    let mut user = User::of(shared.at).await;
    for _ in 0..50 {
        let answer = user.ask("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").await;
        assert_eq!(answer.body, "OK");
    }
}

#[tokio::test]
async fn users_and_clients_may_share_a_port() {
    let web = Web::start("web").await;
    let echo = service::tcp_echo().await;
    for mux in [true, false] {
        let at = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let settings = format!("vhostHTTPPort = {}\ntransport.tcpMux = {mux}", at.port());
        let server = Server::start_at(Peer::Mgrok, at, &settings).await;
        let proxies = [
            named("http", "web", web.addr(), "a.test"),
            Proxy::tcp("tcp", echo.addr()),
        ];
        for tls in [true, false] {
            let settings = format!("transport.tcpMux = {mux}\ntransport.tls.enable = {tls}");
            let client = Client::start(Peer::Mgrok, at, &settings, &proxies).await;
            assert_eq!(web::get(at, "a.test", "/").await.service(), "web");
            assert_eq!(web::get(at, "b.test", "/").await.status, 404);
            traffic::tcp_echo(proxies[1].public(), 10_000).await;
            client.stop().await;
            server.log().wait_for("client exit success").await;
        }
    }
}

#[tokio::test]
async fn encryption_and_compression_change_nothing_for_users() {
    let web = Web::start("web").await;
    for encryption in [true, false] {
        for compression in [true, false] {
            let more = format!(
                "transport.useEncryption = {encryption}\ntransport.useCompression = {compression}"
            );
            let shared = one(&web, &more).await;
            let body = "x".repeat(300_000);
            let request = format!(
                "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            let mut user = User::of(shared.at).await;
            for _ in 0..2 {
                let answer = user.ask(&request).await;
                let (head, came) = answer.body.split_once("\n\n").unwrap_or_default();
                assert!(
                    came == body,
                    "{more}: {head} {} bytes, {}",
                    came.len(),
                    answer.status
                );
            }
        }
    }
}

#[tokio::test]
async fn a_route_belongs_to_one_proxy_at_a_time() {
    let web = Web::start("web").await;
    let proxy = |name| {
        named("http", name, web.addr(), "a.test")
            .with("locations = [\"/x\", \"/y\"]\nrouteByHTTPUser = \"ann\"")
    };
    let shared = published("", &[proxy("first")]).await;
    let conflict = "router config conflict";
    shared.refuses(proxy("second"), conflict).await;
    let part = named("http", "part", web.addr(), "A.TEST")
        .with("locations = [\"/z\", \"/y\"]\nrouteByHTTPUser = \"ann\"");
    shared.refuses(part.clone(), conflict).await;
    // What differs in one point is another route.
    let other = [
        named("http", "all", web.addr(), "a.test"),
        named("http", "bob", web.addr(), "a.test")
            .with("locations = [\"/x\"]\nrouteByHTTPUser = \"bob\""),
    ];
    let other = Client::start(Peer::Mgrok, shared.server.addr(), "", &other).await;
    drop(other);

    let mark = shared.server.log().mark();
    shared.client.stop().await;
    let left = "client exit success";
    shared.server.log().wait_after(mark, left).await;
    let _late = Client::start(Peer::Mgrok, shared.server.addr(), "", &[part]).await;
}

#[tokio::test]
async fn without_a_port_for_it_http_is_refused() {
    let web = Web::start("web").await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxy = named("http", "web", web.addr(), "a.test");
    let why = "type [http] not supported when vhost http port is not set";
    refuses(&server, proxy, why).await;
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {port}")).await;
    let proxy = Proxy::new("http", "web", web.addr()).with("subdomain = \"x\"");
    let why = "subdomain is not supported because this feature is not enabled in server";
    refuses(&server, proxy, why).await;
}

#[tokio::test]
async fn requests_that_contradict_themselves_reach_nobody() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let endless = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\nX: {}",
        "x".repeat(100_000)
    );
    let many = format!(
        "GET / HTTP/1.1\r\nHost: a.test\r\n{}\r\n",
        "X: y\r\n".repeat(500)
    );
    for (request, status) in [
        ("GET / HTTP/1.1\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: a.test\r\n\r\n",
            400,
        ),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\nHost: b.test\r\n\r\n",
            400,
        ),
        ("GET / HTTP/1.1\r\nHost: a.test, b.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: a.test/x\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost: ann@a.test\r\n\r\n", 400),
        ("GET / HTTP/1.1\r\nHost : a.test\r\n\r\n", 400),
        ("GET http://b.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n", 400),
        (
            "GET / HTTP/1.1\r\nHost: a.test\r\n Host: b.test\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: -1\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: gzip\r\n\r\n",
            400,
        ),
        (
            "POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked, identity\r\n\r\n",
            400,
        ),
        ("\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n", 400),
        (&endless, 431),
        (&many, 431),
    ] {
        let mut user = User::of(shared.at).await;
        user.send(request).await;
        let answer = user.answer().await;
        let shown = &request[..request.len().min(200)];
        assert_eq!(answer.status, status, "{shown:?}");
        assert_eq!(user.rest().await, "", "{shown:?}");
        assert_eq!(web.requests().len(), 0, "{shown:?}");
    }
    assert_eq!(web::get(shared.at, "a.test", "/").await.service(), "web");
}

#[tokio::test]
async fn a_body_cannot_be_taken_for_another_request() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let hidden = "GET /hidden HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let body = format!("0\r\n\r\n{hidden}");
    for (first, second) in [
        (
            format!("Content-Length: {}", body.len()),
            "Transfer-Encoding: chunked".to_owned(),
        ),
        (
            "Transfer-Encoding: chunked".to_owned(),
            format!("Content-Length: {}", body.len()),
        ),
    ] {
        let mut user = User::of(shared.at).await;
        user.send(&format!(
            "POST /shown HTTP/1.1\r\nHost: a.test\r\n{first}\r\n{second}\r\n\r\n{body}"
        ))
        .await;
        user.answer().await;
        // Nothing else is read on such a connection, and the next user's request is not mixed up with it.
        assert_eq!(user.rest().await, "");
        let answer = web::get(shared.at, "a.test", "/next").await;
        assert!(answer.shows("GET /next HTTP/1.1"), "{}", answer.body);
    }
    let requests = web.requests().concat();
    assert!(!requests.contains("hidden"), "{requests}");
}

#[tokio::test]
async fn users_who_say_nothing_delay_nobody() {
    let web = Web::start("web").await;
    let shared = one(&web, "").await;
    let mut silent = Vec::new();
    for begin in [
        "",
        "G",
        "GET / HTTP/1.1\r\nHost: a.te",
        "PRI * HTTP/2.0\r\n",
    ] {
        for _ in 0..50 {
            let mut user = User::of(shared.at).await;
            user.send(begin).await;
            silent.push(user);
        }
    }
    let answer = web::get(shared.at, "a.test", "/");
    let answer = within(Duration::from_secs(5), "an answer among them", answer).await;
    assert_eq!(answer.service(), "web");
}

#[tokio::test]
async fn a_proxy_that_is_trusted_says_for_whom_it_forwards() {
    let web = Web::start("web").await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nX-Forwarded-For: 192.0.2.7\r\nX-Forwarded-Proto: https\r\n\
                   X-Forwarded-Host: shop.test\r\nForwarded: proto=https\r\n\r\n";
    for (settings, proto, host, forwarded) in [
        (
            "trustForwardedHeadersFrom = [\"127.0.0.0/8\"]",
            "https",
            "shop.test",
            true,
        ),
        (
            "trustForwardedHeadersFrom = [\"10.0.0.0/8\"]",
            "http",
            "a.test",
            false,
        ),
        ("", "http", "a.test", false),
    ] {
        let shared = published(settings, &[named("http", "web", web.addr(), "a.test")]).await;
        let answer = web::ask(shared.at, request).await;
        for line in [
            "x-forwarded-for: 192.0.2.7, 127.0.0.1",
            &format!("x-forwarded-proto: {proto}"),
            &format!("x-forwarded-host: {host}"),
        ] {
            assert!(answer.shows(line), "{settings} {line}: {}", answer.body);
        }
        assert_eq!(
            answer.shows("forwarded: proto=https"),
            forwarded,
            "{settings}"
        );
    }
    // What it does not say is said for it.
    let trust = "trustForwardedHeadersFrom = [\"127.0.0.1\"]";
    let shared = published(trust, &[named("http", "web", web.addr(), "a.test")]).await;
    let answer = web::get(shared.at, "a.test", "/").await;
    assert!(answer.shows("x-forwarded-proto: http"), "{}", answer.body);
    assert!(answer.shows("x-forwarded-host: a.test"), "{}", answer.body);
}

#[tokio::test]
async fn an_upload_that_the_service_refuses_gets_its_answer() {
    const TRIES: usize = 20;
    let service = service::tcp(async |stream: TcpStream| {
        let mut user = User::on(stream);
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            match user.stream().read_u8().await {
                Ok(byte) => head.push(char::from(byte)),
                Err(_) => return,
            }
        }
        // It is closed with most of the upload unread.
        user.send(
            "HTTP/1.1 413 Payload Too Large\r\nContent-Length: 3\r\nConnection: close\r\n\r\nbig",
        )
        .await;
    })
    .await;
    let tcp = Proxy::tcp("tcp", service.addr());
    let proxies = [named("http", "web", service.addr(), "a.test"), tcp];
    let shared = published("", &proxies).await;
    for at in [shared.at, proxies[1].public()] {
        for _ in 0..TRIES {
            let stream = TcpStream::connect(at).await.unwrap();
            let (read, mut write) = stream.into_split();
            let upload = tokio::spawn(async move {
                let head = "POST / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 20000000\r\n\r\n";
                write.write_all(head.as_bytes()).await.unwrap();
                // Until the answer is there; nothing of it may fail before.
                let piece = vec![b'a'; 64 * 1024];
                for _ in 0..20_000_000 / piece.len() {
                    write.write_all(&piece).await?;
                }
                std::io::Result::Ok(())
            });
            let mut answer = vec![0; 40];
            let mut read = read;
            let got = within(PATIENCE, "an answer", read.read_exact(&mut answer)).await;
            got.unwrap();
            assert!(
                answer.starts_with(b"HTTP/1.1 413 "),
                "{}",
                answer.escape_ascii()
            );
            upload.abort();
        }
    }
}
