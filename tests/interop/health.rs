//! A service that fails its checks is withdrawn, and comes back with its health, as the server's users see it.

use std::net::SocketAddr;

use mgrok_lab::{
    Client, Proxy, Server, eventually, ports,
    service::{self, Service},
    traffic,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

use crate::{
    Pair, Trio,
    http::{self, Connection},
};

for_each_pair!(
    a_port_is_open_while_its_service_accepts,
    a_host_is_there_while_its_service_says_so,
);

const CHECK: &str = "healthCheck.intervalSeconds = 1\nhealthCheck.timeoutSeconds = 1\n\
                     healthCheck.maxFailed = 1";

/// Accepts connections at `addr` and closes them, until aborted.
async fn listen(addr: SocketAddr) -> JoinHandle<()> {
    let listener = TcpListener::bind(addr).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut user, _)) = listener.accept().await {
            let _ = user.write_all(b"here").await;
        }
    })
}

async fn a_port_is_open_while_its_service_accepts(pair: Pair) {
    let server = Server::start(pair.server, "").await;
    let local = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let proxy = Proxy::tcp("checked", local)
        .with("healthCheck.type = \"tcp\"")
        .with(CHECK);
    let public = proxy.public();
    let client = Client::launch(pair.client, server.addr(), "", &[proxy]);
    client.log().wait_for("do one health check failed").await;
    assert!(TcpStream::connect(public).await.is_err(), "not there yet");
    for _ in 0..2 {
        let service = listen(local).await;
        eventually("the service is published", async || {
            traffic::read_all(public)
                .await
                .is_ok_and(|it| it == b"here")
                .then_some(())
        })
        .await;
        service.abort();
        eventually("the port is closed", async || {
            TcpStream::connect(public).await.is_err().then_some(())
        })
        .await;
    }
}

/// Answers every request with the status of the moment, but lets only those in who know the way.
async fn moody(status: watch::Receiver<&'static str>) -> Service {
    service::tcp(move |stream| {
        let status = status.clone();
        async move {
            let mut user = Connection::from(stream);
            while let Ok(Some(request)) = user.receive().await {
                let knows_the_way = request.start == "GET /health?deep=1 HTTP/1.1"
                    && request.header("host") == Some("checked.test")
                    && request.header("x-check") == Some("yes");
                let status = match request.header("x-check") {
                    // Users.
                    None => "200 OK",
                    Some(_) if knows_the_way => *status.borrow(),
                    Some(_) => "400 Bad Request",
                };
                let answer = format!("HTTP/1.1 {status}\r\nContent-Length: 4\r\n\r\nhere");
                if user.send(answer.as_bytes()).await.is_err() {
                    return;
                }
            }
        }
    })
    .await
}

async fn a_host_is_there_while_its_service_says_so(pair: Pair) {
    let port = ports::free();
    let web = SocketAddr::from(([127, 0, 0, 1], port));
    let server = Server::start(pair.server, &format!("vhostHTTPPort = {port}")).await;
    let (status, current) = watch::channel("503 Service Unavailable");
    let site = moody(current).await;
    let proxies = [Proxy::new("http", "checked", site.addr())
        .with("customDomains = [\"web.test\"]\nhealthCheck.type = \"http\"")
        .with("healthCheck.path = \"/health?deep=1\"")
        .with(
            "healthCheck.httpHeaders = [{ name = \"Host\", value = \"checked.test\" }, { name = \"X-Check\", value = \"yes\" }]",
        )
        .with(CHECK)];
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    let answer = async || http::get(web, "web.test", "/", &[]).await.status();
    client.log().wait_for("do one health check failed").await;
    assert_eq!(answer().await, 404, "not there yet");
    for good in ["200 OK", "204 No Content"] {
        status.send_replace(good);
        eventually("the service is published", async || {
            (answer().await == 200).then_some(())
        })
        .await;
        status.send_replace("500 Internal Server Error");
        eventually("the service is withdrawn", async || {
            (answer().await == 404).then_some(())
        })
        .await;
    }
}

mod group {
    //! Members of both makes, of whom one fails.

    use super::*;

    for_each_trio!(an_unhealthy_member_gets_no_users);

    async fn an_unhealthy_member_gets_no_users(trio: Trio) {
        let server = Server::start(trio.server, "").await;
        let local = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let healthy = service::greeting(b"well").await;
        let port = ports::free();
        let group = "loadBalancer.group = \"g\"\nloadBalancer.groupKey = \"key\"";
        let checked = Proxy::tcp("checked", local)
            .at(port)
            .with(group)
            .with("healthCheck.type = \"tcp\"")
            .with(CHECK);
        let other = Proxy::tcp("other", healthy.addr()).at(port).with(group);
        let public = other.public();
        let service = listen(local).await;
        let _checked = Client::start(trio.client, server.addr(), "", &[checked]).await;
        let _other = Client::start(trio.other, server.addr(), "", &[other]).await;
        let reached = async || {
            let mut text = String::new();
            let mut user = TcpStream::connect(public).await.unwrap();
            let read = user.read_to_string(&mut text).await;
            read.is_ok().then_some(text)
        };
        eventually("a user reaches the checked one", async || {
            (reached().await? == "here").then_some(())
        })
        .await;
        let mark = server.log().mark();
        service.abort();
        server
            .log()
            .wait_after(mark, "[checked] proxy closing")
            .await;
        for _ in 0..10 {
            assert_eq!(reached().await.as_deref(), Some("well"));
        }
        let _service = listen(local).await;
        eventually("a user reaches it again", async || {
            (reached().await? == "here").then_some(())
        })
        .await;
    }
}
