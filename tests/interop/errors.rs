//! What the server refuses, in the words that frp's users know.

use std::net::{Ipv4Addr, TcpListener};

use mgrok_lab::{Client, Ended, Proxy, Server, ports, service};

use crate::Pair;

for_each_pair!(
    a_wrong_token_ends_the_client,
    a_port_of_another_proxy_is_refused,
    a_port_of_another_program_is_refused,
    a_port_that_is_not_allowed_is_refused,
    a_name_that_is_taken_is_refused,
    a_proxy_over_the_quota_is_refused,
    details_stay_on_the_server_when_it_is_told_so,
    a_kind_that_the_server_does_not_offer_is_refused,
);

async fn a_wrong_token_ends_the_client(pair: Pair) {
    let server = Server::start(pair.server, "auth.token = \"right\"").await;
    let mut client = Client::launch(pair.client, server.addr(), "auth.token = \"wrong\"", &[]);
    let why = "token in login doesn't match token from configuration";
    client.log().wait_for(why).await;
    assert_eq!(client.ended().await, Ended::Badly);
    server.log().wait_for(why).await;
}

async fn a_port_of_another_proxy_is_refused(pair: Pair) {
    let echo = service::tcp_echo().await;
    let server = Server::start(pair.server, "").await;
    let first = Proxy::tcp("first", echo.addr());
    let second = Proxy::tcp("second", echo.addr()).at(first.remote_port);
    let _client = Client::start(pair.client, server.addr(), "", &[first]).await;
    let late = Client::launch(pair.client, server.addr(), "", &[second]);
    late.log()
        .wait_for("[second] start error: port already used")
        .await;
}

async fn a_port_of_another_program_is_refused(pair: Pair) {
    let server = Server::start(pair.server, "").await;
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let taken = taken.local_addr().map(|addr| (taken, addr)).unwrap();
    let proxy = Proxy::tcp("late", taken.1).at(taken.1.port());
    let client = Client::launch(pair.client, server.addr(), "", &[proxy]);
    client
        .log()
        .wait_for("[late] start error: port unavailable")
        .await;
}

async fn a_port_that_is_not_allowed_is_refused(pair: Pair) {
    let echo = service::tcp_echo().await;
    let [allowed, other] = ports::several();
    let settings = format!("allowPorts = [{{ single = {allowed} }}]");
    let server = Server::start(pair.server, &settings).await;
    let proxies = [
        Proxy::tcp("allowed", echo.addr()).at(allowed),
        Proxy::tcp("other", echo.addr()).at(other),
    ];
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    client.log().wait_for("[allowed] start proxy success").await;
    client
        .log()
        .wait_for("[other] start error: port not allowed")
        .await;
}

async fn a_name_that_is_taken_is_refused(pair: Pair) {
    let echo = service::tcp_echo().await;
    let server = Server::start(pair.server, "").await;
    let twice = || Proxy::tcp("twice", echo.addr());
    let _client = Client::start(pair.client, server.addr(), "", &[twice()]).await;
    let late = Client::launch(pair.client, server.addr(), "", &[twice()]);
    late.log()
        .wait_for("[twice] start error: proxy [twice] already exists")
        .await;
    // The user is part of the name, so that two users never collide.
    let _user = Client::start(pair.client, server.addr(), "user = \"ann\"", &[twice()]).await;
}

async fn a_proxy_over_the_quota_is_refused(pair: Pair) {
    let echo = service::tcp_echo().await;
    let server = Server::start(pair.server, "maxPortsPerClient = 1").await;
    let proxies = [
        Proxy::tcp("one", echo.addr()),
        Proxy::udp("two", echo.addr()),
    ];
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    client.log().wait_for("start proxy success").await;
    client
        .log()
        .wait_for("start error: exceed the max_ports_per_client")
        .await;
}

async fn details_stay_on_the_server_when_it_is_told_so(pair: Pair) {
    let echo = service::tcp_echo().await;
    let settings = "detailedErrorsToClient = false\nauth.token = \"right\"\nmaxPortsPerClient = 1";
    let server = Server::start(pair.server, settings).await;
    let proxies = [
        Proxy::tcp("one", echo.addr()),
        Proxy::tcp("two", echo.addr()),
    ];
    let client = Client::launch(
        pair.client,
        server.addr(),
        "auth.token = \"right\"",
        &proxies,
    );
    let refused = client.log().wait_for("start error: ").await;
    assert!(refused.contains("start error: new proxy ["), "{refused}");
    assert!(!refused.contains("exceed"), "{refused}");

    let stranger = Client::launch(pair.client, server.addr(), "auth.token = \"wrong\"", &[]);
    let refused = stranger.log().wait_for("register control error").await;
    assert!(!refused.contains("token in login"), "{refused}");
    server.log().wait_for("token in login doesn't match").await;
}

async fn a_kind_that_the_server_does_not_offer_is_refused(pair: Pair) {
    if pair.client != mgrok_lab::Peer::Frp {
        // Only frp's client has kinds that a server may lack.
        return;
    }
    let echo = service::tcp_echo().await;
    let server = Server::start(pair.server, "").await;
    let mut web = Proxy::tcp("web", echo.addr()).with("customDomains = [\"web.test\"]");
    web.kind = "http";
    let tcp = Proxy::tcp("tcp", echo.addr());
    let client = Client::launch(pair.client, server.addr(), "", &[tcp, web]);
    client
        .log()
        .wait_for("[web] start error: type [http] not supported")
        .await;
    client.log().wait_for("[tcp] start proxy success").await;
}
