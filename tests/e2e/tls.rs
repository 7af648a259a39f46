//! TLS between client and server.

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, certs::Authority, service, traffic};

use crate::Tunnel;

async fn works(for_server: &str, for_client: &str) {
    let echo = service::tcp_echo().await;
    let proxy = Proxy::tcp("tcp", echo.addr());
    let tunnel = Tunnel::with(for_server, for_client, proxy).await;
    traffic::tcp_echo(tunnel.public, 500_000).await;
}

/// The client gives up with `why` in its log, and the server goes on serving others.
async fn fails(for_server: &str, for_client: &str, why: &str) {
    let server = Server::start(Peer::Mgrok, for_server).await;
    let mut client = Client::launch(Peer::Mgrok, server.addr(), for_client, &[]);
    assert_eq!(client.ended().await, Ended::Badly);
    let tail = client.log().tail();
    assert!(tail.to_lowercase().contains(why), "{tail}");
    assert!(!server.log().contains("client login info"));
}

fn trust(ca: &Authority) -> String {
    format!("transport.tls.trustedCaFile = {:?}\n", ca.file())
}

#[tokio::test]
async fn a_server_without_a_certificate_makes_one() {
    works("", "").await;
    works("", "transport.tls.disableCustomTLSFirstByte = false").await;
}

#[tokio::test]
async fn a_server_can_insist() {
    works("transport.tls.force = true", "").await;
    fails(
        "transport.tls.force = true",
        "transport.tls.enable = false",
        "",
    )
    .await;
}

#[tokio::test]
async fn a_client_checks_the_server_when_it_knows_an_authority() {
    let ca = Authority::new();
    let server = ca.sign("tunnel.test");
    let client = trust(&ca) + "transport.tls.serverName = \"tunnel.test\"";
    works(&server.settings(), &client).await;
}

#[tokio::test]
async fn a_server_with_another_name_is_refused() {
    let ca = Authority::new();
    let server = ca.sign("tunnel.test");
    let client = trust(&ca) + "transport.tls.serverName = \"other.test\"";
    fails(&server.settings(), &client, "certificate").await;
    // Without `serverName` it must be the address.
    fails(&server.settings(), &trust(&ca), "certificate").await;
    works(&ca.sign("127.0.0.1").settings(), &trust(&ca)).await;
}

#[tokio::test]
async fn a_server_of_an_unknown_authority_is_refused() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let server = unknown.sign("127.0.0.1");
    fails(&server.settings(), &trust(&known), "certificate").await;
    // One that made its own is no better.
    fails("", &trust(&known), "certificate").await;
}

#[tokio::test]
async fn a_server_lets_in_only_whom_its_authority_knows() {
    let (known, unknown) = (Authority::new(), Authority::new());
    let server = known.sign("127.0.0.1").settings() + &trust(&known);
    works(&server, &known.sign("client.test").settings()).await;
    let both = known.sign("client.test").settings() + &trust(&known);
    works(&server, &both).await;
    fails(&server, "", "").await;
    fails(&server, &unknown.sign("client.test").settings(), "").await;
    // Insisting on certificates is insisting on TLS.
    fails(&server, "transport.tls.enable = false", "").await;
}

#[tokio::test]
async fn a_missing_file_stops_the_start() {
    let missing = "transport.tls.trustedCaFile = \"/nowhere/ca.pem\"";
    let server = Server::start(Peer::Mgrok, "").await;
    let mut client = Client::launch(Peer::Mgrok, server.addr(), missing, &[]);
    assert_eq!(client.ended().await, Ended::Badly);
    client.log().wait_for("/nowhere/ca.pem").await;
}
