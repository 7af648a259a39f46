//! One of the streams that a bonded connection is spread over; multipath TCP has the word.

use std::collections::VecDeque;
use std::io;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mgrok_mux::slab::with_local;

use super::frame::{Frame, HEADER_LEN, wrong};
use crate::conn::{ByteStream, Conn};

/// A stream that carries frames of some of the bytes of both directions, those of each direction in order.
#[derive(Debug)]
pub(super) struct Subflow {
    conn: Conn,
    /// What is still to be sent: one frame of data at most, and what goes before it.
    out: VecDeque<Bytes>,
    /// Whether it was said from where on our direction is spread.
    pub(super) is_ours_begun: bool,
    /// Whether that is on its way, ahead of any data.
    pub(super) has_said_begin: bool,
    is_closed: bool,
    /// What the last read has brought.
    input: VecDeque<Bytes>,
    header: [u8; HEADER_LEN],
    /// How much of it has come.
    header_len: usize,
    /// What comes next, if its header has come.
    next: Option<Frame>,
    /// Whether the other end has said from where on its direction is spread.
    pub(super) is_theirs_begun: bool,
    has_ended: bool,
}

impl Subflow {
    /// One on `conn`, on which `answer` is sent first.
    pub(super) fn new(conn: Conn, answer: Bytes) -> Self {
        let mut out = VecDeque::new();
        if !answer.is_empty() {
            out.push_back(answer);
        }
        Self {
            conn,
            out,
            is_ours_begun: false,
            has_said_begin: false,
            is_closed: false,
            input: VecDeque::new(),
            header: [0; HEADER_LEN],
            header_len: 0,
            next: None,
            is_theirs_begun: false,
            has_ended: false,
        }
    }

    /// Puts a frame in the queue, `data` behind its header.
    pub(super) fn queue(&mut self, frame: Frame, data: Bytes) {
        let header = frame.header();
        self.out
            .push_back(with_local(|slabs| slabs.copy(&header[..])));
        if !data.is_empty() {
            self.out.push_back(data);
        }
    }

    /// Whether something is still to be sent.
    pub(super) fn has_queued(&self) -> bool {
        !self.out.is_empty()
    }

    /// Ready once all that is queued has been sent.
    pub(super) fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.out.is_empty() {
            ready!(self.conn.poll_send_many(cx, &mut self.out))?;
        }
        self.has_said_begin = self.is_ours_begun;
        Poll::Ready(Ok(()))
    }

    /// Ready once all that was queued is on its way.
    pub(super) fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        self.conn.poll_flush(cx)
    }

    /// Ready once our direction is closed behind all that was queued.
    pub(super) fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_closed {
            ready!(self.poll_out(cx))?;
            ready!(self.conn.poll_close(cx))?;
            self.is_closed = true;
        }
        Poll::Ready(Ok(()))
    }

    /// What comes next: a frame, or what is left of one; `None` at the end of the stream.
    pub(super) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Option<Frame>>> {
        loop {
            if self.next.is_some() {
                return Poll::Ready(Ok(self.next));
            }
            while let Some(chunk) = self.input.front_mut() {
                let wanted = HEADER_LEN - self.header_len;
                let part = chunk.split_to(wanted.min(chunk.len()));
                if chunk.is_empty() {
                    self.input.pop_front();
                }
                let filled = self.header_len + part.len();
                self.header[self.header_len..filled].copy_from_slice(&part);
                self.header_len = filled;
                if filled == HEADER_LEN {
                    self.header_len = 0;
                    self.next = Some(Frame::read(self.header)?);
                    return Poll::Ready(Ok(self.next));
                }
            }
            if self.has_ended {
                return Poll::Ready(match self.header_len {
                    0 => Ok(None),
                    _ => Err(io::ErrorKind::UnexpectedEof.into()),
                });
            }
            ready!(self.poll_input(cx))?;
        }
    }

    /// Takes note that what came next has been handled.
    pub(super) fn pass(&mut self) {
        self.next = None;
    }

    /// Appends to `chunks` bytes of the frame of data that comes next, as many as lie ready; how many.
    pub(super) fn poll_data(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<usize>> {
        let Some(Frame::Data { offset, len }) = self.next else {
            return Poll::Ready(Ok(0));
        };
        if self.input.is_empty() {
            ready!(self.poll_input(cx))?;
            if self.has_ended {
                return Poll::Ready(Err(wrong(format!("a frame without its last {len} bytes"))));
            }
        }
        let mut left = len;
        while left > 0
            && let Some(chunk) = self.input.front_mut()
        {
            let part = chunk.split_to(left.min(chunk.len()));
            if chunk.is_empty() {
                self.input.pop_front();
            }
            left -= part.len();
            chunks.push_back(part);
        }
        let taken = len - left;
        self.next = (left > 0).then_some(Frame::Data {
            offset: offset + taken as u64,
            len: left,
        });
        Poll::Ready(Ok(taken))
    }

    fn poll_input(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.conn.poll_recv_many(cx, &mut self.input))?;
        self.has_ended = self.input.is_empty();
        Poll::Ready(Ok(()))
    }
}
