//! Groups whose members are at different clients, of both makes.
//!
//! frp's server refuses members that ask for several domains or locations, which ours takes; here each asks for one.

use std::{collections::BTreeSet, net::SocketAddr};

use mgrok_lab::{Client, PATIENCE, Proxy, Server, ports, service, traffic, within};
use tokio::{io::AsyncReadExt, net::TcpStream};

use crate::{
    Trio,
    http::{self, Connection, get, request},
    tls,
};

for_each_trio!(
    members_share_the_users_of_a_port,
    members_share_the_requests_of_a_host,
    members_share_the_tls_users_of_a_name,
    members_share_the_connect_users_of_a_host,
    strangers_do_not_get_in,
    members_must_want_the_same,
);

/// How often users come until each member has had one. Chance alone makes each miss all with a probability below
/// one in a million.
const USERS: usize = 60;

fn group(proxy: Proxy, more: &str) -> Proxy {
    let proxy = proxy.with("loadBalancer.group = \"g\"\nloadBalancer.groupKey = \"key\"");
    proxy.with(more)
}

/// Starts both members, sees that users reach both, then kills one after the other: first none reach the one that has
/// gone, then `is_gone`.
async fn members_share(
    trio: Trio,
    server: &Server,
    [one, two]: [Proxy; 2],
    reach: impl AsyncFn() -> String,
    is_gone: impl AsyncFn() -> bool,
) {
    let first = Client::start(trio.client, server.addr(), "", &[one]).await;
    assert_eq!(reach().await, "one");
    let second = Client::start(trio.other, server.addr(), "", &[two]).await;
    let mut reached = BTreeSet::new();
    for _ in 0..USERS {
        reached.insert(reach().await);
        if reached.len() == 2 {
            break;
        }
    }
    assert!(reached.iter().eq(["one", "two"]), "reached {reached:?}");

    let mark = server.log().mark();
    // Killed: frps keeps connections to websites for later requests, and mgrokc would wait for them.
    drop(first);
    server.log().client_gone(mark).await;
    for _ in 0..10 {
        assert_eq!(reach().await, "two", "the other member is gone");
    }
    let mark = server.log().mark();
    drop(second);
    server.log().client_gone(mark).await;
    assert!(is_gone().await);
}

async fn members_share_the_users_of_a_port(trio: Trio) {
    let server = Server::start(trio.server, "").await;
    let one = service::greeting(b"one").await;
    let two = service::greeting(b"two").await;
    let port = ports::free();
    let members = [
        group(Proxy::tcp("one", one.addr()).at(port), ""),
        group(Proxy::tcp("two", two.addr()).at(port), ""),
    ];
    let public = members[0].public();
    let reach = async || {
        let read = within(PATIENCE, "a greeting", traffic::read_all(public)).await;
        String::from_utf8(read.unwrap()).unwrap()
    };
    let is_gone = async || TcpStream::connect(public).await.is_err();
    members_share(trio, &server, members, reach, is_gone).await;
}

async fn vhost(trio: Trio, setting: &str) -> (Server, SocketAddr) {
    let port = ports::free();
    let server = Server::start(trio.server, &format!("{setting} = {port}")).await;
    (server, ([127, 0, 0, 1], port).into())
}

async fn members_share_the_requests_of_a_host(trio: Trio) {
    let (server, web) = vhost(trio, "vhostHTTPPort").await;
    let (one, two) = (http::site("one").await, http::site("two").await);
    let domain = "customDomains = [\"web.test\"]\nlocations = [\"/a\"]";
    let members = [
        group(Proxy::new("http", "one", one.addr()), domain),
        group(Proxy::new("http", "two", two.addr()), domain),
    ];
    let reach = async || {
        let response = get(web, "web.test", "/a/b", &[]).await;
        let site = response.site().unwrap_or_else(|| panic!("{response:?}"));
        site.to_owned()
    };
    let is_gone = async || get(web, "web.test", "/a/b", &[]).await.status() == 404;
    members_share(trio, &server, members, reach, is_gone).await;
}

async fn members_share_the_tls_users_of_a_name(trio: Trio) {
    let (server, port) = vhost(trio, "vhostHTTPSPort").await;
    let (one, two) = (tls::site("one").await, tls::site("two").await);
    let domain = "customDomains = [\"secure.test\"]";
    let members = [
        group(Proxy::new("https", "one", one.addr()), domain),
        group(Proxy::new("https", "two", two.addr()), domain),
    ];
    let reach = async || tls::User::of(port, "secure.test").await.site;
    let is_gone = async || {
        let refused = tls::refusal(port, "secure.test").await;
        refused.to_string().contains("UnrecognisedName")
    };
    members_share(trio, &server, members, reach, is_gone).await;
}

async fn members_share_the_connect_users_of_a_host(trio: Trio) {
    let (server, port) = vhost(trio, "tcpmuxHTTPConnectPort").await;
    let one = service::greeting(b"one").await;
    let two = service::greeting(b"two").await;
    let domain = "multiplexer = \"httpconnect\"\ncustomDomains = [\"ssh.test\"]";
    let members = [
        group(Proxy::new("tcpmux", "one", one.addr()), domain),
        group(Proxy::new("tcpmux", "two", two.addr()), domain),
    ];
    let request = request("CONNECT", "ssh.test", "ssh.test:22", &[], b"");
    let reach = async || {
        let mut user = Connection::to(port).await;
        assert_eq!(user.ask(&request).await.status(), 200);
        let mut text = String::new();
        let read = user.0.read_to_string(&mut text);
        within(PATIENCE, "a greeting", read).await.unwrap();
        text
    };
    let is_gone = async || Connection::to(port).await.ask(&request).await.status() == 404;
    members_share(trio, &server, members, reach, is_gone).await;
}

/// A server with every kind that has groups, and a client with one member of a group of each.
async fn with_a_member_of_each(trio: Trio) -> (Server, Client, u16, service::Service) {
    let [http, https, tcpmux, port] = ports::several();
    let settings = format!(
        "vhostHTTPPort = {http}\nvhostHTTPSPort = {https}\ntcpmuxHTTPConnectPort = {tcpmux}"
    );
    let server = Server::start(trio.server, &settings).await;
    let echo = service::tcp_echo().await;
    let first = [
        group(Proxy::tcp("tcp", echo.addr()).at(port), ""),
        group(Proxy::new("http", "http", echo.addr()), HTTP),
        group(Proxy::new("https", "https", echo.addr()), HTTPS),
        group(Proxy::new("tcpmux", "tcpmux", echo.addr()), TCPMUX),
    ];
    let client = Client::start(trio.client, server.addr(), "", &first).await;
    (server, client, port, echo)
}

const HTTP: &str = "customDomains = [\"web.test\"]\nlocations = [\"/a\"]";
const HTTPS: &str = "customDomains = [\"secure.test\"]";
const TCPMUX: &str = "multiplexer = \"httpconnect\"\ncustomDomains = [\"ssh.test\"]\n\
                      httpUser = \"ann\"\nhttpPassword = \"secret\"";

/// Waits until the client hears, in these words, that it does not get what it wants.
async fn are_refused(client: &Client, refusals: &[(&str, &str)]) {
    for (name, why) in refusals {
        let line = format!("[{name}] start error: {why}");
        client.log().wait_for(&line).await;
    }
}

async fn strangers_do_not_get_in(trio: Trio) {
    let (server, _first, port, echo) = with_a_member_of_each(trio).await;
    let stranger = |proxy: Proxy, more: &str| {
        let proxy = proxy.with("loadBalancer.group = \"g\"\nloadBalancer.groupKey = \"wrong\"");
        proxy.with(more)
    };
    let late = [
        stranger(Proxy::tcp("late-tcp", echo.addr()).at(port), ""),
        stranger(Proxy::new("http", "late-http", echo.addr()), HTTP),
        stranger(Proxy::new("https", "late-https", echo.addr()), HTTPS),
        stranger(Proxy::new("tcpmux", "late-tcpmux", echo.addr()), TCPMUX),
    ];
    let client = Client::launch(trio.other, server.addr(), "", &late);
    let refusals = [
        ("late-tcp", "group auth failed"),
        ("late-http", "group auth failed"),
        ("late-https", "group auth failed"),
        ("late-tcpmux", "group auth failed"),
    ];
    are_refused(&client, &refusals).await;
}

async fn members_must_want_the_same(trio: Trio) {
    let (server, _first, port, echo) = with_a_member_of_each(trio).await;
    let http = |name: &str| Proxy::new("http", name, echo.addr());
    let tcpmux = |name: &str| Proxy::new("tcpmux", name, echo.addr());
    let other_user = TCPMUX.replace("ann", "bob");
    let other_password = TCPMUX.replace("secret", "guess");
    let late = [
        group(Proxy::tcp("other-port", echo.addr()), ""),
        group(Proxy::tcp("any-port", echo.addr()).at(0), ""),
        group(
            http("other-host"),
            "customDomains = [\"else.test\"]\nlocations = [\"/a\"]",
        ),
        group(
            http("other-path"),
            "customDomains = [\"web.test\"]\nlocations = [\"/b\"]",
        ),
        group(http("other-route"), HTTP).with("routeByHTTPUser = \"ann\""),
        group(
            Proxy::new("https", "other-name", echo.addr()),
            "customDomains = [\"else.test\"]",
        ),
        group(
            tcpmux("other-target"),
            &TCPMUX.replace("ssh.test", "else.test"),
        ),
        group(tcpmux("other-user"), &other_user),
        group(tcpmux("other-password"), &other_password),
        group(tcpmux("other-route-user"), TCPMUX).with("routeByHTTPUser = \"ann\""),
        // Not a member at all.
        Proxy::tcp("no-member", echo.addr()).at(port),
        http("no-http-member").with(HTTP),
    ];
    let client = Client::launch(trio.other, server.addr(), "", &late);
    let refusals = [
        ("other-port", "group should have same remote port"),
        ("any-port", "group should have same remote port"),
        ("other-host", "group params invalid"),
        ("other-path", "group params invalid"),
        ("other-route", "group params invalid"),
        ("other-name", "group params invalid"),
        ("other-target", "group params invalid"),
        ("other-user", "group params invalid"),
        ("other-password", "group params invalid"),
        ("other-route-user", "group params invalid"),
        ("no-member", "port already used"),
        ("no-http-member", "router config conflict"),
    ];
    are_refused(&client, &refusals).await;
}
