//! The layer between a visitor and a proxy whose clients frame datagrams differently.
//!
//! This end writes and reads as the proxy's client does, and below it is as for the visitor's.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use mgrok_mux::slab::with_local;
use mgrok_proto::{
    WireVersion,
    message::{Message, Ping},
    udp::{self, Carried},
};
use tracing::debug;

use super::coded::Codec;

/// The most that is reframed at once.
const MAX_PIECE: usize = 64 * 1024;

/// Frames datagrams anew, in both directions.
pub(super) struct Reframe {
    to_visitor: Direction,
    to_proxy: Direction,
}

impl Reframe {
    pub(super) fn new(visitor: WireVersion, proxy: WireVersion) -> Self {
        Self {
            to_visitor: Direction::new(proxy, visitor, true),
            to_proxy: Direction::new(visitor, proxy, false),
        }
    }
}

impl Codec for Reframe {
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes> {
        self.to_visitor.run(plain)
    }

    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>> {
        while !coded.is_empty() {
            let plain = self.to_proxy.run(coded)?;
            if !plain.is_empty() {
                return Ok(Some(plain));
            }
        }
        Ok(None)
    }

    fn may_end(&self) -> bool {
        self.to_proxy.partial.is_empty()
    }
}

struct Direction {
    from: WireVersion,
    to: WireVersion,
    /// Whether signs of life have their place here.
    // frp: from the proxy to the visitor only (PROTOCOL 9.3)
    pings: bool,
    /// The beginning of a frame whose rest has yet to come.
    partial: BytesMut,
    /// The datagram under way.
    payload: BytesMut,
}

impl Direction {
    fn new(from: WireVersion, to: WireVersion, pings: bool) -> Self {
        Self {
            from,
            to,
            pings,
            partial: BytesMut::new(),
            payload: BytesMut::new(),
        }
    }

    /// Takes bytes from the front of `input`, at least one, and returns the frames that they completed.
    fn run(&mut self, input: &mut Bytes) -> io::Result<Bytes> {
        let piece = input.split_to(input.len().min(MAX_PIECE));
        with_local(|slabs| {
            slabs.read_with(piece.len(), |out| {
                if self.partial.is_empty() {
                    let taken = self.reframe(&piece, out)?;
                    self.partial.extend_from_slice(&piece[taken..]);
                } else {
                    let mut joined = std::mem::take(&mut self.partial);
                    joined.extend_from_slice(&piece);
                    let taken = self.reframe(&joined, out)?;
                    joined.advance(taken);
                    if !joined.is_empty() {
                        self.partial = joined;
                    }
                }
                Ok(out.split().freeze())
            })
        })
    }

    /// Takes all complete frames of `input`, and says how many bytes they have.
    fn reframe(&mut self, input: &[u8], out: &mut BytesMut) -> io::Result<usize> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut taken = 0;
        loop {
            self.payload.clear();
            let Some((carried, len)) =
                udp::decode(self.from, &input[taken..], &mut self.payload).map_err(invalid)?
            else {
                return Ok(taken);
            };
            taken += len;
            let encoded = match carried {
                Carried::Packet { user } => udp::encode(self.to, &self.payload, user, out),
                Carried::Ping if self.pings => self.to.encode(&Message::from(Ping::default()), out),
                Carried::Ping => return Err(io::Error::other("a visitor sends no sign of life")),
            };
            if let Err(error) = encoded {
                // Datagrams may be lost, and a reader would refuse this one and all that follows.
                debug!(%error, "a datagram of a visitor was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mgrok_proto::message::Pong;

    use super::*;
    use crate::testing::pattern;

    fn datagram(version: WireVersion, payload: &[u8]) -> BytesMut {
        let user = Some(([127, 0, 0, 1], 53).into());
        let mut frame = BytesMut::new();
        udp::encode(version, payload, user, &mut frame).unwrap();
        frame
    }

    fn message(version: WireVersion, message: impl Into<Message>) -> BytesMut {
        let mut frame = BytesMut::new();
        version.encode(&message.into(), &mut frame).unwrap();
        frame
    }

    /// What arrives at the proxy when a visitor sends `sent`, cut into pieces of `piece` bytes.
    fn to_proxy(layer: &mut Reframe, sent: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut arrived = Vec::new();
        for piece in sent.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while let Some(plain) = layer.decode(&mut piece)? {
                arrived.extend_from_slice(&plain);
            }
        }
        Ok(arrived)
    }

    fn to_visitor(layer: &mut Reframe, sent: &[u8], piece: usize) -> io::Result<Vec<u8>> {
        let mut arrived = Vec::new();
        for piece in sent.chunks(piece) {
            let mut piece = Bytes::copy_from_slice(piece);
            while !piece.is_empty() {
                arrived.extend_from_slice(&layer.encode(&mut piece)?);
            }
        }
        Ok(arrived)
    }

    const VERSIONS: [(WireVersion, WireVersion); 2] = [
        (WireVersion::V1, WireVersion::V2),
        (WireVersion::V2, WireVersion::V1),
    ];

    #[test]
    fn datagrams_are_framed_as_the_other_client_wants_it() {
        let payloads = [&b"one"[..], b"", b"three", &pattern(7_000)];
        for (visitor, proxy) in VERSIONS {
            let of = |version| payloads.map(|it| datagram(version, it)).concat();
            for piece in [1, 5, 100, 100_000] {
                let mut layer = Reframe::new(visitor, proxy);
                assert!(to_proxy(&mut layer, &of(visitor), piece).unwrap() == of(proxy));
                assert!(to_visitor(&mut layer, &of(proxy), piece).unwrap() == of(visitor));
                assert!(layer.may_end());
            }
        }
    }

    #[test]
    fn signs_of_life_go_to_the_visitor_only() {
        for (visitor, proxy) in VERSIONS {
            let mut layer = Reframe::new(visitor, proxy);
            let ping = |version| message(version, Ping::default());
            assert_eq!(
                to_visitor(&mut layer, &ping(proxy), 100).unwrap(),
                ping(visitor)
            );
            assert!(to_proxy(&mut layer, &ping(visitor), 100).is_err());
        }
    }

    #[test]
    fn anything_else_ends_it() {
        for (visitor, proxy) in VERSIONS {
            let mut layer = Reframe::new(visitor, proxy);
            assert!(to_visitor(&mut layer, &message(proxy, Pong::default()), 9).is_err());
            assert!(to_proxy(&mut layer, &message(visitor, Pong::default()), 9).is_err());
        }
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_lost_and_no_other() {
        let mut layer = Reframe::new(WireVersion::V2, WireVersion::V1);
        let sent = [
            datagram(WireVersion::V2, b"one"),
            datagram(WireVersion::V2, &pattern(9_000)),
            datagram(WireVersion::V2, b"three"),
        ];
        let arrived = [
            datagram(WireVersion::V1, b"one"),
            datagram(WireVersion::V1, b"three"),
        ];
        let got = to_proxy(&mut layer, &sent.concat(), 1000).unwrap();
        assert_eq!(got, arrived.concat());
    }

    #[test]
    fn an_end_inside_a_frame_is_noticed() {
        let mut layer = Reframe::new(WireVersion::V1, WireVersion::V2);
        let frame = datagram(WireVersion::V1, b"one");
        to_proxy(&mut layer, &frame[..frame.len() - 1], 100).unwrap();
        assert!(!layer.may_end());
    }
}
