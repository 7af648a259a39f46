//! Logins by OpenID Connect.

use mgrok_issuer::{AUDIENCE, CLIENT, Issuer, Key};
use mgrok_lab::{Client, Proxy, Server, service, traffic};

use crate::Pair;

for_each_pair!(
    tokens_of_an_issuer_open_the_server,
    a_key_that_is_new_is_found,
);

async fn tokens_of_an_issuer_open_the_server(pair: Pair) {
    let issuer = issuer().await;
    // Then no token is kept; those who ask at the same time share one.
    issuer.set_expires_in(None);
    let _server = check(pair, &issuer).await;
    assert!(issuer.token_requests().len() > 1);
}

async fn a_key_that_is_new_is_found(pair: Pair) {
    let issuer = issuer().await;
    let server = check(pair, &issuer).await;
    issuer.set_key(Key::rs256("another"));
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("again", echo.addr())];
    let settings = for_client(&issuer);
    let client = Client::start(pair.client, server.addr(), &settings, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    drop(client);
}

/// One that signs as all do.
async fn issuer() -> Issuer {
    let issuer = Issuer::start().await;
    issuer.set_key(Key::rs256("one"));
    issuer
}

fn for_client(issuer: &Issuer) -> String {
    let (id, secret) = CLIENT;
    format!(
        "auth.method = \"oidc\"\nauth.additionalScopes = [\"HeartBeats\", \"NewWorkConns\"]\nauth.oidc.clientID = \"{id}\"\n\
         auth.oidc.clientSecret = \"{secret}\"\nauth.oidc.tokenEndpointURL = \"{}\"\ntransport.heartbeatInterval = 1\n\
         log.level = \"debug\"",
        issuer.token_endpoint()
    )
}

/// A server, of which a client has been a client.
async fn check(pair: Pair, issuer: &Issuer) -> Server {
    let for_server = format!(
        "auth.method = \"oidc\"\nauth.additionalScopes = [\"HeartBeats\", \"NewWorkConns\"]\nauth.oidc.issuer = \"{}\"\n\
         auth.oidc.audience = \"{AUDIENCE}\"",
        issuer.url()
    );
    let server = Server::start(pair.server, &for_server).await;
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let settings = for_client(issuer);
    let client = Client::start(pair.client, server.addr(), &settings, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 10_000).await;
    client.log().wait_for("receive heartbeat from server").await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    server
}
