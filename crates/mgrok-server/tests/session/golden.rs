//! Tests the server against a client made of literal bytes, which shares no code with it.

use mgrok_golden::{Peer, TOKEN, privilege_key};
use mgrok_proto::auth::Secret;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::script::{LIMIT, RunningServer, plain_config};

async fn connect(server: &RunningServer) -> Peer {
    Peer::new(TcpStream::connect(server.addr).await.unwrap())
}

#[tokio::test]
async fn a_client_that_shares_no_code_publishes_a_port() {
    let mut config = plain_config();
    config.auth.token = Secret::new(TOKEN);
    let server = RunningServer::start(config).await;
    timeout(LIMIT, publish(&server)).await.unwrap();
}

async fn publish(server: &RunningServer) {
    let mut control = connect(server).await;
    let key = privilege_key(1_700_000_000);
    let login = format!(
        r#"{{"version":"0.70.1","os":"linux","privilege_key":"{key}","timestamp":1700000000,"client_spec":{{}},"pool_count":1}}"#
    );
    control.send(b'o', &login).await;
    let (kind, answer) = control.recv().await;
    assert_eq!((kind, answer.get("error")), (b'1', None), "{answer}");
    let run_id = answer["run_id"].as_str().unwrap().to_owned();
    control.encrypt();

    // The server keeps one work connection ready.
    assert_eq!(
        control.recv().await,
        (b'r', Value::Object([].into_iter().collect()))
    );
    let mut work = connect(server).await;
    work.send(b'w', &format!(r#"{{"run_id":"{run_id}"}}"#))
        .await;

    let new = r#"{"proxy_name":"ssh","proxy_type":"tcp","remote_port":0}"#;
    control.send(b'p', new).await;
    let (kind, answer) = control.recv().await;
    assert_eq!((kind, answer.get("error")), (b'2', None), "{answer}");
    assert_eq!(answer["proxy_name"], "ssh");
    let port = answer["remote_addr"].as_str().unwrap().strip_prefix(':');
    let port: u16 = port.unwrap().parse().unwrap();

    let mut user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (kind, start) = work.recv().await;
    assert_eq!(kind, b's');
    assert_eq!(start["proxy_name"], "ssh");
    assert_eq!(start["src_addr"], "127.0.0.1");
    assert_eq!(start["src_port"], user.local_addr().unwrap().port());
    assert_eq!(start["dst_port"], port);
    let mut service = work.into_stream();
    pass(&mut user, &mut service, b"question").await;
    pass(&mut service, &mut user, b"answer").await;

    control.send(b'h', "{}").await;
    loop {
        match control.recv().await {
            // Requested to replace the work connection that the user has.
            (b'r', _) => {}
            (kind, pong) => {
                assert_eq!((kind, pong.get("error")), (b'4', None), "{pong}");
                break;
            }
        }
    }
}

async fn pass(from: &mut TcpStream, to: &mut TcpStream, text: &[u8]) {
    from.write_all(text).await.unwrap();
    let mut got = vec![0; text.len()];
    to.read_exact(&mut got).await.unwrap();
    assert_eq!(got, text);
}
