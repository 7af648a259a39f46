//! One connection over several streams, each on a link of its own, so that bulk gets what all links together carry.
//!
//! A connection begins as one stream, whose bytes travel as they are. When much has gone over it, the end that opens streams opens further
//! ones which *join* it. From then on each end goes over when the streams are there: it ends its direction of the first stream where it is, and
//! sends what follows in frames with offsets, each on the next stream that has room. The receiver takes what comes next from
//! whichever stream has it, and leaves the rest where it is: what came early lies in the windows of the streams, under their limits.
//!
//! `docs/extensions.md` has the bytes, and why nothing can be lost between the two ways: neither end takes the end of the first
//! stream for that of the direction once streams have joined, and the end that accepts them goes over only when the other has.

mod bonds;
mod frame;
mod subflow;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::sync::oneshot;

pub use self::bonds::{Bonds, Join, JoinError, Place};
use self::frame::{Frame, MAX_DATA, wrong};
use self::subflow::Subflow;
use crate::conn::{ByteStream, Conn};

/// A connection is bulk when so many bytes have gone one way...
const BULK: u64 = 4 * 1024 * 1024;

/// ...within this time. So one that trickles for days opens nothing.
const BULK_TIME: Duration = Duration::from_secs(30);

/// When so many bytes lie ready, they are handed on.
const MAX_TAKEN: usize = 128 * 1024;

/// Has further streams opened, and says when they have joined; with none, the connection stays as it is.
pub type OpenMore = Box<dyn FnOnce() -> oneshot::Receiver<Vec<Conn>> + Send>;

/// `conn`, spread over what `open_more` opens when it proves to be bulk. For the end that opens streams; the streams must have
/// been accepted by the other end.
pub fn opening(conn: Conn, open_more: OpenMore) -> Conn {
    bond(
        conn,
        Joining::Measures {
            since: Instant::now(),
            before: [0; 2],
            open_more,
        },
    )
}

/// `conn`, spread over the streams that join it at `place`. For the end that accepts streams.
pub fn accepting(conn: Conn, place: Place) -> Conn {
    bond(conn, Joining::Accepts(place))
}

fn bond(first: Conn, joining: Joining) -> Conn {
    Conn::layered(Box::new(Bond {
        first,
        joining,
        subflows: Vec::new(),
        sent: 0,
        spread_at: None,
        is_closed: false,
        is_first_closed: false,
        is_end_queued: false,
        send_failure: None,
        one: VecDeque::new(),
        turn: 0,
        received: 0,
        begun_at: None,
        has_first_ended: false,
        ready: VecDeque::new(),
        has_failed: false,
    }))
}

/// How streams come to join.
enum Joining {
    /// None is there, and none is wanted yet.
    Measures {
        since: Instant,
        /// Bytes that had been sent and received by then.
        before: [u64; 2],
        open_more: OpenMore,
    },
    Opens(oneshot::Receiver<Vec<Conn>>),
    /// All are there that will ever be.
    Done,
    Accepts(Place),
}

/// A connection that is, or may be, spread over several streams.
#[derive(Debug)]
struct Bond {
    /// The stream that there was at the beginning.
    first: Conn,
    joining: Joining,
    subflows: Vec<Subflow>,

    /// Bytes of our direction so far.
    sent: u64,
    /// From where on our direction goes over the subflows.
    spread_at: Option<u64>,
    /// Whether our direction is closed, or is to be.
    is_closed: bool,
    is_first_closed: bool,
    is_end_queued: bool,
    /// Why nothing more can be sent.
    send_failure: Option<io::ErrorKind>,
    /// Room for the chunk of who sends one at a time.
    one: VecDeque<Bytes>,
    /// Whose turn it is to take the next frame.
    turn: usize,

    /// Bytes of the other direction so far.
    received: u64,
    /// From where on it goes over the subflows.
    begun_at: Option<u64>,
    has_first_ended: bool,
    /// What was received together, for who takes one chunk at a time.
    ready: VecDeque<Bytes>,
    has_failed: bool,
}

impl Bond {
    /// Takes note that bytes went over the first stream.
    fn note_bulk(&mut self, cx: &mut Context<'_>) {
        let now = [self.sent, self.received];
        let Joining::Measures { since, before, .. } = &mut self.joining else {
            return;
        };
        if now
            .iter()
            .zip(&*before)
            .all(|(now, before)| now - before < BULK)
        {
            return;
        }
        if since.elapsed() > BULK_TIME {
            (*since, *before) = (Instant::now(), now);
            return;
        }
        let measured = std::mem::replace(&mut self.joining, Joining::Done);
        if let Joining::Measures { open_more, .. } = measured {
            self.joining = Joining::Opens(open_more());
            // To have it polled.
            cx.waker().wake_by_ref();
        }
    }

    /// Does what is due in both directions: streams join, and what they have to say first is sent and read.
    fn progress(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.has_failed {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let progressed = self.try_progress(cx);
        self.has_failed = progressed.is_err();
        progressed
    }

    fn try_progress(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        match &mut self.joining {
            Joining::Measures { .. } | Joining::Done => {}
            Joining::Opens(opening) => {
                if let Poll::Ready(opened) = std::pin::pin!(opening).poll(cx) {
                    self.joining = Joining::Done;
                    for conn in opened.unwrap_or_default() {
                        self.subflows.push(Subflow::new(conn, Bytes::new()));
                        self.go_over(self.subflows.len() - 1);
                    }
                }
            }
            Joining::Accepts(place) => {
                while let Poll::Ready(joins) = place.poll_joins(cx) {
                    let subflows = joins.into_iter().map(|it| Subflow::new(it.conn, it.answer));
                    self.subflows.extend(subflows);
                }
            }
        }
        if self.subflows.is_empty() {
            return Ok(());
        }
        self.read_beginnings(cx)?;
        if let Err(error) = self.drive(cx) {
            // What the other end sends may still be received, as on any connection.
            self.send_failure = Some(error.kind());
        }
        Ok(())
    }

    /// Sends what is queued. Those streams that are busy wake the task.
    fn drive(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        if self.send_failure.is_some() {
            return Ok(());
        }
        for subflow in &mut self.subflows {
            let _ = match self.is_closed && subflow.is_ours_begun {
                true => subflow.poll_close(cx)?,
                false => subflow.poll_out(cx)?,
            };
        }
        // Not before the other end is sure to learn that this is no end.
        if !self.is_first_closed && self.subflows.iter().any(|it| it.has_said_begin) {
            self.is_first_closed = self.first.poll_close(cx)?.is_ready();
        }
        Ok(())
    }

    /// As [`progress`](Self::progress), for who is to send.
    fn progress_to_send(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        self.progress(cx)?;
        match self.send_failure {
            Some(kind) => Err(kind.into()),
            None => Ok(()),
        }
    }

    /// Looks at what comes first on each subflow.
    fn read_beginnings(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        let mut at = 0;
        while let Some(subflow) = self.subflows.get_mut(at) {
            if subflow.is_theirs_begun {
                at += 1;
                continue;
            }
            match subflow.poll_next(cx)? {
                Poll::Pending => at += 1,
                Poll::Ready(Some(Frame::Begin { offset })) => {
                    subflow.pass();
                    subflow.is_theirs_begun = true;
                    if *self.begun_at.get_or_insert(offset) != offset {
                        return Err(wrong("two offsets to begin at".to_owned()));
                    }
                    if !subflow.is_ours_begun {
                        self.go_over(at);
                    }
                    at += 1;
                }
                Poll::Ready(Some(_)) => {
                    return Err(wrong("data before the offset to begin at".to_owned()));
                }
                // The other end has no use for it, and has brought nothing on it. If our direction has, nobody takes what comes there.
                Poll::Ready(None) => {
                    if self.subflows.remove(at).is_ours_begun {
                        self.send_failure
                            .get_or_insert(io::ErrorKind::ConnectionReset);
                    }
                }
            }
        }
        Ok(())
    }

    /// From now on our direction uses this subflow.
    fn go_over(&mut self, at: usize) {
        let (sent, is_closed) = (self.sent, self.is_closed);
        let Some(subflow) = self.subflows.get_mut(at) else {
            return;
        };
        let offset = *self.spread_at.get_or_insert(sent);
        subflow.is_ours_begun = true;
        subflow.queue(Frame::Begin { offset }, Bytes::new());
        if is_closed && !self.is_end_queued {
            self.is_end_queued = true;
            subflow.queue(Frame::End { offset: sent }, Bytes::new());
        }
    }

    /// Gives each of `chunks` to a stream that has room. Ready once none is left.
    fn poll_spread(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        let mut busy = 0;
        while let Some(chunk) = chunks.front_mut() {
            if busy == self.subflows.len() {
                // Each of them wakes the task.
                return Poll::Pending;
            }
            self.turn = (self.turn + 1) % self.subflows.len();
            let subflow = &mut self.subflows[self.turn];
            if !subflow.is_ours_begun || subflow.poll_out(cx)?.is_pending() {
                busy += 1;
                continue;
            }
            busy = 0;
            let data = chunk.split_to(chunk.len().min(MAX_DATA));
            if chunk.is_empty() {
                chunks.pop_front();
            }
            let (offset, len) = (self.sent, data.len());
            if len > 0 {
                self.sent += len as u64;
                subflow.queue(Frame::Data { offset, len }, data);
                let _ = subflow.poll_out(cx)?;
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Appends to `chunks` what comes next, if it is there; nothing at the end of the direction.
    fn poll_merged(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        if let Some(at) = self.begun_at
            && at > self.received
        {
            let received = self.received;
            return Poll::Ready(Err(wrong(format!(
                "{received} bytes on the first stream, and said {at}"
            ))));
        }
        let mut taken = 0;
        // Whether a subflow may yet bring what comes next.
        let mut may_come = false;
        let mut is_over = false;
        let mut at = 0;
        while let Some(subflow) = self.subflows.get_mut(at) {
            at += 1;
            if !subflow.is_theirs_begun {
                may_come = true;
                continue;
            }
            let Poll::Ready(frame) = subflow.poll_next(cx)? else {
                may_come = true;
                continue;
            };
            match frame {
                None => {}
                Some(Frame::Begin { .. }) => {
                    return Poll::Ready(Err(wrong("twice where a stream begins".to_owned())));
                }
                Some(Frame::Data { offset, .. } | Frame::End { offset })
                    if offset < self.received =>
                {
                    let received = self.received;
                    return Poll::Ready(Err(wrong(format!(
                        "offset {offset} after {received} bytes"
                    ))));
                }
                Some(Frame::Data { offset, .. }) if offset == self.received => {
                    let Poll::Ready(bytes) = subflow.poll_data(cx, chunks)? else {
                        may_come = true;
                        continue;
                    };
                    taken += bytes;
                    self.received += bytes as u64;
                    if taken >= MAX_TAKEN {
                        break;
                    }
                    // What follows may be on this subflow, or on any that was passed over.
                    at = 0;
                    may_come = false;
                }
                Some(Frame::End { offset }) if offset == self.received => is_over = true,
                Some(Frame::Data { .. } | Frame::End { .. }) => {}
            }
        }
        if taken > 0 {
            return Poll::Ready(Ok(()));
        }
        if is_over {
            // Whoever has both ends lets go of the connection, and the other end may still wait for ours.
            let sends = self.is_closed && self.send_failure.is_none();
            return match sends && self.subflows.iter().any(Subflow::has_queued) {
                true => Poll::Pending,
                false => Poll::Ready(Ok(())),
            };
        }
        if may_come {
            return Poll::Pending;
        }
        let received = self.received;
        Poll::Ready(Err(io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!("bonded connection: nothing more can come after {received} bytes"),
        )))
    }

    fn poll_recv_into(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        self.progress(cx)?;
        if !self.has_first_ended {
            let before = chunks.len();
            ready!(self.first.poll_recv_many(cx, chunks))?;
            if chunks.len() > before {
                self.received += bytes(chunks.iter().skip(before));
                self.note_bulk(cx);
                return Poll::Ready(Ok(()));
            }
            self.has_first_ended = true;
        }
        if self.subflows.is_empty() {
            return Poll::Ready(Ok(()));
        }
        let merged = self.poll_merged(cx, chunks);
        self.has_failed |= matches!(merged, Poll::Ready(Err(_)));
        merged
    }
}

impl ByteStream for Bond {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        if self.ready.is_empty() {
            let mut chunks = std::mem::take(&mut self.ready);
            let received = self.poll_recv_into(cx, &mut chunks);
            self.ready = chunks;
            ready!(received)?;
        }
        Poll::Ready(Ok(self.ready.pop_front().unwrap_or_default()))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        self.progress_to_send(cx)?;
        if self.spread_at.is_some() {
            let mut chunks = std::mem::take(&mut self.one);
            chunks.push_back(std::mem::take(chunk));
            let sent = self.poll_spread(cx, &mut chunks);
            *chunk = chunks.pop_front().unwrap_or_default();
            self.one = chunks;
            return sent;
        }
        let before = chunk.len();
        let sent = self.first.poll_send(cx, chunk);
        self.sent += (before - chunk.len()) as u64;
        self.note_bulk(cx);
        sent
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.progress_to_send(cx)?;
        if self.spread_at.is_none() {
            return self.first.poll_flush(cx);
        }
        let mut is_done = true;
        for subflow in &mut self.subflows {
            is_done &= subflow.poll_flush(cx)?.is_ready();
        }
        match is_done {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.is_closed = true;
        if self.spread_at.is_some()
            && !self.is_end_queued
            && let Some(subflow) = self.subflows.iter_mut().find(|it| it.is_ours_begun)
        {
            self.is_end_queued = true;
            subflow.queue(Frame::End { offset: self.sent }, Bytes::new());
        }
        self.progress_to_send(cx)?;
        if self.spread_at.is_none() {
            ready!(self.first.poll_close(cx))?;
            self.is_first_closed = true;
            return Poll::Ready(Ok(()));
        }
        let mut is_done = self.is_first_closed;
        for subflow in self.subflows.iter_mut().filter(|it| it.is_ours_begun) {
            is_done &= subflow.poll_close(cx)?.is_ready();
        }
        match is_done {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    }

    fn poll_recv_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        if !self.ready.is_empty() {
            chunks.append(&mut self.ready);
            return Poll::Ready(Ok(()));
        }
        self.poll_recv_into(cx, chunks)
    }

    fn poll_send_many(
        &mut self,
        cx: &mut Context<'_>,
        chunks: &mut VecDeque<Bytes>,
    ) -> Poll<io::Result<()>> {
        self.progress_to_send(cx)?;
        if self.spread_at.is_some() {
            return self.poll_spread(cx, chunks);
        }
        let before = bytes(chunks.iter());
        let sent = self.first.poll_send_many(cx, chunks);
        self.sent += before - bytes(chunks.iter());
        self.note_bulk(cx);
        sent
    }
}

fn bytes<'a>(chunks: impl Iterator<Item = &'a Bytes>) -> u64 {
    chunks.map(|it| it.len() as u64).sum()
}

impl fmt::Debug for Joining {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Measures { .. } => "Measures",
            Self::Opens(_) => "Opens",
            Self::Done => "Done",
            Self::Accepts(_) => "Accepts",
        })
    }
}

#[cfg(test)]
mod tests;
