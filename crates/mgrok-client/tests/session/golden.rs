//! Tests the client against a server made of literal bytes, which shares no code with it.

use mgrok_golden::{Peer, privilege_key};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::server::{RUN_ID, Running, Server, echo_service, tcp_proxy, within};

#[tokio::test]
async fn a_server_that_shares_no_code_is_logged_in_to() {
    let server = Server::bind().await;
    let mut config = server.config();
    config.user = "ada".to_owned();
    config.proxies = vec![tcp_proxy("echo", echo_service().await)];
    let client = Running::start(config);
    within(serve(&server)).await;
    drop(client);
}

async fn serve(server: &Server) {
    let mut control = Peer::new(server.accept().await);
    let (kind, login) = control.recv().await;
    assert_eq!(kind, b'o');
    assert_eq!(login["user"], "ada");
    let timestamp = login["timestamp"].as_i64().unwrap();
    assert_eq!(login["privilege_key"], privilege_key(timestamp));
    let answer = format!(r#"{{"version":"0.70.1","run_id":"{RUN_ID}"}}"#);
    control.send(b'1', &answer).await;
    control.encrypt();

    let (kind, new) = control.recv().await;
    assert_eq!(kind, b'p');
    assert_eq!(new["proxy_name"], "ada.echo");
    assert_eq!(new["proxy_type"], "tcp");
    assert_eq!(new["remote_port"], 6000);
    let answer = r#"{"proxy_name":"ada.echo","remote_addr":":6000"}"#;
    control.send(b'2', answer).await;

    control.send(b'r', "{}").await;
    let mut work = Peer::new(server.accept().await);
    let (kind, offer) = work.recv().await;
    assert_eq!((kind, &offer["run_id"]), (b'w', &RUN_ID.into()), "{offer}");
    let start = r#"{"proxy_name":"ada.echo","src_addr":"192.0.2.1","src_port":7,"dst_addr":"","dst_port":0}"#;
    work.send(b's', start).await;
    let mut user = work.into_stream();
    user.write_all(b"question").await.unwrap();
    let mut got = [0; 8];
    user.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"question");
}
