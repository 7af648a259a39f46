//! What a client says when its settings do not fit the server or the way there: one line for each attempt, which names
//! the cause and the key to change. It goes on trying.

use mgrok_lab::{Client, Peer, Server, certs::Authority, outbound::ConnectProxy};

/// One test for each make of server.
macro_rules! for_each_server {
    ($($scenario:ident),+ $(,)?) => {
        mod mgrok {
            $(#[tokio::test]
            async fn $scenario() {
                super::$scenario(mgrok_lab::Peer::Mgrok).await;
            })+
        }
        mod frp {
            $(#[tokio::test]
            #[cfg_attr(not(frp), ignore = "FRPS_BIN and FRPC_BIN do not name an frps and an frpc")]
            async fn $scenario() {
                super::$scenario(mgrok_lab::Peer::Frp).await;
            })+
        }
    };
}

for_each_server!(
    a_certificate_of_another_authority,
    a_certificate_that_has_expired,
    a_pin_of_another_certificate,
    a_server_that_insists_on_tls,
    a_token_that_is_not_the_servers_in_v1,
    a_token_that_is_not_the_servers_in_v2,
    kcp_that_does_not_get_through,
    only_the_client_multiplexes,
    only_the_server_multiplexes,
    quic_that_does_not_get_through,
    the_outbound_proxy_wants_credentials,
);

/// Starts a server, and a client that fails to log in, more than once, with all of `cause` in each line about it.
async fn fails(peer: Peer, for_server: &str, for_client: &str, cause: &[&str]) {
    let server = Server::start(peer, for_server).await;
    let settings = format!("loginFailExit = false\n{for_client}");
    let client = Client::launch(Peer::Mgrok, server.addr(), &settings, &[]);
    let error = "connect to server error: ";
    client.log().wait_for_times(0, error, 2).await;
    for line in client.log().lines() {
        // What the client thinks of servers that it cannot verify is no part of the failure.
        let is_advice = line.contains(" is not verified, ");
        if !is_advice && (line.contains("[W]") || line.contains("[E]")) {
            assert!(line.contains(error), "{line}");
            assert!(cause.iter().all(|words| line.contains(words)), "{line}");
        }
    }
    assert!(!client.log().contains("login to server success"));
}

fn trust(authority: &Authority) -> String {
    format!("transport.tls.trustedCaFile = {:?}", authority.file())
}

async fn a_certificate_of_another_authority(peer: Peer) {
    let (known, unknown) = (Authority::new(), Authority::new());
    let server = unknown.sign("127.0.0.1");
    let cause = ["transport.tls.trustedCaFile"];
    fails(peer, &server.settings(), &trust(&known), &cause).await;
}

async fn a_certificate_that_has_expired(peer: Peer) {
    let authority = Authority::new();
    let server = authority.sign_expired("127.0.0.1");
    let cause = ["it has expired"];
    fails(peer, &server.settings(), &trust(&authority), &cause).await;
}

async fn a_pin_of_another_certificate(peer: Peer) {
    let pin = format!("transport.tls.pinnedSha256 = {:?}", "00".repeat(32));
    fails(peer, "", &pin, &["transport.tls.pinnedSha256"]).await;
}

async fn a_server_that_insists_on_tls(peer: Peer) {
    let (server, client) = ("transport.tls.force = true", "transport.tls.enable = false");
    fails(peer, server, client, &["transport.tls"]).await;
}

async fn a_token_that_is_not_the_servers_in_v1(peer: Peer) {
    let client = "auth.token = \"b\"\ntransport.wireProtocol = \"v1\"";
    fails(peer, "auth.token = \"a\"", client, &["auth.token"]).await;
}

async fn a_token_that_is_not_the_servers_in_v2(peer: Peer) {
    let client = "auth.token = \"b\"\ntransport.wireProtocol = \"v2\"";
    fails(peer, "auth.token = \"a\"", client, &["auth.token"]).await;
}

async fn only_the_client_multiplexes(peer: Peer) {
    fails(peer, "transport.tcpMux = false", "", &["transport.tcpMux"]).await;
}

async fn only_the_server_multiplexes(peer: Peer) {
    fails(peer, "", "transport.tcpMux = false", &["transport.tcpMux"]).await;
}

async fn quic_that_does_not_get_through(peer: Peer) {
    // It listens at its TCP port only.
    let client = "transport.protocol = \"quic\"\ntransport.dialServerTimeout = 1";
    fails(peer, "", client, &["UDP", "quicBindPort"]).await;
}

async fn kcp_that_does_not_get_through(peer: Peer) {
    let client = "transport.protocol = \"kcp\"\ntransport.dialServerTimeout = 1";
    fails(peer, "", client, &["UDP", "kcpBindPort"]).await;
}

async fn the_outbound_proxy_wants_credentials(peer: Peer) {
    let proxy = ConnectProxy::for_user("alice:secret").await;
    for user_info in ["", "alice:hunter2@"] {
        let client = format!(
            "transport.proxyURL = \"http://{user_info}{}\"",
            proxy.addr()
        );
        let cause = ["transport.proxyURL", "407"];
        fails(peer, "", &client, &cause).await;
    }
    assert_eq!(proxy.tunnels(), 0);
}
