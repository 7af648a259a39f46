//! Services that are found by name: http, https and tcpmux.

use std::net::SocketAddr;

use mgrok_lab::{Client, PATIENCE, Peer, Proxy, Server, ports, service, traffic, within};
use tokio::{io::AsyncReadExt, task::JoinSet};

use crate::{
    Pair,
    http::{self, Connection, get, request},
    layers_and_limits, tls,
};

for_each_pair!(
    requests_find_their_service_by_host_and_path,
    requests_find_their_service_by_user,
    credentials_are_asked_for,
    headers_are_changed_on_the_way,
    one_connection_carries_requests_to_several_services,
    a_request_may_become_another_protocol,
    http_through_every_layer,
    tls_finds_its_service_by_name,
    tls_through_every_layer,
    connect_finds_its_service_by_host_and_user,
    connect_asks_for_credentials,
    connect_is_left_to_the_service,
    connect_through_every_layer,
    clients_and_users_share_a_port,
);

/// `ann:secret`, and `bob` without a password.
const ANN: &str = "Basic YW5uOnNlY3JldA==";
const BOB: &str = "Basic Ym9iOg==";
const WRONG: &str = "Basic YW5uOndyb25n";

/// A server with a port for users, as `setting` calls it.
async fn server(peer: Peer, setting: &str, more: &str) -> (Server, SocketAddr) {
    let port = ports::free();
    let settings = format!("{setting} = {port}\n{more}");
    let server = Server::start(peer, &settings).await;
    (server, ([127, 0, 0, 1], port).into())
}

async fn http_server(peer: Peer) -> (Server, SocketAddr) {
    server(peer, "vhostHTTPPort", "subDomainHost = \"sub.test\"").await
}

async fn requests_find_their_service_by_host_and_path(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let exact = http::site("exact").await;
    let wild = http::site("wild").await;
    let narrow = http::site("narrow").await;
    let root = http::site("root").await;
    let api = http::site("api").await;
    let sub = http::site("sub").await;
    let proxies = [
        Proxy::new("http", "exact", exact.addr())
            .with("customDomains = [\"Exact.test\", \"a.wild.test\", \"alone\"]"),
        Proxy::new("http", "wild", wild.addr()).with("customDomains = [\"*.wild.test\"]"),
        Proxy::new("http", "narrow", narrow.addr()).with("customDomains = [\"*.b.wild.test\"]"),
        Proxy::new("http", "root", root.addr()).with("customDomains = [\"paths.test\"]"),
        Proxy::new("http", "api", api.addr())
            .with("customDomains = [\"paths.test\"]\nlocations = [\"/api\", \"/v2/x\"]"),
        Proxy::new("http", "sub", sub.addr()).with("subdomain = \"one\""),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (host, path, expect) in [
        ("exact.test", "/", Some("exact")),
        ("EXACT.TEST.:81", "/any?q=1", Some("exact")),
        ("alone", "/", Some("exact")),
        ("a.wild.test", "/", Some("exact")),
        ("x.wild.test", "/", Some("wild")),
        ("y.x.wild.test", "/", Some("wild")),
        ("x.b.wild.test", "/", Some("narrow")),
        ("wild.test", "/", None),
        ("paths.test", "/", Some("root")),
        ("paths.test", "/api", Some("api")),
        ("paths.test", "/apis/1", Some("api")),
        ("paths.test", "/v2/x/y", Some("api")),
        ("paths.test", "/v2", Some("root")),
        ("one.sub.test", "/", Some("sub")),
        ("two.sub.test", "/", None),
        ("unknown.test", "/", None),
    ] {
        let response = get(web, host, path, &[]).await;
        assert_eq!(response.site(), expect, "{host}{path}: {response:?}");
        match expect {
            Some(_) => {
                let seen = response.seen();
                assert_eq!(seen.start, format!("GET {path} HTTP/1.1"));
                assert_eq!(seen.header("host"), Some(host));
            }
            None => {
                assert_eq!(response.status(), 404, "{host}{path}");
                let kind = response.header("content-type");
                assert_eq!(kind, Some("text/html; charset=utf-8"), "{host}{path}");
                assert!(!response.body.is_empty());
            }
        }
    }
}

async fn requests_find_their_service_by_user(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let anybody = http::site("anybody").await;
    let ann = http::site("ann").await;
    let bob = http::site("bob").await;
    let proxies = [
        Proxy::new("http", "anybody", anybody.addr()).with("customDomains = [\"users.test\"]"),
        Proxy::new("http", "ann", ann.addr())
            .with("customDomains = [\"users.test\"]\nrouteByHTTPUser = \"ann\""),
        Proxy::new("http", "bob", bob.addr())
            .with("customDomains = [\"*\"]\nrouteByHTTPUser = \"bob\""),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (host, credentials, expect) in [
        ("users.test", None, Some("anybody")),
        ("users.test", Some(ANN), Some("ann")),
        ("users.test", Some(BOB), Some("anybody")),
        ("else.test", Some(BOB), Some("bob")),
        ("else.test", Some(ANN), None),
        ("else.test", None, None),
    ] {
        let line = credentials.map(|it| format!("Authorization: {it}"));
        let response = get(web, host, "/", line.as_deref().as_slice()).await;
        assert_eq!(response.site(), expect, "{host} {credentials:?}");
        if expect.is_some() {
            assert_eq!(response.seen().header("authorization"), credentials);
        }
    }
}

async fn credentials_are_asked_for(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let site = http::site("site").await;
    let proxies = [
        Proxy::new("http", "both", site.addr())
            .with("customDomains = [\"both.test\"]\nhttpUser = \"ann\"\nhttpPassword = \"secret\""),
        Proxy::new("http", "user", site.addr())
            .with("customDomains = [\"user.test\"]\nhttpUser = \"bob\""),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (host, credentials, status) in [
        ("both.test", None, 401),
        ("both.test", Some(WRONG), 401),
        ("both.test", Some(BOB), 401),
        ("both.test", Some("Bearer abc"), 401),
        ("both.test", Some(ANN), 200),
        ("user.test", Some(ANN), 401),
        ("user.test", Some(BOB), 200),
    ] {
        let line = credentials.map(|it| format!("Authorization: {it}"));
        let response = get(web, host, "/", line.as_deref().as_slice()).await;
        assert_eq!(response.status(), status, "{host} {credentials:?}");
        let asked = (status == 401).then_some("Basic realm=\"Restricted\"");
        assert_eq!(response.header("www-authenticate"), asked);
    }
    // As a browser asks the proxy that it is set up with.
    let through = "http://both.test/";
    let refused = get(web, "both.test", through, &[]).await;
    assert_eq!(refused.status(), 407);
    let asked = refused.header("proxy-authenticate");
    assert_eq!(asked, Some("Basic realm=\"Restricted\""));
    let known = format!("Proxy-Authorization: {ANN}");
    let seen = get(web, "both.test", through, &[&known]).await.seen();
    assert_eq!(seen.header("proxy-authorization"), None);
}

async fn headers_are_changed_on_the_way(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let site = http::site("site").await;
    let changed = "customDomains = [\"changed.test\"]\n\
         hostHeaderRewrite = \"inside.test\"\n\
         requestHeaders.set.X-From = \"tunnel\"\n\
         responseHeaders.set.X-Robots-Tag = \"noindex\"\n\
         responseHeaders.set.Content-Type = \"text/css\"";
    let proxies = [
        Proxy::new("http", "plain", site.addr()).with("customDomains = [\"plain.test\"]"),
        Proxy::new("http", "changed", site.addr()).with(changed),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;

    let sent = [
        "X-Forwarded-For: 192.0.2.1",
        "X-Forwarded-Host: forged.test",
        "X-Forwarded-Proto: https",
        "Forwarded: for=forged",
        "Connection: X-Hop",
        "X-Hop: gone",
        "Proxy-Connection: keep-alive",
        "X-From: user",
        "X-Kept: kept",
        "Accept-Encoding: br",
    ];
    let response = get(web, "plain.test", "/a%20b?c=%2F", &sent).await;
    assert_eq!(response.header("content-type"), Some("text/plain"));
    let seen = response.seen();
    assert_eq!(seen.start, "GET /a%20b?c=%2F HTTP/1.1");
    for (header, expect) in [
        ("host", Some("plain.test")),
        ("x-forwarded-for", Some("192.0.2.1, 127.0.0.1")),
        ("x-forwarded-host", Some("plain.test")),
        ("x-forwarded-proto", Some("http")),
        ("forwarded", None),
        ("x-hop", None),
        ("proxy-connection", None),
        ("x-from", Some("user")),
        ("x-kept", Some("kept")),
        ("accept-encoding", Some("br")),
        ("user-agent", None),
    ] {
        assert_eq!(seen.header(header), expect, "{header}");
    }

    let response = get(web, "changed.test", "/", &sent).await;
    assert_eq!(response.header("content-type"), Some("text/css"));
    assert_eq!(response.header("x-robots-tag"), Some("noindex"));
    let seen = response.seen();
    assert_eq!(seen.header("host"), Some("inside.test"));
    assert_eq!(seen.header("x-from"), Some("tunnel"));
    assert_eq!(seen.header("x-forwarded-host"), Some("changed.test"));
}

async fn one_connection_carries_requests_to_several_services(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let one = http::site("one").await;
    let two = http::site("two").await;
    let proxies = [
        Proxy::new("http", "one", one.addr()).with("customDomains = [\"one.test\"]"),
        Proxy::new("http", "two", two.addr()).with("customDomains = [\"two.test\"]"),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    let mut user = Connection::to(web).await;
    for turn in 0..20 {
        let (host, site) = match turn % 2 {
            0 => ("one.test", "one"),
            _ => ("two.test", "two"),
        };
        let body = traffic::Pattern::new(turn).take(10_000);
        let response = user.ask(&request("POST", host, "/", &[], &body)).await;
        assert_eq!(response.site(), Some(site));
        assert!(response.seen().body == body, "another body than was sent");
    }
    // Not there, and then still good for what is.
    let missing = user.ask(&request("GET", "none.test", "/", &[], b"")).await;
    assert_eq!(missing.status(), 404);
    let there = user.ask(&request("GET", "one.test", "/", &[], b"")).await;
    assert_eq!(there.site(), Some("one"));
    // A body of unknown length.
    let head = "POST / HTTP/1.1\r\nHost: two.test\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\n\r\n";
    let chunked = user.ask(&[head, body].concat().into_bytes()).await;
    assert_eq!(chunked.seen().body, b"abcdefg");
}

async fn a_request_may_become_another_protocol(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let site = http::site("site").await;
    let proxies = [
        Proxy::new("http", "plain", site.addr()).with("customDomains = [\"plain.test\"]"),
        Proxy::new("http", "both", site.addr())
            .with("customDomains = [\"both.test\"]")
            .with("responseHeaders.set.X-Set = \"set\"")
            .with("transport.useEncryption = true\ntransport.useCompression = true"),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (host, set) in [("plain.test", None), ("both.test", Some("set"))] {
        let mut user = Connection::to(web).await;
        let upgrade = [
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        ];
        let response = user.ask(&request("GET", host, "/ws", &upgrade, b"")).await;
        assert_eq!(response.status(), 101, "{host}: {response:?}");
        assert_eq!(response.header("upgrade"), Some("websocket"));
        assert_eq!(response.header("x-set"), set);
        let mut stream = user.0.into_inner();
        let echo = traffic::echo(&mut stream, 300_000);
        within(PATIENCE, "bytes come back", echo).await.unwrap();
    }
}

/// Proxies of one kind to one service through everything, each with the lines that `more` makes of its name.
fn through_every_layer(
    kind: &'static str,
    local: SocketAddr,
    more: impl Fn(&str) -> String,
) -> Vec<Proxy> {
    layers_and_limits()
        .map(|(name, lines)| {
            let more = more(&name);
            Proxy::new(kind, name, local).with(&more).with(&lines)
        })
        .collect()
}

/// Uses all proxies at once, each by its name.
async fn use_all<F>(proxies: &[Proxy], user: impl Fn(String) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut uses = JoinSet::new();
    for proxy in proxies {
        uses.spawn(user(format!("{}.test", proxy.name)));
    }
    while let Some(done) = uses.join_next().await {
        done.unwrap();
    }
}

fn domain(name: &str) -> String {
    format!("customDomains = [\"{name}.test\"]")
}

async fn http_through_every_layer(pair: Pair) {
    let (server, web) = http_server(pair.server).await;
    let site = http::site("site").await;
    let proxies = through_every_layer("http", site.addr(), domain);
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    use_all(&proxies, move |host| async move {
        let mut user = Connection::to(web).await;
        for len in [0, 1, 300_000] {
            let body = traffic::Pattern::new(1).take(len);
            let response = user.ask(&request("POST", &host, "/", &[], &body)).await;
            assert!(response.seen().body == body, "another body than was sent");
        }
    })
    .await;
}

async fn tls_finds_its_service_by_name(pair: Pair) {
    let more = "subDomainHost = \"sub.test\"";
    let (server, port) = server(pair.server, "vhostHTTPSPort", more).await;
    let exact = tls::site("exact").await;
    let wild = tls::site("wild").await;
    let sub = tls::site("sub").await;
    let proxies = [
        Proxy::new("https", "exact", exact.addr())
            .with("customDomains = [\"Exact.test\", \"a.wild.test\"]"),
        Proxy::new("https", "wild", wild.addr()).with("customDomains = [\"*.wild.test\"]"),
        Proxy::new("https", "sub", sub.addr()).with("subdomain = \"one\""),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (name, expect) in [
        ("exact.test", "exact"),
        ("EXACT.test", "exact"),
        ("a.wild.test", "exact"),
        ("x.wild.test", "wild"),
        ("y.x.wild.test", "wild"),
        ("one.sub.test", "sub"),
    ] {
        let user = tls::User::of(port, name).await;
        assert_eq!(user.site, expect, "{name}");
        user.echo(10_000).await;
    }
    // An address is not told to the server.
    for name in ["wild.test", "unknown.test", "127.0.0.1"] {
        let refused = tls::refusal(port, name).await.to_string();
        assert!(refused.contains("UnrecognisedName"), "{name}: {refused}");
    }
}

async fn tls_through_every_layer(pair: Pair) {
    let (server, port) = server(pair.server, "vhostHTTPSPort", "").await;
    let site = tls::site("site").await;
    let proxies = through_every_layer("https", site.addr(), domain);
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    use_all(&proxies, move |name| async move {
        tls::User::of(port, &name).await.echo(300_000).await;
    })
    .await;
}

async fn tcpmux_server(peer: Peer, more: &str) -> (Server, SocketAddr) {
    server(peer, "tcpmuxHTTPConnectPort", more).await
}

/// A tcpmux proxy for one host.
fn tcpmux(name: &str, local: SocketAddr) -> Proxy {
    Proxy::new("tcpmux", name, local)
        .with("multiplexer = \"httpconnect\"")
        .with(&domain(name))
}

/// Asks for `host`; what it answers, and the connection.
async fn connect(
    port: SocketAddr,
    host: &str,
    credentials: Option<&str>,
) -> (http::Message, Connection) {
    let line = credentials.map(|it| format!("Proxy-Authorization: {it}"));
    let line = line.as_deref();
    let request = request("CONNECT", host, &format!("{host}:22"), line.as_slice(), b"");
    let mut user = Connection::to(port).await;
    (user.ask(&request).await, user)
}

/// What the service says first.
async fn greeting(mut user: Connection) -> String {
    let mut text = String::new();
    let read = user.0.read_to_string(&mut text);
    within(PATIENCE, "a greeting", read).await.unwrap();
    text
}

async fn connect_finds_its_service_by_host_and_user(pair: Pair) {
    let more = "subDomainHost = \"sub.test\"";
    let (server, port) = tcpmux_server(pair.server, more).await;
    let one = service::greeting(b"one").await;
    let wild = service::greeting(b"wild").await;
    let ann = service::greeting(b"ann").await;
    let sub = service::greeting(b"sub").await;
    let proxies = [
        tcpmux("one", one.addr()),
        tcpmux("*.wild", wild.addr()),
        Proxy::new("tcpmux", "ann", ann.addr())
            .with("multiplexer = \"httpconnect\"\nrouteByHTTPUser = \"ann\"")
            .with(&domain("one")),
        Proxy::new("tcpmux", "sub", sub.addr())
            .with("multiplexer = \"httpconnect\"\nsubdomain = \"one\""),
    ];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    for (host, credentials, expect) in [
        ("one.test", None, "one"),
        ("ONE.test", None, "one"),
        ("one.test", Some(BOB), "one"),
        ("one.test", Some(ANN), "ann"),
        ("x.wild.test", None, "wild"),
        ("one.sub.test", None, "sub"),
    ] {
        let (response, user) = connect(port, host, credentials).await;
        assert_eq!(response.start, "HTTP/1.1 200 OK", "{host}");
        assert_eq!(greeting(user).await, expect, "{host} {credentials:?}");
    }
    let (response, _) = connect(port, "two.test", None).await;
    assert_eq!(response.status(), 404);
    // Nothing else is understood here.
    let mut user = Connection::to(port).await;
    user.send(&request("GET", "one.test", "/", &[], b""))
        .await
        .unwrap();
    assert_eq!(greeting(user).await, "");
}

async fn connect_asks_for_credentials(pair: Pair) {
    let (server, port) = tcpmux_server(pair.server, "").await;
    let site = service::greeting(b"welcome").await;
    let proxy = tcpmux("site", site.addr()).with("httpUser = \"ann\"\nhttpPassword = \"secret\"");
    let _client = Client::start(pair.client, server.addr(), "", &[proxy]).await;
    let (response, user) = connect(port, "site.test", Some(ANN)).await;
    assert_eq!(response.status(), 200);
    assert_eq!(greeting(user).await, "welcome");
    for credentials in [None, Some(WRONG), Some(BOB)] {
        let (mut response, mut user) = connect(port, "site.test", credentials).await;
        if pair.server == Peer::Frp {
            // frp: 200 first, all the same.
            assert_eq!(response.status(), 200);
            response = user.receive().await.unwrap().unwrap();
        }
        assert_eq!(response.status(), 407, "{credentials:?}");
        let asked = response.header("proxy-authenticate");
        assert_eq!(asked, Some("Basic realm=\"Restricted\""));
        if pair.server == Peer::Frp {
            assert_eq!(greeting(user).await, "", "{credentials:?}");
            continue;
        }
        // Whoever has asked without a password may ask again.
        let line = format!("Proxy-Authorization: {ANN}");
        let again = request("CONNECT", "site.test", "site.test:22", &[&line], b"");
        assert_eq!(user.ask(&again).await.status(), 200);
        assert_eq!(greeting(user).await, "welcome", "{credentials:?}");
    }
}

async fn connect_is_left_to_the_service(pair: Pair) {
    let (server, port) = tcpmux_server(pair.server, "tcpmuxPassthrough = true").await;
    let site = service::tcp(async |stream| {
        let mut user = Connection::from(stream);
        let Ok(Some(request)) = user.receive().await else {
            return;
        };
        let answer = format!("HTTP/1.1 299 {}\r\n\r\n", request.start);
        let _ = user.send(answer.as_bytes()).await;
        let mut rest = [0; 4];
        let _ = user.0.read_exact(&mut rest).await;
        let _ = user.send(&rest).await;
    })
    .await;
    let proxies = [tcpmux("site", site.addr())];
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    let mut user = Connection::to(port).await;
    // What comes along with the request is the service's, too.
    let request = b"CONNECT site.test:22 HTTP/1.1\r\nHost: site.test:22\r\n\r\nmore";
    let response = user.ask(request).await;
    assert_eq!(response.start, "HTTP/1.1 299 CONNECT site.test:22 HTTP/1.1");
    assert_eq!(greeting(user).await, "more");
}

async fn connect_through_every_layer(pair: Pair) {
    let (server, port) = tcpmux_server(pair.server, "").await;
    let echo = service::tcp_echo().await;
    let proxies = through_every_layer("tcpmux", echo.addr(), |name| {
        format!("multiplexer = \"httpconnect\"\n{}", domain(name))
    });
    let _client = Client::start(pair.client, server.addr(), "", &proxies).await;
    use_all(&proxies, move |host| async move {
        let (response, user) = connect(port, &host, None).await;
        assert_eq!(response.status(), 200);
        let mut stream = user.0.into_inner();
        let echo = traffic::echo(&mut stream, 300_000);
        within(PATIENCE, "bytes come back", echo).await.unwrap();
    })
    .await;
}

async fn clients_and_users_share_a_port(pair: Pair) {
    let web = http::site("web").await;
    let secure = tls::site("secure").await;
    let echo = service::tcp_echo().await;
    let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let port = addr.port();
    let shared = format!("vhostHTTPPort = {port}\nvhostHTTPSPort = {port}");
    let server = Server::start_at(pair.server, addr, &shared).await;
    for (tls, settings) in [
        ("tls", "transport.tls.disableCustomTLSFirstByte = false"),
        ("plain", "transport.tls.enable = false"),
    ] {
        let proxies = [
            Proxy::tcp("echo", echo.addr()),
            Proxy::new("http", "web", web.addr()).with("customDomains = [\"web.test\"]"),
            Proxy::new("https", "secure", secure.addr()).with("customDomains = [\"secure.test\"]"),
        ];
        let mark = server.log().mark();
        let client = Client::start(pair.client, addr, settings, &proxies).await;
        traffic::tcp_echo(proxies[0].public(), 10_000).await;
        let response = get(addr, "web.test", "/", &[]).await;
        assert_eq!(response.site(), Some("web"), "{tls}");
        let user = tls::User::of(addr, "secure.test").await;
        assert_eq!(user.site, "secure", "{tls}");
        user.echo(10_000).await;
        // Killed: frps keeps connections to websites for later requests, and mgrokc would wait for them.
        drop(client);
        server.log().client_gone(mark).await;
    }
}
