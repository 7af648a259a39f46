//! Plugins with which the client is the service, as users see them: the same answers of frp's client and of ours.

use std::{fs, net::SocketAddr, path::Path, time::Duration};

use mgrok_lab::{Client, PATIENCE, Proxy, Server, ports, service, traffic, within};
use mgrok_net::{
    conn::Conn,
    outbound::{OutboundCredentials, OutboundError, OutboundProxy, OutboundScheme, dial_through},
    resolver::Resolver,
    tcp::DialOptions,
};
use tempfile::TempDir;

use crate::{
    Pair,
    http::{self, Connection, get, request},
};

for_each_pair!(
    a_forward_proxy_leads_anywhere,
    socks_leads_anywhere,
    files_of_a_directory_are_sent,
);

/// A server, and a client with one plugin that has these keys; gives also where the plugin is.
async fn published(pair: Pair, plugin: &str) -> (Server, Client, SocketAddr) {
    let server = Server::start(pair.server, "").await;
    let nothing = SocketAddr::from(([127, 0, 0, 1], 1));
    let proxy = Proxy::tcp("plugin", nothing).with(&format!("plugin = {{ {plugin} }}"));
    let public = proxy.public();
    let client = Client::start(pair.client, server.addr(), "", &[proxy]).await;
    (server, client, public)
}

/// What a user reaches through the proxy at `public` who presents these credentials.
async fn dial(
    public: SocketAddr,
    scheme: OutboundScheme,
    credentials: Option<(&str, &str)>,
    target: SocketAddr,
) -> Result<Conn, OutboundError> {
    let credentials = credentials.map(|(user, password)| OutboundCredentials {
        user: user.to_owned(),
        password: password.into(),
    });
    let proxy = OutboundProxy::new(scheme, public.ip().to_string(), public.port(), credentials);
    let options = DialOptions {
        timeout: PATIENCE,
        keepalive: None,
        local_ip: None,
        resolver: Resolver::default(),
    };
    // The name is looked up by the client.
    dial_through(&proxy, "localhost", target.port(), &options).await
}

async fn echo(conn: Conn, len: u64) {
    let (mut from, mut to) = tokio::io::split(conn);
    let seed = fastrand::u64(..);
    let both = async {
        tokio::try_join!(
            traffic::send(&mut to, seed, len),
            traffic::receive(&mut from, seed, len)
        )
    };
    within(PATIENCE, "bytes come back", both).await.unwrap();
}

async fn a_forward_proxy_leads_anywhere(pair: Pair) {
    let keys = "type = \"http_proxy\", httpUser = \"ada\", httpPassword = \"s3cret\"";
    let (_server, _client, public) = published(pair, keys).await;
    let site = http::site("one").await;
    let host = site.addr().to_string();
    let url = format!("http://{host}/a?b");

    let refused = get(public, &host, &url, &[]).await;
    assert_eq!(refused.status(), 407);
    assert_eq!(refused.header("proxy-authenticate"), Some("Basic"));
    let wrong = "Proxy-Authorization: Basic YWRhOndyb25n";
    assert_eq!(get(public, &host, &url, &[wrong]).await.status(), 407);

    let right = "Proxy-Authorization: Basic YWRhOnMzY3JldA==";
    let mut user = Connection::to(public).await;
    // Several on one connection.
    for body in [&b""[..], b"a body"] {
        let lines = [right, "Proxy-Connection: keep-alive", "X-More: one"];
        let answer = user.ask(&request("POST", &host, &url, &lines, body)).await;
        assert_eq!(answer.site(), Some("one"));
        let seen = answer.seen();
        assert_eq!(seen.start, "POST /a?b HTTP/1.1");
        assert_eq!(seen.header("host"), Some(&*host));
        assert_eq!(seen.header("x-more"), Some("one"));
        assert_eq!(seen.header("proxy-authorization"), None);
        assert_eq!(seen.header("proxy-connection"), None);
        assert_eq!(seen.body, body);
    }
    drop(site);
    let gone = get(public, &host, &url, &[right]).await;
    assert_eq!(gone.status(), 500, "{gone:?}");

    let service = service::tcp_echo().await;
    let ada = Some(("ada", "s3cret"));
    let conn = dial(public, OutboundScheme::Http, ada, service.addr()).await;
    echo(conn.unwrap(), 300_000).await;
    let eve = Some(("eve", "s3cret"));
    let refused = dial(public, OutboundScheme::Http, eve, service.addr()).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("407 Not authorized"), "{refused}");
    let nobody = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let refused = dial(public, OutboundScheme::Http, ada, nobody).await;
    let refused = refused.err().unwrap().to_string();
    assert!(refused.contains("400 Bad Request"), "{refused}");
}

async fn socks_leads_anywhere(pair: Pair) {
    let keys = "type = \"socks5\", username = \"ada\", password = \"s3cret\"";
    let (_server, _client, public) = published(pair, keys).await;
    let service = service::tcp_echo().await;
    let ada = Some(("ada", "s3cret"));
    let conn = dial(public, OutboundScheme::Socks5, ada, service.addr()).await;
    echo(conn.unwrap(), 300_000).await;
    for other in [None, Some(("ada", "wrong"))] {
        let refused = dial(public, OutboundScheme::Socks5, other, service.addr()).await;
        assert!(refused.is_err());
    }
    let nobody = SocketAddr::from(([127, 0, 0, 1], ports::free()));
    let refused = dial(public, OutboundScheme::Socks5, ada, nobody).await;
    let refused = refused.err().unwrap();
    let why = std::error::Error::source(&refused).unwrap().to_string();
    assert_eq!(why, "it says that the connection was refused (code 5)");
}

/// A directory with a file that was changed at [`DATE`].
fn directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let write = |path: &Path, text: &str| {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
        let changed = std::time::UNIX_EPOCH + Duration::from_secs(784_111_777);
        fs::File::open(path).unwrap().set_modified(changed).unwrap();
    };
    write(&directory.path().join("a.txt"), "0123456789");
    write(&directory.path().join("dir/index.html"), "<p>");
    write(&directory.path().join("list/b<c"), "");
    directory
}

const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

async fn files_of_a_directory_are_sent(pair: Pair) {
    let directory = directory();
    let keys = format!(
        "type = \"static_file\", localPath = {:?}, stripPrefix = \"v1\", httpUser = \"ada\", httpPassword = \"s3cret\"",
        directory.path()
    );
    let (_server, _client, public) = published(pair, &keys).await;
    let refused = get(public, "a.test", "/v1/a.txt", &[]).await;
    assert_eq!(refused.status(), 401);
    let realm = Some("Basic realm=\"Restricted\"");
    assert_eq!(refused.header("www-authenticate"), realm);

    let right = "Authorization: Basic YWRhOnMzY3JldA==";
    let not_since = format!("If-Modified-Since: {DATE}");
    let range_if = format!("If-Range: {DATE}");
    let mut user = Connection::to(public).await;
    for (path, line, status, body) in [
        ("/v1/a.txt", "A: b", 200, "0123456789"),
        ("/v1/dir/", "A: b", 200, "<p>"),
        ("/v1/none", "A: b", 404, "404 page not found\n"),
        ("/v1/a.txt/b", "A: b", 404, "404 page not found\n"),
        ("/v1/a.txt", "Range: bytes=2-4", 206, "234"),
        ("/v1/a.txt", "Range: bytes=-2", 206, "89"),
        ("/v1/a.txt", "Range: bytes=0-9,0-9", 200, "0123456789"),
        ("/v1/a.txt", &not_since, 304, ""),
        ("/v1/a.txt", "If-None-Match: *", 304, ""),
        ("/v1/a.txt", "If-Match: \"a\"", 412, ""),
    ] {
        let lines = [right, line, &range_if];
        let answer = user.ask(&request("GET", "a.test", path, &lines, b"")).await;
        assert_eq!(answer.status(), status, "{path} {line}");
        assert_eq!(answer.body, body.as_bytes(), "{path} {line}");
        if path == "/v1/a.txt" {
            assert_eq!(answer.header("last-modified"), Some(DATE));
        }
    }
    let answer = get(public, "a.test", "/v1/a.txt", &[right, "Range: bytes=10-"]).await;
    assert_eq!(answer.status(), 416);
    assert_eq!(answer.header("content-range"), Some("bytes */10"));

    for (path, location) in [
        ("/v1/dir", "dir/"),
        ("/v1/dir/index.html?x=y", "./?x=y"),
        ("/v1/a.txt/", "../a.txt"),
        ("/v1//a.txt", "/v1/a.txt"),
        ("/v1/../../etc/passwd", "/etc/passwd"),
        ("/v1/%2e%2e/v1/a.txt", "/v1/a.txt"),
    ] {
        let answer = get(public, "a.test", path, &[right]).await;
        assert_eq!(answer.status(), 301, "{path}");
        assert_eq!(answer.header("location"), Some(location), "{path}");
    }
    let answer = get(public, "a.test", "/v1/list/", &[right]).await;
    let page = String::from_utf8(answer.body).unwrap();
    let link = "<pre>\n<a href=\"b%3Cc\">b&lt;c</a>\n</pre>\n";
    assert!(page.ends_with(link), "{page}");
    for (method, path, status) in [
        ("POST", "/v1/a.txt", 405),
        ("GET", "/a.txt", 404),
        ("GET", "/v1", 404),
    ] {
        let mut user = Connection::to(public).await;
        let answer = user
            .ask(&request(method, "a.test", path, &[right], b""))
            .await;
        assert_eq!(answer.status(), status, "{method} {path}");
    }
}
