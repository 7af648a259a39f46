//! Tests handshakes and streams, over connections in memory and against another implementation.

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, ready};

use futures_util::{SinkExt, StreamExt};
use proptest::prelude::*;
use tokio::runtime;
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest};

use super::*;
use crate::conn::ByteStream;
use crate::testing::{memory_pair, pattern, read_all, tcp_pair};

/// A request with every required line, so that tests can remove each.
const REQUEST: &str = "GET /~!frp HTTP/1.1\r\n\
    Host: a:1\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Origin: http://a:1\r\n\
    Sec-WebSocket-Version: 13\r\n\r\n";

/// The answer of an frp server to [`REQUEST`].
const ANSWER: &str = "HTTP/1.1 101 Switching Protocols\r\n\
    Upgrade: websocket\r\n\
    Connection: Upgrade\r\n\
    Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = runtime::Builder::new_current_thread().build();
    runtime.unwrap().block_on(future)
}

/// Both ends after the handshake.
async fn pair(room: usize, piece: usize) -> (Conn, Conn) {
    let (near, far) = memory_pair(room, piece);
    let (client, server) = tokio::join!(connect(near, "example.com:7000"), accept(far));
    (client.unwrap(), server.unwrap())
}

/// Sends `chunks` and closes, while it receives everything, as the relay does.
async fn exchange(mut conn: Conn, chunks: &[Bytes]) -> Vec<u8> {
    let mut received = Vec::new();
    let mut unsent = chunks.iter().cloned();
    let mut chunk = Bytes::new();
    let mut sent = false;
    poll_fn(|cx| {
        while !sent && conn.poll_send(cx, &mut chunk)?.is_ready() {
            match unsent.next() {
                Some(next) => chunk = next,
                None if conn.poll_close(cx)?.is_ready() => sent = true,
                None => break,
            }
        }
        loop {
            let payload = ready!(conn.poll_recv(cx))?;
            if payload.is_empty() {
                break;
            }
            received.extend_from_slice(&payload);
        }
        match sent {
            true => Poll::Ready(io::Result::Ok(())),
            false => Poll::Pending,
        }
    })
    .await
    .unwrap();
    received
}

/// A server's end, and the connection below the client's, for frames made by hand.
async fn server_and_wire() -> (Conn, Conn) {
    let (mut wire, far) = memory_pair(100_000, 100_000);
    wire.send(Bytes::from_static(REQUEST.as_bytes()))
        .await
        .unwrap();
    let server = accept(far).await.unwrap();
    assert_eq!(wire.recv().await.unwrap(), ANSWER);
    (server, wire)
}

/// The response to a client's request, and the result of `accept`.
async fn ask(request: &str) -> (String, Result<Conn, WebSocketError>) {
    let (mut near, far) = memory_pair(100_000, 100_000);
    near.send(Bytes::copy_from_slice(request.as_bytes()))
        .await
        .unwrap();
    let accepted = accept(far).await;
    let answer = near.recv().await.unwrap();
    (String::from_utf8(answer.to_vec()).unwrap(), accepted)
}

#[tokio::test]
async fn a_request_is_these_bytes() {
    let (near, mut far) = memory_pair(1000, 1000);
    let asking = tokio::spawn(connect(near, "example.com:7000"));
    let request = String::from_utf8(far.recv().await.unwrap().to_vec()).unwrap();
    drop(far);
    let (before, rest) = request.split_once("Sec-WebSocket-Key: ").unwrap();
    let (key, after) = rest.split_once("\r\n").unwrap();
    assert_eq!(key.len(), 24);
    assert_eq!(
        before,
        "GET /~!frp HTTP/1.1\r\nHost: example.com:7000\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    );
    assert_eq!(
        after,
        "Origin: http://example.com:7000\r\nSec-WebSocket-Version: 13\r\n\r\n"
    );
    let error = asking.await.unwrap().unwrap_err();
    assert!(
        matches!(error, WebSocketError::Head(HeadError::Closed)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_server_answers_as_frp_does() {
    for (from, to, expect) in [
        ("", "", ANSWER),
        ("/~!frp ", "/~!frp?a=b ", ANSWER),
        (
            "Connection: Upgrade",
            "Connection: keep-alive, upgrade",
            ANSWER,
        ),
        ("Origin: http://a:1", "Origin: file://", ANSWER),
        (
            "Origin: http://a:1\r\n",
            "",
            "HTTP/1.1 403 Forbidden\r\n\r\n",
        ),
        ("http://a:1", "null", "HTTP/1.1 403 Forbidden\r\n\r\n"),
        ("/~!frp ", "/~!frpx ", "HTTP/1.1 404 Not Found\r\n"),
        ("/~!frp ", "/~!frp/ ", "HTTP/1.1 404 Not Found\r\n"),
        (
            "Version: 13",
            "Version: 8",
            "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n\r\nmissing or bad WebSocket Version",
        ),
        (
            "Upgrade: websocket\r\n",
            "",
            "HTTP/1.1 400 Bad Request\r\n\r\nnot websocket protocol",
        ),
        (
            "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
            "",
            "HTTP/1.1 400 Bad Request\r\n\r\nmismatch challenge/response",
        ),
        ("Host: a:1", "Ho st", "HTTP/1.1 400 Bad Request\r\n"),
    ] {
        let (answer, accepted) = ask(&REQUEST.replacen(from, to, 1)).await;
        assert!(answer.starts_with(expect), "{from} {to}: {answer}");
        assert_eq!(accepted.is_ok(), expect == ANSWER, "{from} {to}");
    }
}

#[tokio::test]
async fn a_refusal_or_wrong_answer_is_an_error() {
    let ask = async |answer: &str| {
        let (near, mut far) = memory_pair(1000, 1000);
        let asking = tokio::spawn(connect(near, "a:1"));
        let request = String::from_utf8(far.recv().await.unwrap().to_vec()).unwrap();
        let key = request.split("Key: ").nth(1).unwrap().split('\r').next();
        let accept = handshake::accept_key(key.unwrap());
        let answer = answer.replace("KEY", &accept);
        far.send(answer.into()).await.unwrap();
        asking.await.unwrap()
    };
    let good = "HTTP/1.1 101 X\r\nUpgrade: WebSocket\r\nConnection: upgrade\r\nSec-WebSocket-Accept: KEY\r\n\r\n";
    ask(good).await.unwrap();
    for (from, to, field) in [
        ("KEY", "AAAA", "Sec-WebSocket-Accept"),
        ("Upgrade: WebSocket\r\n", "", "Upgrade"),
        ("Connection: upgrade\r\n", "", "Connection"),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Extensions: x\r\n\r\n",
            "Sec-WebSocket-Extensions",
        ),
        (
            "\r\n\r\n",
            "\r\nSec-WebSocket-Protocol: x\r\n\r\n",
            "Sec-WebSocket-Protocol",
        ),
    ] {
        let error = ask(&good.replacen(from, to, 1)).await.unwrap_err();
        assert!(
            error.to_string().contains(&format!("missing {field};")),
            "{error}"
        );
    }
    let error = ask("HTTP/1.1 404 Not\tFound\r\n\r\n")
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.contains(r"answered `HTTP/1.1 404 Not\tFound`"),
        "{error}"
    );
    assert!(error.contains("for /~!frp on"), "{error}");
    let error = ask("SSH-2.0-OpenSSH\r\n").await.unwrap_err();
    assert!(
        matches!(error, WebSocketError::Head(HeadError::Foreign { .. })),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_host_cannot_inject_header_fields() {
    let (near, _far) = memory_pair(1000, 1000);
    let error = connect(near, "a\r\nb: c").await.unwrap_err();
    assert_eq!(
        error.to_string(),
        r"`a\r\nb: c` cannot stand in the Host field of a request"
    );
}

#[tokio::test]
async fn bytes_that_arrive_with_the_handshake_are_not_lost() {
    let (mut wire, far) = memory_pair(1000, 1000);
    let bytes = format!("{REQUEST}\u{2}");
    wire.send(bytes.into()).await.unwrap();
    let server = accept(far);
    let mut server = server.await.unwrap();
    // The first byte of the frame arrived with the handshake; the rest follows: fragment "a".
    wire.send(Bytes::from_static(b"\x81\0\0\0\0a"))
        .await
        .unwrap();
    assert_eq!(server.recv().await.unwrap(), "a");
}

#[tokio::test]
async fn a_write_is_one_frame() {
    let (mut server, mut wire) = server_and_wire().await;
    server.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(wire.recv().await.unwrap()[..], *b"\x82\x05hello");
    server.send(pattern(65_536)).await.unwrap();
    let frame = wire.recv().await.unwrap();
    assert_eq!(frame[..10], *b"\x82\x7f\0\0\0\0\0\x01\0\0");
    assert_eq!(frame[10..], pattern(65_536));
    server.send(Bytes::new()).await.unwrap();
    server.close().await.unwrap();
    assert_eq!(read_all(&mut wire).await.unwrap(), b"\x88\x02\x03\xe8");
}

#[tokio::test]
async fn a_ping_is_answered_while_only_reading_goes_on() {
    let (mut server, mut wire) = server_and_wire().await;
    wire.send(Bytes::from_static(b"\x89\x82\0\0\0\0hi"))
        .await
        .unwrap();
    let (pong, ()) = tokio::join!(
        async {
            let pong = wire.recv().await.unwrap();
            wire.send(Bytes::from_static(b"\x82\x81\0\0\0\0a"))
                .await
                .unwrap();
            pong
        },
        async { assert_eq!(server.recv().await.unwrap(), "a") }
    );
    assert_eq!(pong[..], *b"\x8a\x02hi");
}

#[tokio::test]
async fn only_the_latest_ping_is_answered_between_frames() {
    let (mut wire, far) = memory_pair(1000, 1000);
    wire.send(Bytes::from_static(REQUEST.as_bytes()))
        .await
        .unwrap();
    let mut server = accept(far).await.unwrap();
    wire.recv().await.unwrap();
    // A frame that does not fit, so pongs have to wait.
    let mut chunk = pattern(3000);
    poll_fn(|cx| {
        assert!(server.poll_send(cx, &mut chunk).is_pending());
        Poll::Ready(())
    })
    .await;
    wire.send(Bytes::from_static(
        b"\x89\x81\0\0\0\0a\x89\x81\0\0\0\0b\x82\x81\0\0\0\0c",
    ))
    .await
    .unwrap();
    assert_eq!(server.recv().await.unwrap(), "c");
    let sending = async {
        poll_fn(|cx| server.poll_send(cx, &mut chunk))
            .await
            .unwrap();
        poll_fn(|cx| server.poll_flush(cx)).await.unwrap();
        server.close().await.unwrap();
    };
    let (all, ()) = tokio::join!(read_all(&mut wire), sending);
    let expect = [
        b"\x82\x7e\x0b\xb8",
        &pattern(3000)[..],
        b"\x8a\x01b",
        b"\x88\x02\x03\xe8",
    ];
    assert_eq!(all.unwrap(), expect.concat());
}

/// A waker that records whether it was woken.
#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[tokio::test]
async fn a_pong_does_not_displace_the_waker_of_a_sender() {
    let (mut wire, far) = memory_pair(1000, 1000);
    wire.send(Bytes::from_static(REQUEST.as_bytes()))
        .await
        .unwrap();
    let mut server = accept(far).await.unwrap();
    wire.recv().await.unwrap();
    let (sender, reader) = (Arc::new(Woken::default()), Arc::new(Woken::default()));
    let wakers = [sender.clone().into(), reader.into()];
    let [mut sending, mut reading] = wakers.each_ref().map(Context::from_waker);
    let mut chunk = pattern(3000);
    assert!(server.poll_send(&mut sending, &mut chunk).is_pending());
    wire.send(Bytes::from_static(b"\x89\x81\0\0\0\0a"))
        .await
        .unwrap();
    assert!(server.poll_recv(&mut reading).is_pending());
    wire.recv().await.unwrap();
    assert!(sender.0.load(Ordering::Relaxed));
}

#[tokio::test]
async fn a_close_frame_or_an_end_between_frames_ends_the_stream() {
    for end in [
        &b"\x88\x80\0\0\0\0"[..],
        b"\x88\x82\0\0\0\0\x03\xe8\x82\x81\0\0\0\0x",
        b"",
    ] {
        let (mut server, mut wire) = server_and_wire().await;
        wire.send(Bytes::copy_from_slice(
            &[b"\x82\x81\0\0\0\0a", end].concat(),
        ))
        .await
        .unwrap();
        wire.close().await.unwrap();
        assert_eq!(server.recv().await.unwrap(), "a");
        for _ in 0..2 {
            assert!(server.recv().await.unwrap().is_empty());
        }
        // The server can still send.
        server.send(Bytes::from_static(b"b")).await.unwrap();
        assert_eq!(wire.recv().await.unwrap()[..], *b"\x82\x01b");
    }
}

#[tokio::test]
async fn an_end_inside_a_frame_is_an_error() {
    for start in [&b"\x82"[..], b"\x82\x82\0\0\0\0a", b"\x89\x82\0\0\0\0a"] {
        let (mut server, mut wire) = server_and_wire().await;
        wire.send(Bytes::copy_from_slice(start)).await.unwrap();
        wire.close().await.unwrap();
        let error = loop {
            match server.recv().await {
                Ok(payload) => assert_eq!(payload, "a"),
                Err(error) => break error,
            }
        };
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn wrong_masking_is_an_error() {
    let (mut server, mut wire) = server_and_wire().await;
    wire.send(Bytes::from_static(b"\x82\x01a")).await.unwrap();
    let error = server.recv().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    assert!(error.to_string().contains("not masked"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_chunks_arrive_however_they_are_cut(
        up in proptest::collection::vec(0..9000_usize, 0..6),
        down in proptest::collection::vec(0..9000_usize, 0..6),
        room in 1..10_000_usize,
        piece in 1..3000_usize,
    ) {
        block_on(async {
            let chunks = |lens: Vec<usize>| lens.into_iter().map(pattern).collect::<Vec<_>>();
            let (up, down) = (chunks(up), chunks(down));
            let (client, server) = pair(room, piece).await;
            let (got_down, got_up) = tokio::join!(exchange(client, &up), exchange(server, &down));
            assert!(got_up == up.concat() && got_down == down.concat());
        });
    }

    #[test]
    fn any_bytes_end_in_payload_or_an_error(
        bytes in proptest::collection::vec(any::<u8>(), 0..400),
        piece in 1..100_usize,
    ) {
        block_on(async {
            let (mut wire, far) = memory_pair(100_000, piece);
            wire.send(Bytes::from_static(REQUEST.as_bytes())).await.unwrap();
            let mut server = accept(far).await.unwrap();
            wire.send(bytes.into()).await.unwrap();
            wire.close().await.unwrap();
            let _ = read_all(&mut server).await;
        });
    }
}

#[tokio::test]
async fn another_server_understands_us() {
    let (near, far) = tcp_pair().await;
    let server = async {
        let mut server = tokio_tungstenite::accept_async(far).await.unwrap();
        server.send(Message::Ping("hi".into())).await.unwrap();
        let mut all = Vec::new();
        let mut pongs = 0;
        while let Some(message) = server.next().await {
            match message.unwrap() {
                Message::Binary(bytes) => {
                    all.extend_from_slice(&bytes);
                    server.send(Message::Binary(bytes)).await.unwrap();
                }
                Message::Pong(body) => {
                    assert_eq!(body, "hi");
                    pongs += 1;
                }
                Message::Close(frame) => assert_eq!(u16::from(frame.unwrap().code), 1000),
                other => panic!("{other}"),
            }
        }
        (all, pongs)
    };
    let client = async {
        let mut client = connect(near.into(), "a:1").await.unwrap();
        let mut got = Vec::new();
        for len in [1, 125, 126, 65_535, 65_536, 200_000] {
            client.send(pattern(len)).await.unwrap();
            let until = got.len() + len;
            while got.len() < until {
                got.extend_from_slice(&client.recv().await.unwrap());
            }
        }
        client.close().await.unwrap();
        assert_eq!(read_all(&mut client).await.unwrap(), b"");
        got
    };
    let ((all, pongs), got) = tokio::join!(server, client);
    assert_eq!(all.len(), 1 + 125 + 126 + 65_535 + 65_536 + 200_000);
    assert!(all == got);
    assert_eq!(pongs, 1);
}

#[tokio::test]
async fn another_client_understands_us() {
    let (near, far) = tcp_pair().await;
    let server = async {
        let mut server = accept(far.into()).await.unwrap();
        let mut all = Vec::new();
        loop {
            let chunk = server.recv().await.unwrap();
            if chunk.is_empty() {
                server.close().await.unwrap();
                return all;
            }
            all.extend_from_slice(&chunk);
            server.send(chunk).await.unwrap();
        }
    };
    let client = async {
        let mut request = "ws://a:1/~!frp".into_client_request().unwrap();
        request
            .headers_mut()
            .insert("Origin", "http://a:1".parse().unwrap());
        let (mut client, _) = tokio_tungstenite::client_async(request, near)
            .await
            .unwrap();
        client.send(Message::Text("text".into())).await.unwrap();
        client.send(Message::Ping("hi".into())).await.unwrap();
        client
            .send(Message::Binary(pattern(100_000)))
            .await
            .unwrap();
        let (mut got, mut pongs) = (Vec::new(), 0);
        while got.len() < 100_004 {
            match client.next().await.unwrap().unwrap() {
                Message::Binary(bytes) => got.extend_from_slice(&bytes),
                Message::Pong(_) => pongs += 1,
                other => panic!("{other}"),
            }
        }
        client.close(None).await.unwrap();
        while client.next().await.is_some() {}
        (got, pongs)
    };
    let (all, (got, pongs)) = tokio::join!(server, client);
    assert_eq!(all, [b"text", &pattern(100_000)[..]].concat());
    assert!(all == got);
    assert_eq!(pongs, 1);
}
