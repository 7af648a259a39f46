//! Either side goes away, and the tunnel comes back.

use mgrok_lab::{Client, Peer, Proxy, Server, link::Link, service, traffic};

use crate::Pair;

for_each_pair!(
    the_server_restarts,
    the_client_restarts,
    the_client_is_killed,
    the_link_falls_silent_with_mux,
    the_link_falls_silent_without_mux,
);

/// Where a peer can be killed, it should be a process.
fn program(peer: Peer) -> Peer {
    match peer {
        Peer::Mgrok => Peer::MgrokProgram,
        other => other,
    }
}

async fn the_server_restarts(pair: Pair) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let proxies = [Proxy::tcp("tcp", tcp.addr()), Proxy::udp("udp", udp.addr())];
    let server = Server::start(program(pair.server), "").await;
    let addr = server.addr();
    let client = Client::start(pair.client, addr, "", &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;

    let mark = client.log().mark();
    drop(server);
    let _server = Server::start_at(program(pair.server), addr, "").await;
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    traffic::udp_echo(proxies[1].public(), &[10]).await;
}

async fn the_client_restarts(pair: Pair) {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("echo", echo.addr())];
    let server = Server::start(pair.server, "").await;
    for _ in 0..3 {
        let mark = server.log().mark();
        let client = Client::start(pair.client, server.addr(), "", &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
        client.stop().await;
        if pair.server == Peer::Frp {
            // frps refuses a name that a dying session still holds.
            server.log().wait_after(mark, "client exit success").await;
        }
    }
}

async fn the_client_is_killed(pair: Pair) {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("echo", echo.addr())];
    let server = Server::start(pair.server, "").await;
    for _ in 0..3 {
        let mark = server.log().mark();
        let client = Client::start(program(pair.client), server.addr(), "", &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 1_000).await;
        drop(client);
        if pair.server == Peer::Frp {
            server.log().wait_after(mark, "client exit success").await;
        }
    }
}

async fn the_link_falls_silent_with_mux(pair: Pair) {
    // Without an answer to its ping, a side gives up after a write timeout on top.
    let settings = "transport.tcpMuxKeepaliveInterval = 1";
    the_link_falls_silent(pair, settings, settings).await;
}

async fn the_link_falls_silent_without_mux(pair: Pair) {
    let server = "transport.tcpMux = false\ntransport.heartbeatTimeout = 3";
    let client = "transport.tcpMux = false\n\
                  transport.heartbeatInterval = 1\ntransport.heartbeatTimeout = 3";
    the_link_falls_silent(pair, server, client).await;
}

async fn the_link_falls_silent(pair: Pair, for_server: &str, for_client: &str) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let proxies = [Proxy::tcp("tcp", tcp.addr()), Proxy::udp("udp", udp.addr())];
    let server = Server::start(pair.server, for_server).await;
    let link = Link::to(server.addr()).await;
    let client = Client::start(pair.client, link.addr(), for_client, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    traffic::udp_echo(proxies[1].public(), &[10]).await;

    let mark = client.log().mark();
    link.break_silently();
    link.mend();
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    traffic::udp_echo(proxies[1].public(), &[10]).await;
}
