//! TLS, and the server's certificate.

use std::net::SocketAddr;

use mgrok_lab::certs::{Authority, Certificate};
use mgrok_lab::ports;
use mgrok_lab::service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::arranged::{Running, blames, examine, file, is_good, server, skips_login, text, word};

/// A server that shows this certificate, by TCP and by QUIC.
async fn showing(certificate: &Certificate) -> Running {
    let quic = ports::free();
    server(&format!("{}quicBindPort = {quic}", certificate.settings())).await
}

/// The settings of a client that wants a certificate of `authority` for `name`.
fn verifying(authority: &Authority, name: &str) -> String {
    format!(
        "transport.tls.trustedCaFile = {:?}\ntransport.tls.serverName = \"{name}\"\n",
        authority.file()
    )
}

/// The same complaint comes by TCP, WebSocket and QUIC.
async fn everywhere(server: &Running, settings: &str, words: &str) {
    for protocol in ["tcp", "wss", "quic"] {
        let addr = match protocol {
            "quic" => server.quic.unwrap(),
            _ => server.addr,
        };
        let settings = format!("{settings}transport.protocol = \"{protocol}\"");
        let report = examine(&file(addr, &settings)).await;
        blames(&report, "certificate", words);
        skips_login(&report, "certificate");
        assert_eq!(word(&report, "tls"), "ok", "{}", text(&report));
    }
}

#[tokio::test]
async fn a_certificate_that_is_good() {
    let authority = Authority::new();
    let server = showing(&authority.sign("server.test")).await;
    let report = examine(&file(server.addr, &verifying(&authority, "server.test"))).await;
    is_good(&report);
    assert_eq!(word(&report, "certificate"), "ok", "{}", text(&report));
    assert!(
        text(&report).contains("for server.test, signed by [CN=the authority of a test]"),
        "{}",
        text(&report)
    );
}

#[tokio::test]
async fn a_certificate_that_has_expired() {
    let authority = Authority::new();
    let server = showing(&authority.sign_expired("server.test")).await;
    everywhere(
        &server,
        &verifying(&authority, "server.test"),
        "it has expired at 2020-01-01",
    )
    .await;
}

/// Answers every request in HTTP in the same way.
async fn answering(answer: String) -> service::Service {
    let answer: &'static str = answer.leak();
    service::tcp(async move |mut conn: TcpStream| {
        let _ = conn.read(&mut [0; 1024]).await;
        let _ = conn.write_all(answer.as_bytes()).await;
    })
    .await
}

/// The settings of a client that verifies, with a web site for which its admin port names `port` of the server; and what is there of it.
async fn beside_a_website(authority: &Authority, port: u16) -> (String, [service::Service; 2]) {
    let status = format!(
        r#"{{"http":[{{"name":"site","status":"running","remote_addr":"127.0.0.1:{port}"}}]}}"#
    );
    let admin = answering(format!("HTTP/1.0 200 OK\r\n\r\n{status}")).await;
    let site = service::silent().await;
    let settings = format!(
        "{}webServer.port = {}\n[[proxies]]\nname = \"site\"\ntype = \"http\"\nlocalPort = {}\ncustomDomains = [\"site.test\"]",
        verifying(authority, "server.test"),
        admin.addr().port(),
        site.addr().port()
    );
    (settings, [admin, site])
}

#[tokio::test]
async fn a_clock_of_this_host_that_is_wrong() {
    let authority = Authority::new();
    let server = showing(&authority.sign_from(2090, "server.test")).await;
    let date = "Date: Thu, 01 Jun 2090 12:00:00 GMT";
    let web = answering(format!("HTTP/1.0 404 Not Found\r\n{date}\r\n\r\n")).await;
    let (settings, _there) = beside_a_website(&authority, web.addr().port()).await;
    let report = examine(&file(server.addr, &settings)).await;
    blames(
        &report,
        "certificate",
        "by the clock of this host, which is wrong: by http://127.0.0.1",
    );
    assert!(
        text(&report).contains("set the clock of this host"),
        "{}",
        text(&report)
    );
    assert!(text(&report).contains("days apart"), "{}", text(&report));
}

#[tokio::test]
async fn a_certificate_that_has_expired_by_both_clocks() {
    let authority = Authority::new();
    let vhost = ports::free();
    let certificate = authority.sign_expired("server.test").settings();
    let server = server(&format!("{certificate}vhostHTTPPort = {vhost}")).await;
    let (settings, _there) = beside_a_website(&authority, vhost).await;
    let report = examine(&file(server.addr, &settings)).await;
    blames(&report, "certificate", "by both clocks");
    assert!(
        text(&report).contains("as here, give or take"),
        "{}",
        text(&report)
    );
}

#[tokio::test]
async fn a_certificate_for_another_name() {
    let authority = Authority::new();
    let server = showing(&authority.sign("other.test")).await;
    everywhere(
        &server,
        &verifying(&authority, "server.test"),
        "it is for other.test, not for `server.test`",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_of_an_authority_that_nobody_knows() {
    let (known, other) = (Authority::new(), Authority::new());
    let server = showing(&other.sign("server.test")).await;
    everywhere(&server, &verifying(&known, "server.test"), "trustedCaFile").await;
}

#[tokio::test]
async fn a_certificate_that_has_signed_itself() {
    let authority = Authority::new();
    let quic = ports::free();
    let server = server(&format!("quicBindPort = {quic}")).await;
    everywhere(
        &server,
        &verifying(&authority, "server.test"),
        "it has signed itself",
    )
    .await;
}

#[tokio::test]
async fn a_certificate_other_than_the_pinned_one() {
    let authority = Authority::new();
    let server = showing(&authority.sign("server.test")).await;
    let pin = "ab".repeat(32);
    let settings = format!("transport.tls.pinnedSha256 = \"{pin}\"\n");
    everywhere(&server, &settings, &format!("and {pin} is pinned")).await;
}

/// Hands on what does not begin with TLS.
async fn hand_on(mut user: TcpStream, to: SocketAddr) {
    let mut first = [0];
    if user.peek(&mut first).await.is_err() || first[0] == 0x16 {
        let _ = user.read(&mut first).await;
        return;
    }
    let mut far = TcpStream::connect(to).await.unwrap();
    let _ = tokio::io::copy_bidirectional(&mut user, &mut far).await;
}

#[tokio::test]
async fn a_server_without_tls_at_that_port() {
    let server = server("").await;
    let to = server.addr;
    let front = service::tcp(move |user| hand_on(user, to)).await;
    let report = examine(&file(front.addr(), "")).await;
    blames(&report, "tls", "set transport.tls.enable = false");
    skips_login(&report, "tls");
}

#[tokio::test]
async fn a_server_that_wants_tls_of_a_client_that_has_it_off() {
    let server = server("transport.tls.force = true").await;
    for mux in ["true", "false"] {
        let settings = format!("transport.tls.enable = false\ntransport.tcpMux = {mux}");
        let report = examine(&file(server.addr, &settings)).await;
        blames(&report, "tls", "to clients with TLS only");
        skips_login(&report, "tls");
    }
}

#[tokio::test]
async fn tls_that_is_off_at_both_ends_is_warned_of() {
    let server = server("").await;
    let report = examine(&file(server.addr, "transport.tls.enable = false")).await;
    is_good(&report);
    assert_eq!(word(&report, "tls"), "warning");
}

#[tokio::test]
async fn a_server_that_wants_a_certificate_of_the_client() {
    let authority = Authority::new();
    let ca = format!("transport.tls.trustedCaFile = {:?}\n", authority.file());
    let own = authority.sign("server.test").settings();
    let server = server(&(ca + &own)).await;
    let report = examine(&file(server.addr, "")).await;
    blames(&report, "login", "wants certFile and keyFile here");
    let shown = authority.sign("client.test").settings();
    is_good(&examine(&file(server.addr, &shown)).await);
}
