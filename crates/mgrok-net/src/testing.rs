//! Connections for the tests of this crate.

use std::io;
use std::pin::Pin;
use std::sync::LazyLock;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio::net::{TcpListener, TcpStream};

use crate::conn::{ByteStream, Conn};

/// Both ends of a new TCP connection.
pub(crate) async fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, accepted) = tokio::join!(
        TcpStream::connect(listener.local_addr().unwrap()),
        listener.accept()
    );
    let (near, far) = (near.unwrap(), accepted.unwrap().0);
    near.set_nodelay(true).unwrap();
    far.set_nodelay(true).unwrap();
    (near, far)
}

/// A connection in memory: each direction holds `room` bytes, and every read and write moves at most `piece` bytes.
pub(crate) fn memory_pair(room: usize, piece: usize) -> (Conn, Conn) {
    let (near, far) = tokio::io::duplex(room);
    (memory(near, piece), memory(far, piece))
}

pub(crate) fn memory(stream: DuplexStream, piece: usize) -> Conn {
    Conn::layered(Box::new(Memory { stream, piece }))
}

/// The same connection, with its carrier hidden.
pub(crate) fn opaque(conn: Conn) -> Conn {
    Conn::layered(Box::new(conn))
}

/// Reads everything up to the end.
pub(crate) async fn read_all(conn: &mut Conn) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    loop {
        let chunk = conn.recv().await?;
        if chunk.is_empty() {
            return Ok(all);
        }
        all.extend_from_slice(&chunk);
    }
}

/// `len` pseudo-random bytes, so that misplaced ones are noticed. They repeat after a million.
pub(crate) fn pattern(len: usize) -> Bytes {
    static BLOCK: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()
        };
        // No multiple of any buffer's size.
        (0..125_001).flat_map(|_| next()).collect()
    });
    let mut bytes = BytesMut::with_capacity(len);
    while bytes.len() < len {
        let some = BLOCK.len().min(len - bytes.len());
        bytes.extend_from_slice(&BLOCK[..some]);
    }
    bytes.freeze()
}

struct Memory {
    stream: DuplexStream,
    piece: usize,
}

impl ByteStream for Memory {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut bytes = vec![0; self.piece];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut buf))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let piece = &chunk[..chunk.len().min(self.piece)];
            let written = ready!(Pin::new(&mut self.stream).poll_write(cx, piece))?;
            chunk.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
