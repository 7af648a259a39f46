//! xtcp: services that visitors reach past the server.

use std::net::SocketAddr;
use std::time::Duration;

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, Visitor, ports, service, stun::Stun, traffic};
use tokio::net::TcpStream;

/// A server, a client that publishes, a client that visits, and a STUN server for both.
struct Hole {
    server: Server,
    owner: Client,
    guest: Client,
    visitor: Visitor,
    _stun: Stun,
}

impl Hole {
    async fn with(proxy: Proxy, visitor: Visitor, others: &[Visitor], beside: &[Proxy]) -> Self {
        let stun = Stun::start().await;
        let server = Server::start(Peer::Mgrok, "").await;
        let settings = format!("natHoleStunServer = \"{}\"", stun.addr());
        let proxies = [&[proxy.with("secretKey = \"abc\"")], beside].concat();
        let owner = Client::start(Peer::Mgrok, server.addr(), &settings, &proxies).await;
        let visitors = [&[visitor.clone().with("secretKey = \"abc\"")], others].concat();
        let guest =
            Client::start_with_visitors(Peer::Mgrok, server.addr(), &settings, &[], &visitors)
                .await;
        Self {
            server,
            owner,
            guest,
            visitor,
            _stun: stun,
        }
    }

    async fn echoes(&self, len: u64) {
        traffic::tcp_echo(self.visitor.listener(), len).await;
    }
}

#[tokio::test]
async fn users_reach_the_service_through_one_tunnel() {
    let echo = service::tcp_echo().await;
    for protocol in ["quic", "kcp"] {
        let visitor =
            Visitor::new("xtcp", "guest", "hidden").with(&format!("protocol = \"{protocol}\""));
        let proxy = Proxy::new("xtcp", "hidden", echo.addr());
        let hole = Hole::with(proxy, visitor, &[], &[]).await;
        hole.echoes(1).await;
        hole.echoes(1_000_000).await;
        tokio::join!(hole.echoes(100_000), hole.echoes(100_000));
        assert_eq!(hole.server.log().count("report make hole success: true"), 1);
        hole.owner.log().wait_for("nathole prepare success").await;
        let found = "establishing nat hole connection successful";
        hole.guest.log().wait_for(found).await;
    }
}

#[tokio::test]
async fn the_tunnel_needs_no_server_once_it_is_there() {
    let echo = service::tcp_echo().await;
    let visitor = Visitor::new("xtcp", "guest", "hidden");
    let proxy = Proxy::new("xtcp", "hidden", echo.addr());
    let mut hole = Hole::with(proxy, visitor, &[], &[]).await;
    let mut user = TcpStream::connect(hole.visitor.listener()).await.unwrap();
    traffic::echo(&mut user, 10).await.unwrap();
    let other = Server::start(Peer::Mgrok, "").await;
    let server = std::mem::replace(&mut hole.server, other);
    server.stop().await;
    traffic::echo(&mut user, 100_000).await.unwrap();
    hole.echoes(100_000).await;
}

#[tokio::test]
async fn a_server_stops_without_waiting_for_what_became_of_a_hole() {
    let echo = service::tcp_echo().await;
    let visitor = Visitor::new("xtcp", "guest", "hidden");
    let proxy = Proxy::new("xtcp", "hidden", echo.addr());
    let hole = Hole::with(proxy, visitor, &[], &[]).await;
    hole.echoes(10).await;
    let log = hole.server.log().clone();
    assert_eq!(hole.server.stop().await, Ended::Well);
    assert!(!log.contains("did not end in time"), "{}", log.tail());
}

#[tokio::test]
async fn encryption_and_compression_lie_inside_the_tunnel() {
    let echo = service::tcp_echo().await;
    let layers = "transport.useEncryption = true\ntransport.useCompression = true";
    let visitor = Visitor::new("xtcp", "guest", "hidden").with(layers);
    let proxy = Proxy::new("xtcp", "hidden", echo.addr()).with(layers);
    let hole = Hole::with(proxy, visitor, &[], &[]).await;
    hole.echoes(300_000).await;
}

#[tokio::test]
async fn a_tunnel_that_is_kept_open_is_there_before_the_first_user() {
    let echo = service::tcp_echo().await;
    let visitor = Visitor::new("xtcp", "guest", "hidden").with("keepTunnelOpen = true");
    let proxy = Proxy::new("xtcp", "hidden", echo.addr());
    let hole = Hole::with(proxy, visitor, &[], &[]).await;
    let found = "establishing nat hole connection successful";
    hole.guest.log().wait_for(found).await;
    hole.echoes(10).await;
}

#[tokio::test]
async fn without_a_tunnel_another_visitor_takes_over() {
    let echo = service::tcp_echo().await;
    let fallback = "fallbackTo = \"detour\"\nfallbackTimeoutMs = 100";
    // Nobody publishes it.
    let visitor = Visitor::new("xtcp", "guest", "missing").with(fallback);
    let detour = Visitor {
        bind_port: -1,
        ..Visitor::new("stcp", "detour", "plain")
    }
    .with("secretKey = \"abc\"");
    let plain = Proxy::new("stcp", "plain", echo.addr()).with("secretKey = \"abc\"");
    let proxy = Proxy::new("xtcp", "hidden", echo.addr());
    let hole = Hole::with(proxy, visitor, &[detour], &[plain]).await;
    hole.echoes(100_000).await;
    let why = "xtcp server for [missing] doesn't exist";
    hole.guest.log().wait_for(why).await;
}

#[tokio::test]
async fn a_visitor_with_another_secret_is_refused() {
    let echo = service::tcp_echo().await;
    let stun = Stun::start().await;
    let settings = format!("natHoleStunServer = \"{}\"", stun.addr());
    let server = Server::start(Peer::Mgrok, "").await;
    let proxy = Proxy::new("xtcp", "hidden", echo.addr()).with("secretKey = \"abc\"");
    let _owner = Client::start(Peer::Mgrok, server.addr(), &settings, &[proxy]).await;
    let visitor = Visitor::new("xtcp", "guest", "hidden")
        .with("secretKey = \"wrong\"\nkeepTunnelOpen = true");
    let visitors = [visitor];
    let guest =
        Client::start_with_visitors(Peer::Mgrok, server.addr(), &settings, &[], &visitors).await;
    let why = "xtcp connection of [hidden] auth failed";
    guest.log().wait_for(why).await;
    server.log().wait_for(why).await;
}

#[tokio::test]
async fn a_visitor_that_may_not_come_gets_no_hole_by_any_transport() {
    let echo = service::tcp_echo().await;
    let stun = Stun::start().await;
    let [kcp, quic] = ports::several();
    let rules = "access.visitors.deny = [\"127.0.0.1\"]";
    let settings = format!("kcpBindPort = {kcp}\nquicBindPort = {quic}\n{rules}");
    let server = Server::start(Peer::Mgrok, &settings).await;
    let settings = format!("natHoleStunServer = \"{}\"", stun.addr());
    let proxy = Proxy::new("xtcp", "hidden", echo.addr()).with("secretKey = \"abc\"");
    let _owner = Client::start(Peer::Mgrok, server.addr(), &settings, &[proxy]).await;
    for (transport, port) in [("kcp", kcp), ("quic", quic)] {
        let settings = format!("{settings}\ntransport.protocol = {transport:?}");
        let more = format!("secretKey = \"abc\"\nprotocol = {transport:?}\nkeepTunnelOpen = true");
        let visitors = [Visitor::new("xtcp", "guest", "hidden").with(&more)];
        let at = SocketAddr::from(([127, 0, 0, 1], port));
        let guest = Client::start_with_visitors(Peer::Mgrok, at, &settings, &[], &visitors).await;
        let why = "xtcp connection of [hidden] not allowed: 127.0.0.1 is kept out by access.visitors of the server";
        guest.log().wait_for(why).await;
    }
    assert!(!server.log().contains("report make hole success"));
}

#[tokio::test]
async fn a_tunnel_that_is_lost_is_made_anew() {
    let echo = service::tcp_echo().await;
    let visitor = Visitor::new("xtcp", "guest", "hidden");
    let proxy = Proxy::new("xtcp", "hidden", echo.addr());
    let mut hole = Hole::with(proxy.clone(), visitor, &[], &[]).await;
    hole.echoes(10).await;
    let settings = format!("natHoleStunServer = \"{}\"", hole._stun.addr());
    let published = [proxy.with("secretKey = \"abc\"")];
    hole.owner.stop().await;
    hole.owner = Client::start(Peer::Mgrok, hole.server.addr(), &settings, &published).await;
    // The visitor waits 10 s before it tries again.
    let again = async {
        while traffic::try_tcp_echo(hole.visitor.listener(), 10)
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    mgrok_lab::within(Duration::from_secs(60), "another tunnel", again).await;
}

#[tokio::test]
async fn a_user_waits_for_the_next_attempt_too() {
    let echo = service::tcp_echo().await;
    let stun = Stun::start().await;
    let settings = format!("natHoleStunServer = \"{}\"", stun.addr());
    let server = Server::start(Peer::Mgrok, "").await;
    let visitor = Visitor::new("xtcp", "guest", "hidden").with("secretKey = \"abc\"");
    let visitors = [visitor];
    let guest =
        Client::start_with_visitors(Peer::Mgrok, server.addr(), &settings, &[], &visitors).await;
    let mut user = TcpStream::connect(visitors[0].listener()).await.unwrap();
    let too_early = "xtcp server for [hidden] doesn't exist";
    guest.log().wait_for(too_early).await;
    let proxy = Proxy::new("xtcp", "hidden", echo.addr()).with("secretKey = \"abc\"");
    let _owner = Client::start(Peer::Mgrok, server.addr(), &settings, &[proxy]).await;
    traffic::echo(&mut user, 10).await.unwrap();
}
