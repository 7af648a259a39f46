//! Plugins of the client, behind each kind of public place.

use std::{net::SocketAddr, path::Path};

use bytes::Bytes;
use mgrok_lab::{
    Client, PATIENCE, Peer, Proxy, Server, certs::Authority, ports, service, traffic, within,
};
use mgrok_net::{
    conn::Conn,
    tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions},
};
use tokio::{
    io::AsyncReadExt,
    net::{TcpStream, UnixListener},
};

use crate::Tunnel;

const REQUEST: &str = "GET / HTTP/1.1\r\nHost: shop.test\r\nX-Forwarded-For: 198.51.100.1\r\n\
                       Connection: close\r\n\r\n";

/// Where plugins look for nothing: they have a `localAddr` of their own.
fn nowhere() -> SocketAddr {
    ([127, 0, 0, 1], 1).into()
}

/// Answers with the head of the request.
async fn answer(mut conn: Conn) {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        let Ok(byte) = conn.read_u8().await else {
            return;
        };
        head.push(char::from(byte));
    }
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{head}",
        head.len()
    );
    let _ = conn.send(answer.into()).await;
    let _ = conn.close().await;
}

/// A server with vhosts, and a client with this proxy; gives also where HTTP and HTTPS are.
async fn vhosts(proxy: Proxy) -> (Server, Client, SocketAddr, SocketAddr) {
    let [http, https] = [ports::free(), ports::free()].map(|port| ([127, 0, 0, 1], port).into());
    let settings = format!(
        "vhostHTTPPort = {}\nvhostHTTPSPort = {}",
        SocketAddr::port(&http),
        SocketAddr::port(&https)
    );
    let server = Server::start(Peer::Mgrok, &settings).await;
    let client = Client::start(Peer::Mgrok, server.addr(), "", &[proxy]).await;
    (server, client, http, https)
}

async fn ask(mut conn: Conn) -> String {
    let mut answer = String::new();
    let exchange = async {
        conn.send(Bytes::from_static(REQUEST.as_bytes())).await?;
        conn.read_to_string(&mut answer).await
    };
    within(PATIENCE, "an answer", exchange).await.unwrap();
    answer
}

/// The connection of a user who believes in `ca` alone.
async fn shop(at: SocketAddr, ca: &Path) -> Conn {
    let tls = ClientTls::new(ClientTlsOptions {
        trusted_ca: Some(ca.to_owned()),
        server_name: "shop.test".to_owned(),
        ..ClientTlsOptions::default()
    });
    let stream = TcpStream::connect(at).await.unwrap();
    let connect = async { tls.unwrap().connect(stream.into()).await };
    within(PATIENCE, "TLS", connect).await.unwrap()
}

#[tokio::test]
async fn a_website_without_tls_is_published_as_https() {
    let website = service::tcp(async |stream: TcpStream| answer(stream.into()).await).await;
    let ca = Authority::new();
    let certificate = ca.sign("shop.test");
    let proxy = Proxy::new("https", "shop", nowhere()).with(&format!(
        "customDomains = [\"shop.test\"]\n\
         plugin = {{ type = \"https2http\", localAddr = \"{}\", crtPath = {:?}, keyPath = {:?} }}",
        website.addr(),
        certificate.cert,
        certificate.key
    ));
    let (_server, client, _, https) = vhosts(proxy).await;
    let answered = ask(shop(https, ca.file()).await).await;
    let expect = "X-Forwarded-For: 198.51.100.1, 127.0.0.1\r\n";
    assert!(answered.contains(expect), "{answered}");
    assert!(
        answered.contains("X-Forwarded-Proto: https\r\n"),
        "{answered}"
    );

    // The service goes, the proxy stays.
    drop(website);
    let answered = ask(shop(https, ca.file()).await).await;
    assert!(answered.starts_with("HTTP/1.1 502 "), "{answered}");
    client
        .log()
        .wait_for("[shop] do http proxy request error")
        .await;
}

#[tokio::test]
async fn a_website_with_tls_is_published_as_http() {
    let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
    let website = service::tcp(move |stream: TcpStream| {
        let tls = tls.clone();
        async move {
            if let Ok(conn) = tls.accept(stream.into()).await {
                answer(conn).await;
            }
        }
    })
    .await;
    let proxy = Proxy::new("http", "shop", nowhere()).with(&format!(
        "customDomains = [\"shop.test\"]\nplugin = {{ type = \"http2https\", localAddr = \"{}\" }}",
        website.addr()
    ));
    let (_server, _client, http, _) = vhosts(proxy).await;
    // More than one, so that connections are used again.
    for _ in 0..3 {
        let user = TcpStream::connect(http).await.unwrap();
        let answered = ask(user.into()).await;
        let expect = "X-Forwarded-For: 198.51.100.1, 127.0.0.1\r\n";
        assert!(answered.contains(expect), "{answered}");
        // As the server has it, for whom the user speaks HTTP.
        assert!(
            answered.contains("X-Forwarded-Proto: http\r\n"),
            "{answered}"
        );
    }
}

#[tokio::test]
async fn a_unix_socket_is_published_as_a_port() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("echo.sock");
    let listener = UnixListener::bind(&path).unwrap();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                let _ = tokio::io::copy(&mut read, &mut write).await;
            });
        }
    });
    let plugin = format!("plugin = {{ type = \"unix_domain_socket\", unixPath = {path:?} }}");
    let proxy = Proxy::tcp("echo", nowhere()).with(&plugin);
    let tunnel = Tunnel::with("", "", proxy).await;
    for size in [1, 3_000_000] {
        traffic::tcp_echo(tunnel.public, size).await;
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_there_is_named() {
    let plugin = "plugin = { type = \"tls2raw\", localAddr = \"127.0.0.1:1\", \
                  crtPath = \"/nowhere/a.crt\", keyPath = \"/nowhere/a.key\" }";
    let proxy = Proxy::tcp("secure", nowhere()).with(plugin);
    let server = Server::start(Peer::Mgrok, "").await;
    let client = Client::launch(Peer::Mgrok, server.addr(), "", &[proxy]);
    client
        .log()
        .wait_for("[secure] start error: cannot read /nowhere/a.crt")
        .await;
    assert!(!server.log().contains("new proxy [secure]"));
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_without_a_restart() {
    let website = service::tcp(async |stream: TcpStream| answer(stream.into()).await).await;
    let (old, new) = (Authority::new(), Authority::new());
    let [certificate, renewed] = [&old, &new].map(|ca| ca.sign("shop.test"));
    let proxy = Proxy::new("https", "shop", nowhere()).with(&format!(
        "customDomains = [\"shop.test\"]\n\
         plugin = {{ type = \"https2http\", localAddr = \"{}\", crtPath = {:?}, keyPath = {:?} }}",
        website.addr(),
        certificate.cert,
        certificate.key
    ));
    let (_server, client, _, https) = vhosts(proxy).await;
    assert!(
        ask(shop(https, old.file()).await)
            .await
            .starts_with("HTTP/1.1 200 ")
    );
    std::fs::copy(&renewed.cert, &certificate.cert).unwrap();
    std::fs::copy(&renewed.key, &certificate.key).unwrap();
    let shows_new = async || {
        let tls = ClientTls::new(ClientTlsOptions {
            server_name: "shop.test".to_owned(),
            trusted_ca: Some(new.file().to_owned()),
            ..ClientTlsOptions::default()
        });
        let stream = TcpStream::connect(https).await.unwrap();
        tls.unwrap().connect(stream.into()).await.ok()
    };
    let conn = mgrok_lab::eventually("the new certificate is shown", shows_new).await;
    assert!(ask(conn).await.starts_with("HTTP/1.1 200 "));
    let log = client.log();
    log.wait_for("the plugin's certificate has changed and was read again")
        .await;
}
