//! Whatever a SOCKS user sends, it is a target or an error, and the same however it was cut.
#![no_main]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::socks5::{self, Target};

/// A user who has sent all there is, in pieces, and takes any answer.
struct User(VecDeque<Bytes>);

impl ByteStream for User {
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

/// The target and what follows it, or the error with its answer.
fn accepted(
    sent: &[u8],
    piece: usize,
    has_password: bool,
) -> Result<(Target, Vec<u8>), (String, Bytes)> {
    let pieces = sent.chunks(piece).map(Bytes::copy_from_slice).collect();
    let mut conn = Conn::layered(Box::new(User(pieces)));
    let is_known = has_password.then_some(|user: &[u8], password: &[u8]| user == password);
    let accepting = async {
        let target = socks5::accept(&mut conn, is_known).await;
        let target = target.map_err(|error| (error.to_string(), error.answer()))?;
        let mut rest = Vec::new();
        while let Ok(chunk) = conn.recv().await {
            if chunk.is_empty() {
                break;
            }
            rest.extend_from_slice(&chunk);
        }
        Ok((target, rest))
    };
    match pin!(accepting).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(accepted) => accepted,
        Poll::Pending => unreachable!("nothing waits"),
    }
}

fuzz_target!(|input: (bool, u8, Vec<u8>)| {
    let (has_password, piece, sent) = input;
    let whole = accepted(&sent, sent.len().max(1), has_password);
    if let Ok((target, rest)) = &whole {
        assert!((1..=255).contains(&target.host.len()));
        assert!(target.host.bytes().all(|byte| byte.is_ascii_graphic()));
        assert!(sent.ends_with(rest));
    }
    let cut = accepted(&sent, usize::from(piece).max(1), has_password);
    assert_eq!(cut, whole);
});
