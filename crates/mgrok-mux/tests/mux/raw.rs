//! A machine whose other end is the test, frame by frame.

use std::io::IoSlice;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mgrok_mux::frame::{HEADER_LEN, Header, Kind};
use mgrok_mux::machine::{Batch, Machine};
use mgrok_mux::{Config, SessionError};

/// A machine and its clock.
pub(crate) struct Raw {
    pub(crate) machine: Machine,
    pub(crate) now: Instant,
    batch: Batch,
}

/// A frame that the machine sent.
#[derive(Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) header: Header,
    pub(crate) body: Vec<u8>,
}

impl Raw {
    pub(crate) fn new(config: Config) -> Self {
        let now = Instant::now();
        Self {
            machine: Machine::new(config, now),
            now,
            batch: Batch::new(true),
        }
    }

    pub(crate) fn server() -> Self {
        Self::new(Config::server())
    }

    pub(crate) fn client() -> Self {
        Self::new(Config::client())
    }

    /// A server and a stream that it has accepted, with the ACK out of the way.
    pub(crate) fn with_stream(id: u32) -> Self {
        let mut raw = Self::server();
        raw.accept(id);
        raw
    }

    pub(crate) fn accept(&mut self, id: u32) {
        self.feed(Header::window_update(mgrok_mux::frame::SYN, id, 0));
        assert_eq!(self.poll_accept(), Poll::Ready(Some(id)));
        assert_eq!(
            self.sent(),
            [control(Header::window_update(mgrok_mux::frame::ACK, id, 0))]
        );
    }

    pub(crate) fn feed(&mut self, header: Header) {
        self.feed_bytes(&header.encode());
    }

    pub(crate) fn feed_data(&mut self, id: u32, body: &[u8]) {
        self.feed(Header::data(id, body.len() as u32));
        self.feed_bytes(body);
    }

    pub(crate) fn feed_bytes(&mut self, bytes: &[u8]) {
        let mut bytes = Bytes::copy_from_slice(bytes);
        while !bytes.is_empty() {
            self.machine.handle_input(&mut bytes, self.now);
        }
    }

    pub(crate) fn feed_hex(&mut self, hex: &str) {
        self.feed_bytes(&unhex(hex));
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now += time;
        if self.machine.timeout_at().is_some_and(|at| at <= self.now) {
            self.machine.handle_timeout(self.now);
        }
    }

    /// The bytes of one batch.
    pub(crate) fn transmit(&mut self) -> Vec<u8> {
        self.machine.poll_transmit(&mut self.batch, self.now);
        let mut out = Vec::new();
        while !self.batch.is_empty() {
            let mut slices = [IoSlice::new(&[]); 8];
            let used = self.batch.slices(&mut slices);
            let count = slices[..used].iter().map(|it| it.len()).sum();
            slices[..used]
                .iter()
                .for_each(|it| out.extend_from_slice(it));
            self.batch.advance(count);
        }
        out
    }

    /// All bytes that the machine wants to send now.
    pub(crate) fn sent_bytes(&mut self) -> Vec<u8> {
        let mut all = Vec::new();
        while self.machine.has_output() {
            all.extend(self.transmit());
        }
        all
    }

    pub(crate) fn sent(&mut self) -> Vec<Frame> {
        frames(&self.sent_bytes())
    }

    pub(crate) fn recv(&mut self, id: u32) -> Poll<std::io::Result<Bytes>> {
        self.machine
            .poll_recv(id, &mut Context::from_waker(Waker::noop()))
    }

    /// Reads all that is there; whether EOF or an error followed.
    pub(crate) fn recv_all(&mut self, id: u32) -> (Vec<u8>, Poll<std::io::Result<()>>) {
        let mut all = Vec::new();
        loop {
            match self.recv(id) {
                Poll::Ready(Ok(piece)) if piece.is_empty() => return (all, Poll::Ready(Ok(()))),
                Poll::Ready(Ok(piece)) => all.extend_from_slice(&piece),
                Poll::Ready(Err(error)) => return (all, Poll::Ready(Err(error))),
                Poll::Pending => return (all, Poll::Pending),
            }
        }
    }

    pub(crate) fn send(&mut self, id: u32, chunk: &mut Bytes) -> Poll<std::io::Result<()>> {
        self.machine
            .poll_send(id, &mut Context::from_waker(Waker::noop()), chunk)
    }

    pub(crate) fn poll_accept(&mut self) -> Poll<Option<u32>> {
        self.machine
            .poll_accept(&mut Context::from_waker(Waker::noop()))
    }

    #[track_caller]
    pub(crate) fn assert_protocol_error(&mut self) {
        assert!(
            matches!(self.machine.ended(), Some(SessionError::Protocol(_))),
            "{:?}",
            self.machine.ended()
        );
        assert_eq!(self.sent(), [control(Header::go_away(1))]);
    }

    #[track_caller]
    pub(crate) fn assert_alive(&self) {
        assert!(self.machine.ended().is_none(), "{:?}", self.machine.ended());
    }
}

/// A frame without a body.
pub(crate) fn control(header: Header) -> Frame {
    Frame {
        header,
        body: Vec::new(),
    }
}

/// Whole frames from bytes.
pub(crate) fn frames(mut bytes: &[u8]) -> Vec<Frame> {
    let mut frames = Vec::new();
    while let Some((header, rest)) = bytes.split_first_chunk::<HEADER_LEN>() {
        let header = Header::decode(*header).unwrap();
        let length = if header.kind == Kind::Data {
            header.length as usize
        } else {
            0
        };
        let (body, rest) = rest.split_at(length);
        frames.push(Frame {
            header,
            body: body.to_vec(),
        });
        bytes = rest;
    }
    assert!(bytes.is_empty(), "half a header");
    frames
}

pub(crate) fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
        .collect()
}

/// A waker that says whether it was woken.
#[derive(Debug, Default)]
pub(crate) struct Flag(AtomicBool);

impl Flag {
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }

    pub(crate) fn clear(&self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Relaxed);
    }
}
