//! Tests messages that clients send to do harm, or by mistake: which session they end, and what they cost the server.

use mgrok_proto::auth::{self, Secret};
use mgrok_proto::message::{Message, NatHoleClient, NatHoleResp, NatHoleVisitor, NewProxy, Ping};
use tokio::time::timeout;

use crate::script::{Client, LIMIT, RunningServer, plain_config};
use crate::tcp_proxy;

fn xtcp_proxy(name: &str) -> NewProxy {
    NewProxy {
        proxy_name: name.into(),
        proxy_type: "xtcp".into(),
        allow_users: vec!["*".into()],
        ..NewProxy::default()
    }
}

fn visitor(proxy_name: &str, protocol: &str) -> NatHoleVisitor {
    NatHoleVisitor {
        transaction_id: "t".into(),
        proxy_name: proxy_name.into(),
        protocol: protocol.into(),
        timestamp: 1,
        sign_key: auth::sign(&Secret::default(), 1).into(),
        mapped_addrs: vec!["192.0.2.1:1000".into(), "192.0.2.1:1000".into()],
        ..NatHoleVisitor::default()
    }
}

async fn hole_answer(client: &mut Client) -> NatHoleResp {
    loop {
        if let Message::NatHoleResp(answer) = client.recv().await {
            return answer;
        }
    }
}

async fn check_is_there(client: &mut Client) {
    client.control.send(&Ping::default().into()).await.unwrap();
    client.pong().await;
}

#[tokio::test]
async fn messages_of_a_visitor_do_not_end_the_session_of_the_owner() {
    let server = RunningServer::start(plain_config()).await;
    let mut owner = Client::login(&server, "").await;
    owner.control.send(&xtcp_proxy("x").into()).await.unwrap();
    assert_eq!(owner.started().await.error, "");
    let mut guest = Client::login(&server, "").await;
    for protocol in ["gopher", &"q".repeat(9_900)] {
        guest
            .control
            .send(&visitor("x", protocol).into())
            .await
            .unwrap();
        let answer = hole_answer(&mut guest).await;
        assert!(
            answer.error.starts_with("unknown protocol"),
            "{}",
            answer.error
        );
    }
    check_is_there(&mut owner).await;
    check_is_there(&mut guest).await;
}

#[tokio::test]
async fn an_answer_that_cannot_be_encoded_ends_no_session() {
    let server = RunningServer::start(plain_config()).await;
    let mut client = Client::login(&server, "").await;
    // The request fits into a message; its answer, which repeats the name, does not.
    let long = NewProxy {
        proxy_name: "n".repeat(10_150),
        proxy_type: "tcp".into(),
        ..NewProxy::default()
    };
    client.control.send(&long.into()).await.unwrap();
    check_is_there(&mut client).await;
    // The same for the answer about a hole punch, which repeats the transaction id.
    let long = NatHoleVisitor {
        transaction_id: "t".repeat(10_000),
        proxy_name: "nobody".into(),
        ..NatHoleVisitor::default()
    };
    client.control.send(&long.into()).await.unwrap();
    check_is_there(&mut client).await;
    client.start_proxy(tcp_proxy("p", 0)).await.unwrap();
}

#[tokio::test]
async fn one_client_cannot_use_up_the_attempts_of_all() {
    const MANY: usize = 100;
    let server = RunningServer::start(plain_config()).await;
    let mut owner = Client::login(&server, "").await;
    owner.control.send(&xtcp_proxy("x").into()).await.unwrap();
    assert_eq!(owner.started().await.error, "");
    let (mut greedy, mut modest) = (
        Client::login(&server, "").await,
        Client::login(&server, "").await,
    );
    for _ in 0..MANY {
        greedy
            .control
            .send(&visitor("x", "quic").into())
            .await
            .unwrap();
    }
    let answer = hole_answer(&mut greedy).await;
    assert!(answer.error.contains("try again"), "{}", answer.error);
    let asks = NatHoleVisitor {
        pre_check: true,
        ..visitor("x", "")
    };
    modest.control.send(&asks.into()).await.unwrap();
    assert_eq!(hole_answer(&mut modest).await.error, "");
}

#[tokio::test]
async fn a_second_offer_does_not_undo_the_advice_of_an_attempt() {
    let server = RunningServer::start(plain_config()).await;
    let mut owner = Client::login(&server, "").await;
    owner.control.send(&xtcp_proxy("x").into()).await.unwrap();
    assert_eq!(owner.started().await.error, "");
    let mut guest = Client::login(&server, "").await;
    guest
        .control
        .send(&visitor("x", "quic").into())
        .await
        .unwrap();
    let work = crate::script::connect(&server).await;
    let sid = timeout(LIMIT, owner.hole_sid(work)).await.unwrap();
    let offer = NatHoleClient {
        transaction_id: "o".into(),
        proxy_name: "x".into(),
        sid,
        mapped_addrs: vec!["192.0.2.9:1000".into(), "192.0.2.9:1000".into()],
        ..NatHoleClient::default()
    };
    for _ in 0..2 {
        owner.control.send(&offer.clone().into()).await.unwrap();
    }
    assert_eq!(hole_answer(&mut owner).await.error, "");
    assert_eq!(hole_answer(&mut guest).await.error, "");
}
