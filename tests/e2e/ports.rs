//! Which public ports clients get.

use mgrok_lab::{Client, Log, Peer, Proxy, Server, ports, service, traffic};

/// The port that the server says it chose for a proxy.
async fn chosen(log: &Log, mark: usize, proxy: &Proxy) -> Proxy {
    let line = format!("[{}] {} proxy listen port [", proxy.name, proxy.kind);
    let found = log.wait_after(mark, &line).await;
    let (_, port) = found.rsplit_once('[').unwrap();
    let port = port.split(']').next().unwrap();
    proxy.clone().at(port.parse().unwrap())
}

#[tokio::test]
async fn the_server_chooses_when_the_client_does_not() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [
        Proxy::tcp("tcp", tcp.addr()).at(0),
        Proxy::udp("udp", udp.addr()).at(0),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let at = chosen(server.log(), 0, &proxies[0]).await.public();
    traffic::tcp_echo(at, 1_000).await;
    let at = chosen(server.log(), 0, &proxies[1]).await.public();
    traffic::udp_echo(at, &[10]).await;
}

#[tokio::test]
async fn a_chosen_port_is_remembered_for_the_name() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::tcp("tcp", echo.addr()).at(0)];
    let mut seen = Vec::new();
    for _ in 0..3 {
        let mark = server.log().mark();
        let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
        seen.push(chosen(server.log(), mark, &proxies[0]).await.remote_port);
        client.stop().await;
        server.log().wait_after(mark, "client exit success").await;
    }
    assert!(seen.iter().all(|port| *port == seen[0]), "{seen:?}");
}

#[tokio::test]
async fn a_chosen_port_is_one_of_the_allowed() {
    let echo = service::tcp_echo().await;
    let [one, other] = ports::several();
    let settings =
        format!("allowPorts = [{{ single = {one} }}, {{ start = {other}, end = {other} }}]");
    let server = Server::start(Peer::Mgrok, &settings).await;
    let proxies = ["a", "b"].map(|name| Proxy::tcp(name, echo.addr()).at(0));
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mut got = [0; 2];
    for (got, proxy) in got.iter_mut().zip(&proxies) {
        *got = chosen(server.log(), 0, proxy).await.remote_port;
    }
    got.sort();
    let mut allowed = [one, other];
    allowed.sort();
    assert_eq!(got, allowed);

    let third = Proxy::tcp("c", echo.addr()).at(0);
    let late = Client::launch(Peer::Mgrok, server.addr(), "", &[third]);
    late.log()
        .wait_for("[c] start error: no available port")
        .await;
}

#[tokio::test]
async fn a_quota_counts_what_a_client_holds_now() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "maxPortsPerClient = 2").await;
    for _ in 0..2 {
        let mark = server.log().mark();
        let proxies = ["a", "b"].map(|name| Proxy::tcp(name, echo.addr()));
        let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
        traffic::tcp_echo(proxies[1].public(), 100).await;
        client.stop().await;
        server.log().wait_after(mark, "client exit success").await;
    }
}

#[tokio::test]
async fn a_port_is_closed_to_users_when_its_client_has_left() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    client.stop().await;
    server.log().wait_for("client exit success").await;
    let refused = tokio::net::TcpStream::connect(proxies[0].public()).await;
    assert_eq!(
        refused.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionRefused
    );
}
