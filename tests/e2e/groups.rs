//! Groups: several proxies that share the users of one public place.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server,
    certs::Authority,
    eventually, ports, service,
    service::Service,
    tls, traffic,
    web::{self, User, Web},
    within,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::{Shared, named, refuses};

/// The two lines that make a proxy a member of a group.
fn member(proxy: Proxy, group: &str) -> Proxy {
    proxy.with(&format!(
        "loadBalancer.group = \"{group}\"\nloadBalancer.groupKey = \"between us\""
    ))
}

/// A service that says its letter, then sends everything back.
async fn letter(letter: &'static str) -> Service {
    service::tcp(async move |mut stream: TcpStream| {
        let _ = stream.write_all(letter.as_bytes()).await;
        let (mut from, mut to) = stream.split();
        let _ = tokio::io::copy(&mut from, &mut to).await;
    })
    .await
}

/// How often each member answers, of so many users who ask one after the other.
async fn shares(users: usize, mut ask: impl AsyncFnMut() -> String) -> BTreeMap<String, usize> {
    let mut shares = BTreeMap::new();
    for _ in 0..users {
        *shares.entry(ask().await).or_default() += 1;
    }
    shares
}

fn evenly(shares: &BTreeMap<String, usize>, members: usize, each: usize) {
    let is_even = shares.len() == members && shares.values().all(|share| *share == each);
    assert!(is_even, "{shares:?}");
}

/// The letter of the service that has answered; then bytes come back.
async fn letter_of(mut stream: TcpStream) -> String {
    let exchange = async {
        let letter = char::from(stream.read_u8().await?);
        traffic::echo(&mut stream, 100).await?;
        std::io::Result::Ok(letter.to_string())
    };
    within(PATIENCE, "a letter", exchange).await.unwrap()
}

async fn by_tcp(to: SocketAddr) -> String {
    letter_of(TcpStream::connect(to).await.unwrap()).await
}

async fn by_tcpmux(to: SocketAddr) -> String {
    let mut user = User::of(to).await;
    user.send("CONNECT a.test:1 HTTP/1.1\r\n\r\n").await;
    let mut ok = [0; 38];
    let read = user.stream().read_exact(&mut ok);
    within(PATIENCE, "a 200", read).await.unwrap();
    assert!(ok.starts_with(b"HTTP/1.1 200"));
    let letter = char::from(user.stream().read_u8().await.unwrap());
    traffic::echo(user.stream().get_mut(), 100).await.unwrap();
    letter.to_string()
}

async fn by_https(to: SocketAddr, authority: &Authority) -> String {
    let stream = within(
        PATIENCE,
        "a handshake",
        tls::connect(to, authority, "a.test"),
    )
    .await;
    let letter = stream.unwrap().read_u8().await.unwrap();
    char::from(letter).to_string()
}

async fn by_http(to: SocketAddr) -> String {
    let answer = web::get(to, "a.test", "/").await;
    assert_eq!(answer.status, 200);
    answer.service().to_owned()
}

#[tokio::test]
async fn members_get_users_by_weight() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let proxy =
        |name: &str, service: &Service| member(Proxy::tcp(name, service.addr()).at(port), "g");
    let proxies = [
        proxy("a", &a).with("loadBalancer.weight = 3"),
        proxy("b", &b),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    let shares = shares(40, async || by_tcp(public).await).await;
    let expect = BTreeMap::from([("a".to_owned(), 30), ("b".to_owned(), 10)]);
    assert_eq!(shares, expect);
}

#[tokio::test]
async fn who_has_the_fewest_connections_gets_the_next() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let least = "loadBalancer.strategy = \"leastConnections\"";
    let proxy = |name: &str, service: &Service| {
        member(Proxy::tcp(name, service.addr()).at(port), "g").with(least)
    };
    let client = |proxy| async { Client::start(Peer::Mgrok, server.addr(), "", &[proxy]).await };
    let _first = client(proxy("a", &a)).await;
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    let mut users = Vec::new();
    let mut come = async || {
        let mut stream = TcpStream::connect(public).await.unwrap();
        let letter = within(PATIENCE, "a letter", stream.read_u8())
            .await
            .unwrap();
        users.push(stream);
        char::from(letter)
    };
    for _ in 0..4 {
        assert_eq!(come().await, 'a');
    }
    let _second = client(proxy("b", &b)).await;
    server
        .log()
        .wait_for("new proxy [b] type [tcp] success")
        .await;
    for _ in 0..4 {
        assert_eq!(come().await, 'b', "it has fewer until it has as many");
    }
    let next = [come().await, come().await];
    assert!(next.contains(&'a') && next.contains(&'b'), "{next:?}");
    let why = "group should have same loadBalancer.strategy: its first member has said leastConnections, not roundRobin";
    let other = member(Proxy::tcp("c", a.addr()).at(port), "g");
    refuses(
        &server,
        other.with("loadBalancer.strategy = \"roundRobin\""),
        why,
    )
    .await;
}

#[tokio::test]
async fn a_source_stays_with_one_member_by_port_and_by_name() {
    let (a, b) = (letter("a").await, letter("b").await);
    let (web_a, web_b) = (Web::start("a").await, Web::start("b").await);
    let port = ports::free();
    let http = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {http}")).await;
    let by_source =
        |proxy: Proxy| member(proxy, "g").with("loadBalancer.strategy = \"sourceAddress\"");
    let proxies = [
        by_source(Proxy::tcp("a", a.addr()).at(port)),
        by_source(Proxy::tcp("b", b.addr()).at(port)),
        by_source(named("http", "wa", web_a.addr(), "a.test")),
        by_source(named("http", "wb", web_b.addr(), "a.test")),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let connect = async |last: u8, port: u16| {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind(([127, 0, 9, last], 0).into()).unwrap();
        socket.connect(([127, 0, 0, 1], port).into()).await.unwrap()
    };
    let mut seen = BTreeMap::<String, usize>::new();
    for last in 1..=24 {
        let first = letter_of(connect(last, port).await).await;
        assert_eq!(letter_of(connect(last, port).await).await, first);
        *seen.entry(first).or_default() += 1;
        let mut names = Vec::new();
        for _ in 0..2 {
            let mut user = User::on(connect(last, http).await);
            let answer = user
                .ask("GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
                .await;
            names.push(answer.service().to_owned());
        }
        assert_eq!(names[0], names[1]);
        *seen.entry(format!("web {}", names[0])).or_default() += 1;
    }
    assert_eq!(seen.len(), 4, "{seen:?}");
}

#[tokio::test]
async fn tcp_members_take_turns_and_the_last_closes_the_port() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let proxy =
        |name: &str, service: &Service| member(Proxy::tcp(name, service.addr()).at(port), "g");
    let first = [proxy("a", &a)];
    let first = Client::start(Peer::Mgrok, server.addr(), "", &first).await;
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    evenly(&shares(4, async || by_tcp(public).await).await, 1, 4);
    let second = [proxy("b", &b).with("transport.useEncryption = true")];
    let second = Client::start(Peer::Mgrok, server.addr(), "", &second).await;
    server
        .log()
        .wait_for("new proxy [b] type [tcp] success")
        .await;
    evenly(&shares(20, async || by_tcp(public).await).await, 2, 10);

    let mark = server.log().mark();
    first.stop().await;
    server.log().wait_after(mark, "client exit success").await;
    evenly(&shares(4, async || by_tcp(public).await).await, 1, 4);
    let mark = server.log().mark();
    second.stop().await;
    server.log().wait_after(mark, "client exit success").await;
    TcpListener::bind(public).await.expect("the port is free");
}

#[tokio::test]
async fn a_port_that_the_server_chooses_is_shared_too() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let proxies = [("a", &a), ("b", &b)]
        .map(|(name, service)| member(Proxy::tcp(name, service.addr()).at(0), "g"));
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let line = server.log().wait_for("tcp proxy listen port [").await;
    assert_eq!(server.log().count("tcp proxy listen port ["), 1);
    let (_, port) = line.split_once("port [").unwrap();
    let port: u16 = port.split(']').next().unwrap().parse().unwrap();
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    server
        .log()
        .wait_for("new proxy [b] type [tcp] success")
        .await;
    evenly(&shares(10, async || by_tcp(public).await).await, 2, 5);
}

#[tokio::test]
async fn http_members_take_turns_with_requests() {
    let webs = [Web::start("a").await, Web::start("b").await];
    let proxies = ["a", "b"].map(|name| {
        let web = &webs[usize::from(name == "b")];
        member(named("http", name, web.addr(), "a.test"), "g")
            .with(&format!("responseHeaders.set.x-member = {name:?}"))
    });
    let shared = Shared::with("vhostHTTPPort", "", &proxies).await;
    evenly(&shares(20, async || by_http(shared.at).await).await, 2, 10);
    // Also with those of one user.
    let mut user = User::of(shared.at).await;
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\n\r\n";
    let ask = async || user.ask(request).await.service().to_owned();
    evenly(&shares(20, ask).await, 2, 10);
    let connections: usize = webs.iter().map(Web::connections).sum();
    // A user may ask again before the connection of the last answer is ready, so it is not always one for each.
    assert!(connections <= 8, "40 requests took {connections}");
}

#[tokio::test]
async fn an_http_group_may_have_several_domains_and_locations() {
    let webs = [Web::start("a").await, Web::start("b").await];
    let proxy = |name: &'static str, more: &str| {
        let web = &webs[usize::from(name == "b")];
        member(Proxy::new("http", name, web.addr()), "g").with(more)
    };
    let both = "customDomains = [\"a.test\", \"b.test\"]\nlocations = [\"/x\", \"/y\"]";
    // What matters is which they are, not their order.
    let same = "customDomains = [\"B.test\", \"a.test\"]\nlocations = [\"/y\", \"/x\"]";
    let proxies = [proxy("a", both), proxy("b", same)];
    let shared = Shared::with("vhostHTTPPort", "", &proxies).await;
    for (host, path) in [
        ("a.test", "/x"),
        ("a.test", "/y"),
        ("b.test", "/x"),
        ("b.test", "/y"),
    ] {
        let ask = async || web::get(shared.at, host, path).await.service().to_owned();
        evenly(&shares(4, ask).await, 2, 2);
    }
    assert_eq!(web::get(shared.at, "a.test", "/").await.status, 404);
    let fewer = "customDomains = [\"a.test\"]\nlocations = [\"/x\", \"/y\"]";
    let invalid = "group params invalid";
    shared
        .refuses(
            Proxy {
                name: "c".to_owned(),
                ..proxy("a", fewer)
            },
            invalid,
        )
        .await;
}

#[tokio::test]
async fn https_and_tcpmux_members_take_turns_with_connections() {
    let authority = Authority::new();
    let certificate = authority.sign("a.test");
    let (a, b) = (
        tls::echo(&certificate, "a").await,
        tls::echo(&certificate, "b").await,
    );
    let proxies = [("a", &a), ("b", &b)]
        .map(|(name, site)| member(named("https", name, site.addr(), "a.test"), "g"));
    let shared = Shared::with("vhostHTTPSPort", "", &proxies).await;
    let ask = async || by_https(shared.at, &authority).await;
    evenly(&shares(10, ask).await, 2, 5);

    let (a, b) = (letter("a").await, letter("b").await);
    let proxies = [("a", &a), ("b", &b)].map(|(name, service)| {
        let proxy = named("tcpmux", name, service.addr(), "a.test");
        member(proxy, "g").with("multiplexer = \"httpconnect\"")
    });
    let shared = Shared::with("tcpmuxHTTPConnectPort", "", &proxies).await;
    evenly(&shares(10, async || by_tcpmux(shared.at).await).await, 2, 5);
}

#[tokio::test]
async fn who_does_not_agree_with_a_group_stays_out() {
    let a = letter("a").await;
    let [http, tcpmux] = ports::several();
    let settings = format!(
        "vhostHTTPPort = {http}\ntcpmuxHTTPConnectPort = {tcpmux}\nvhostHTTPSPort = {}",
        ports::free()
    );
    let server = Server::start(Peer::Mgrok, &settings).await;
    let tcp = || Proxy::tcp("tcp", a.addr());
    let named = |kind, domain: &str| {
        let proxy = named(kind, kind, a.addr(), domain);
        match kind {
            "tcpmux" => proxy.with("multiplexer = \"httpconnect\""),
            _ => proxy,
        }
    };
    let proxies = [
        member(tcp(), "g"),
        member(named("http", "a.test"), "g"),
        member(named("https", "a.test"), "g"),
        member(named("tcpmux", "a.test"), "g").with("httpUser = \"ann\""),
    ];
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    let port = proxies[0].remote_port;
    let other = |proxy: Proxy| Proxy {
        name: format!("other-{}", proxy.name),
        ..proxy
    };
    let keyless = "loadBalancer.group = \"g\"\nloadBalancer.groupKey = \"guessed\"";

    let different = "group should have same remote port";
    refuses(&server, other(member(tcp(), "g")), different).await;
    let key = "group auth failed";
    refuses(&server, other(tcp().at(port).with(keyless)), key).await;
    refuses(&server, other(tcp().at(port)), "port already used").await;
    for kind in ["http", "https"] {
        refuses(&server, other(named(kind, "a.test").with(keyless)), key).await;
        let invalid = "group params invalid";
        refuses(&server, other(member(named(kind, "b.test"), "g")), invalid).await;
        let conflict = "router config conflict";
        refuses(&server, other(named(kind, "a.test")), conflict).await;
        refuses(&server, other(member(named(kind, "a.test"), "h")), conflict).await;
    }
    let mux = member(named("tcpmux", "a.test"), "g");
    for differs in [
        "",
        "httpUser = \"bob\"",
        "httpUser = \"ann\"\nhttpPassword = \"x\"",
    ] {
        refuses(
            &server,
            other(mux.clone().with(differs)),
            "group params invalid",
        )
        .await;
    }
}

/// Users who come all the time, one after the other in several rows, until they are told to stop.
struct Crowd {
    stop: Arc<AtomicBool>,
    served: Arc<AtomicUsize>,
    rows: JoinSet<()>,
}

impl Crowd {
    /// Each user must be served; `ask` panics otherwise.
    fn of<F: Future<Output = String> + Send + 'static>(
        ask: impl Fn() -> F + Send + Clone + 'static,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let served = Arc::new(AtomicUsize::new(0));
        let mut rows = JoinSet::new();
        for _ in 0..6 {
            let (ask, stop, served) = (ask.clone(), stop.clone(), Arc::clone(&served));
            rows.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    ask().await;
                    served.fetch_add(1, Ordering::SeqCst);
                }
            });
        }
        Self { stop, served, rows }
    }

    /// Waits until so many more have been served, and fails if one has not been.
    async fn serve(&mut self, more: usize) {
        let until = self.served.load(Ordering::SeqCst) + more;
        eventually("more users are served", async || {
            if let Some(row) = self.rows.try_join_next() {
                row.expect("every user is served");
            }
            (self.served.load(Ordering::SeqCst) >= until).then_some(())
        })
        .await;
    }

    async fn end(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        while let Some(row) = self.rows.join_next().await {
            row.expect("every user was served");
        }
    }
}

/// Members leave and come back while users come all the time, and no user notices.
async fn leave_unnoticed<F: Future<Output = String> + Send + 'static>(
    server: &Server,
    [stays, leaves]: [Proxy; 2],
    ask: impl Fn() -> F + Send + Clone + 'static,
) {
    let start = async |proxy: &Proxy, pool: usize| {
        let settings = format!("transport.poolCount = {pool}");
        let mark = server.log().mark();
        let client = Client::start(
            Peer::Mgrok,
            server.addr(),
            &settings,
            std::slice::from_ref(proxy),
        )
        .await;
        server.log().wait_after(mark, "] success").await;
        client
    };
    let _stays = start(&stays, 0).await;
    let mut crowd = Crowd::of(ask);
    for pool in [0, 5, 0, 5] {
        let leaves = start(&leaves, pool).await;
        crowd.serve(60).await;
        let mark = server.log().mark();
        leaves.stop().await;
        server.log().wait_after(mark, "client exit success").await;
        crowd.serve(30).await;
    }
    crowd.end().await;
}

#[tokio::test]
async fn no_user_notices_a_tcp_member_that_leaves() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let members = [("a", &a), ("b", &b)]
        .map(|(name, service)| member(Proxy::tcp(name, service.addr()).at(port), "g"));
    let public = members[0].public();
    leave_unnoticed(&server, members, move || by_tcp(public)).await;
}

#[tokio::test]
async fn no_user_notices_an_http_member_that_leaves() {
    let webs = [Web::start("a").await, Web::start("b").await];
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPPort = {port}")).await;
    let members = [("a", &webs[0]), ("b", &webs[1])]
        .map(|(name, web)| member(named("http", name, web.addr(), "a.test"), "g"));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    leave_unnoticed(&server, members, move || by_http(at)).await;
}

#[tokio::test]
async fn no_user_notices_a_tcpmux_member_that_leaves() {
    let (a, b) = (letter("a").await, letter("b").await);
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("tcpmuxHTTPConnectPort = {port}")).await;
    let members = [("a", &a), ("b", &b)].map(|(name, service)| {
        let proxy = named("tcpmux", name, service.addr(), "a.test");
        member(proxy, "g").with("multiplexer = \"httpconnect\"")
    });
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    leave_unnoticed(&server, members, move || by_tcpmux(at)).await;
}

#[tokio::test]
async fn no_user_notices_an_https_member_that_leaves() {
    let authority = Arc::new(Authority::new());
    let certificate = authority.sign("a.test");
    let (a, b) = (
        tls::echo(&certificate, "a").await,
        tls::echo(&certificate, "b").await,
    );
    let port = ports::free();
    let server = Server::start(Peer::Mgrok, &format!("vhostHTTPSPort = {port}")).await;
    let members = [("a", &a), ("b", &b)]
        .map(|(name, site)| member(named("https", name, site.addr(), "a.test"), "g"));
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    let ask = move || {
        let authority = authority.clone();
        async move { by_https(at, &authority).await }
    };
    leave_unnoticed(&server, members, ask).await;
}

#[tokio::test]
async fn users_of_a_member_that_vanishes_are_served_by_the_others() {
    let (a, b) = (letter("a").await, letter("b").await);
    let server = Server::start(Peer::Mgrok, "").await;
    let port = ports::free();
    let proxy =
        |name: &str, service: &Service| [member(Proxy::tcp(name, service.addr()).at(port), "g")];
    let _first = Client::start(Peer::Mgrok, server.addr(), "", &proxy("a", &a)).await;
    let second = Client::start(Peer::Mgrok, server.addr(), "", &proxy("b", &b)).await;
    let public = SocketAddr::from(([127, 0, 0, 1], port));
    let mark = server.log().mark();
    drop(second);
    server.log().client_gone(mark).await;
    evenly(&shares(6, async || by_tcp(public).await).await, 1, 6);
}

#[tokio::test]
async fn requests_for_a_member_that_gives_no_connection_go_to_the_next() {
    let (a, b) = (Web::start("a").await, Web::start("b").await);
    let [port] = ports::several();
    let settings = format!("vhostHTTPPort = {port}\nvhostHTTPTimeout = 1\nuserConnTimeout = 1");
    let server = Server::start(Peer::Mgrok, &settings).await;
    let proxy = |name: &str, web: &Web| [member(named("http", name, web.addr(), "a.test"), "g")];
    let frozen = Client::start(Peer::MgrokProgram, server.addr(), "", &proxy("a", &a)).await;
    let _other = Client::start(Peer::Mgrok, server.addr(), "", &proxy("b", &b)).await;
    let pid = i32::try_from(frozen.pid().unwrap()).unwrap();
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    let at = SocketAddr::from(([127, 0, 0, 1], port));
    // What the server has in store of the frozen one is used up: those requests wait in vain.
    while !server
        .log()
        .contains("timeout trying to get work connection")
    {
        web::get(at, "a.test", "/").await;
    }
    for _ in 0..4 {
        assert_eq!(by_http(at).await, "b");
    }
}

#[tokio::test]
async fn a_request_for_a_member_without_a_service_goes_to_the_next() {
    let web = Web::start("b").await;
    let nobody = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let proxies = [("a", nobody), ("b", web.addr())]
        .map(|(name, local)| member(named("http", name, local, "a.test"), "g"));
    let shared = Shared::with("vhostHTTPPort", "", &proxies).await;
    for _ in 0..6 {
        assert_eq!(by_http(shared.at).await, "b");
    }
}
