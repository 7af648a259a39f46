//! Sessions that follow one another.

use std::time::Instant;

use mgrok_lab::{Client, Peer, Proxy, Server, link::Link, service, traffic};

#[tokio::test]
async fn a_restarted_client_has_its_port_back_at_once() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::Mgrok, "").await;
    let start = Instant::now();
    for _ in 0..10 {
        let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 100).await;
        // Dropped without a goodbye; the next one follows without a pause.
    }
    let elapsed = start.elapsed();
    assert!(elapsed.as_secs() < 10, "{elapsed:?}");
}

#[tokio::test]
async fn a_client_that_reconnects_replaces_its_silent_session() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let proxies = [Proxy::tcp("tcp", tcp.addr()), Proxy::udp("udp", udp.addr())];
    // Only the client looks: the server still believes in the old session.
    let server = Server::start(Peer::Mgrok, "transport.tcpMuxKeepaliveInterval = 300").await;
    let link = Link::to(server.addr()).await;
    let settings = "transport.tcpMuxKeepaliveInterval = 1";
    let client = Client::start(Peer::Mgrok, link.addr(), settings, &proxies).await;
    traffic::udp_echo(proxies[1].public(), &[10]).await;
    let mark = client.log().mark();
    link.break_silently();
    link.mend();
    client.ready(mark).await;
    server.log().wait_for("replaced by client").await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    traffic::udp_echo(proxies[1].public(), &[10]).await;
}

#[tokio::test]
async fn one_client_id_is_online_once() {
    let server = Server::start(Peer::Mgrok, "").await;
    let echo = service::tcp_echo().await;
    let settings = "user = \"ann\"\nclientID = \"laptop\"";
    let start = |name| {
        let proxies = [Proxy::tcp(name, echo.addr())];
        Client::launch(Peer::Mgrok, server.addr(), settings, &proxies)
    };
    let first = start("first");
    first.ready(0).await;
    let mut second = start("second");
    second
        .log()
        .wait_for("client_id [laptop] for user [ann] is already online")
        .await;
    second.ended().await;
    first.stop().await;
    server.log().wait_for("client exit success").await;
    start("third").ready(0).await;
}
