//! Sessions with more connections than one (`transport.tcpMuxConnections`).

use std::net::SocketAddr;

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, eventually, link::Link, service, traffic, within,
};
use tokio::net::TcpStream;

use crate::admin::{admin_port, get};

/// Users who are held, spread over as many connections.
const USERS: usize = 8;
const LINKS: usize = 4;

/// How many connections the client says that its session has.
async fn links(admin: SocketAddr) -> u64 {
    let (_, body) = get(admin, "/api/v2/state", "").await;
    let state: serde_json::Value = serde_json::from_str(&body).unwrap();
    state["data"]["servers"][0]["links"].as_u64().unwrap_or(0)
}

async fn all_are_there(admin: SocketAddr) {
    eventually("all connections are there", async || {
        (links(admin).await == LINKS as u64).then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_lost_connection_takes_only_its_own_users() {
    let echo = service::tcp_echo().await;
    for settings in [
        "",
        "transport.protocol = \"websocket\"\ntransport.tls.enable = false",
    ] {
        let proxies = [Proxy::tcp("tcp", echo.addr())];
        let server = Server::start(Peer::Mgrok, "").await;
        let network = Link::to(server.addr()).await;
        let (admin, with_admin) = admin_port();
        let settings = format!("transport.tcpMuxConnections = {LINKS}\n{with_admin}\n{settings}");
        let client = Client::start(Peer::Mgrok, network.addr(), &settings, &proxies).await;
        all_are_there(admin).await;
        let mut users = Vec::new();
        for _ in 0..USERS {
            let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
            traffic::echo(&mut user, 1_000).await.unwrap();
            users.push(user);
        }
        network.reset_all_but_the_first();
        for number in 2..=LINKS {
            let line = format!("connection {number} of the session is lost");
            client.log().wait_for(&line).await;
        }
        let mut left = 0;
        for mut user in users {
            let echoed = traffic::echo(&mut user, 1_000);
            left += usize::from(within(PATIENCE, "an end", echoed).await.is_ok());
        }
        // The control stream and a work connection in store are somewhere, too.
        assert!((1..=USERS / 2).contains(&left), "{left} are left");
        assert!(!client.log().contains("this ends the session"));
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
        all_are_there(admin).await;
        client.stop().await;
    }
}

#[tokio::test]
async fn one_bulk_user_goes_over_all_connections_and_ends_with_any() {
    const BULK: u64 = 24 << 20;
    let echo = service::tcp_echo().await;
    let proxies = [
        Proxy::tcp("tcp", echo.addr()),
        Proxy::tcp("layers", echo.addr())
            .with("transport.useEncryption = true\ntransport.useCompression = true"),
    ];
    let server = Server::start(Peer::Mgrok, "").await;
    let network = Link::to(server.addr()).await;
    let (admin, with_admin) = admin_port();
    let settings = format!("transport.tcpMuxConnections = {LINKS}\n{with_admin}");
    let client = Client::start(Peer::Mgrok, network.addr(), &settings, &proxies).await;
    all_are_there(admin).await;
    for proxy in &proxies {
        let before = network.carried();
        let mut user = TcpStream::connect(proxy.public()).await.unwrap();
        traffic::echo(&mut user, BULK).await.unwrap();
        let after = network.carried();
        let grown: Vec<u64> = after.iter().zip(before).map(|(it, was)| it - was).collect();
        // Those that are busy with others carry less; the first MiBs went over one.
        let shares = grown.iter().filter(|&&it| it > 256 << 10).count();
        assert_eq!(shares, LINKS, "{grown:?}");
        // It is as good as before for what is no bulk, and after a pause.
        traffic::echo(&mut user, 1_000).await.unwrap();
        network.reset_all_but_the_first();
        let echoed = traffic::echo(&mut user, BULK);
        let ended = within(PATIENCE, "an end", echoed).await;
        assert!(ended.is_err(), "three of its connections are lost");
        // Who comes before both ends have noticed may go with them.
        eventually("the next user is served", async || {
            let mut user = TcpStream::connect(proxy.public()).await.ok()?;
            traffic::echo(&mut user, 1_000).await.ok()
        })
        .await;
        all_are_there(admin).await;
    }
    client.stop().await;
}

#[tokio::test]
async fn what_does_not_fit_more_connections_says_so_by_name() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let settings = "transport.tcpMuxConnections = 3\ntransport.wireProtocol = \"v1\"";
    let client = Client::start(Peer::Mgrok, server.addr(), settings, &proxies).await;
    let line = "transport.tcpMuxConnections has no effect: it needs wire protocol v2";
    client.log().wait_for(line).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
}

#[cfg(target_os = "linux")] // where the table of connections can be read
#[tokio::test]
async fn the_end_of_a_session_ends_all_its_connections() {
    let server = Server::start(Peer::Mgrok, "").await;
    let (admin, with_admin) = admin_port();
    let settings = format!("transport.tcpMuxConnections = {LINKS}\n{with_admin}");
    let client = Client::start(Peer::Mgrok, server.addr(), &settings, &[]).await;
    let line = format!("admin server listen on {admin}");
    client.log().wait_for(&line).await;
    all_are_there(admin).await;
    let port = server.addr().port();
    assert!(connections_to(port) >= LINKS);
    client.stop().await;
    eventually("all connections are closed", async || {
        (connections_to(port) == 0).then_some(())
    })
    .await;
}

/// How many connections to `port` live on this machine.
#[cfg(target_os = "linux")]
fn connections_to(port: u16) -> usize {
    let remote = format!(":{port:04X}");
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let lines = table.lines().map(|line| line.split_whitespace());
    let living = lines.filter(|line| {
        let mut fields = line.clone().skip(2);
        fields.next().is_some_and(|it| it.ends_with(&remote)) && fields.next() == Some("01")
    });
    living.count()
}
