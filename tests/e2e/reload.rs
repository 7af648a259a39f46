//! Reloads of both ends while users stay.

use std::net::SocketAddr;

use mgrok_lab::{Client, PATIENCE, Peer, Proxy, Server, ports, service, traffic, within};
use rustix::process::{Pid, Signal, kill_process};
use tokio::net::TcpStream;

/// Set to `full`, it is 1,000 users and 50 reloads.
const SIZE: &str = "MGROK_RELOAD_TEST";

fn size() -> (usize, usize) {
    match std::env::var(SIZE).as_deref() {
        Ok("full") => (1_000, 50),
        _ => (100, 10),
    }
}

/// Has a program read its file again.
pub(crate) fn hang_up(pid: Option<u32>) {
    let pid = pid.and_then(|it| Pid::from_raw(it.cast_signed())).unwrap();
    kill_process(pid, Signal::HUP).unwrap();
}

/// Proxies that stay, one that changes with each reload, and one of every two that is there.
fn proxies(kept: &[Proxy], changing: &Proxy, passing: &Proxy, round: usize) -> Vec<Proxy> {
    let mut proxies = kept.to_vec();
    let changed = format!("transport.bandwidthLimit = \"{}MB\"", 100 + round);
    proxies.push(changing.clone().with(&changed));
    if round % 2 == 1 {
        proxies.push(passing.clone());
    }
    proxies
}

#[tokio::test]
async fn reloads_of_both_ends_cut_nobody_whose_proxy_stays() {
    let (users, rounds) = size();
    let echo = service::tcp_echo().await;
    let kept: Vec<_> = (0..4)
        .map(|number| Proxy::tcp(format!("kept{number}"), echo.addr()))
        .collect();
    let changing = Proxy::tcp("changing", echo.addr());
    let passing = Proxy::tcp("passing", echo.addr());
    let server = Server::start(Peer::MgrokProgram, "").await;
    let of_round = |round| proxies(&kept, &changing, &passing, round);
    let client = Client::start(Peer::MgrokProgram, server.addr(), "", &of_round(0)).await;

    let mut streams = Vec::new();
    for number in 0..users {
        let public: SocketAddr = kept[number % kept.len()].public();
        let mut user = TcpStream::connect(public).await.unwrap();
        within(PATIENCE, "an echo", traffic::echo(&mut user, 100))
            .await
            .unwrap();
        streams.push(user);
    }
    let vhost = ports::free();
    for round in 1..=rounds {
        let more = match round % 2 {
            1 => format!("vhostHTTPPort = {vhost}"),
            _ => format!("userConnTimeout = {}", 10 + round),
        };
        let mark = server.log().mark();
        server.rewrite(&more);
        hang_up(server.pid());
        server.log().wait_after(mark, "reloaded: ").await;
        let mark = client.log().mark();
        client.rewrite(server.addr(), "", &of_round(round));
        hang_up(client.pid());
        let line = client.log().wait_after(mark, "reloaded: ").await;
        let expect = match round % 2 {
            1 => "1 proxies added, 1 changed, 0 removed",
            _ => "0 proxies added, 1 changed, 1 removed",
        };
        assert!(line.contains(expect), "{line}");
        client
            .log()
            .wait_after(mark, "[changing] start proxy success")
            .await;
        // The new ones serve, and some of the others do.
        within(
            PATIENCE,
            "an echo",
            traffic::try_tcp_echo(changing.public(), 100),
        )
        .await
        .unwrap();
        let chosen = streams.len() / rounds.max(1);
        for user in streams.iter_mut().skip(round % 7).take(chosen) {
            within(PATIENCE, "an echo", traffic::echo(user, 100))
                .await
                .unwrap();
        }
    }
    for user in &mut streams {
        let echoed = within(PATIENCE, "an echo", traffic::echo(user, 100)).await;
        echoed.expect("a user of a proxy that stays was cut");
    }
    assert_eq!(streams.len(), users);
    assert_eq!(client.log().count("login to server success"), 1);
}

#[tokio::test]
async fn a_proxy_whose_port_another_has_is_refused_alone() {
    let echo = service::tcp_echo().await;
    let [first, other] = ["first", "other"].map(|name| Proxy::tcp(name, echo.addr()));
    let second = Proxy::tcp("second", echo.addr()).at(first.remote_port);
    let server = Server::start(Peer::MgrokProgram, "").await;
    let alone = [first.clone()];
    let client = Client::start(Peer::MgrokProgram, server.addr(), "", &alone).await;
    let mut user = TcpStream::connect(first.public()).await.unwrap();
    let echoed = within(PATIENCE, "an echo", traffic::echo(&mut user, 100));
    echoed.await.unwrap();

    let mark = client.log().mark();
    let all = [first.clone(), second, other.clone()];
    client.rewrite(server.addr(), "", &all);
    hang_up(client.pid());
    let warning = "is the port of the proxy \"first\" already: choose another";
    client.log().wait_after(mark, warning).await;
    client
        .log()
        .wait_after(mark, "2 proxies added, 0 changed, 0 removed")
        .await;
    client
        .log()
        .wait_after(mark, "[other] start proxy success")
        .await;
    let refused = "[second] start error: port already used";
    client.log().wait_after(mark, refused).await;
    for proxy in [&first, &other] {
        let echoed = traffic::try_tcp_echo(proxy.public(), 100);
        within(PATIENCE, "an echo", echoed).await.unwrap();
    }
    let stayed = within(PATIENCE, "an echo", traffic::echo(&mut user, 100)).await;
    stayed.expect("the user of the proxy that was there first was cut");
}
