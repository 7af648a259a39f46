//! Whatever the streams of a bonded connection bring, it comes to an end or an error, and to no byte that was not sent.
#![no_main]

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mgrok_net::bond::{Bonds, Join, accepting};
use mgrok_net::conn::{ByteStream, Conn};

/// Brings these pieces, and takes whatever is sent.
struct Fed(VecDeque<Vec<u8>>);

impl ByteStream for Fed {
    fn poll_recv(&mut self, _: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        while let Some(piece) = self.0.pop_front() {
            if !piece.is_empty() {
                return Poll::Ready(Ok(piece.into()));
            }
        }
        Poll::Ready(Ok(Bytes::new()))
    }

    fn poll_send(&mut self, _: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        chunk.clear();
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

fn fed(pieces: Vec<Vec<u8>>) -> (Conn, usize) {
    let len = pieces.iter().map(Vec::len).sum();
    (Conn::layered(Box::new(Fed(pieces.into()))), len)
}

fuzz_target!(|input: (Vec<Vec<u8>>, [Vec<Vec<u8>>; 3])| {
    let (first, streams) = input;
    let bonds = Arc::<Bonds>::default();
    let place = bonds.open();
    let (first, mut sent) = fed(first);
    for stream in streams {
        let (conn, len) = fed(stream);
        sent += len;
        let answer = Bytes::from_static(b"answer");
        let joined = bonds.join(&place.id(), Join { conn, answer });
        assert!(joined.is_ok());
    }
    let mut conn = accepting(first, place);
    let cx = &mut Context::from_waker(Waker::noop());
    let mut received = 0;
    loop {
        match conn.poll_recv(cx) {
            Poll::Ready(Ok(bytes)) if bytes.is_empty() => break,
            Poll::Ready(Ok(bytes)) => received += bytes.len(),
            Poll::Ready(Err(_)) => break,
            Poll::Pending => panic!("waits for streams that have ended"),
        }
        assert!(received <= sent);
    }
});
