//! Services that only visitors reach: stcp and sudp, with the service and its visitor at different clients.

use mgrok_lab::{Client, Proxy, Server, Visitor, service, traffic};
use tokio::{net::UdpSocket, task::JoinSet};

use crate::{LAYERS, LONG, Trio, arriving};

for_each_trio!(
    every_layer_on_either_leg_with_mux,
    every_layer_on_either_leg_without_mux,
    only_those_allowed_may_visit,
    who_does_not_know_the_key_is_refused,
    details_stay_on_the_server_when_it_is_told_so,
    a_visitor_outlives_the_service,
);

async fn every_layer_on_either_leg_with_mux(trio: Trio) {
    every_layer_on_either_leg(trio, "auth.token = \"token\"").await;
}

async fn every_layer_on_either_leg_without_mux(trio: Trio) {
    let settings = "auth.token = \"token\"\ntransport.tcpMux = false";
    every_layer_on_either_leg(trio, settings).await;
}

/// The legs do not depend on each other: what the owner's proxy does to bytes is not what the visitor does.
async fn every_layer_on_either_leg(trio: Trio, settings: &str) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(trio.server, settings).await;
    let key = "secretKey = \"key\"";
    let mut proxies = Vec::new();
    let mut visitors = Vec::new();
    for (own, own_lines) in LAYERS {
        for (kind, local) in [("stcp", tcp.addr()), ("sudp", udp.addr())] {
            let name = format!("{kind}-{own}");
            for (layer, lines) in LAYERS {
                let visitor = Visitor::new(kind, format!("{name}-{layer}"), &name);
                visitors.push(visitor.with(key).with(lines));
            }
            proxies.push(Proxy::new(kind, name, local).with(key).with(own_lines));
        }
    }
    let _owner = Client::start(trio.client, server.addr(), settings, &proxies).await;
    let _visitor =
        Client::start_with_visitors(trio.other, server.addr(), settings, &[], &visitors).await;
    let arriving = arriving(&[trio.server, trio.client, trio.other]);
    let mut uses = JoinSet::new();
    for visitor in visitors {
        let listener = visitor.listener();
        match visitor.kind {
            "stcp" => uses.spawn(async move {
                traffic::tcp_echo(listener, 1).await;
                traffic::tcp_echo(listener, 300_000).await;
            }),
            _ => uses.spawn(async move {
                traffic::udp_echo(listener, &[1, 0, 100, 1_400, 1_500]).await;
                traffic::UdpUser::of(listener)
                    .await
                    .echo(LONG, arriving)
                    .await;
            }),
        };
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
}

/// Knocks at the visitor's listener, and waits for `refusal` in its client's log and for `reason` in the server's.
async fn is_refused(
    visitor: &Visitor,
    (client, server): (&Client, &Server),
    (refusal, reason): (&str, &str),
) {
    let marks = (client.log().mark(), server.log().mark());
    match visitor.kind {
        "stcp" => assert!(traffic::is_refused(visitor.listener()).await, "{reason}"),
        // A datagram for which nobody is there is lost.
        _ => {
            let user = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
            user.send_to(b"anyone there?", visitor.listener())
                .await
                .unwrap();
        }
    }
    client.log().wait_after(marks.0, refusal).await;
    server.log().wait_after(marks.1, reason).await;
}

async fn only_those_allowed_may_visit(trio: Trio) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(trio.server, "").await;
    let key = "secretKey = \"key\"";
    let mut proxies = Vec::new();
    let mut visitors = Vec::new();
    for (kind, local) in [("stcp", tcp.addr()), ("sudp", udp.addr())] {
        for (name, allow) in [
            ("own", ""),
            ("bob", "allowUsers = [\"carl\", \"bob\"]"),
            ("carl", "allowUsers = [\"carl\"]"),
            ("all", "allowUsers = [\"*\"]"),
        ] {
            let name = format!("{kind}-{name}");
            let visitor = Visitor::new(kind, name.clone(), &name).with(key);
            visitors.push(visitor.with("serverUser = \"ann\""));
            proxies.push(Proxy::new(kind, name, local).with(key).with(allow));
        }
    }
    // Ann visits her own service, and needs nobody's leave.
    let at_home = [
        Visitor::new("stcp", "home-tcp", "stcp-own").with(key),
        Visitor::new("sudp", "home-udp", "sudp-own").with(key),
    ];
    let (ann, bob) = ("user = \"ann\"", "user = \"bob\"");
    let _owner = Client::start(trio.client, server.addr(), ann, &proxies).await;
    let _home = Client::start_with_visitors(trio.other, server.addr(), ann, &[], &at_home).await;
    let client = Client::start_with_visitors(trio.other, server.addr(), bob, &[], &visitors).await;
    traffic::tcp_echo(at_home[0].listener(), 1_000).await;
    traffic::udp_echo(at_home[1].listener(), &[100]).await;
    for visitor in &visitors {
        let name = &visitor.server_name;
        if name.ends_with("bob") || name.ends_with("all") {
            match visitor.kind {
                "stcp" => traffic::tcp_echo(visitor.listener(), 1_000).await,
                _ => traffic::udp_echo(visitor.listener(), &[100]).await,
            }
        } else {
            let reason = format!("visitor connection of [ann.{name}] user [bob] not allowed");
            is_refused(visitor, (&client, &server), (&reason, &reason)).await;
        }
    }
}

async fn who_does_not_know_the_key_is_refused(trio: Trio) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(trio.server, "").await;
    let proxies = [
        Proxy::new("stcp", "tcp", tcp.addr()).with("secretKey = \"key\""),
        Proxy::new("sudp", "udp", udp.addr()).with("secretKey = \"key\""),
        Proxy::new("stcp", "keyless", tcp.addr()),
    ];
    let _owner = Client::start(trio.client, server.addr(), "", &proxies).await;
    let wrong = |kind, name: &str| {
        let visitor = Visitor::new(kind, format!("{kind}-{name}"), name);
        visitor.with("secretKey = \"wrong\"")
    };
    let visitors = [
        wrong("stcp", "tcp"),
        wrong("sudp", "udp"),
        wrong("stcp", "keyless"),
        wrong("stcp", "nobody"),
        wrong("sudp", "nobody"),
        Visitor::new("stcp", "no-key", "tcp"),
        // Nobody's key is a key, too.
        Visitor::new("stcp", "keyless", "keyless"),
    ];
    let client = Client::start_with_visitors(trio.other, server.addr(), "", &[], &visitors).await;
    for visitor in &visitors[..6] {
        let name = &visitor.server_name;
        let reason = match name.as_str() {
            "nobody" => format!("custom listener for [{name}] doesn't exist"),
            _ => format!("visitor connection of [{name}] auth failed"),
        };
        is_refused(visitor, (&client, &server), (&reason, &reason)).await;
    }
    traffic::tcp_echo(visitors[6].listener(), 1_000).await;
}

async fn details_stay_on_the_server_when_it_is_told_so(trio: Trio) {
    let server = Server::start(trio.server, "detailedErrorsToClient = false").await;
    let visitors = [
        Visitor::new("stcp", "tcp", "nobody"),
        Visitor::new("sudp", "udp", "nobody"),
    ];
    let client = Client::start_with_visitors(trio.other, server.addr(), "", &[], &visitors).await;
    for visitor in &visitors {
        let summary = "register visitor conn error";
        let reason = "custom listener for [nobody] doesn't exist";
        is_refused(visitor, (&client, &server), (summary, reason)).await;
        assert!(!client.log().contains("custom listener"));
    }
}

async fn a_visitor_outlives_the_service(trio: Trio) {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(trio.server, "").await;
    let key = "secretKey = \"key\"";
    let proxies = [
        Proxy::new("stcp", "tcp", tcp.addr()).with(key),
        Proxy::new("sudp", "udp", udp.addr()).with(key),
    ];
    let visitors = [
        Visitor::new("stcp", "to-tcp", "tcp").with(key),
        Visitor::new("sudp", "to-udp", "udp").with(key),
    ];
    let client = Client::start_with_visitors(trio.other, server.addr(), "", &[], &visitors).await;
    for _ in 0..2 {
        let missing = "custom listener for [tcp] doesn't exist";
        is_refused(&visitors[0], (&client, &server), (missing, missing)).await;
        let mark = server.log().mark();
        let owner = Client::start(trio.client, server.addr(), "", &proxies).await;
        traffic::tcp_echo(visitors[0].listener(), 1_000).await;
        traffic::udp_echo(visitors[1].listener(), &[100]).await;
        owner.stop().await;
        server.log().wait_after(mark, "client exit success").await;
    }
}
