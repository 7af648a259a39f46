//! Recognises the protocol of a connection or stream by its first bytes.
//!
//! One port serves several protocols, which differ in their first bytes. Silence decides nothing, and only as many
//! bytes are awaited as the decision needs: one byte is enough for a v1 message.
// frp: waits for ten bytes in any case (server/service.go#NewService, golib net/mux). Everything that it accepts is
// longer, so no client sees the difference.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use mgrok_proto::v2;

use crate::conn::Conn;

/// The first bytes of a WebSocket client of a tunnel.
const WEB_SOCKET: &[u8] = b"GET /~!frp";
/// The first bytes of HTTP requests and of HTTP/2. No client of ours begins like this.
// frp: compares the first three letters, and not with the last entry, which does not share its port (golib
// net/mux/rule.go)
const METHODS: [&[u8]; 10] = [
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"DELETE ",
    b"CONNECT ",
    b"OPTIONS ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/2.0",
];
/// The type of a TLS handshake record.
const TLS_HANDSHAKE: u8 = 0x16;
/// A byte that some clients send before TLS, so that the connection is not taken for HTTPS on a shared port.
pub(crate) const TLS_CUSTOM: u8 = 0x17;
/// The version of yamux, the first byte of every frame.
const MUX_VERSION: u8 = 0;

/// The protocol that a stream begins with.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Opening {
    /// The stream ended before its protocol was clear.
    Closed,
    /// An HTTP request, or the preface of HTTP/2.
    Http,
    /// A multiplexed session.
    Mux,
    /// A TLS handshake.
    Tls {
        /// Whether one extra byte, which is not TLS, comes first.
        consume_first: bool,
    },
    /// Nothing that our clients send.
    Unknown,
    /// A v1 message that may open a stream: Login, NewWorkConn or NewVisitorConn.
    V1,
    /// A v2 stream. [`take_magic`] removes the bytes in front of its first frame.
    V2,
    /// A request for the tunnel's WebSocket.
    WebSocket,
}

/// Reads only as many bytes as the decision needs. They stay in front of `conn`.
///
/// Waits for as long as the peer is silent: the caller sets the deadline. Not cancel-safe: bytes may be lost.
pub async fn opening(conn: &mut Conn) -> io::Result<Opening> {
    let first = conn.recv().await?;
    if let Some(opening) = classify(&first) {
        conn.unread(first);
        return Ok(opening);
    }
    let mut seen = BytesMut::from(&first[..]);
    // This chunk is a slice of a slab and would keep the slab in memory for as long as the peer is silent.
    drop(first);
    loop {
        let more: Bytes = conn.recv().await?;
        seen.extend_from_slice(&more);
        let opening = if more.is_empty() {
            Some(Opening::Closed)
        } else {
            classify(&seen)
        };
        if let Some(opening) = opening {
            conn.unread(seen.freeze());
            return Ok(opening);
        }
    }
}

/// Removes [`v2::MAGIC`] from the front of a stream that was recognised as [`Opening::V2`].
///
/// Not cancel-safe: bytes may be lost.
pub async fn take_magic(conn: &mut Conn) -> io::Result<()> {
    // The sniffed bytes come back in one piece.
    let mut seen = conn.recv().await?;
    seen.advance(v2::MAGIC.len().min(seen.len()));
    conn.unread(seen);
    Ok(())
}

/// `None`: more bytes are needed.
fn classify(seen: &[u8]) -> Option<Opening> {
    match seen.first() {
        None => Some(Opening::Closed),
        Some(&MUX_VERSION) => Some(Opening::Mux),
        Some(&TLS_HANDSHAKE) => Some(Opening::Tls {
            consume_first: false,
        }),
        Some(&TLS_CUSTOM) => Some(Opening::Tls {
            consume_first: true,
        }),
        Some(b'o' | b'w' | b'v') => Some(Opening::V1),
        Some(b'F') => compare(seen, v2::MAGIC, Opening::V2),
        Some(b'G') => match compare(seen, WEB_SOCKET, Opening::WebSocket) {
            Some(Opening::Unknown) => http(seen),
            opening => opening,
        },
        Some(_) => http(seen),
    }
}

fn compare(seen: &[u8], wanted: &[u8], opening: Opening) -> Option<Opening> {
    if seen.starts_with(wanted) {
        Some(opening)
    } else if wanted.starts_with(seen) {
        None
    } else {
        Some(Opening::Unknown)
    }
}

/// As [`classify`], for a stream that can only be HTTP.
fn http(seen: &[u8]) -> Option<Opening> {
    let openings = METHODS
        .iter()
        .map(|method| compare(seen, method, Opening::Http));
    let mut undecided = false;
    for opening in openings {
        match opening {
            Some(Opening::Unknown) => {}
            Some(opening) => return Some(opening),
            None => undecided = true,
        }
    }
    if undecided {
        None
    } else {
        Some(Opening::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpStream;

    use super::*;
    use crate::tcp;

    #[track_caller]
    fn check(seen: &[u8], expect: Option<Opening>) {
        assert_eq!(classify(seen), expect, "{seen:?}");
    }

    #[test]
    fn openings_are_recognised_as_early_as_possible() {
        check(b"", Some(Opening::Closed));
        check(b"\0", Some(Opening::Mux));
        for kind in [b"o", b"w", b"v"] {
            check(kind, Some(Opening::V1));
        }
        let tls = |consume_first| Some(Opening::Tls { consume_first });
        check(b"\x16", tls(false));
        check(b"\x17\x16\x03\x01", tls(true));
        check(b"FRP\0\x02\r", None);
        check(b"FRP\0\x02\r\n\0\x01", Some(Opening::V2));
        check(b"FRP\0\x03", Some(Opening::Unknown));
        check(b"GET /~!fr", None);
        check(b"GET /~!frp HTTP/1.1", Some(Opening::WebSocket));
        check(b"GET / HTTP/1.1", Some(Opening::Http));
        check(b"GETS", Some(Opening::Unknown));
        check(b"PO", None);
        check(b"POST /~!frp", Some(Opening::Http));
        check(b"P", None);
        check(b"PRI * HTTP/1", Some(Opening::Unknown));
        check(b"PRI * HTTP/2.0\r\n", Some(Opening::Http));
        check(b"SSH-2.0", Some(Opening::Unknown));
        check(b"p\0\0", Some(Opening::Unknown));
    }

    async fn pair() -> (TcpStream, Conn) {
        let listener = tcp::bind("127.0.0.1", 0).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (peer, (ours, _)) = tokio::join!(TcpStream::connect(addr), tcp::accept(&listener));
        (peer.unwrap(), Conn::from(ours))
    }

    #[tokio::test]
    async fn the_bytes_stay_in_front() {
        let (mut peer, mut conn) = pair().await;
        peer.set_nodelay(true).unwrap();
        let (opening, ()) = tokio::join!(opening(&mut conn), async {
            for byte in v2::MAGIC {
                peer.write_all(&[*byte]).await.unwrap();
                tokio::task::yield_now().await;
            }
            peer.write_all(b"rest").await.unwrap();
        });
        assert_eq!(opening.unwrap(), Opening::V2);
        drop(peer);
        let mut all = Vec::new();
        loop {
            let chunk = conn.recv().await.unwrap();
            if chunk.is_empty() {
                break;
            }
            all.extend_from_slice(&chunk);
        }
        assert_eq!(all, b"FRP\0\x02\r\nrest");
    }

    #[tokio::test]
    async fn an_end_is_no_opening() {
        let (mut peer, mut conn) = pair().await;
        peer.write_all(b"GET").await.unwrap();
        drop(peer);
        assert_eq!(opening(&mut conn).await.unwrap(), Opening::Closed);
        assert_eq!(&conn.recv().await.unwrap()[..], b"GET");
    }
}
