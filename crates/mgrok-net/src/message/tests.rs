//! Tests messages over connections that are slow, hostile or gone.

use std::cell::Cell;
use std::time::Duration;

use mgrok_proto::auth::Secret;
use mgrok_proto::hello::{Bootstrap, Extension, Offer, answer};
use mgrok_proto::message::{NewProxy, Ping, Pong};
use mgrok_proto::record::Algorithm;
use proptest::prelude::*;
use tokio::runtime;
use tokio::time::timeout;

use super::*;
use crate::layers::{encrypt, seal};
use crate::sniff::{self, Opening};
use crate::testing::{memory_pair, pattern, tcp_pair};

const PING: &[u8] = b"h\0\0\0\0\0\0\0\x02{}";

fn messages(conn: Conn) -> MessageConn {
    MessageConn::new(conn, WireVersion::V1)
}

fn pair(room: usize, piece: usize) -> (MessageConn, MessageConn) {
    let (near, far) = memory_pair(room, piece);
    (messages(near), messages(far))
}

/// A message of about `len` bytes.
fn message(len: usize) -> Message {
    Message::NewProxy(Box::new(NewProxy {
        proxy_name: "x".repeat(len),
        ..NewProxy::default()
    }))
}

async fn recv_after(sent: &[u8], piece: usize) -> Result<Option<Message>, RecvError> {
    let (mut near, far) = memory_pair(64 * 1024, piece);
    near.send(Bytes::copy_from_slice(sent)).await.unwrap();
    near.close().await.unwrap();
    let mut far = messages(far);
    loop {
        match far.recv().await {
            Ok(Some(_)) => {}
            end => return end,
        }
    }
}

#[tokio::test]
async fn one_message_is_one_write() {
    let (near, mut far) = memory_pair(1024, 1024);
    let mut near = messages(near);
    near.send(&Ping::default().into()).await.unwrap();
    assert_eq!(far.recv().await.unwrap(), PING);
    near.queue(&Ping::default().into()).unwrap();
    near.queue(&Ping::default().into()).unwrap();
    near.flush().await.unwrap();
    assert_eq!(far.recv().await.unwrap(), [PING, PING].concat());
}

#[tokio::test]
async fn hostile_input_is_refused() {
    for piece in [1, 7, 64 * 1024] {
        for hostile in [
            &b"?"[..],
            b"h\x7f\xff\xff\xff\xff\xff\xff\xff",
            b"h\xff\xff\xff\xff\xff\xff\xff\xff",
            b"h\0\0\0\0\0\0\x28\x01",
            b"h\0\0\0\0\0\0\0\0",
            b"h\0\0\0\0\0\0\0\x03{}}",
        ] {
            let end = recv_after(&[PING, hostile].concat(), piece).await;
            assert!(matches!(end, Err(RecvError::Decode(_))), "{end:?}");
        }
    }
}

#[tokio::test]
async fn an_end_inside_a_message_is_not_a_clean_one() {
    for cut in 0..PING.len() {
        let end = recv_after(&[PING, &PING[..cut]].concat(), 1024).await;
        match cut {
            0 => assert!(matches!(end, Ok(None)), "{end:?}"),
            _ => assert!(matches!(end, Err(RecvError::Truncated)), "{end:?}"),
        }
    }
}

#[tokio::test]
async fn the_queue_for_a_side_that_never_reads_is_bounded() {
    let (mut near, _far) = pair(1000, 1000);
    let message = message(9_000);
    let mut queued = 0;
    let error = loop {
        match near.queue(&message) {
            Ok(()) => queued += 1,
            Err(error) => break error,
        }
        // The bytes that the connection accepts do not make room for ever.
        let waited = timeout(Duration::ZERO, near.recv()).await;
        assert!(waited.is_err(), "{waited:?}");
        assert!(queued < 40);
    };
    assert!(matches!(error, SendError::Full), "{error:?}");
    assert!(near.sending.len() + near.queued.len() <= MAX_QUEUED);
    assert!(queued >= 28);
}

#[tokio::test]
async fn a_message_over_the_limit_leaves_the_connection_as_it_was() {
    let (mut near, mut far) = pair(64 * 1024, 64 * 1024);
    near.queue(&message(5)).unwrap();
    let error = near.queue(&message(20_000)).unwrap_err();
    assert!(matches!(error, SendError::Encode { .. }), "{error:?}");
    near.send(&message(6)).await.unwrap();
    assert_eq!(far.recv().await.unwrap(), Some(message(5)));
    assert_eq!(far.recv().await.unwrap(), Some(message(6)));
}

#[tokio::test]
async fn two_sides_that_both_have_much_to_say_do_not_block() {
    let (near, far) = pair(100, 100);
    let talk = |mut conn: MessageConn| async move {
        for _ in 0..25 {
            conn.queue(&message(9_000)).unwrap();
        }
        for _ in 0..25 {
            assert_eq!(conn.recv().await.unwrap(), Some(message(9_000)));
        }
        conn.flush().await.unwrap();
        conn
    };
    let both = async { tokio::join!(talk(near), talk(far)) };
    timeout(Duration::from_secs(30), both).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_recv_loses_nothing() {
    let (mut near, mut far) = pair(64 * 1024, 3);
    near.send(&message(500)).await.unwrap();
    near.send(&message(501)).await.unwrap();
    let mut received = Vec::new();
    while received.len() < 2 {
        // `recv` gets a single poll: its progress must be kept.
        tokio::select! {
            biased;
            message = far.recv() => received.push(message.unwrap().unwrap()),
            () = std::future::ready(()) => tokio::task::yield_now().await,
        }
    }
    assert_eq!(received, [message(500), message(501)]);
}

#[tokio::test]
async fn messages_before_the_end_are_received_though_writing_fails() {
    let (near, far) = memory_pair(64 * 1024, 64 * 1024);
    let (mut near, mut far) = (messages(near), messages(far));
    far.send(&message(7)).await.unwrap();
    drop(far);
    near.queue(&Ping::default().into()).unwrap();
    assert_eq!(near.recv().await.unwrap(), Some(message(7)));
    let end = near.recv().await;
    assert!(matches!(end, Ok(None) | Err(RecvError::Io(_))), "{end:?}");
    assert!(near.flush().await.is_err());
}

#[tokio::test]
async fn bytes_after_the_messages_stay_in_front() {
    for piece in [5, 64 * 1024] {
        let (mut near, far) = memory_pair(64 * 1024, piece);
        let payload = pattern(1000);
        near.send([PING, &payload].concat().into()).await.unwrap();
        near.close().await.unwrap();
        let mut far = messages(far);
        assert_eq!(far.recv().await.unwrap(), Some(Ping::default().into()));
        let mut rest = far.into_conn();
        assert_eq!(crate::testing::read_all(&mut rest).await.unwrap(), payload);
    }
}

#[tokio::test]
async fn messages_travel_encrypted() {
    let key = mgrok_proto::cipher::CipherKey::derive(&Secret::new("secret"));
    let (near, far) = tcp_pair().await;
    let mut near = messages(encrypt(near.into(), &key));
    let mut far = messages(encrypt(far.into(), &key));
    for len in [1, 100, 9_000] {
        near.send(&message(len)).await.unwrap();
        assert_eq!(far.recv().await.unwrap(), Some(message(len)));
        far.send(&message(len)).await.unwrap();
        assert_eq!(near.recv().await.unwrap(), Some(message(len)));
    }
}

/// Many messages that arrive at once must not keep the task from yielding.
#[tokio::test]
async fn a_flood_of_messages_does_not_hog_the_thread() {
    let (mut near, far) = memory_pair(64 * 1024, 64 * 1024);
    near.send(PING.repeat(5_000).into()).await.unwrap();
    let mut far = messages(far);
    let received = Cell::new(0);
    let flood = async {
        while far.recv().await.unwrap().is_some() {
            received.set(received.get() + 1);
        }
    };
    let received_before_others = tokio::select! {
        biased;
        () = flood => panic!("nobody ended the connection"),
        received = async { received.get() } => received,
    };
    assert!(
        (1..1_000).contains(&received_before_others),
        "{received_before_others}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_arrive_however_they_are_cut(
        lens in proptest::collection::vec(0..9_000_usize, 0..8),
        room in 1..20_000_usize,
        piece in 1..12_000_usize,
    ) {
        let runtime = runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            let (mut near, mut far) = pair(room, piece);
            let send = async {
                for len in &lens {
                    near.send(&message(*len)).await.unwrap();
                }
                drop(near);
            };
            let recv = async {
                let mut received = Vec::new();
                while let Some(message) = far.recv().await.unwrap() {
                    received.push(message);
                }
                received
            };
            let ((), received) = tokio::join!(send, recv);
            assert_eq!(received, lens.iter().copied().map(message).collect::<Vec<_>>());
        });
    }
}

#[tokio::test]
async fn a_v2_connection_begins_with_hellos_and_goes_on_sealed() {
    let extension = Extension::new("telepathy");
    let token = Secret::new("token");
    for piece in [1, 7, 1024] {
        let (near, mut far) = memory_pair(1024, piece);
        let client = async {
            let mut conn = MessageConn::new(near, WireVersion::V2);
            let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), &[extension]);
            let mut hello = BytesMut::from(v2::MAGIC);
            offer.encode(&mut hello);
            conn.queue_encoded(&hello).unwrap();
            conn.send(&Ping::default().into()).await.unwrap();
            let Some(Content::ServerHello(hello)) = conn.recv_content().await.unwrap() else {
                panic!("the server says hello first");
            };
            let agreement = offer.agree(hello).unwrap();
            assert_eq!(agreement.extensions, [extension]);
            assert!(matches!(conn.recv().await, Ok(Some(Message::Pong(_)))));
            let keys = agreement.keys(&token);
            let sealed = seal(
                conn.into_conn(),
                &keys.client_to_server,
                &keys.server_to_client,
            );
            let mut conn = MessageConn::new(sealed, WireVersion::V2);
            conn.send(&message(60_000)).await.unwrap();
            assert!(matches!(conn.recv().await, Ok(Some(Message::Pong(_)))));
        };
        let server = async {
            assert_eq!(sniff::opening(&mut far).await.unwrap(), Opening::V2);
            sniff::take_magic(&mut far).await.unwrap();
            let mut conn = MessageConn::new(far, WireVersion::V2);
            let Some(Content::ClientHello(hello)) = conn.recv_content().await.unwrap() else {
                panic!("the client says hello first");
            };
            let answer = answer(hello, &[extension]).unwrap();
            assert!(matches!(conn.recv().await, Ok(Some(Message::Ping(_)))));
            let mut hello = BytesMut::new();
            answer.encode(&mut hello);
            conn.queue_encoded(&hello).unwrap();
            conn.send(&Pong::default().into()).await.unwrap();
            let keys = answer.outcome.unwrap().keys(&token);
            let sealed = seal(
                conn.into_conn(),
                &keys.server_to_client,
                &keys.client_to_server,
            );
            let mut conn = MessageConn::new(sealed, WireVersion::V2);
            assert_eq!(conn.recv().await.unwrap(), Some(message(60_000)));
            conn.send(&Pong::default().into()).await.unwrap();
        };
        tokio::join!(client, server);
    }
}

#[tokio::test]
async fn a_hello_has_no_place_among_messages() {
    let (mut near, far) = memory_pair(1024, 1024);
    let hello = b"\0\x01\0\0\0\0\0\x02{}";
    near.send(Bytes::from_static(hello)).await.unwrap();
    let mut far = MessageConn::new(far, WireVersion::V2);
    let end = far.recv().await;
    assert!(matches!(
        end,
        Err(RecvError::Decode(DecodeError::UnexpectedHello))
    ));
}
