//! tcpmux proxies.

use mgrok_lab::{
    PATIENCE, Peer, Proxy, Server, service, service::Service, traffic, web::User, within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{Shared, named, refuses};

const UNAUTHORIZED: &str = "HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"Restricted\"\r\nContent-Length: 0\r\n\r\n";

fn proxy(name: &str, service: &Service, domain: &str) -> Proxy {
    named("tcpmux", name, service.addr(), domain).with("multiplexer = \"httpconnect\"")
}

async fn published(for_server: &str, proxies: &[Proxy]) -> Shared {
    Shared::with("tcpmuxHTTPConnectPort", for_server, proxies).await
}

/// A service that says who it is, then sends everything back.
async fn greeter(name: &'static str) -> Service {
    service::tcp(async move |mut stream: TcpStream| {
        let _ = stream.write_all(name.as_bytes()).await;
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

fn connect(host: &str, credentials: &str) -> String {
    let credentials = match credentials {
        "" => String::new(),
        it => format!("Proxy-Authorization: Basic {it}\r\n"),
    };
    format!("CONNECT {host} HTTP/1.1\r\nHost: of no importance\r\n{credentials}\r\n")
}

/// Expects exactly these bytes.
async fn hears(user: &mut User, expected: &str) {
    let mut got = vec![0; expected.len()];
    let read = user.stream().read_exact(&mut got);
    within(PATIENCE, "an answer", read).await.unwrap();
    assert_eq!(String::from_utf8_lossy(&got), expected);
}

#[tokio::test]
async fn a_request_leads_to_the_service_it_names() {
    let services = [
        greeter("exact").await,
        greeter("wild!").await,
        greeter("other").await,
        greeter("below").await,
    ];
    let proxies = [
        proxy("exact", &services[0], "ssh.A.test"),
        proxy("wild", &services[1], "*.a.test"),
        proxy("other", &services[2], "*").with("transport.useEncryption = true"),
        Proxy::new("tcpmux", "below", services[3].addr())
            .with("multiplexer = \"httpconnect\"\nsubdomain = \"sub\""),
    ];
    let shared = published("subDomainHost = \"tunnel.test\"", &proxies).await;
    for (host, name) in [
        ("ssh.a.test:22", "exact"),
        ("SSH.a.test.:1", "exact"),
        ("ssh.a.test", "exact"),
        ("x.a.test:22", "wild!"),
        ("a.test:22", "other"),
        ("192.0.2.1:22", "other"),
        ("sub.tunnel.test:22", "below"),
    ] {
        let mut user = User::of(shared.at).await;
        user.send(&connect(host, "")).await;
        let ok = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        hears(&mut user, &format!("{ok}{name}")).await;
        traffic::echo(user.stream().get_mut(), 50_000)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn bytes_that_come_with_the_request_are_the_services() {
    let service = greeter("").await;
    let shared = published("", &[proxy("a", &service, "a.test")]).await;
    let mut user = User::of(shared.at).await;
    user.send(&format!("{}SSH-2.0-early", connect("a.test:22", "")))
        .await;
    assert_eq!(user.head().await.status, 200);
    hears(&mut user, "SSH-2.0-early").await;

    // In the smallest pieces, too.
    let mut user = User::of(shared.at).await;
    let stream = user.stream().get_mut();
    for byte in format!("{}SSH", connect("a.test:22", "")).into_bytes() {
        stream.write_all(&[byte]).await.unwrap();
    }
    assert_eq!(user.head().await.status, 200);
    hears(&mut user, "SSH").await;
}

#[tokio::test]
async fn with_passthrough_the_service_answers_the_request() {
    let service = greeter("").await;
    let more = "httpUser = \"ann\"\nhttpPassword = \"key\"";
    let proxies = [proxy("a", &service, "a.test").with(more)];
    let shared = published("tcpmuxPassthrough = true", &proxies).await;
    let mut user = User::of(shared.at).await;
    // ann:key
    let request = connect("a.test:22", "YW5uOmtleQ==");
    user.send(&format!("{request}more")).await;
    hears(&mut user, &format!("{request}more")).await;

    let mut user = User::of(shared.at).await;
    user.send(&connect("a.test:22", "")).await;
    hears(&mut user, UNAUTHORIZED).await;
}

#[tokio::test]
async fn a_wrong_password_gets_a_407_and_nothing_else() {
    let service = greeter("in").await;
    let proxies = [
        proxy("both", &service, "a.test").with("httpUser = \"ann\"\nhttpPassword = \"key\""),
        proxy("password", &service, "b.test").with("httpPassword = \"key\""),
    ];
    let shared = published("", &proxies).await;
    // ann:no, bob:key, :key, ann:key
    let [wrong, other, nameless, right] = ["YW5uOm5v", "Ym9iOmtleQ==", "OmtleQ==", "YW5uOmtleQ=="];
    for (host, credentials, passes) in [
        ("a.test:22", "", false),
        ("a.test:22", wrong, false),
        ("a.test:22", other, false),
        ("a.test:22", nameless, false),
        ("a.test:22", right, true),
        ("b.test:22", "", false),
        ("b.test:22", wrong, false),
        ("b.test:22", nameless, true),
    ] {
        let mut user = User::of(shared.at).await;
        user.send(&connect(host, credentials)).await;
        if passes {
            assert_eq!(user.head().await.status, 200, "{host} {credentials}");
            hears(&mut user, "in").await;
        } else {
            hears(&mut user, UNAUTHORIZED).await;
        }
    }
}

#[tokio::test]
async fn who_asks_without_a_password_may_ask_again_until_told_otherwise() {
    let service = greeter("in").await;
    let more = "httpUser = \"ann\"\nhttpPassword = \"key\"";
    let shared = published("", &[proxy("a", &service, "a.test").with(more)]).await;
    // ann:key
    let (unknown, known) = (
        connect("a.test:22", ""),
        connect("a.test:22", "YW5uOmtleQ=="),
    );
    let mut user = User::of(shared.at).await;
    for _ in 0..3 {
        user.send(&unknown).await;
        hears(&mut user, UNAUTHORIZED).await;
    }
    user.send(&known).await;
    assert_eq!(user.head().await.status, 200);
    hears(&mut user, "in").await;
    // Both at once.
    let mut user = User::of(shared.at).await;
    user.send(&format!("{unknown}{known}SSH")).await;
    hears(&mut user, UNAUTHORIZED).await;
    assert_eq!(user.head().await.status, 200);
    hears(&mut user, "inSSH").await;

    // Not for ever, and not who said that it is the last word.
    let last = unknown.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n");
    for (requests, answers) in [(unknown.repeat(20), 5), (last, 1)] {
        let mut user = User::of(shared.at).await;
        user.send(&requests).await;
        let rest = user.rest().await;
        assert_eq!(rest.matches("HTTP/1.1 407").count(), answers, "{rest}");
        assert_eq!(rest.matches("Connection: close\r\n\r\n").count(), 1);
        assert!(rest.ends_with("Connection: close\r\n\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn users_choose_among_services_of_one_host() {
    let (all, ann) = (greeter("all").await, greeter("ann").await);
    let proxies = [
        proxy("all", &all, "a.test"),
        proxy("ann", &ann, "a.test").with("routeByHTTPUser = \"ann\""),
    ];
    let shared = published("", &proxies).await;
    // ann:x and bob:x
    for (credentials, name) in [("", "all"), ("YW5uOng=", "ann"), ("Ym9iOng=", "all")] {
        let mut user = User::of(shared.at).await;
        user.send(&connect("a.test:22", credentials)).await;
        assert_eq!(user.head().await.status, 200);
        hears(&mut user, name).await;
    }
    let twice = proxy("twice", &all, "A.test").with("routeByHTTPUser = \"ann\"");
    shared.refuses(twice, "router config conflict").await;
}

#[tokio::test]
async fn who_means_no_service_gets_the_page_and_is_shown_out() {
    let service = greeter("").await;
    let directory = tempfile::tempdir().unwrap();
    let page = directory.path().join("404.html");
    let settings = format!("custom404Page = {page:?}");
    let shared = published(&settings, &[proxy("a", &service, "a.test")]).await;
    for text in ["one", "another"] {
        std::fs::write(&page, text).unwrap();
        let mut user = User::of(shared.at).await;
        let answer = user.ask(&connect("b.test:22", "")).await;
        assert_eq!((answer.status, answer.body.as_str()), (404, text));
        assert_eq!(answer.header("content-type"), "text/html");
        assert_eq!(user.rest().await, "");
    }
}

#[tokio::test]
async fn what_is_no_request_to_connect_is_closed_without_a_word() {
    let service = greeter("in").await;
    let shared = published("", &[proxy("a", &service, "a.test")]).await;
    let endless = format!("CONNECT a.test:22 HTTP/1.1\r\nX: {}", "x".repeat(100_000));
    let many = format!(
        "CONNECT a.test:22 HTTP/1.1\r\n{}\r\n",
        "X: y\r\n".repeat(500)
    );
    for request in [
        "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "GET http://a.test/ HTTP/1.1\r\nHost: a.test\r\n\r\n",
        "SSH-2.0-OpenSSH\r\n",
        "connect a.test:22 HTTP/1.1\r\n\r\n",
        "CONNECT a.test:22\r\n\r\n",
        "CONNECT a.test:22 HTTP/1.1\r\nX : y\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01",
        &endless,
        &many,
    ] {
        let mut user = User::of(shared.at).await;
        // It may hang up in the middle of it.
        let _ = user.stream().write_all(request.as_bytes()).await;
        let rest = user.rest().await;
        assert_eq!(rest, "", "{:?}", &request[..request.len().min(100)]);
    }
    let mut user = User::of(shared.at).await;
    user.send(&connect("a.test:22", "")).await;
    assert_eq!(user.head().await.status, 200);
    hears(&mut user, "in").await;
}

#[tokio::test]
async fn without_a_port_for_it_tcpmux_is_refused() {
    let service = greeter("").await;
    let server = Server::start(Peer::Mgrok, "").await;
    let why = "tcpmux with multiplexer httpconnect not supported because this feature is not enabled in server";
    refuses(&server, proxy("a", &service, "a.test"), why).await;
}
