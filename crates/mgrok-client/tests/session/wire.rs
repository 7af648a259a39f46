//! Tests the choice of the wire version, and what can go wrong in v2.

use bytes::{Bytes, BytesMut};
use mgrok_config::{ClientConfig, Protocol, WireProtocol};
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::Secret;
use mgrok_proto::hello::{self, Extension};
use mgrok_proto::message::{LoginResp, Message, Pong};
use mgrok_proto::record::Sealer;
use tokio::io::AsyncWriteExt;

use crate::server::{RUN_ID, Running, within};
use crate::transport_server::{Opening, Setup, TransportServer, sniff};

const PLAIN: Setup = Setup {
    protocol: Protocol::Tcp,
    tls: false,
    mux: false,
};

/// Accepts a connection, which must be v2, and closes it.
async fn closes_on_v2(server: &mut TransportServer) {
    let (_, wire) = sniff(server.conn().await).await;
    assert_eq!(wire, WireVersion::V2);
}

/// Accepts the login of a v1 client as a server that reports `version`.
async fn lets_in(server: &mut TransportServer, version: &str) -> MessageConn {
    let mut opening = Opening::receive(server.conn().await).await;
    assert!(opening.hello.is_none());
    let answer = LoginResp {
        run_id: RUN_ID.to_owned(),
        version: version.to_owned(),
        ..LoginResp::default()
    };
    opening.conn.send(&answer.into()).await.unwrap();
    opening.conn
}

#[tokio::test]
async fn a_forged_version_does_not_pin_v1() {
    for setup in [PLAIN, Setup { tls: true, ..PLAIN }] {
        let mut server = TransportServer::bind(setup).await;
        let _client = Running::start(server.config(WireProtocol::Auto));
        for version in ["0.61.0", "0.61.0", "0.70.1"] {
            closes_on_v2(&mut server).await;
            drop(lets_in(&mut server, version).await);
        }
        let opening = Opening::receive(server.conn().await).await;
        assert!(opening.hello.is_some());
    }
}

#[tokio::test]
async fn a_server_that_has_spoken_v2_is_not_tried_in_v1_after_a_reset() {
    let mut server = TransportServer::bind(PLAIN).await;
    let _client = Running::start(server.config(WireProtocol::Auto));
    let first = Opening::receive(server.conn().await).await;
    drop(first.accept(&[]).await);
    for _ in 0..10 {
        closes_on_v2(&mut server).await;
    }
}

#[tokio::test]
async fn a_server_that_refuses_in_v1_is_not_taken_for_an_old_one() {
    let mut server = TransportServer::bind(PLAIN).await;
    let mut config = server.config(WireProtocol::Auto);
    config.login_fail_exit = false;
    let _client = Running::start(config);
    for _ in 0..2 {
        closes_on_v2(&mut server).await;
        let mut opening = Opening::receive(server.conn().await).await;
        assert!(opening.hello.is_none());
        let refused = LoginResp {
            error: "not now".to_owned(),
            ..LoginResp::default()
        };
        opening.conn.send(&refused.into()).await.unwrap();
    }
}

/// The error of a client with `loginFailExit`.
async fn error(config: ClientConfig) -> String {
    let ended = Running::start(config).ended().await;
    ended.unwrap_err().to_string()
}

#[tokio::test]
async fn a_server_without_v2_has_its_own_error_if_v2_is_pinned() {
    let mut server = TransportServer::bind(PLAIN).await;
    let config = server.config(WireProtocol::V2);
    let (error, ()) = tokio::join!(error(config), closes_on_v2(&mut server));
    assert!(
        error.contains("does not speak v2 (frp before 0.69.0), set transport.wireProtocol to"),
        "{error}"
    );
}

/// The error of a client whose hello the server answers with `answer`.
async fn error_of_answer(answer: &[u8]) -> String {
    let mut server = TransportServer::bind(PLAIN).await;
    let config = server.config(WireProtocol::Auto);
    let play = async {
        let opening = Opening::receive(server.conn().await).await;
        let mut conn = opening.conn.into_conn();
        conn.write_all(answer).await.unwrap();
        conn.flush().await.unwrap();
    };
    tokio::join!(error(config), play).0
}

/// The types of the hellos' frames.
const CLIENT_HELLO: u16 = 1;
const SERVER_HELLO: u16 = 2;

fn frame(frame_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = frame_type.to_be_bytes().to_vec();
    frame.extend([0, 0]);
    frame.extend((payload.len() as u32).to_be_bytes());
    frame.extend(payload);
    frame
}

fn server_hello(json: &str) -> Vec<u8> {
    frame(SERVER_HELLO, json.as_bytes())
}

#[tokio::test]
async fn every_wrong_answer_to_a_hello_has_its_own_error() {
    let refused = r#"{"selected":{"message":{"codec":"json"},"crypto":{}},"error":"no supported crypto algorithm\n[E]"}"#;
    let unknown = r#"{"selected":{"message":{"codec":"json"},"crypto":{"algorithm":"rot13"}}}"#;
    let no_random =
        r#"{"selected":{"message":{"codec":"json"},"crypto":{"algorithm":"aes-256-gcm"}}}"#;
    let other_codec = r#"{"selected":{"message":{"codec":"json","udpPacketCodec":"binary-v2"},"crypto":{"algorithm":"aes-256-gcm"}}}"#;
    let mut unasked = BytesMut::new();
    let answer = Message::from(LoginResp {
        error: "missing v2 crypto negotiation".to_owned(),
        ..LoginResp::default()
    });
    WireVersion::V2.encode(&answer, &mut unasked).unwrap();
    let mut pong = BytesMut::new();
    WireVersion::V2
        .encode(&Pong::default().into(), &mut pong)
        .unwrap();
    let garbage = "the server's answer to the login cannot be understood";
    for (answer, words) in [
        (
            server_hello(refused),
            "the server refuses: no supported crypto algorithm\\n[E]; transport.wireProtocol = \"v1\" does",
        ),
        (
            server_hello(unknown),
            "the server chose the crypto algorithm `rot13`, which was not offered",
        ),
        (
            server_hello(no_random),
            "the server's random value has 0 bytes instead of 32",
        ),
        (
            server_hello(other_codec),
            "the server chose the UDP packet codec `binary-v2`, which was not offered",
        ),
        (server_hello("{"), "malformed hello of the server"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), garbage),
        (server_hello(refused)[..20].to_vec(), garbage),
        (unasked.to_vec(), "failed: missing v2 crypto negotiation"),
        (pong.to_vec(), "the server answered the login with Pong"),
        (
            frame(CLIENT_HELLO, b"{}"),
            "the server answered the login with ClientHello",
        ),
    ] {
        let error = error_of_answer(&answer).await;
        assert!(error.contains(words), "{error:?} instead of {words:?}");
    }
}

#[tokio::test]
async fn a_hello_without_a_login_that_follows_is_no_session() {
    let mut server = TransportServer::bind(PLAIN).await;
    let config = server.config(WireProtocol::Auto);
    let play = async {
        let mut opening = Opening::receive(server.conn().await).await;
        let answer = hello::answer(opening.hello.unwrap(), &[]).unwrap();
        let mut frame = BytesMut::new();
        answer.encode(&mut frame);
        opening.conn.queue_encoded(&frame).unwrap();
        opening.conn.flush().await.unwrap();
    };
    let (error, ()) = tokio::join!(error(config), play);
    assert!(
        error.contains("the server closed the connection during login"),
        "{error}"
    );
}

#[tokio::test]
async fn the_hello_contains_the_clients_offer() {
    let mut server = TransportServer::bind(PLAIN).await;
    let _client = Running::start(server.config(WireProtocol::Auto));
    let opening = Opening::receive(server.conn().await).await;
    let hello = opening.hello.unwrap();
    let shown: serde_json::Value = serde_json::from_slice(&hello).unwrap();
    let offered = shown["mgrokExtensions"].as_array().unwrap();
    assert!(offered.contains(&Extension::HALF_CLOSE.name().into()));
    let algorithms = shown["capabilities"]["crypto"]["algorithms"].as_array();
    assert_eq!(algorithms.unwrap().len(), 2);
    assert_eq!(opening.login.version, mgrok_proto::FRP_VERSION);
}

/// Checks that a session ends when the server sends a record that `disturb` makes from a good one. The server seals its
/// records by hand.
async fn ends_after(disturb: impl Fn(&mut Sealer, &[u8]) -> Vec<u8>) {
    let mut server = TransportServer::bind(PLAIN).await;
    let _client = Running::start(server.config(WireProtocol::Auto));
    let mut opening = Opening::receive(server.conn().await).await;
    let answer = hello::answer(opening.hello.unwrap(), &[]).unwrap();
    let mut frame = BytesMut::new();
    answer.encode(&mut frame);
    opening.conn.queue_encoded(&frame).unwrap();
    let login = LoginResp {
        run_id: RUN_ID.to_owned(),
        ..LoginResp::default()
    };
    opening.conn.send(&login.into()).await.unwrap();
    let keys = answer.outcome.unwrap().keys(&Secret::new("secret"));
    let mut sealer = Sealer::new(&keys.server_to_client, [9; 24]);
    let mut pong = BytesMut::new();
    let message = Message::from(Pong::default());
    WireVersion::V2.encode(&message, &mut pong).unwrap();
    let mut records = BytesMut::new();
    // A good record first, so that a wrong token is not the reason.
    sealer.seal(&pong, &mut records).unwrap();
    let good = Bytes::copy_from_slice(&records);
    records.extend_from_slice(&disturb(&mut sealer, &good));
    let mut conn = opening.conn.into_conn();
    within(conn.send(records.freeze())).await.unwrap();
    // The client ends the session, and reconnects with the same run id.
    let again = Opening::receive(server.conn().await).await;
    assert_eq!(again.login.run_id, RUN_ID);
    drop(conn);
}

#[tokio::test]
async fn records_that_are_repeated_or_altered_end_the_session() {
    // All of it again: the nonce and the record.
    ends_after(|_, good| good.to_vec()).await;
    // Only the record.
    ends_after(|_, good| good[12..].to_vec()).await;
    ends_after(|sealer, _| {
        let mut record = BytesMut::new();
        sealer.seal(b"\0\x10\0\0", &mut record).unwrap();
        let last = record.len() - 1;
        record[last] ^= 1;
        record.to_vec()
    })
    .await;
    // One record is missing.
    ends_after(|sealer, _| {
        let mut records = BytesMut::new();
        sealer.seal(b"\0", &mut records).unwrap();
        let first = records.len();
        sealer.seal(b"\0", &mut records).unwrap();
        records[first..].to_vec()
    })
    .await;
}
