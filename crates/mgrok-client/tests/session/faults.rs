//! Tests against servers that are hostile, broken, or no servers at all.

use mgrok_client::ClientError;
use mgrok_proto::message::{LoginResp, Message, Pong};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpListener;

use crate::server::{RUN_ID, Running, Server, new_proxy, tcp_proxy};

/// The error of a client with `loginFailExit` whose login the server answers with `answer`.
async fn login_error(answer: &[u8]) -> String {
    let server = Server::bind().await;
    let client = Running::start(server.config());
    let (conn, _) = server.login().await;
    let mut conn = conn.into_conn();
    conn.write_all(answer).await.unwrap();
    conn.flush().await.unwrap();
    drop(conn);
    match client.ended().await {
        Err(error @ ClientError::Login(_)) => error.to_string(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn assert_says(error: &str, words: &str) {
    let start = format!("login to the server failed: {words}");
    assert!(error.starts_with(&start), "{error:?} instead of {start:?}");
    assert!(
        error.ends_with(". With loginFailExit enabled, no additional retries will be attempted"),
        "{error:?}"
    );
}

/// A v1 frame.
fn frame(kind: u8, body: &str) -> Vec<u8> {
    let mut frame = vec![kind];
    frame.extend((body.len() as i64).to_be_bytes());
    frame.extend(body.as_bytes());
    frame
}

#[tokio::test]
async fn every_wrong_answer_to_a_login_has_its_own_error() {
    let closed = "the server closed the connection during login; check that transport.tls, \
                  transport.tcpMux and the port agree with the server";
    let garbage = "the server's answer to the login cannot be understood; check that the port is \
                   its: ";
    let refusal = r#"{"version":"0.70.1","error":"token in login doesn't match"}"#;
    for (answer, words) in [
        (vec![], closed),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), garbage),
        (frame(b'1', "{\"run_id\":1}"), garbage),
        (frame(b'1', "")[..5].to_vec(), garbage),
        ([b"1".as_slice(), &[0x7f; 8]].concat(), garbage),
        (frame(b'4', "{}"), "the server answered the login with Pong"),
        (
            frame(b'1', "{}"),
            "the server accepted the login without a usable run id",
        ),
        (frame(b'1', refusal), "token in login doesn't match"),
    ] {
        assert_says(&login_error(&answer).await, words);
    }
}

#[tokio::test]
async fn an_unreachable_server_has_its_own_error() {
    let server = Server::bind().await;
    let config = server.config();
    drop(server);
    let error = Running::start(config)
        .ended()
        .await
        .unwrap_err()
        .to_string();
    assert_says(&error, "");
    assert!(error.to_lowercase().contains("refused"), "{error}");
}

#[tokio::test]
async fn a_login_too_long_to_send_has_its_own_error() {
    let server = Server::bind().await;
    let mut config = server.config();
    let long = ("key".to_owned(), "x".repeat(11_000));
    config.metadatas.extend([long]);
    let error = Running::start(config)
        .ended()
        .await
        .unwrap_err()
        .to_string();
    assert_says(
        &error,
        "cannot send the login; if it is too long, shorten metadatas",
    );
}

#[tokio::test]
async fn without_login_fail_exit_it_tries_again() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.login_fail_exit = false;
    let _client = Running::start(config);
    let (mut conn, _) = server.login().await;
    let refused = LoginResp {
        error: "not now".to_owned(),
        ..LoginResp::default()
    };
    conn.send(&refused.into()).await.unwrap();
    let (_, login) = server.control().await;
    assert_eq!(login.run_id, "");
}

#[tokio::test]
async fn a_failed_login_after_a_good_one_does_not_end_the_client() {
    let server = Server::bind().await;
    let _client = Running::start(server.config());
    drop(server.control().await);
    drop(server.login().await);
    let (_, login) = server.control().await;
    assert_eq!(login.run_id, RUN_ID);
}

#[tokio::test]
async fn garbage_on_the_control_connection_ends_the_session() {
    for garbage in [
        b"\xff".to_vec(),
        frame(b'2', "{"),
        [b"h".as_slice(), &[0xff; 8]].concat(),
    ] {
        let server = Server::bind().await;
        let _client = Running::start(server.config());
        let (control, _) = server.control().await;
        let mut control = control.into_conn();
        control.write_all(&garbage).await.unwrap();
        control.flush().await.unwrap();
        let (_, login) = server.control().await;
        assert_eq!(login.run_id, RUN_ID);
    }
}

#[tokio::test]
async fn messages_out_of_place_are_passed_over() {
    let server = Server::bind().await;
    let mut config = server.config();
    let local = TcpListener::bind("127.0.0.1:0").await.unwrap();
    config.proxies = vec![tcp_proxy("ssh", local.local_addr().unwrap())];
    let client = Running::start(config);
    let (mut control, _) = server.control().await;
    for stray in [
        Message::from(LoginResp::default()),
        Message::from(Pong::default()),
        Message::from(mgrok_proto::message::StartWorkConn::default()),
        Message::from(mgrok_proto::message::NewProxyResp::default()),
    ] {
        control.send(&stray).await.unwrap();
    }
    assert_eq!(new_proxy(&mut control).await.proxy_name, "ssh");
    let (_work, offer) = server.work_conn(&mut control).await;
    assert_eq!(offer.run_id, RUN_ID);
    drop(client);
}
