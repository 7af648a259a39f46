//! Who may come, by the address that they come from.

use std::net::{Ipv4Addr, SocketAddr};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, Visitor, eventually, ports, service, traffic,
    web::{User, Web},
    within,
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpSocket, TcpStream, UdpSocket},
};

use crate::{Shared, Tunnel, named, reload::hang_up};

/// Another address of this host than everybody else uses.
const ELSEWHERE: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

const ONLY_HERE: &str = "access.allow = [\"127.0.0.0/8\"]\naccess.deny = [\"127.0.0.2\"]";

async fn connect_from(ip: Ipv4Addr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((ip, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// Waits until the server has closed the connection without a byte.
async fn is_closed(mut stream: TcpStream) {
    let mut byte = [0; 1];
    // An end or a reset.
    let read = within(PATIENCE, "the end", stream.read(&mut byte)).await;
    assert!(matches!(read, Ok(0) | Err(_)), "{read:?}");
}

#[tokio::test]
async fn a_proxy_is_for_those_whom_it_lets_come() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::with("", "", Proxy::tcp("t", echo.addr()).with(ONLY_HERE)).await;
    is_closed(connect_from(ELSEWHERE, tunnel.public).await).await;
    traffic::tcp_echo(tunnel.public, 1_000).await;
}

#[tokio::test]
async fn requests_from_elsewhere_are_answered_ahead_of_any_password() {
    let web = Web::start("web").await;
    let proxy = named("http", "web", web.addr(), "a.test")
        .with("httpUser = \"ann\"\nhttpPassword = \"secret\"")
        .with(ONLY_HERE);
    let proxies_at = "trustForwardedHeadersFrom = [\"127.0.0.3\"]";
    let shared = Shared::with("vhostHTTPPort", proxies_at, &[proxy]).await;
    let ask = async |from: Ipv4Addr, forwarded_for: &str| {
        let mut user = User::on(connect_from(from, shared.at).await);
        let head = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n";
        let head = format!("{head}X-Forwarded-For: {forwarded_for}\r\n\r\n");
        user.ask(&head).await.status
    };
    assert_eq!(ask(ELSEWHERE, "127.0.0.1").await, 403);
    assert_eq!(ask(Ipv4Addr::LOCALHOST, "127.0.0.2").await, 401);
    // A proxy that is trusted says who its users are.
    let proxy = Ipv4Addr::new(127, 0, 0, 3);
    assert_eq!(ask(proxy, "127.0.0.9, 127.0.0.2").await, 403);
    assert_eq!(ask(proxy, "127.0.0.2, 127.0.0.9").await, 401);
    assert!(web.requests().is_empty());
}

#[tokio::test]
async fn datagrams_from_elsewhere_are_dropped() {
    let echo = service::udp_echo().await;
    let tunnel = Tunnel::with("", "", Proxy::udp("u", echo.addr()).with(ONLY_HERE)).await;
    let stranger = UdpSocket::bind((ELSEWHERE, 0)).await.unwrap();
    stranger.connect(tunnel.public).await.unwrap();
    stranger.send(b"anybody?").await.unwrap();
    traffic::udp_echo(tunnel.public, &[10, 100]).await;
    // Whoever came later has its answer.
    let answer = stranger.try_recv(&mut [0; 16]).unwrap_err();
    assert_eq!(answer.kind(), std::io::ErrorKind::WouldBlock);
}

#[tokio::test]
async fn logins_and_visitors_from_elsewhere_are_told_why() {
    let echo = service::tcp_echo().await;
    let lists = "access.logins.deny = [\"127.0.0.3\"]\naccess.visitors.deny = [\"127.0.0.4\"]";
    let server = Server::start(Peer::Mgrok, lists).await;
    let key = "secretKey = \"between us\"";
    let proxy = Proxy::new("stcp", "t", echo.addr())
        .with(key)
        .with(ONLY_HERE);
    let _host = Client::start(Peer::Mgrok, server.addr(), "", &[proxy]).await;

    let from = |last: u8| format!("transport.connectServerLocalIP = \"127.0.0.{last}\"");
    let login = Client::launch(Peer::Mgrok, server.addr(), &from(3), &[]);
    let why = "no login from there: 127.0.0.3 is kept out by access.logins of the server";
    login.log().wait_for(why).await;

    for (last, why) in [
        (2, "127.0.0.2 is kept out by access of the proxy"),
        (4, "127.0.0.4 is kept out by access.visitors of the server"),
    ] {
        let visitor = [Visitor::new("stcp", "v", "t").with(key)];
        let addr = server.addr();
        let guest =
            Client::start_with_visitors(Peer::Mgrok, addr, &from(last), &[], &visitor).await;
        is_closed(TcpStream::connect(visitor[0].listener()).await.unwrap()).await;
        guest.log().wait_for(why).await;
    }
    let visitor = [Visitor::new("stcp", "v", "t").with(key)];
    let addr = server.addr();
    let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &visitor).await;
    traffic::tcp_echo(visitor[0].listener(), 1_000).await;
}

#[tokio::test]
async fn a_reload_keeps_others_out_and_leaves_alone_who_is_there() {
    let echo = service::tcp_echo().await;
    let server = Server::start(Peer::MgrokProgram, "").await;
    let proxy = Proxy::tcp("t", echo.addr());
    let public = proxy.public();
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &[proxy]).await;
    let mut user = connect_from(ELSEWHERE, public).await;
    let first = traffic::echo(&mut user, 100);
    within(PATIENCE, "an echo", first).await.unwrap();

    let mark = server.log().mark();
    server.rewrite("access.users.deny = [\"127.0.0.2\"]");
    hang_up(server.pid());
    server.log().wait_after(mark, "reloaded: ").await;
    is_closed(connect_from(ELSEWHERE, public).await).await;
    traffic::tcp_echo(public, 100).await;
    let again = traffic::echo(&mut user, 100);
    within(PATIENCE, "an echo", again).await.unwrap();
}

#[tokio::test]
async fn members_of_a_group_have_lists_of_their_own() {
    let (all, here) = (
        service::greeting(b"all").await,
        service::greeting(b"own").await,
    );
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let member = |name: &str, to: SocketAddr| {
        let proxy = Proxy::tcp(name, to).at(port);
        proxy.with("loadBalancer.group = \"g\"")
    };
    let proxies = [
        member("a", all.addr()),
        member("h", here.addr()).with(ONLY_HERE),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    let ask = async |from| {
        let mut text = [0; 3];
        let mut stream = connect_from(from, public).await;
        let read = stream.read_exact(&mut text);
        within(PATIENCE, "a greeting", read).await.unwrap();
        text
    };
    for _ in 0..4 {
        assert_eq!(ask(ELSEWHERE).await, *b"all");
    }
    let both = [
        ask(Ipv4Addr::LOCALHOST).await,
        ask(Ipv4Addr::LOCALHOST).await,
    ];
    assert!(both.contains(b"all") && both.contains(b"own"));
}

#[tokio::test]
async fn one_source_has_as_many_connections_as_it_may() {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("t", echo.addr()).with("access.maxConnectionsPerSource = 2");
    let tunnel = Tunnel::with("", "", proxy).await;
    let mut users = Vec::new();
    for _ in 0..2 {
        let mut user = connect_from(ELSEWHERE, tunnel.public).await;
        let first = traffic::echo(&mut user, 10);
        within(PATIENCE, "an echo", first).await.unwrap();
        users.push(user);
    }
    is_closed(connect_from(ELSEWHERE, tunnel.public).await).await;
    traffic::tcp_echo(tunnel.public, 100).await;
    users.pop();
    eventually("a place", async || {
        let mut user = connect_from(ELSEWHERE, tunnel.public).await;
        traffic::echo(&mut user, 10).await.ok()
    })
    .await;
}

#[tokio::test]
async fn requests_of_one_source_come_no_faster_than_they_may() {
    let web = Web::start("web").await;
    let slow = "access.users.maxRatePerSource = 1";
    let proxy = named("http", "web", web.addr(), "a.test");
    let shared = Shared::with("vhostHTTPPort", slow, &[proxy]).await;
    let ask = async |from: Ipv4Addr| {
        let mut user = User::on(connect_from(from, shared.at).await);
        let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
        user.ask(request).await.status
    };
    let mut statuses = Vec::new();
    // However slow this is, so many come in less time than they may.
    while !statuses.contains(&429) && statuses.len() < 1_000 {
        statuses.push(ask(ELSEWHERE).await);
    }
    assert_eq!(statuses.last(), Some(&429));
    assert_eq!(ask(Ipv4Addr::LOCALHOST).await, 200);
}
