//! What the server refuses, in the words that frp's users know.

use std::net::{Ipv4Addr, TcpListener};

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, ports, service};

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
    a_name_that_is_not_the_clients_to_take_is_refused,
    a_subdomain_of_nothing_is_refused,
    a_route_that_is_taken_is_refused,
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
    let echo = service::tcp_echo().await;
    let server = Server::start(pair.server, "").await;
    let domain = "customDomains = [\"web.test\"]";
    let proxies = [
        Proxy::tcp("tcp", echo.addr()),
        Proxy::new("http", "http", echo.addr()).with(domain),
        Proxy::new("https", "https", echo.addr()).with(domain),
        Proxy::new("tcpmux", "tcpmux", echo.addr())
            .with("multiplexer = \"httpconnect\"")
            .with(domain),
    ];
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    are_refused(
        &client,
        &[
            ("http", "type [http] not supported when vhost http port is not set"),
            ("https", "type [https] not supported when vhost https port is not set"),
            (
                "tcpmux",
                "tcpmux with multiplexer httpconnect not supported because this feature is not enabled in server",
            ),
        ],
    )
    .await;
    client.log().wait_for("[tcp] start proxy success").await;
}

/// Waits until the client hears, in these words, that it does not get what it wants.
async fn are_refused(client: &Client, refusals: &[(&str, &str)]) {
    for (name, why) in refusals {
        let line = format!("[{name}] start error: {why}");
        client.log().wait_for(&line).await;
    }
}

/// A server with every port that users share.
async fn with_every_vhost(peer: Peer, more: &str) -> Server {
    let [http, https, tcpmux] = ports::several();
    let settings = format!(
        "vhostHTTPPort = {http}\nvhostHTTPSPort = {https}\ntcpmuxHTTPConnectPort = {tcpmux}\n{more}"
    );
    Server::start(peer, &settings).await
}

/// One proxy of each kind that users find by name, with the kind as its name.
fn of_each_named_kind(more: &str) -> [Proxy; 3] {
    let nobody = ([127, 0, 0, 1], 9).into();
    ["http", "https", "tcpmux"].map(|kind| {
        let proxy = Proxy::new(kind, kind, nobody).with(more);
        match kind {
            "tcpmux" => proxy.with("multiplexer = \"httpconnect\""),
            _ => proxy,
        }
    })
}

async fn a_name_that_is_not_the_clients_to_take_is_refused(pair: Pair) {
    let server = with_every_vhost(pair.server, "subDomainHost = \"sub.test\"").await;
    let proxies = of_each_named_kind("customDomains = [\"free.test\", \"a.sub.test\"]");
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    let why = "custom domain [a.sub.test] should not belong to subdomain host [sub.test]";
    are_refused(
        &client,
        &["http", "https", "tcpmux"].map(|kind| (kind, why)),
    )
    .await;
}

async fn a_subdomain_of_nothing_is_refused(pair: Pair) {
    let server = with_every_vhost(pair.server, "").await;
    let proxies = of_each_named_kind("subdomain = \"a\"");
    let client = Client::launch(pair.client, server.addr(), "", &proxies);
    let why = "subdomain is not supported because this feature is not enabled in server";
    are_refused(
        &client,
        &["http", "https", "tcpmux"].map(|kind| (kind, why)),
    )
    .await;
}

async fn a_route_that_is_taken_is_refused(pair: Pair) {
    let server = with_every_vhost(pair.server, "subDomainHost = \"sub.test\"").await;
    let taken = "customDomains = [\"taken.test\"]\nsubdomain = \"taken\"";
    let _first = Client::start(pair.client, server.addr(), "", &of_each_named_kind(taken)).await;
    // What one has is not another's, whatever else is asked for.
    let ways = [
        "customDomains = [\"free.test\", \"TAKEN.test\"]",
        "subdomain = \"taken\"",
    ];
    for way in ways {
        let late = of_each_named_kind(way);
        let client = Client::launch(pair.client, server.addr(), "user = \"late\"", &late);
        let why = "router config conflict";
        are_refused(
            &client,
            &["http", "https", "tcpmux"].map(|kind| (kind, why)),
        )
        .await;
    }
    // Nothing stays behind of what was refused; and other paths and users are other routes.
    let free = of_each_named_kind("customDomains = [\"free.test\"]");
    let _free = Client::start(pair.client, server.addr(), "user = \"free\"", &free).await;
    let [http, _, tcpmux] = of_each_named_kind(taken);
    let others = [
        http.with("locations = [\"/a\"]"),
        tcpmux.with("routeByHTTPUser = \"ann\""),
    ];
    let _other = Client::start(pair.client, server.addr(), "user = \"other\"", &others).await;
}
