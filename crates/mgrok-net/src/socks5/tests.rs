//! The handshake, in pieces of every size.

use super::*;
use crate::testing::{memory_pair, read_all};

type IsKnown = fn(&[u8], &[u8]) -> bool;

fn ada(user: &[u8], password: &[u8]) -> bool {
    (user, password) == (b"ada", b"secret")
}

/// What becomes of `sent`, what the user is sent meanwhile, and what is left of the connection.
async fn accepted(
    sent: &[u8],
    piece: usize,
    is_known: Option<IsKnown>,
) -> (Result<Target, AcceptError>, Vec<u8>, Vec<u8>) {
    let (mut user, mut conn) = memory_pair(2048, piece);
    user.send(Bytes::copy_from_slice(sent)).await.unwrap();
    user.close().await.unwrap();
    let accepted = accept(&mut conn, is_known).await;
    let rest = read_all(&mut conn).await.unwrap();
    drop(conn);
    let answers = read_all(&mut user).await.unwrap();
    (accepted, answers, rest)
}

#[tokio::test]
async fn requests() {
    let target = |host: &str, port| Target {
        host: host.to_owned(),
        port,
    };
    for (address, expect) in [
        (&b"\x01\x7f\0\0\x01\0\x50"[..], target("127.0.0.1", 80)),
        (b"\x03\x09localhost\x1f\x90", target("localhost", 8080)),
        (
            b"\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x01\0\x16",
            target("::1", 22),
        ),
    ] {
        for piece in [1, 2, 7, 2048] {
            let sent = [b"\x05\x02\0\x02\x05\x01\0", address, b"early"].concat();
            let (got, answers, rest) = accepted(&sent, piece, None).await;
            assert_eq!(got.unwrap(), expect);
            assert_eq!(answers, b"\x05\0");
            assert_eq!(rest, b"early", "it belongs to the host");

            let sent = [
                b"\x05\x02\0\x02\x01\x03ada\x06secret\x05\x01\0",
                address,
                b"early",
            ]
            .concat();
            let (got, answers, rest) = accepted(&sent, piece, Some(ada)).await;
            assert_eq!(got.unwrap(), expect);
            assert_eq!(answers, b"\x05\x02\x01\0");
            assert_eq!(rest, b"early");
        }
    }
}

#[track_caller]
fn is(got: Result<Target, AcceptError>, text: &str, answer: &[u8]) {
    let error = got.unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(error.answer(), answer, "{text}");
}

#[tokio::test]
async fn refusals() {
    let refused = |code| [5, code, 0, 1, 0, 0, 0, 0, 0, 0];
    for (sent, text, answer) in [
        (
            &b"\x05\x01\0\x05\x02\0\x01\x7f\0\0\x01\0\x50"[..],
            "BIND is not supported",
            &refused(7)[..],
        ),
        (
            b"\x05\x01\0\x05\x03\0\x01\0\0\0\0\0\0",
            "UDP ASSOCIATE is not supported",
            &refused(7),
        ),
        (
            b"\x05\x01\0\x05\x09\0\x01\0\0\0\0\0\0",
            "the command 9 is unknown",
            &refused(7),
        ),
        (
            b"\x05\x01\0\x05\x01\0\x02",
            "the address is of the unknown type 2",
            &refused(8),
        ),
        (
            b"\x05\x01\0\x05\x01\0\x03\0\0\x50",
            "the name of the host is empty or has unprintable characters",
            &refused(4),
        ),
        (
            b"\x05\x01\0\x05\x01\0\x03\x02a\n\0\x50",
            "the name of the host is empty or has unprintable characters",
            &refused(4),
        ),
        (
            b"\x05\x01\x02",
            "the user insists on authentication, and there is none",
            &[5, 0xff],
        ),
        (
            b"\x05\0",
            "the user insists on authentication, and there is none",
            &[5, 0xff],
        ),
        (
            b"\x04\x01\0\x50",
            "no SOCKS5: a message begins with the byte 0x04",
            b"",
        ),
        (
            b"GET / HTTP/1.1\r\n\r\n",
            "no SOCKS5: a message begins with the byte 0x47",
            b"",
        ),
        (b"\x05\x01\0\x05\x01", "the user ended the connection", b""),
        (b"", "the user ended the connection", b""),
    ] {
        is(accepted(sent, 3, None).await.0, text, answer);
    }
}

#[tokio::test]
async fn wrong_credentials() {
    for (sent, text, answer) in [
        (
            &b"\x05\x01\0"[..],
            "the user offers no password",
            &[5, 0xff][..],
        ),
        (
            b"\x05\x01\x02\x01\x03ada\x05wrong",
            "wrong user or password",
            &[1, 1],
        ),
        (b"\x05\x01\x02\x01\0\0", "wrong user or password", &[1, 1]),
        (
            b"\x05\x01\x02\x05\x01\0\x01",
            "no SOCKS5: a message begins with the byte 0x05",
            b"",
        ),
    ] {
        is(accepted(sent, 3, Some(ada)).await.0, text, answer);
    }
}
