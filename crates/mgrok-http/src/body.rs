//! The body of a request or a response, of which one piece at a time is in memory.

use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use tokio::sync::oneshot;

use crate::activity::InFlight;
use crate::meter::{BodyEnd, Meter, Metered};
use crate::pool::Lease;

/// Makes a body, piece by piece. Its length is known before.
pub trait Pieces: fmt::Debug + Send + Sync {
    /// The next piece; `None` at the end, also if that comes before [`left`](Self::left) is 0: the rest cannot be had, and the user's
    /// connection is broken off.
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>>;

    /// How many bytes are still to come.
    fn left(&self) -> u64;
}

/// The body of a request or a response: nothing, bytes that are at hand, what is made bit by bit, or what arrives on another
/// connection.
///
/// Dropping a body that still arrives cuts the connection it arrives on.
#[derive(Debug, Default)]
pub struct Body {
    source: Source,
    /// Counts the body as under way.
    in_flight: Option<InFlight>,
}

#[derive(Debug, Default)]
enum Source {
    /// Boxed, because every request and answer is moved a dozen times with its body.
    Arriving(Box<Arriving>),
    AtHand(Bytes),
    #[default]
    Empty,
    Made(Box<Made>),
}

#[derive(Debug)]
struct Made {
    pieces: Box<dyn Pieces>,
    /// Counts its bytes.
    metered: Metered,
    end: BodyEnd,
}

#[derive(Debug)]
struct Arriving {
    incoming: Incoming,
    /// The backend connection that it arrives on, if it does.
    lease: Option<Lease>,
    /// Dropped when all of it is passed on, and only for that.
    _passed_on: Option<oneshot::Sender<()>>,
    /// Counts its bytes.
    metered: Option<Metered>,
    end: BodyEnd,
}

impl Body {
    /// No body.
    pub fn empty() -> Self {
        Self::default()
    }

    /// A body that is at hand.
    pub fn full(bytes: impl Into<Bytes>) -> Self {
        Source::AtHand(bytes.into()).into()
    }

    /// A body that `pieces` makes, of which the bytes are counted in `meter`.
    pub fn made(pieces: Box<dyn Pieces>, meter: Arc<dyn Meter>) -> Self {
        let made = Made {
            pieces,
            metered: Metered::Sent(meter),
            end: BodyEnd::default(),
        };
        Source::Made(Box::new(made)).into()
    }

    /// What arrives from a backend; the connection is given back when all of it has arrived.
    pub(crate) fn leased(incoming: Incoming, lease: Lease) -> Self {
        if incoming.is_end_stream() {
            lease.release();
            return Self::empty();
        }
        Source::Arriving(Box::new(Arriving {
            incoming,
            lease: Some(lease),
            _passed_on: None,
            metered: None,
            end: BodyEnd::default(),
        }))
        .into()
    }

    /// How long it is, if it is at hand as a whole.
    pub fn len_at_hand(&self) -> Option<usize> {
        match &self.source {
            Source::Arriving(_) | Source::Made(_) => None,
            Source::AtHand(bytes) => Some(bytes.len()),
            Source::Empty => Some(0),
        }
    }

    /// Tells when all of it has been passed on. `None`: there is nothing to wait for.
    pub(crate) fn watch(&mut self) -> Option<oneshot::Receiver<()>> {
        let Source::Arriving(arriving) = &mut self.source else {
            return None;
        };
        let (sender, receiver) = oneshot::channel();
        arriving._passed_on = Some(sender);
        Some(receiver)
    }

    /// Counts the body as under way as long as it lives.
    pub(crate) fn counted(mut self, in_flight: InFlight) -> Self {
        self.in_flight = Some(in_flight);
        self
    }

    /// The same, of which the bytes that arrive are counted as they are passed on.
    pub(crate) fn metered(mut self, metered: Option<Metered>) -> Self {
        if let Source::Arriving(arriving) = &mut self.source {
            arriving.metered = metered;
        }
        self
    }
}

impl Arriving {
    /// Gives the connection back as soon as nothing more is to arrive on it.
    fn release_at_end(&mut self) {
        if self.incoming.is_end_stream()
            && let Some(lease) = self.lease.take()
        {
            lease.release();
        }
    }
}

impl Drop for Arriving {
    fn drop(&mut self) {
        self.release_at_end();
        if let Some(metered) = &self.metered {
            let end = match self.end {
                BodyEnd::Abandoned if self.incoming.is_end_stream() => BodyEnd::Whole,
                end => end,
            };
            metered.note_end(end);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        let end = match self.end {
            BodyEnd::Abandoned if self.pieces.left() == 0 => BodyEnd::Whole,
            end => end,
        };
        self.metered.note_end(end);
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        if let Some(in_flight) = &self.in_flight
            && !self.is_end_stream()
        {
            in_flight.tear();
        }
    }
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let body = &mut *self;
        match &mut body.source {
            Source::Arriving(arriving) => {
                let polled = Pin::new(&mut arriving.incoming).poll_frame(cx);
                if polled.is_pending()
                    && arriving.lease.is_none()
                    && let Some(in_flight) = &body.in_flight
                {
                    in_flight.note_waiting(cx);
                }
                let frame = ready!(polled);
                match &frame {
                    None => arriving.end = BodyEnd::Whole,
                    Some(Err(_)) => arriving.end = BodyEnd::Failed,
                    Some(Ok(_)) => {}
                }
                if let (Some(metered), Some(Ok(frame))) = (&arriving.metered, &frame) {
                    metered.see(frame);
                }
                if frame.is_none()
                    && let Some(lease) = arriving.lease.take()
                {
                    lease.release();
                }
                arriving.release_at_end();
                if frame.is_none() {
                    body.source = Source::Empty;
                }
                Poll::Ready(frame)
            }
            Source::AtHand(bytes) => {
                let bytes = std::mem::take(bytes);
                body.source = Source::Empty;
                Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
            }
            Source::Empty => Poll::Ready(None),
            Source::Made(made) => {
                let piece = ready!(made.pieces.poll_piece(cx));
                let frame = piece.map(Frame::data);
                match &frame {
                    Some(frame) => made.metered.see(frame),
                    None if made.pieces.left() > 0 => made.end = BodyEnd::Failed,
                    None => {}
                }
                Poll::Ready(frame.map(Ok))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match &self.source {
            Source::Arriving(arriving) => arriving.incoming.is_end_stream(),
            Source::AtHand(bytes) => bytes.is_empty(),
            Source::Empty => true,
            Source::Made(made) => made.pieces.left() == 0,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match &self.source {
            Source::Arriving(arriving) => arriving.incoming.size_hint(),
            Source::AtHand(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Source::Empty => SizeHint::with_exact(0),
            Source::Made(made) => SizeHint::with_exact(made.pieces.left()),
        }
    }
}

impl From<Incoming> for Body {
    fn from(incoming: Incoming) -> Self {
        if incoming.is_end_stream() {
            return Self::empty();
        }
        Source::Arriving(Box::new(Arriving {
            incoming,
            lease: None,
            _passed_on: None,
            metered: None,
            end: BodyEnd::default(),
        }))
        .into()
    }
}

impl From<Source> for Body {
    fn from(source: Source) -> Self {
        Self {
            source,
            in_flight: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_small() {
        assert!(size_of::<Body>() <= 48, "{} bytes", size_of::<Body>());
    }
}
