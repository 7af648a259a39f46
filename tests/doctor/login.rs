//! What only a login shows: multiplexing, the version of the protocol, the token, who is online.

use std::cell::Cell;

use futures_util::future::join_all;
use mgrok_client::Client;
use mgrok_config::{Strictness, load_client_from_str};
use mgrok_issuer::{AUDIENCE, CLIENT, Issuer, Mood};
use mgrok_lab::{eventually, service, traffic};
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::message::{LoginResp, Message};
use tokio::net::TcpStream;
use tokio_util::task::AbortOnDropHandle;

use crate::arranged::{blames, examine, file, is_good, server, text, word};

#[tokio::test]
async fn streams_that_share_a_connection_at_one_end_only() {
    for (at_server, at_client) in [("false", "true"), ("true", "false")] {
        let server = server(&format!("transport.tcpMux = {at_server}")).await;
        for tls in ["true", "false"] {
            let settings = format!("transport.tcpMux = {at_client}\ntransport.tls.enable = {tls}");
            let report = examine(&file(server.addr, &settings)).await;
            blames(
                &report,
                "mux",
                &format!("set transport.tcpMux = {at_server} here"),
            );
            assert_eq!(word(&report, "login"), "skipped");
        }
        let settings = format!("transport.tcpMux = {at_server}");
        is_good(&examine(&file(server.addr, &settings)).await);
    }
}

/// A server that knows v1 only, without TLS and multiplexing.
async fn old_server() -> service::Service {
    server_of_v1("").await
}

/// The same, but it lets nobody in, with these words.
async fn refusing_server(words: &'static str) -> service::Service {
    server_of_v1(words).await
}

async fn server_of_v1(refusal: &'static str) -> service::Service {
    service::tcp(async move |conn: TcpStream| {
        let mut first = [0];
        let _ = conn.peek(&mut first).await;
        // A login in v1; all else is hung up on.
        if first[0] != b'o' {
            return;
        }
        let mut conn = MessageConn::new(conn.into(), WireVersion::V1);
        let Ok(Some(Message::Login(_))) = conn.recv().await else {
            return;
        };
        let answer = LoginResp {
            run_id: "0123456789abcdef".to_owned(),
            version: "0.61.0".to_owned(),
            error: refusal.to_owned(),
        };
        conn.send(&answer.into()).await.unwrap();
        let _ = conn.recv().await;
    })
    .await
}

#[tokio::test]
async fn a_server_of_v1_for_a_client_that_insists_on_v2() {
    let old = old_server().await;
    let plain = "transport.tls.enable = false\ntransport.tcpMux = false\n";
    let settings = format!("{plain}transport.wireProtocol = \"v2\"");
    let report = examine(&file(old.addr(), &settings)).await;
    blames(&report, "wire", "transport.wireProtocol = \"auto\"");
    assert_eq!(word(&report, "login"), "skipped");
    let report = examine(&file(old.addr(), plain)).await;
    is_good(&report);
    assert!(
        text(&report).contains("v1, with a server of version 0.61.0"),
        "{}",
        text(&report)
    );
}

#[tokio::test]
async fn a_token_that_is_wrong() {
    let server = server("").await;
    for wire in ["auto", "v1"] {
        let settings = format!("auth.token = \"another\"\ntransport.wireProtocol = \"{wire}\"");
        let report = examine(&file(server.addr, &settings)).await;
        blames(&report, "login", "auth.token must be the same on both ends");
        assert_eq!(word(&report, "mux"), "ok");
    }
}

/// A client that runs, until this is dropped.
fn run(file: &str) -> AbortOnDropHandle<()> {
    let config = load_client_from_str(file, "the test", Strictness::Strict);
    let client = Client::new(config.unwrap().config).unwrap();
    AbortOnDropHandle::new(tokio::spawn(async move {
        let _ = client.run(std::future::pending()).await;
    }))
}

#[tokio::test]
async fn a_login_that_the_server_finds_too_old() {
    let words = "invalid OIDC token in login: oidc: token is expired (Token Expiry: 2026-01-01 00:00:00 +0000 UTC)";
    let refusing = refusing_server(words).await;
    let settings = "transport.tls.enable = false\ntransport.tcpMux = false";
    let report = examine(&file(refusing.addr(), settings)).await;
    blames(&report, "login", "set the clocks of both ends");
}

/// A client that runs until this is dropped, and ends if its first login is refused.
async fn online(file: &str, port: u16) -> AbortOnDropHandle<()> {
    let running = run(file);
    eventually("it publishes", async || {
        assert!(!running.is_finished(), "the client has ended");
        TcpStream::connect(("127.0.0.1", port)).await.ok()
    })
    .await;
    running
}

#[tokio::test]
async fn the_client_of_a_file_can_start_while_the_doctor_logs_in() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let public = mgrok_lab::ports::free();
    let text = file(
        server.addr,
        &format!(
            "clientID = \"laptop\"\n[[proxies]]\nname = \"echo\"\ntype = \"tcp\"\nlocalPort = {}\nremotePort = {public}",
            echo.addr().port()
        ),
    );
    let doctors = join_all((0..8).map(async |_| {
        for _ in 0..4 {
            is_good(&examine(&text).await);
        }
    }));
    let started = Cell::new(0);
    let clients = async {
        loop {
            drop(online(&text, public).await);
            started.set(started.get() + 1);
            eventually("the client is gone", async || {
                TcpStream::connect(("127.0.0.1", public)).await.err()
            })
            .await;
        }
    };
    tokio::select! {
        _ = doctors => {}
        () = clients => {}
    }
    assert!(started.get() > 0);
}

#[tokio::test]
async fn a_client_id_is_not_used_for_a_trial() {
    let (logins, mut seen) = tokio::sync::mpsc::unbounded_channel();
    let server = service::tcp(move |conn: TcpStream| {
        let logins = logins.clone();
        async move {
            let mut conn = MessageConn::new(conn.into(), WireVersion::V1);
            if let Ok(Some(Message::Login(login))) = conn.recv().await {
                logins.send(login.client_id).unwrap();
            }
        }
    })
    .await;
    let settings = "clientID = \"laptop\"\ntransport.tls.enable = false\ntransport.tcpMux = false\ntransport.wireProtocol = \"v1\"";
    let report = examine(&file(server.addr(), settings)).await;
    assert_eq!(word(&report, "client_id"), "skipped", "{}", text(&report));
    drop(server);
    assert_eq!(seen.recv().await.as_deref(), Some(""));
    while let Some(client_id) = seen.recv().await {
        assert_eq!(client_id, "");
    }
}

#[tokio::test]
async fn a_client_id_that_the_client_of_this_file_has() {
    let server = server("").await;
    let echo = service::tcp_echo().await;
    let (admin, public) = (mgrok_lab::ports::free(), mgrok_lab::ports::free());
    let text = file(
        server.addr,
        &format!(
            "clientID = \"laptop\"\nwebServer.port = {admin}\n[[proxies]]\nname = \"echo\"\ntype = \"tcp\"\nlocalPort = {}\nremotePort = {public}",
            echo.addr().port()
        ),
    );
    let _this = run(&text);
    // The port is there before the client knows it.
    eventually("it publishes", async || {
        let mut user = TcpStream::connect(("127.0.0.1", public)).await.ok()?;
        traffic::echo(&mut user, 1).await.ok()
    })
    .await;
    let report = examine(&text).await;
    is_good(&report);
    assert_eq!(word(&report, "client_id"), "ok");
    // It was not disturbed.
    TcpStream::connect(("127.0.0.1", public)).await.unwrap();
}

#[tokio::test]
async fn a_token_of_an_issuer() {
    let issuer = Issuer::start().await;
    let url = issuer.url();
    let server = server(&format!(
        "auth.method = \"oidc\"\nauth.oidc.issuer = \"{url}\"\nauth.oidc.audience = \"{AUDIENCE}\""
    ))
    .await;
    let (id, secret) = CLIENT;
    let settings = format!(
        "auth.method = \"oidc\"\nauth.oidc.clientID = \"{id}\"\nauth.oidc.clientSecret = \"{secret}\"\n\
         auth.oidc.tokenEndpointURL = \"{}\"",
        issuer.token_endpoint()
    );
    let file = file(server.addr, &settings);
    let report = examine(&file).await;
    is_good(&report);
    let text = text(&report);
    let told = format!("one of {url} for [{AUDIENCE}], subject client-1, expires in 35");
    assert!(text.contains(&told), "{text}");
    assert!(!text.contains(secret), "{text}");
    issuer.set_mood(Mood::Away);
    let report = examine(&file).await;
    blames(&report, "token", "couldn't get an OIDC token from");
    assert_eq!(word(&report, "login"), "skipped");
}

#[tokio::test]
async fn a_list_of_the_server_that_leaves_this_host_out() {
    let server = server("access.logins.deny = [\"127.0.0.0/8\"]").await;
    let report = examine(&file(server.addr, "")).await;
    blames(&report, "login", "access.logins leaves this host out");
}
