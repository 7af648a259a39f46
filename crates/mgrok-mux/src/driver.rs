//! The task that moves a session's bytes.

use std::marker::PhantomData;
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite};

use crate::{Config, OpenError, SessionError, Stream};

/// Starts a session on `io`.
pub fn session<IO>(_io: IO, _config: Config) -> (Opener, Acceptor, Driver<IO>)
where
    IO: AsyncRead + AsyncWrite + Unpin + Send,
{
    (Opener {}, Acceptor {}, Driver { io: PhantomData })
}

/// Moves the session's bytes; ends when the session ends.
#[derive(Debug)]
pub struct Driver<IO> {
    io: PhantomData<IO>,
}

impl<IO: AsyncRead + AsyncWrite + Unpin + Send> Future for Driver<IO> {
    type Output = Result<(), SessionError>;

    fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
        Poll::Pending
    }
}

/// Opens streams.
#[derive(Clone, Debug)]
pub struct Opener {}

impl Opener {
    /// Opens a stream.
    pub async fn open(&self) -> Result<Stream, OpenError> {
        std::future::pending().await
    }

    /// Announces that there will be no new streams.
    pub fn go_away(&self) {}

    /// Ends the session.
    pub fn close(&self) {}

    /// Waits for the end of the session.
    pub async fn closed(&self) {
        std::future::pending().await
    }

    /// Whether the session has ended.
    pub fn is_closed(&self) -> bool {
        false
    }
}

/// Receives the streams that the other end opens.
#[derive(Debug)]
pub struct Acceptor {}

impl Acceptor {
    /// The next stream; `None` when the session has ended.
    pub async fn accept(&mut self) -> Option<Stream> {
        std::future::poll_fn(|cx| self.poll_accept(cx)).await
    }

    /// As [`accept`](Self::accept).
    pub fn poll_accept(&mut self, _cx: &mut Context<'_>) -> Poll<Option<Stream>> {
        Poll::Pending
    }
}
