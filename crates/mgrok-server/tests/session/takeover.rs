//! Tests logins with the run id of a live session: which of them replace it, and which do not.

use bytes::Bytes;
use mgrok_net::message::MessageConn;
use mgrok_proto::hello::{Bootstrap, Extension, Offer};
use mgrok_proto::message::{Login, Message, NewWorkConn, Ping, StartWorkConn};
use mgrok_proto::record::Algorithm;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::line::{Line, Transport};
use crate::log::Log;
use crate::script::{Client, LIMIT, RunningServer, connect, login, plain_config};
use crate::transports::config;
use crate::{tcp_proxy, v2};

/// Answers the server's messages, as every client does, while `attempt` runs.
async fn while_answering<T>(
    client: &mut Client,
    server: &RunningServer,
    attempt: impl Future<Output = T>,
) -> T {
    let answering = async {
        let mut offered = Vec::new();
        loop {
            if let Message::ReqWorkConn(_) = client.recv().await {
                let mut work = connect(server).await;
                let new = NewWorkConn {
                    run_id: client.run_id.clone(),
                    ..NewWorkConn::default()
                };
                work.send(&new.into()).await.unwrap();
                offered.push(work);
            }
        }
    };
    tokio::select! {
        made = attempt => made,
        () = answering => unreachable!("it goes on"),
    }
}

#[tokio::test]
async fn a_recorded_login_does_not_end_the_session() {
    let server = RunningServer::start(plain_config()).await;
    let first = Client::login(&server, "").await;
    let recorded = login(&first.run_id);
    let attempt = Client::try_login_with(connect(&server).await, recorded.clone());
    let mut live = attempt.await.unwrap();
    for _ in 0..3 {
        let again = Client::try_login_with(connect(&server).await, recorded.clone());
        let refused = while_answering(&mut live, &server, again).await;
        let refused = refused.unwrap_err();
        assert!(refused.contains("is online"), "{refused}");
    }
    live.start_proxy(tcp_proxy("p", 0)).await.unwrap();
}

#[tokio::test]
async fn a_client_that_reconnects_within_a_second_has_its_place_and_port() {
    let server = RunningServer::start(plain_config()).await;
    let mut silent = Client::login(&server, "").await;
    let port = silent.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let same_second = Login {
        run_id: silent.run_id.clone(),
        ..login("")
    };
    let mut client = Client::try_login_with(connect(&server).await, same_second)
        .await
        .unwrap();
    assert_eq!(client.start_proxy(tcp_proxy("p", port)).await, Ok(port));
    timeout(LIMIT, silent.until_closed()).await.unwrap();
}

fn v2_offer(extensions: &[Extension]) -> Offer {
    Offer::new(Bootstrap::default(), &Algorithm::by_speed(), extensions)
}

async fn v2_login(server: &RunningServer, run_id: &str, extensions: &[Extension]) -> Client {
    let stream = TcpStream::connect(server.addr).await.unwrap();
    let login = Login {
        run_id: run_id.into(),
        ..v2::login("0.70.1")
    };
    v2::log_in_on(stream.into(), &v2_offer(extensions), login)
        .await
        .0
}

/// Sends what an attacker can send who has recorded a login, then bytes that are no record.
async fn replay(server: &RunningServer, run_id: &str, extensions: &[Extension]) -> MessageConn {
    let mut conn = v2::begin(TcpStream::connect(server.addr).await.unwrap().into());
    let recorded = Login {
        run_id: run_id.into(),
        ..v2::login("0.70.1")
    };
    v2::hello(&mut conn, &v2_offer(extensions), recorded).await;
    conn
}

#[tokio::test]
async fn a_login_of_v2_that_proves_nothing_does_not_end_the_session() {
    let server = RunningServer::start(plain_config()).await;
    let log = Log::new();
    let mut live = v2_login(&server, "", &[]).await;
    let port = live.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    for extensions in [&[Extension::PROOF][..], &[]] {
        let mut conn = replay(&server, &live.run_id, extensions).await;
        if extensions.is_empty() {
            assert_eq!(v2::login_resp(&mut conn).await.error, "");
        }
        let mut conn = conn.into_conn();
        conn.send(Bytes::from_static(&[7; 64])).await.unwrap();
        let closed = timeout(LIMIT, async {
            while !conn.recv().await.unwrap_or_default().is_empty() {}
        });
        closed.await.unwrap();
    }
    let refused = log.find(
        tracing::Level::WARN,
        "no proof that the client knows the token",
    );
    assert_eq!(refused.len(), 2, "{refused:?}");
    // The session is still alive, and has its port.
    live.control.send(&Ping::default().into()).await.unwrap();
    live.pong().await;
    assert!(TcpStream::connect(("127.0.0.1", port)).await.is_ok());
}

#[tokio::test]
async fn a_login_with_proof_of_the_token_takes_over_at_once() {
    let server = RunningServer::start(plain_config()).await;
    let mut old = v2_login(&server, "", &[]).await;
    let port = old.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    // All these logins are signed in the same second.
    for extensions in [&[Extension::PROOF][..], &[]] {
        let mut new = v2_login(&server, &old.run_id, extensions).await;
        assert_eq!(new.start_proxy(tcp_proxy("p", port)).await, Ok(port));
        timeout(LIMIT, old.until_closed()).await.unwrap();
        old = new;
    }
}

#[tokio::test]
async fn work_connections_come_on_the_connection_of_their_session() {
    let server = RunningServer::start(config(true)).await;
    let ours = Line::new(&server, Transport::Tcp, true).await;
    let theirs = Line::new(&server, Transport::Tls, true).await;
    let mut client = ours.login("").await;
    let _stranger = theirs.login("").await;
    let mut work = theirs.open_v1().await;
    let new = NewWorkConn {
        run_id: client.run_id.clone(),
        ..NewWorkConn::default()
    };
    work.send(&new.into()).await.unwrap();
    let answer = timeout(LIMIT, work.recv()).await.unwrap().unwrap();
    let Some(Message::StartWorkConn(StartWorkConn { error, .. })) = answer else {
        panic!("expected a refusal, not {answer:?}");
    };
    assert!(error.contains("on another connection"), "{error}");
    // On the session's connection the offer is accepted.
    let port = client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
    let _user = TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (start, _) = client.work_conn_on(ours.open_v1().await).await;
    assert_eq!(start.proxy_name, "p");
}

#[tokio::test]
async fn the_log_identifies_clients_but_shows_no_whole_run_id() {
    let log = Log::new();
    let server = RunningServer::start(plain_config()).await;
    let client = Client::login(&server, "").await;
    let run_id = client.run_id.clone();
    let again = Login {
        user: "ann".into(),
        client_id: "laptop".into(),
        ..login(&run_id)
    };
    let client = Client::try_login_with(connect(&server).await, again).await;
    let came = log
        .wait_for(tracing::Level::INFO, "client login success")
        .await;
    drop(client);
    let went = log.wait_for(tracing::Level::INFO, "laptop").await;
    let left = log
        .wait_for(tracing::Level::INFO, "closed the control connection")
        .await;
    for line in [&came, &went, &left] {
        assert!(!line.contains(&run_id), "{line}");
    }
    let who = format!(
        "user [ann] client id [laptop] run id [{}] address [127.0.0.1:",
        &run_id[..8]
    );
    assert!(
        left.starts_with("client exit success: ") && left.contains(&who),
        "{left}"
    );
    let wrong = Login {
        user: "eve".into(),
        timestamp: 2,
        ..login("")
    };
    Client::try_login_with(connect(&server).await, wrong)
        .await
        .unwrap_err();
    let refused = log.find(tracing::Level::WARN, "token in login doesn't match");
    assert!(refused[0].contains("user [eve]"), "{refused:?}");
}
