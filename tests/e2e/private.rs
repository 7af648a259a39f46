//! Private services: stcp and sudp, reached by visitors.

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, Visitor, eventually, ports, service, traffic, within,
};
use tokio::net::TcpStream;

const KEY: &str = "secretKey = \"between us\"";

/// The four ways to pack a part of the way.
fn packings() -> [String; 4] {
    [(false, false), (false, true), (true, false), (true, true)].map(|(encryption, compression)| {
        format!("transport.useEncryption = {encryption}\ntransport.useCompression = {compression}")
    })
}

#[tokio::test]
async fn each_part_of_the_way_is_packed_as_it_says() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let (mut proxies, mut visitors) = (Vec::new(), Vec::new());
    for (kind, local) in [("stcp", tcp.addr()), ("sudp", udp.addr())] {
        for (here, packing) in packings().iter().enumerate() {
            let name = format!("{kind}-{here}");
            for (there, packing) in packings().iter().enumerate() {
                let visitor = Visitor::new(kind, format!("{name}-{there}"), &name);
                visitors.push(visitor.with(KEY).with(packing));
            }
            proxies.push(Proxy::new(kind, name, local).with(KEY).with(packing));
        }
    }
    let addr = server.addr();
    let _host = Client::start(Peer::Mgrok, addr, "", &proxies).await;
    let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    for visitor in &visitors {
        match visitor.kind {
            "stcp" => traffic::tcp_echo(visitor.listener(), 100_000).await,
            _ => traffic::udp_echo(visitor.listener(), &[1, 1_500, 0, 200]).await,
        }
    }
}

#[tokio::test]
async fn services_are_visited_without_multiplexing_too() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let settings = "transport.tcpMux = false";
    let server = Server::start(Peer::Mgrok, settings).await;
    let proxies = [
        Proxy::new("stcp", "t", tcp.addr()).with(KEY),
        Proxy::new("sudp", "u", udp.addr()).with(KEY),
    ];
    let visitors = [
        Visitor::new("stcp", "vt", "t").with(KEY),
        Visitor::new("sudp", "vu", "u").with(KEY),
    ];
    let addr = server.addr();
    // One client may be both.
    let _both = Client::start_with_visitors(Peer::Mgrok, addr, settings, &proxies, &visitors).await;
    for _ in 0..3 {
        traffic::tcp_echo(visitors[0].listener(), 300_000).await;
    }
    traffic::udp_echo(visitors[1].listener(), &[1_000, 10]).await;
}

#[tokio::test]
async fn many_users_visit_at_once() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [
        Proxy::new("stcp", "t", tcp.addr()).with(KEY),
        Proxy::new("sudp", "u", udp.addr()).with(KEY),
    ];
    let _host = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let visitors = [
        Visitor::new("stcp", "vt", "t").with(KEY),
        Visitor::new("sudp", "vu", "u").with(KEY),
    ];
    let addr = server.addr();
    let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    let mut users = tokio::task::JoinSet::new();
    for _ in 0..50 {
        users.spawn(traffic::tcp_echo(visitors[0].listener(), 50_000));
        let listener = visitors[1].listener();
        users.spawn(async move { traffic::udp_echo(listener, &[100, 300]).await });
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
}

#[tokio::test]
async fn only_the_users_that_the_owner_allows_may_visit() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxy = |name: &str, allowed: &str| {
        let proxy = Proxy::new("stcp", name, echo.addr()).with(KEY);
        match allowed {
            "" => proxy,
            allowed => proxy.with(&format!("allowUsers = {allowed}")),
        }
    };
    let proxies = [
        proxy("own", ""),
        proxy("bobs", "[\"bob\"]"),
        proxy("all", "[\"*\"]"),
    ];
    let host = "user = \"ann\"";
    let _host = Client::start(Peer::Mgrok, server.addr(), host, &proxies).await;
    for (user, may) in [
        ("ann", [true, false, true]),
        ("bob", [false, true, true]),
        ("", [false, false, true]),
    ] {
        let visitors = ["own", "bobs", "all"].map(|name| {
            let visitor = Visitor::new("stcp", format!("to-{name}"), name).with(KEY);
            visitor.with("serverUser = \"ann\"")
        });
        let settings = format!("user = \"{user}\"");
        let addr = server.addr();
        let guest = Client::start_with_visitors(Peer::Mgrok, addr, &settings, &[], &visitors).await;
        for (visitor, may) in visitors.iter().zip(may) {
            if may {
                traffic::tcp_echo(visitor.listener(), 1_000).await;
                continue;
            }
            assert!(traffic::is_refused(visitor.listener()).await);
            let why = format!(
                "visitor connection of [ann.{}] user [{user}] not allowed",
                visitor.server_name
            );
            let heard = guest.log().wait_for(&why).await;
            assert!(heard.contains("user connection ["), "{heard}");
        }
    }
}

#[tokio::test]
async fn a_service_of_the_own_user_is_found_without_naming_the_user() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [Proxy::new("stcp", "echo", echo.addr()).with(KEY)];
    let settings = "user = \"ann\"";
    let _host = Client::start(Peer::Mgrok, server.addr(), settings, &proxies).await;
    let visitors = [
        Visitor::new("stcp", "mine", "echo").with(KEY),
        Visitor::new("stcp", "bobs", "echo")
            .with(KEY)
            .with("serverUser = \"bob\""),
    ];
    let addr = server.addr();
    let guest = Client::start_with_visitors(Peer::Mgrok, addr, settings, &[], &visitors).await;
    traffic::tcp_echo(visitors[0].listener(), 1_000).await;
    assert!(traffic::is_refused(visitors[1].listener()).await);
    let why = "custom listener for [bob.echo] doesn't exist";
    guest.log().wait_for(why).await;
}

#[tokio::test]
async fn a_wrong_key_is_refused_and_told_with_the_visitors_address() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [
        Proxy::new("stcp", "t", tcp.addr()).with(KEY),
        Proxy::new("sudp", "u", udp.addr()).with(KEY),
    ];
    let _host = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let mark = server.log().mark();
    let wrong = "secretKey = \"guessed\"";
    let visitors = [
        Visitor::new("stcp", "vt", "t").with(wrong),
        Visitor::new("stcp", "keyless", "t"),
        Visitor::new("sudp", "vu", "u").with(wrong),
    ];
    let addr = server.addr();
    let guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    let login = server
        .log()
        .wait_after(mark, "client login info: ip [")
        .await;
    let (_, from) = login.split_once("ip [").unwrap();
    let from = from.split(']').next().unwrap();

    let refused = format!("visitor connection of {from} refused: visitor connection of");
    for visitor in &visitors[..2] {
        let mark = server.log().mark();
        assert!(traffic::is_refused(visitor.listener()).await);
        let why = format!("{refused} [t] auth failed");
        server.log().wait_after(mark, &why).await;
    }
    let user = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    user.send_to(b"hello?", visitors[2].listener())
        .await
        .unwrap();
    let why = format!("{refused} [u] auth failed");
    server.log().wait_for(&why).await;
    for why in ["[t] auth failed", "[u] auth failed"] {
        guest.log().wait_for(why).await;
    }
}

#[tokio::test]
async fn a_server_that_tells_no_details_tells_visitors_none() {
    let server = Server::start(Peer::Mgrok, "detailedErrorsToClient = false").await;
    let visitors = [Visitor::new("stcp", "v", "nothing").with(KEY)];
    let addr = server.addr();
    let guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    assert!(traffic::is_refused(visitors[0].listener()).await);
    let heard = guest.log().wait_for("] refused: ").await;
    assert!(heard.ends_with("register visitor conn error"), "{heard}");
}

#[tokio::test]
async fn a_visitor_may_have_no_door() {
    let server = Server::start(Peer::Mgrok, "").await;
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::new("stcp", "echo", echo.addr()).with(KEY)];
    let mut without = Visitor::new("stcp", "without", "echo").with(KEY);
    without.bind_port = -1;
    let with = Visitor::new("stcp", "with", "echo").with(KEY);
    let addr = server.addr();
    let visitors = [without, with.clone()];
    let client = Client::start_with_visitors(Peer::Mgrok, addr, "", &proxies, &visitors).await;
    assert!(client.log().contains("[without] start visitor success"));
    traffic::tcp_echo(with.listener(), 1_000).await;
}

#[tokio::test]
async fn a_visitor_may_be_there_before_its_service() {
    let (tcp, udp) = (service::tcp_echo().await, service::udp_echo().await);
    let server = Server::start(Peer::Mgrok, "").await;
    let visitors = [
        Visitor::new("stcp", "vt", "t").with(KEY),
        Visitor::new("sudp", "vu", "u").with(KEY),
    ];
    let addr = server.addr();
    let guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitors).await;
    assert!(traffic::is_refused(visitors[0].listener()).await);
    let why = "custom listener for [t] doesn't exist";
    guest.log().wait_for(why).await;
    let early = tokio::net::UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    early
        .send_to(b"anyone?", visitors[1].listener())
        .await
        .unwrap();
    let why = "custom listener for [u] doesn't exist";
    guest.log().wait_for(why).await;

    let proxies = [
        Proxy::new("stcp", "t", tcp.addr()).with(KEY),
        Proxy::new("sudp", "u", udp.addr()).with(KEY),
    ];
    // It leaves without a word and comes back, and the visitors stay as they are.
    for _ in 0..2 {
        let host = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
        traffic::tcp_echo(visitors[0].listener(), 10_000).await;
        traffic::udp_echo(visitors[1].listener(), &[100]).await;
        let mark = server.log().mark();
        drop(host);
        server.log().client_gone(mark).await;
        assert!(traffic::is_refused(visitors[0].listener()).await);
    }
}

#[tokio::test]
async fn users_wait_at_the_door_while_the_visitor_reconnects() {
    let echo = service::tcp_echo().await;
    let at = ([127, 0, 0, 1], ports::free()).into();
    let server = Server::start_at(Peer::Mgrok, at, "").await;
    let proxies = [Proxy::new("stcp", "echo", echo.addr()).with(KEY)];
    let visitors = [Visitor::new("stcp", "v", "echo").with(KEY)];
    let host = Client::start(Peer::Mgrok, at, "", &proxies).await;
    let guest = Client::start_with_visitors(Peer::Mgrok, at, "", &[], &visitors).await;
    traffic::tcp_echo(visitors[0].listener(), 1_000).await;
    let mark = (host.log().mark(), guest.log().mark());
    drop(server);
    guest.log().wait_after(mark.1, "connect to server").await;
    let mut waiting = TcpStream::connect(visitors[0].listener()).await.unwrap();
    let _server = Server::start_at(Peer::Mgrok, at, "").await;
    let success = "login to server success";
    // The one who serves has to be back as well, so the first user may come too early for that.
    host.log()
        .wait_after(mark.0, "[echo] start proxy success")
        .await;
    guest.log().wait_after(mark.1, success).await;
    let first = traffic::echo(&mut waiting, 1_000);
    let _ = within(PATIENCE, "the first user's turn", first).await;
    eventually("visitors are served again", async || {
        traffic::try_tcp_echo(visitors[0].listener(), 1_000)
            .await
            .ok()
    })
    .await;
}
