//! Through an outbound proxy that wants to know who asks.

use mgrok_lab::{Client, Peer, Proxy, Server, outbound::ConnectProxy, service, traffic};

async fn leads_through(protocol: &str, more: &str) {
    let proxy = ConnectProxy::for_user("alice:secret").await;
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let proxies = [Proxy::tcp("tcp", tcp.addr()), Proxy::udp("udp", udp.addr())];
    let server = Server::start(Peer::Mgrok, more).await;
    let url = proxy.url();
    let settings =
        format!("transport.protocol = {protocol:?}\ntransport.proxyURL = {url:?}\n{more}");
    let _client = Client::start(Peer::Mgrok, server.addr(), &settings, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 1_000_000).await;
    traffic::udp_echo(proxies[1].public(), &[1, 1_400]).await;
    assert!(proxy.tunnels() > 0, "it went past the proxy");
}

#[tokio::test]
async fn leads_to_the_server() {
    leads_through("tcp", "").await;
}

#[tokio::test]
async fn carries_each_stream_when_they_share_no_connection() {
    leads_through("tcp", "transport.tcpMux = false").await;
}

#[tokio::test]
async fn carries_websocket() {
    leads_through("websocket", "").await;
    leads_through("wss", "").await;
}
