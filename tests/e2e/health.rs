//! Health checks: proxies that are there only while their local service is well.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use mgrok_lab::{
    Client, Peer, Proxy, Server, eventually, ports, service,
    service::Service,
    traffic,
    web::{self, User, Web},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use crate::{Shared, named};

const EACH_SECOND: &str = "healthCheck.intervalSeconds = 1\nhealthCheck.timeoutSeconds = 1";

fn checked(proxy: Proxy, kind: &str) -> Proxy {
    proxy.with(&format!("healthCheck.type = \"{kind}\"\n{EACH_SECOND}"))
}

/// An echo service on this port, for as long as the task is not ended.
async fn echo_at(at: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(at).await.unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                let _ = tokio::io::copy(&mut from, &mut to).await;
            });
        }
    })
}

/// Nobody listens there any more.
async fn is_closed(at: SocketAddr) -> bool {
    TcpStream::connect(at).await.is_err()
}

/// A service whose answer to `/health` a test decides.
async fn judged(name: &'static str, is_well: &Arc<AtomicBool>) -> Service {
    let is_well = is_well.clone();
    service::tcp(move |stream: TcpStream| {
        let is_well = is_well.clone();
        async move {
            let mut user = User::on(stream);
            let mut request = vec![0; 1_000];
            while let Ok(read @ 1..) = user.stream().read(&mut request).await {
                let request = String::from_utf8_lossy(&request[..read]).into_owned();
                let fails = request.starts_with("GET /health ") && !is_well.load(Ordering::SeqCst);
                let status = if fails { "503 No" } else { "204 Yes" };
                let answer = format!(
                    "HTTP/1.1 {status}\r\nX-Service: {name}\r\n{}\r\n",
                    match fails {
                        true => "Content-Length: 0\r\n",
                        false => "",
                    }
                );
                let _ = user.stream().write_all(answer.as_bytes()).await;
            }
        }
    })
    .await
}

#[tokio::test]
async fn a_tcp_check_withdraws_a_proxy_and_brings_it_back() {
    let local = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let proxy = checked(Proxy::tcp("tcp", local), "tcp");
    let server = Server::start(Peer::Mgrok, "").await;
    let client = Client::launch(Peer::Mgrok, server.addr(), "", std::slice::from_ref(&proxy));
    let log = client.log();
    // While it has not been well once, it is not announced.
    log.wait_for("[tcp] do one health check failed: ").await;
    assert!(is_closed(proxy.public()).await);
    assert!(
        !log.contains("[tcp] health check failed"),
        "it never was well"
    );

    for _ in 0..2 {
        let mark = log.mark();
        let service = echo_at(local).await;
        for line in [
            "[tcp] health check status change to success",
            "[tcp] health check success",
            "[tcp] start proxy success",
        ] {
            log.wait_after(mark, line).await;
        }
        traffic::tcp_echo(proxy.public(), 1_000).await;

        let mark = log.mark();
        service.abort();
        log.wait_after(mark, "[tcp] do one health check failed: ")
            .await;
        log.wait_after(mark, "[tcp] health check status change to failed")
            .await;
        log.wait_after(mark, "[tcp] health check failed").await;
        eventually("the port is closed", async || {
            is_closed(proxy.public()).await.then_some(())
        })
        .await;
    }
    server.log().wait_for("close proxy [tcp] success").await;
}

#[tokio::test]
async fn an_http_check_asks_as_it_is_told() {
    let web = Web::start("web").await;
    let proxy = checked(Proxy::tcp("web", web.addr()), "http").with(
        "healthCheck.path = \"health?full\"\n\
         healthCheck.httpHeaders = [{ name = \"Host\", value = \"inner.test\" }, { name = \"X-Check\", value = \"1\" }]",
    );
    let server = Server::start(Peer::Mgrok, "").await;
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &[proxy]).await;
    let seen = web.requests()[0].clone();
    assert!(seen.starts_with("GET /health?full HTTP/1.1\n"), "{seen}");
    assert!(seen.contains("host: inner.test\n"), "{seen}");
    assert!(seen.contains("x-check: 1\n"), "{seen}");
}

#[tokio::test]
async fn an_http_check_decides_by_the_status() {
    let is_well = Arc::new(AtomicBool::new(true));
    let web = judged("web", &is_well).await;
    let proxy = named("http", "web", web.addr(), "a.test");
    let proxy =
        checked(proxy, "http").with("healthCheck.path = \"/health\"\nhealthCheck.maxFailed = 2");
    let shared = Shared::with("vhostHTTPPort", "", &[proxy]).await;
    assert_eq!(web::get(shared.at, "a.test", "/").await.status, 204);

    let log = shared.client.log();
    let mark = log.mark();
    is_well.store(false, Ordering::SeqCst);
    log.wait_after(mark, "[web] health check failed").await;
    // Two in a row.
    assert_eq!(log.count("[web] do one health check failed: "), 2);
    shared
        .server
        .log()
        .wait_for("close proxy [web] success")
        .await;
    assert_eq!(web::get(shared.at, "a.test", "/").await.status, 404);

    let mark = log.mark();
    is_well.store(true, Ordering::SeqCst);
    log.wait_after(mark, "[web] health check success").await;
    log.wait_after(mark, "[web] start proxy success").await;
    assert_eq!(web::get(shared.at, "a.test", "/").await.status, 204);
}

#[tokio::test]
async fn a_service_that_does_not_answer_in_time_is_not_well() {
    let silent = service::silent().await;
    let proxy = checked(Proxy::tcp("web", silent.addr()), "http").with("healthCheck.path = \"/\"");
    let server = Server::start(Peer::Mgrok, "").await;
    let client = Client::launch(Peer::Mgrok, server.addr(), "", &[proxy]);
    client
        .log()
        .wait_for("[web] do one health check failed: no answer within 1s")
        .await;
}

#[tokio::test]
async fn a_member_that_is_not_well_leaves_its_group() {
    let [first, second] = [(); 2].map(|()| Arc::new(AtomicBool::new(true)));
    let webs = [judged("a", &first).await, judged("b", &second).await];
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {port}")).await;
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let proxies = [("a", &webs[0]), ("b", &webs[1])].map(|(name, web)| {
        checked(named("http", name, web.addr(), "a.test"), "http").with(
            "healthCheck.path = \"/health\"\nloadBalancer.group = \"g\"\nloadBalancer.groupKey = \"k\"",
        )
    });
    let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let services = async || {
        let mut services = std::collections::BTreeSet::new();
        for _ in 0..10 {
            let answer = web::get(at, "a.test", "/").await;
            assert_eq!(answer.status, 204);
            services.insert(answer.service().to_owned());
        }
        services.into_iter().collect::<Vec<_>>()
    };
    eventually("both serve", async || {
        (services().await == ["a", "b"]).then_some(())
    })
    .await;
    first.store(false, Ordering::SeqCst);
    client.log().wait_for("[a] health check failed").await;
    server.log().wait_for("close proxy [a] success").await;
    assert_eq!(services().await, ["b"]);
    let mark = client.log().mark();
    first.store(true, Ordering::SeqCst);
    client
        .log()
        .wait_after(mark, "[a] start proxy success")
        .await;
    eventually("both serve again", async || {
        (services().await == ["a", "b"]).then_some(())
    })
    .await;
}
