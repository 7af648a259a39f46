use proptest::prelude::*;

use super::*;
use crate::testing::{memory_pair, read_all};

/// A connection that delivers `bytes` in pieces of `piece` bytes, and then ends.
async fn arriving(bytes: &[u8], piece: usize) -> Conn {
    let (mut near, far) = memory_pair(bytes.len().max(1), piece);
    near.send(Bytes::copy_from_slice(bytes)).await.unwrap();
    near.close().await.unwrap();
    far
}

#[tokio::test]
async fn bytes_after_a_head_stay_in_front() {
    let bytes =
        b"HTTP/1.1 101 Switching Protocols\r\nA: b\r\nConnection: x, Upgrade\r\n\r\n\r\nrest";
    for piece in 1..=bytes.len() {
        let mut conn = arriving(bytes, piece).await;
        let response = Response::receive(&mut conn).await.unwrap();
        assert_eq!(response.status, 101);
        assert_eq!(response.status_line, "HTTP/1.1 101 Switching Protocols");
        assert_eq!(response.fields.first("a"), Some("b"));
        assert!(response.fields.lists("connection", "upgrade"));
        assert!(!response.fields.lists("connection", "up"));
        assert_eq!(read_all(&mut conn).await.unwrap(), b"\r\nrest");
    }
}

#[tokio::test]
async fn a_bare_line_feed_ends_a_line() {
    let mut conn = arriving(b"GET / HTTP/1.0\nHost: a\n\nrest", 5).await;
    let request = Request::receive_get(&mut conn).await.unwrap();
    assert_eq!(
        (
            &*request.method,
            &*request.target,
            request.fields.first("host")
        ),
        ("GET", "/", Some("a"))
    );
    assert_eq!(read_all(&mut conn).await.unwrap(), b"rest");
}

#[tokio::test]
async fn another_protocol_is_recognised_at_once() {
    let (mut near, mut far) = memory_pair(64, 64);
    near.send(Bytes::from_static(b"SSH-2.0-\xff"))
        .await
        .unwrap();
    let error = Response::receive(&mut far).await.unwrap_err();
    assert_eq!(error.to_string(), r#""SSH-2.0-\xff" came instead of HTTP"#);
}

#[tokio::test]
async fn heads_are_bounded() {
    let mut conn = arriving(
        &[b"HTTP/1.1 200 OK\r\nA: ", &[b'a'; MAX_HEAD][..]].concat(),
        999,
    )
    .await;
    let error = Response::receive(&mut conn).await.unwrap_err();
    assert!(matches!(error, HeadError::TooLong), "{error:?}");

    let fields = "A: b\r\n".repeat(MAX_FIELDS + 1);
    let mut conn = arriving(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").as_bytes(), 999).await;
    let error = Response::receive(&mut conn).await.unwrap_err();
    assert!(matches!(error, HeadError::Malformed(_)), "{error:?}");
}

#[tokio::test]
async fn an_end_inside_a_head_is_an_error() {
    for begin in [&b""[..], b"HT", b"HTTP/1.1 200 OK\r\n"] {
        let error = Response::receive(&mut arriving(begin, 9).await).await;
        assert!(matches!(error, Err(HeadError::Closed)), "{error:?}");
    }
}

proptest! {
    #[test]
    fn any_bytes_get_an_answer(tail in proptest::collection::vec(any::<u8>(), 0..300), piece in 1..50_usize) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            for begin in [&b""[..], b"HTTP/1.1 ", b"HTTP/1.1 200 OK\r\n"] {
                let bytes = [begin, &tail, b"\r\n\r\n"].concat();
                if let Ok(response) = Response::receive(&mut arriving(&bytes, piece).await).await {
                    assert!(response.status_line.is_ascii());
                }
            }
        });
    }
}
