//! A client of several servers: the first that answers, the next when it is lost, or all at once.

use std::{
    net::SocketAddr,
    slice,
    time::{Duration, Instant},
};

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, eventually, ports, service, traffic};

/// Servers at addresses of their own, so that each can publish at the same port.
fn addrs() -> [SocketAddr; 2] {
    [1, 2].map(|host| ([127, 0, 0, host], ports::free()).into())
}

fn settings([first, second]: [SocketAddr; 2]) -> String {
    format!("serverAddrs = [\"{first}\", \"{second}\"]\nlog.level = \"debug\"")
}

async fn server(addr: SocketAddr) -> Server {
    Server::start_at(Peer::Mgrok, addr, "").await
}

/// Where users of a server find the proxy.
fn public(server: SocketAddr, proxy: &Proxy) -> SocketAddr {
    (server.ip(), proxy.remote_port).into()
}

#[tokio::test]
async fn the_next_server_takes_over_when_the_first_is_lost() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("echo", echo.addr());
    let addrs = addrs();
    let first = Server::start_at(Peer::MgrokProgram, addrs[0], "").await;
    let _second = server(addrs[1]).await;
    let settings = settings(addrs);
    let proxies = [proxy.clone()];
    let client = Client::start(Peer::Mgrok, addrs[0], &settings, &proxies).await;
    traffic::tcp_echo(public(addrs[0], &proxy), 100_000).await;
    assert!(traffic::is_refused(public(addrs[1], &proxy)).await);

    // Users come all the time, to whoever serves them.
    let mark = client.log().mark();
    let lost = Instant::now();
    drop(first);
    eventually("service at the second server", async || {
        let served = traffic::try_tcp_echo(public(addrs[1], &proxy), 1_000).await;
        served.ok()
    })
    .await;
    let took = lost.elapsed();
    println!("service at the second server {took:.1?} after the first was killed");
    client.ready(mark).await;
}

#[tokio::test]
async fn a_server_that_is_down_is_passed_over_at_the_start() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("echo", echo.addr());
    let addrs = addrs();
    let _second = server(addrs[1]).await;
    let settings = settings(addrs);
    let _client = Client::start(Peer::Mgrok, addrs[0], &settings, slice::from_ref(&proxy)).await;
    traffic::tcp_echo(public(addrs[1], &proxy), 1_000).await;
}

#[tokio::test]
async fn all_servers_are_published_on_at_once() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("echo", echo.addr());
    let addrs = addrs();
    let first = server(addrs[0]).await;
    let second = server(addrs[1]).await;
    let settings = settings(addrs) + "\nconnectAll = true";
    let client = Client::launch(Peer::Mgrok, addrs[0], &settings, slice::from_ref(&proxy));
    let started = "[echo] start proxy success";
    client.log().wait_for_times(0, started, 2).await;
    for addr in addrs {
        traffic::tcp_echo(public(addr, &proxy), 1_000).await;
    }
    // One of them goes, and comes back; the other does not mind.
    let mark = client.log().mark();
    assert_eq!(first.stop().await, Ended::Well);
    traffic::tcp_echo(public(addrs[1], &proxy), 1_000).await;
    let first = server(addrs[0]).await;
    client.log().wait_after(mark, started).await;
    for addr in addrs {
        traffic::tcp_echo(public(addr, &proxy), 1_000).await;
    }
    drop((first, second));
}

#[tokio::test]
async fn a_client_of_all_servers_starts_if_one_of_them_lets_it_in() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("echo", echo.addr());
    let addrs = addrs();
    let second = server(addrs[1]).await;
    let settings = settings(addrs) + "\nconnectAll = true";
    let client = Client::start(Peer::Mgrok, addrs[0], &settings, slice::from_ref(&proxy)).await;
    client.log().wait_for("connect to server error").await;
    traffic::tcp_echo(public(addrs[1], &proxy), 1_000).await;
    // The other may come later.
    let _first = server(addrs[0]).await;
    client
        .log()
        .wait_for_times(0, "[echo] start proxy success", 2)
        .await;
    traffic::tcp_echo(public(addrs[0], &proxy), 1_000).await;
    drop(second);
}

#[tokio::test]
async fn a_client_that_no_server_lets_in_says_what_each_of_them_said() {
    for connect_all in [false, true] {
        let addrs = addrs();
        let _second = Server::start_at(Peer::Mgrok, addrs[1], "auth.token = \"another\"").await;
        let settings = settings(addrs) + &format!("\nconnectAll = {connect_all}");
        let mut client = Client::launch(Peer::Mgrok, addrs[0], &settings, &[]);
        assert_eq!(client.ended().await, Ended::Badly);
        for said in [
            &format!("cannot connect to {}", addrs[0]),
            "token in login doesn't match token from configuration",
        ] {
            assert!(
                client.log().contains(said),
                "{said}: {}",
                client.log().tail()
            );
        }
    }
}

/// Nothing waits for a server that is silent rather than down.
#[tokio::test]
async fn a_server_that_does_not_answer_is_passed_over_soon() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("echo", echo.addr());
    let silent = service::silent().await;
    let [_, second] = addrs();
    let _second = server(second).await;
    let settings = settings([silent.addr(), second]);
    let started = Instant::now();
    let _client = Client::start(Peer::Mgrok, second, &settings, slice::from_ref(&proxy)).await;
    // It would be given ten seconds if it were the only one.
    assert!(started.elapsed() < Duration::from_secs(8));
    traffic::tcp_echo(public(second, &proxy), 1_000).await;
}
