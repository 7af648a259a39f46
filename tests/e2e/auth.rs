//! Who may log in.

use mgrok_lab::{Client, Ended, Peer, Proxy, Server, service, traffic};

use crate::Tunnel;

#[tokio::test]
async fn without_a_token_everyone_may() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::tcp(echo.addr()).await;
    traffic::tcp_echo(tunnel.public, 100).await;
}

#[tokio::test]
async fn a_token_may_hold_any_character() {
    let echo = service::tcp_echo().await;
    let token = "auth.token = \"Schlüssel \\\\ \\\"名\\\"\"";
    // The token is the key of the encryption, too.
    let proxy = Proxy::tcp("tcp", echo.addr()).with("transport.useEncryption = true");
    let tunnel = Tunnel::with(token, token, proxy).await;
    traffic::tcp_echo(tunnel.public, 100_000).await;
}

#[tokio::test]
async fn scopes_sign_heartbeats_and_work_connections() {
    let echo = service::tcp_echo().await;
    for mux in [true, false] {
        let settings = format!(
            "auth.token = \"t\"\nauth.additionalScopes = [\"HeartBeats\", \"NewWorkConns\"]\n\
             transport.tcpMux = {mux}\ntransport.heartbeatTimeout = 5"
        );
        let for_client =
            format!("{settings}\ntransport.heartbeatInterval = 1\nlog.level = \"debug\"");
        let tunnel = Tunnel::with(&settings, &for_client, Proxy::tcp("tcp", echo.addr())).await;
        tunnel
            .client
            .log()
            .wait_for("receive heartbeat from server")
            .await;
        traffic::tcp_echo(tunnel.public, 100).await;
    }
}

#[tokio::test]
async fn a_client_without_the_scope_of_the_server_gets_no_users() {
    let echo = service::tcp_echo().await;
    let for_server = "auth.token = \"t\"\nauth.additionalScopes = [\"NewWorkConns\"]\n\
                      userConnTimeout = 1";
    let proxy = Proxy::tcp("tcp", echo.addr());
    let tunnel = Tunnel::with(for_server, "auth.token = \"t\"", proxy).await;
    assert!(traffic::is_refused(tunnel.public).await);
}

#[tokio::test]
async fn a_patient_client_waits_until_it_is_let_in() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start(Peer::Mgrok, "auth.token = \"old\"").await;
    let addr = server.addr();
    let settings = "auth.token = \"new\"\nloginFailExit = false";
    let client = Client::launch(Peer::Mgrok, addr, settings, &proxies);
    client
        .log()
        .wait_for("token in login doesn't match token from configuration")
        .await;
    assert_eq!(server.stop().await, Ended::Well);
    let _server = Server::start_at(Peer::Mgrok, addr, "auth.token = \"new\"").await;
    client.ready(0).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
}

#[tokio::test]
async fn secrets_are_not_logged() {
    let echo = service::tcp_echo().await;
    let settings = "auth.token = \"hunter2hunter2\"\nlog.level = \"trace\"";
    let tunnel = Tunnel::with(settings, settings, Proxy::tcp("tcp", echo.addr())).await;
    traffic::tcp_echo(tunnel.public, 100).await;
    assert!(!tunnel.server.log().contains("hunter2"));
    assert!(!tunnel.client.log().contains("hunter2"));
}
