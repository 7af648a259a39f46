//! Whatever a WebSocket client sends, the server's end answers, and reads the same however it was cut.
#![no_main]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::websocket;

const REQUEST: &[u8] = b"GET /~!frp HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nOrigin: http://a\r\nSec-WebSocket-Version: 13\r\n\r\n";

/// A client that has sent all there is, in pieces, and takes any answer.
struct Client(VecDeque<Bytes>);

impl ByteStream for Client {
    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Poll::Ready(Ok(self.0.pop_front().unwrap_or_default()))
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        chunk.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

/// All payload, and whether the stream ended well; `None` if there was no handshake.
fn read(bytes: &[u8], piece: usize) -> Option<(Vec<u8>, bool)> {
    let pieces = bytes.chunks(piece).map(Bytes::copy_from_slice).collect();
    let client = Conn::layered(Box::new(Client(pieces)));
    let reading = async {
        let mut conn = websocket::accept(client).await.ok()?;
        let mut all = Vec::new();
        loop {
            match conn.recv().await {
                Ok(chunk) if chunk.is_empty() => return Some((all, true)),
                Ok(chunk) => all.extend_from_slice(&chunk),
                Err(_) => return Some((all, false)),
            }
        }
    };
    match pin!(reading).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(read) => read,
        Poll::Pending => unreachable!("nothing waits"),
    }
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (shake_hands, piece, sent) = input;
    let mut bytes = if shake_hands { REQUEST.to_vec() } else { Vec::new() };
    bytes.extend(sent);
    let whole = read(&bytes, bytes.len().max(1));
    assert!(whole.is_some() || !shake_hands);
    assert_eq!(read(&bytes, usize::from(piece).max(1)), whole);
});
