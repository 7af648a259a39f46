//! The connection of a user, as hyper sees it.
//!
//! hyper knows neither what to do with users who end sending and wait for their answer, nor how to part from one who still sends:
//! a socket that is closed with unread bytes is reset, and the user may lose the answer on its way. It also refuses targets that
//! the service may well understand (see `raw_target`).

use std::future::Future;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::relay::HalfClose;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::activity::Activity;
use crate::raw_target::{self, MAX_LINE};

/// How long a user who sends no more waits for a byte of the answer. It may as well be one who has left, which looks the same until
/// something is sent there.
const ANSWER_TIME: Duration = Duration::from_secs(60);

/// How long a user may take to have done with an answer after which the connection ends.
const FAREWELL_TIME: Duration = Duration::from_secs(2);

/// The part of a line that is looked at for a method, in bytes.
const LONGEST_METHOD: usize = 64;

/// Pieces that are thrown away at once before others get a turn.
const PIECES_AT_ONCE: usize = 32;

/// A user's connection.
#[derive(Debug)]
pub(crate) struct UserIo {
    conn: Conn,
    activity: Arc<Activity>,
    half_close: HalfClose,
    /// The beginning of a head's first line.
    line: BytesMut,
    /// Runs when the user has ended sending: until when there has to be a byte of the answer.
    patience: Option<Pin<Box<Sleep>>>,
    farewell: Option<Farewell>,
}

/// What follows the end of our sending: the user's bytes are thrown away.
#[derive(Debug)]
struct Farewell {
    end: Pin<Box<Sleep>>,
    /// The user is still sending.
    waits: bool,
}

impl UserIo {
    pub(crate) fn new(conn: Conn, activity: Arc<Activity>, half_close: HalfClose) -> Self {
        Self {
            conn,
            activity,
            half_close,
            line: BytesMut::new(),
            patience: None,
            farewell: None,
        }
    }

    fn write<T>(
        &mut self,
        write: impl FnOnce(Pin<&mut Conn>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        // Until the flush that follows when everything is written.
        self.activity.set_behind(true);
        if self.patience.is_some() {
            self.patience = Some(Box::pin(sleep(ANSWER_TIME)));
        }
        write(Pin::new(&mut self.conn))
    }

    /// Reads the first line of a request, if the next bytes are that, and puts what hyper is to see of it in front of the
    /// connection.
    fn poll_line(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let chunk = ready!(self.conn.poll_recv(cx))?;
            if chunk.is_empty() {
                self.activity.note_end();
                self.release_line();
                return Poll::Ready(Ok(()));
            }
            let begun = self.line.len();
            let blank = if begun == 0 {
                let is_blank = |byte: &&u8| matches!(byte, b'\r' | b'\n');
                chunk.iter().take_while(is_blank).count()
            } else {
                0
            };
            let line_end = chunk[blank..].iter().position(|&byte| byte == b'\n');
            match line_end.map(|at| blank + at + 1) {
                Some(end) if begun == 0 => {
                    self.pass(chunk, blank, end);
                    return Poll::Ready(Ok(()));
                }
                Some(end) => {
                    self.line.extend_from_slice(&chunk);
                    let all = self.line.split().freeze();
                    self.pass(all, 0, begun + end);
                    return Poll::Ready(Ok(()));
                }
                None if blank == chunk.len() => {
                    self.conn.unread(chunk);
                    return Poll::Ready(Ok(()));
                }
                None => self.line.extend_from_slice(&chunk[..]),
            }
            if self.line.len() > MAX_LINE
                || !raw_target::may_begin(&self.line[..self.line.len().min(LONGEST_METHOD)])
            {
                self.release_line();
                return Poll::Ready(Ok(()));
            }
        }
    }

    /// Passes bytes on in which a first line goes from `start` to `end`.
    fn pass(&mut self, bytes: Bytes, start: usize, end: usize) {
        let Some((line, target)) = raw_target::for_hyper(&bytes[start..end]) else {
            self.activity.note_line(None);
            return self.conn.unread(bytes);
        };
        self.activity.note_line(Some(target));
        self.conn.unread([&line, &bytes[end..]].concat().into());
    }

    /// Passes on what there is of a line.
    fn release_line(&mut self) {
        if !self.line.is_empty() {
            self.activity.note_line(None);
            self.conn.unread(self.line.split().freeze());
        }
    }

    /// What becomes of a user who sends no more: ready if hyper is to know.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.activity.note_end();
        if self.half_close == HalfClose::EndsBoth
            || !self.activity.has_requests()
            || self.activity.is_cut_off(cx)
        {
            return Poll::Ready(());
        }
        let patience = self
            .patience
            .get_or_insert_with(|| Box::pin(sleep(ANSWER_TIME)));
        patience.as_mut().poll(cx)
    }
}

impl Farewell {
    /// Reads what the user sends, until the end.
    fn poll(&mut self, conn: &mut Conn, cx: &mut Context<'_>) -> Poll<()> {
        for _ in 0..PIECES_AT_ONCE {
            if self.end.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            match conn.poll_recv(cx) {
                Poll::Ready(Ok(chunk)) if !chunk.is_empty() => self.waits = true,
                Poll::Ready(_) => return Poll::Ready(()),
                Poll::Pending if self.waits => return Poll::Pending,
                Poll::Pending => return Poll::Ready(()),
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl From<UserIo> for Conn {
    fn from(mut io: UserIo) -> Self {
        io.conn.unread(io.line.freeze());
        io.conn
    }
}

impl AsyncRead for UserIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let io = &mut *self;
        if !io.activity.has_ended() && io.activity.awaits_line() {
            ready!(io.poll_line(cx))?;
        }
        let before = buf.filled().len();
        ready!(Pin::new(&mut io.conn).poll_read(cx, buf))?;
        if buf.filled().len() == before && buf.remaining() > 0 {
            ready!(io.poll_end(cx));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for UserIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.write(|conn| conn.poll_write(cx, buf))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(|conn| conn.poll_write_vectored(cx, bufs))
    }

    fn is_write_vectored(&self) -> bool {
        self.conn.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = AsyncWrite::poll_flush(Pin::new(&mut self.conn), cx);
        if flushed.is_ready() {
            self.activity.set_behind(false);
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let io = &mut *self;
        if io.farewell.is_none() {
            ready!(io.conn.poll_close(cx))?;
            if io.activity.has_ended() {
                return Poll::Ready(Ok(()));
            }
        }
        let farewell = io.farewell.get_or_insert_with(|| Farewell {
            end: Box::pin(sleep(FAREWELL_TIME)),
            waits: io.activity.leaves_unread(),
        });
        farewell.poll(&mut io.conn, cx).map(Ok)
    }
}
