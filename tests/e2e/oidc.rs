//! Logins by OpenID Connect.

use mgrok_issuer::{AUDIENCE, CLIENT, Issuer, Key, Mood};
use mgrok_lab::{Client, PATIENCE, Peer, Proxy, Server, service, traffic, within};
use tokio::net::TcpStream;

use crate::reload::hang_up;

const SCOPES: &str = "auth.additionalScopes = [\"HeartBeats\", \"NewWorkConns\"]";

fn for_server(issuer: &Issuer) -> String {
    format!(
        "auth.method = \"oidc\"\nauth.oidc.issuer = \"{}\"\nauth.oidc.audience = \"{AUDIENCE}\"",
        issuer.url()
    )
}

fn for_client(issuer: &Issuer) -> String {
    let (id, secret) = CLIENT;
    format!(
        "auth.method = \"oidc\"\nauth.oidc.clientID = \"{id}\"\nauth.oidc.clientSecret = \"{secret}\"\n\
         auth.oidc.tokenEndpointURL = \"{}\"\nlog.level = \"trace\"",
        issuer.token_endpoint()
    )
}

#[tokio::test]
async fn a_token_of_the_issuer_opens_the_server_and_is_not_logged() {
    let issuer = Issuer::start().await;
    let echo = service::tcp_echo().await;
    let for_server = format!("{}\n{SCOPES}\nlog.level = \"trace\"", for_server(&issuer));
    let server = Server::start(Peer::Mgrok, &for_server).await;
    let proxies = [Proxy::tcp("tcp", echo.addr()).with("transport.useEncryption = true")];
    let settings = format!(
        "{}\n{SCOPES}\ntransport.heartbeatInterval = 1",
        for_client(&issuer)
    );
    let client = Client::start(Peer::Mgrok, server.addr(), &settings, &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 10_000).await;
    client.log().wait_for("receive heartbeat from server").await;
    // One token is enough for all of it.
    assert_eq!(issuer.token_requests().len(), 1);
    for log in [server.log(), client.log()] {
        assert!(!log.contains(CLIENT.1));
        // What tokens begin with.
        assert!(!log.contains("eyJ"));
    }
}

#[tokio::test]
async fn a_client_without_a_token_of_the_issuer_is_refused() {
    let issuer = Issuer::start().await;
    let server = Server::start(Peer::Mgrok, &for_server(&issuer)).await;
    let refused = async |settings: &str, why: &str| {
        let settings = format!("{settings}\nloginFailExit = false");
        let client = Client::launch(Peer::Mgrok, server.addr(), &settings, &[]);
        client.log().wait_for(why).await;
    };
    refused(
        "auth.token = \"t\"",
        "invalid OIDC token in login: oidc: malformed jwt",
    )
    .await;
    let wrong = for_client(&issuer).replace(CLIENT.1, "wrong");
    refused(&wrong, "couldn't get an OIDC token: ").await;
    issuer.set_key(Key::es256("k1"));
    refused(&for_client(&issuer), "login to server success").await;
}

#[tokio::test]
async fn an_issuer_that_is_away_costs_logins_and_not_the_start() {
    let issuer = Issuer::start().await;
    let echo = service::tcp_echo().await;
    issuer.set_mood(Mood::Away);
    let server = Server::start(Peer::Mgrok, &for_server(&issuer)).await;
    server
        .log()
        .wait_for("no client can log in until it tells them")
        .await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let settings = format!("{}\nloginFailExit = false", for_client(&issuer));
    let client = Client::launch(Peer::Mgrok, server.addr(), &settings, &proxies);
    client
        .log()
        .wait_for("couldn't get an OIDC token from")
        .await;
    issuer.set_mood(Mood::Well);
    client.ready(0).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    // The keys are known now.
    issuer.set_mood(Mood::Away);
    traffic::tcp_echo(proxies[0].public(), 100).await;
}

#[tokio::test]
async fn reloads_of_both_ends_leave_users_alone_and_count_for_the_next_login() {
    let issuer = Issuer::start().await;
    let echo = service::tcp_echo().await;
    let of_server = format!("{}\ngracePeriod = -1", for_server(&issuer));
    let server = Server::start(Peer::MgrokProgram, &of_server).await;
    let addr = server.addr();
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let of_client = for_client(&issuer);
    let client = Client::start(Peer::MgrokProgram, addr, &of_client, &proxies).await;
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    let stays = async |user: &mut TcpStream| {
        let echoed = within(PATIENCE, "an echo", traffic::echo(user, 100));
        echoed.await.unwrap();
    };
    stays(&mut user).await;
    let reload_client = async |settings: &str, expect: &str| {
        let mark = client.log().mark();
        client.rewrite(addr, settings, &proxies);
        hang_up(client.pid());
        let line = client.log().wait_after(mark, "reloaded: ").await;
        assert!(line.contains(expect), "{line}");
    };

    let mark = server.log().mark();
    server.rewrite(&format!("{of_server}\nauth.oidc.skipIssuerCheck = true"));
    hang_up(server.pid());
    server.log().wait_after(mark, "reloaded: ").await;
    stays(&mut user).await;
    let scoped = format!("{of_client}\nauth.oidc.scope = \"more\"");
    reload_client(&scoped, "auth with the next login").await;
    stays(&mut user).await;
    let asked = issuer.token_requests();
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert!(!asked[0].contains("scope="), "{asked:?}");

    let mark = client.log().mark();
    server.stop().await;
    let server = Server::start_at(Peer::MgrokProgram, addr, &of_server).await;
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
    let asked = issuer.token_requests();
    assert!(
        asked.last().is_some_and(|it| it.contains("scope=more")),
        "{asked:?}"
    );

    // A wrong secret is found at the next login, and mended by another reload.
    let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
    stays(&mut user).await;
    let wrong = of_client.replace(CLIENT.1, "wrong");
    reload_client(&wrong, "auth with the next login").await;
    stays(&mut user).await;
    let mark = client.log().mark();
    server.stop().await;
    let _server = Server::start_at(Peer::MgrokProgram, addr, &of_server).await;
    let why = "couldn't get an OIDC token";
    client.log().wait_after(mark, why).await;
    reload_client(&of_client, "auth with the next login").await;
    client.ready(mark).await;
    traffic::tcp_echo(proxies[0].public(), 100).await;
}

/// frp takes a token of whoever has ever logged in.
#[tokio::test]
async fn a_heartbeat_shows_a_token_of_the_same_client() {
    let issuer = Issuer::start().await;
    // Each message has a token of its own.
    issuer.set_expires_in(None);
    let server = Server::start(
        Peer::Mgrok,
        &format!(
            "{}\nauth.additionalScopes = [\"HeartBeats\"]",
            for_server(&issuer)
        ),
    )
    .await;
    let settings = format!(
        "{}\nauth.additionalScopes = [\"HeartBeats\"]\ntransport.heartbeatInterval = 1",
        for_client(&issuer)
    );
    let launch = || Client::launch(Peer::Mgrok, server.addr(), &settings, &[]);
    let first = launch();
    first.log().wait_for("receive heartbeat from server").await;
    issuer.set_subject("client-2");
    let second = launch();
    second.log().wait_for("receive heartbeat from server").await;
    first
        .log()
        .wait_for("received different OIDC subject in login and ping. new subject: client-2")
        .await;
    assert!(!second.log().contains("different OIDC subject"));
}
