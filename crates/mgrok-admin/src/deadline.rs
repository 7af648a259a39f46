//! A connection whose writes fail when the other side does not read.
//!
//! Not by `tokio-io-timeout` (1.2.1): its `TimeoutWriter` starts its time anew with every byte that goes out, so that a
//! client that reads one byte in 59 s holds an answer of 16 KiB, and one of the 256 connections, for eleven days.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

/// A connection whose writes fail with `TimedOut` if what was written has not left within `limit` of the first write that had
/// to wait. It has left when a flush succeeds.
pub(crate) struct WriteDeadline<S> {
    stream: S,
    limit: Duration,
    /// The deadline. `None` while no write has to wait.
    ends: Option<Pin<Box<Sleep>>>,
}

impl<S> WriteDeadline<S> {
    pub(crate) fn new(stream: S, limit: Duration) -> Self {
        Self {
            stream,
            limit,
            ends: None,
        }
    }

    /// The result of an attempt to write: `wrote`, unless the deadline has passed.
    fn within<T>(
        &mut self,
        cx: &mut Context<'_>,
        wrote: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if wrote.is_pending() && self.ends.is_none() {
            self.ends = Some(Box::pin(sleep(self.limit)));
        }
        // A few bytes that leave now and then do not move the deadline.
        if let Some(ends) = &mut self.ends
            && ends.as_mut().poll(cx).is_ready()
        {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        wrote
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WriteDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WriteDeadline<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.within(cx, wrote)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        let flushed = self.within(cx, flushed);
        if flushed.is_ready() {
            self.ends = None;
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.within(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.within(cx, wrote)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio::time::Instant;

    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn who_reads_nothing_is_given_up() {
        let (ours, _theirs) = duplex(10);
        let start = Instant::now();
        let mut ours = WriteDeadline::new(ours, LIMIT);
        let error = ours.write_all(&[0; 100]).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn who_reads_too_little_is_given_up() {
        let (ours, mut theirs) = duplex(10);
        let start = Instant::now();
        let mut ours = WriteDeadline::new(ours, LIMIT);
        let trickle = async {
            loop {
                sleep(LIMIT / 10).await;
                theirs.read_u8().await.unwrap();
            }
        };
        let error = tokio::select! {
            wrote = ours.write_all(&[0; 100]) => wrote.unwrap_err(),
            () = trickle => unreachable!(),
        };
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() >= LIMIT && start.elapsed() < LIMIT * 2);
    }

    #[tokio::test(start_paused = true)]
    async fn every_flush_ends_the_wait() {
        let (ours, mut theirs) = duplex(10);
        let mut ours = WriteDeadline::new(ours, LIMIT);
        for _ in 0..3 {
            let read = async {
                sleep(LIMIT / 2).await;
                theirs.read_exact(&mut [0; 15]).await.unwrap();
            };
            let write = async {
                ours.write_all(&[0; 15]).await.unwrap();
                ours.flush().await.unwrap();
            };
            tokio::join!(read, write);
        }
    }
}
