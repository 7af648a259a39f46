//! xtcp: service and visitor at different clients, which reach each other past the server.

use mgrok_lab::{Client, PATIENCE, Proxy, Server, Visitor, service, stun::Stun, traffic, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{LAYERS, Trio};

for_each_trio!(
    a_tunnel_of_quic_carries_every_layer,
    a_tunnel_of_kcp_carries_every_layer,
    a_tunnel_is_there_before_its_users,
    users_without_a_tunnel_go_to_another_visitor,
    visitors_hear_why_they_are_refused,
);

const KEY: &str = "secretKey = \"key\"";
/// What a client logs once it has found the way to the other.
const THROUGH: &str = "establishing nat hole connection successful";

/// A server, and what clients must know to look at themselves from outside.
async fn server(trio: Trio) -> (Server, Stun, String) {
    let server = Server::start(trio.server, "auth.token = \"token\"").await;
    let stun = Stun::start().await;
    let settings = format!(
        "auth.token = \"token\"\nnatHoleStunServer = \"{}\"",
        stun.addr()
    );
    (server, stun, settings)
}

async fn a_tunnel_of_quic_carries_every_layer(trio: Trio) {
    // The default.
    every_layer(trio, "").await;
}

async fn a_tunnel_of_kcp_carries_every_layer(trio: Trio) {
    every_layer(trio, "protocol = \"kcp\"").await;
}

/// Nothing is between the two, so that both must be set up for the same layers.
async fn every_layer(trio: Trio, protocol: &str) {
    let (server, _stun, settings) = server(trio).await;
    let echo = service::tcp_echo().await;
    let proxies = LAYERS.map(|(layer, lines)| {
        let proxy = Proxy::new("xtcp", layer, echo.addr());
        proxy.with(KEY).with(lines)
    });
    let visitors = LAYERS.map(|(layer, lines)| {
        let visitor = Visitor::new("xtcp", format!("to-{layer}"), layer);
        visitor.with(KEY).with(lines).with(protocol)
    });
    let owner = Client::start(trio.client, server.addr(), &settings, &proxies).await;
    let visitor =
        Client::start_with_visitors(trio.other, server.addr(), &settings, &[], &visitors).await;
    let mut uses = JoinSet::new();
    for visitor in visitors {
        let listener = visitor.listener();
        uses.spawn(async move {
            traffic::tcp_echo(listener, 1).await;
            // Several at once share the tunnel.
            let (one, other) = (
                traffic::tcp_echo(listener, 300_000),
                traffic::tcp_echo(listener, 100_000),
            );
            tokio::join!(one, other);
        });
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
    for client in [&owner, &visitor] {
        let tunnels = client.log().count(THROUGH);
        assert_eq!(tunnels, LAYERS.len(), "one tunnel for each visitor");
    }
}

async fn a_tunnel_is_there_before_its_users(trio: Trio) {
    let (server, _stun, settings) = server(trio).await;
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::new("xtcp", "echo", echo.addr()).with(KEY)];
    let visitor = Visitor::new("xtcp", "visitor", "echo").with(KEY);
    let visitors = [visitor.with("keepTunnelOpen = true\nminRetryInterval = 1")];
    let owner = Client::start(trio.client, server.addr(), &settings, &proxies).await;
    let visitor =
        Client::start_with_visitors(trio.other, server.addr(), &settings, &[], &visitors).await;
    visitor.log().wait_for(THROUGH).await;
    owner.log().wait_for(THROUGH).await;
    traffic::tcp_echo(visitors[0].listener(), 10_000).await;
    assert_eq!(visitor.log().count(THROUGH), 1, "no other tunnel");
}

async fn users_without_a_tunnel_go_to_another_visitor(trio: Trio) {
    let (server, _stun, settings) = server(trio).await;
    let echo = service::tcp_echo().await;
    // Not a greeting: a stream of QUIC is not there for the other end before its first byte.
    let answering = service::tcp(async |mut stream| {
        let _ = stream.read_u8().await;
        let _ = stream.write_all(b"past the server").await;
    })
    .await;
    let proxies = [
        Proxy::new("stcp", "relayed", echo.addr()).with(KEY),
        Proxy::new("xtcp", "direct", answering.addr()).with(KEY),
    ];
    let relayed = Visitor {
        bind_port: -1,
        ..Visitor::new("stcp", "relay", "relayed").with(KEY)
    };
    let fallback = "fallbackTo = \"relay\"";
    let visitors = [
        relayed,
        Visitor::new("xtcp", "to-nobody", "nobody")
            .with(KEY)
            .with(fallback)
            .with("fallbackTimeoutMs = 200"),
        Visitor::new("xtcp", "to-direct", "direct")
            .with(KEY)
            .with(fallback)
            .with("fallbackTimeoutMs = 20000"),
    ];
    let _owner = Client::start(trio.client, server.addr(), &settings, &proxies).await;
    let _visitor =
        Client::start_with_visitors(trio.other, server.addr(), &settings, &[], &visitors).await;
    for _ in 0..2 {
        traffic::tcp_echo(visitors[1].listener(), 10_000).await;
    }
    let mut user = TcpStream::connect(visitors[2].listener()).await.unwrap();
    let mut answer = String::new();
    let asked = async {
        user.write_u8(0).await?;
        user.read_to_string(&mut answer).await
    };
    within(PATIENCE, "an answer", asked).await.unwrap();
    assert_eq!(answer, "past the server");
}

async fn visitors_hear_why_they_are_refused(trio: Trio) {
    let (server, _stun, settings) = server(trio).await;
    let echo = service::tcp_echo().await;
    let proxies = [
        Proxy::new("xtcp", "own", echo.addr()).with(KEY),
        Proxy::new("xtcp", "all", echo.addr())
            .with(KEY)
            .with("allowUsers = [\"*\"]"),
    ];
    let visitor = |server_name: &str, more: &str| {
        let visitor = Visitor::new("xtcp", format!("to-{server_name}"), server_name);
        visitor.with("serverUser = \"ann\"").with(more)
    };
    let visitors = [
        visitor("own", KEY),
        visitor("all", "secretKey = \"wrong\""),
        visitor("nobody", KEY),
    ];
    let (ann, bob) = (
        format!("user = \"ann\"\n{settings}"),
        format!("user = \"bob\"\n{settings}"),
    );
    let _owner = Client::start(trio.client, server.addr(), &ann, &proxies).await;
    let client = Client::start_with_visitors(trio.other, server.addr(), &bob, &[], &visitors).await;
    for (visitor, why) in visitors.iter().zip([
        "xtcp visitor user [bob] not allowed for [ann.own]",
        "xtcp connection of [ann.all] auth failed",
        "xtcp server for [ann.nobody] doesn't exist",
    ]) {
        let _user = TcpStream::connect(visitor.listener()).await.unwrap();
        client.log().wait_for(why).await;
    }
}
