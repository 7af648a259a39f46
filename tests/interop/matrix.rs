//! Every combination of the switches that change what crosses the wire.

use mgrok_lab::{
    Client, Peer, Proxy, Server,
    service::{self, Service},
    traffic,
};
use tokio::task::JoinSet;

use crate::{LONG, Pair, arriving, layers_and_limits};

for_each_pair!(
    mux_and_tls,
    mux_without_tls,
    tls_without_mux,
    neither_mux_nor_tls,
);

async fn mux_and_tls(pair: Pair) {
    all_proxies(pair, true, true).await;
}

async fn mux_without_tls(pair: Pair) {
    all_proxies(pair, true, false).await;
}

async fn tls_without_mux(pair: Pair) {
    all_proxies(pair, false, true).await;
}

async fn neither_mux_nor_tls(pair: Pair) {
    all_proxies(pair, false, false).await;
}

const POOLS: [&str; 2] = ["", "transport.poolCount = 5"];

/// One server, and for each pool size one client that publishes every kind of proxy.
async fn all_proxies(pair: Pair, mux: bool, tls: bool) {
    let mux = format!("transport.tcpMux = {mux}\nauth.token = \"matrix\"");
    let server = Server::start(pair.server, &mux).await;
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    for pool in POOLS {
        let settings = format!("{mux}\ntransport.tls.enable = {tls}\n{pool}");
        let proxies = proxies(&tcp, &udp);
        let client = Client::start(pair.client, server.addr(), &settings, &proxies).await;
        use_all(&proxies, arriving(&[pair.server, pair.client])).await;
        if pair.server == Peer::Frp {
            // frps leaves connections open whose bandwidth it limits, and mgrokc would wait for their users.
            drop(client);
        } else {
            client.stop().await;
        }
        for proxy in &proxies {
            let gone = format!("[{}] proxy closing", proxy.name);
            server.log().wait_for(&gone).await;
        }
    }
}

fn proxies(tcp: &Service, udp: &Service) -> Vec<Proxy> {
    let mut proxies = Vec::new();
    for (name, lines) in layers_and_limits() {
        for proxy in [
            Proxy::tcp(format!("tcp-{name}"), tcp.addr()),
            Proxy::udp(format!("udp-{name}"), udp.addr()),
        ] {
            proxies.push(proxy.with(&lines));
        }
    }
    proxies
}

async fn use_all(proxies: &[Proxy], arriving: usize) {
    let mut uses = JoinSet::new();
    for proxy in proxies {
        let public = proxy.public();
        let limited = proxy.more.contains("bandwidthLimit");
        match proxy.kind {
            "tcp" => uses.spawn(use_tcp(public, limited)),
            _ => uses.spawn(use_udp(public, arriving)),
        };
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
}

async fn use_tcp(public: std::net::SocketAddr, limited: bool) {
    let sizes: &[u64] = match limited {
        true => &[1, 300_000],
        false => &[1, 65_536, 3_000_001],
    };
    for &size in sizes {
        traffic::tcp_echo(public, size).await;
    }
    // Several at once share one session.
    let (one, other) = (
        traffic::tcp_echo(public, 100_000),
        traffic::tcp_echo(public, 100_000),
    );
    tokio::join!(one, other);
}

async fn use_udp(public: std::net::SocketAddr, arriving: usize) {
    traffic::udp_echo(public, &[1, 0, 100, 1_400, 1_500]).await;
    let mut user = traffic::UdpUser::of(public).await;
    user.echo(LONG, arriving).await;
}
