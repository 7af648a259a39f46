//! The layer between a visitor and a proxy whose clients use different framings for datagrams.
//!
//! The upper side of the layer uses the framing of the proxy's client, the connection below that of the visitor.

use std::io;

use bytes::{Buf, Bytes, BytesMut};
use mgrok_mux::slab::with_local;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing, Zones};
use tracing::debug;

use super::coded::Codec;

/// The most bytes that are reframed at once.
const MAX_PIECE: usize = 64 * 1024;

/// Converts the framing of datagrams in both directions.
pub(super) struct Reframe {
    to_visitor: Direction,
    to_proxy: Direction,
}

impl Reframe {
    pub(super) fn new(visitor: Framing, proxy: Framing) -> Self {
        // Both directions share the zones, so that an answer gets back the zone that the visitor gave its user.
        let zones = Zones::default();
        Self {
            to_visitor: Direction::new(proxy, visitor, &zones, true),
            to_proxy: Direction::new(visitor, proxy, &zones, false),
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
        self.to_proxy.partial.is_empty() && !self.to_proxy.decoder.in_frame()
    }
}

struct Direction {
    decoder: Decoder,
    encoder: Encoder,
    /// Whether pings are allowed in this direction.
    // frp: only from the proxy to the visitor (PROTOCOL 9.3)
    pings: bool,
    /// The beginning of an incomplete frame.
    partial: BytesMut,
    /// The datagram that is being converted.
    payload: BytesMut,
}

impl Direction {
    fn new(from: Framing, to: Framing, zones: &Zones, pings: bool) -> Self {
        Self {
            decoder: Decoder::new(from).with_zones(zones.clone()),
            encoder: Encoder::new(to).with_zones(zones.clone()),
            pings,
            partial: BytesMut::new(),
            payload: BytesMut::new(),
        }
    }

    /// Consumes at least one byte from the front of `input`, and returns the frames that are now complete.
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
                self.encoder.end_frame();
                Ok(out.split().freeze())
            })
        })
    }

    /// Converts all complete frames in `input`, and returns their length in bytes.
    fn reframe(&mut self, input: &[u8], out: &mut BytesMut) -> io::Result<usize> {
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        let mut taken = 0;
        loop {
            self.payload.clear();
            let decoded = self.decoder.decode(&input[taken..], &mut self.payload);
            let Some((carried, len)) = decoded.map_err(invalid)? else {
                return Ok(taken);
            };
            taken += len;
            let encoded = match carried {
                Carried::Packet { user } => self.encoder.datagram(&self.payload, user, out),
                Carried::Ping if self.pings => self.encoder.ping(out),
                Carried::Ping => return Err(io::Error::other("a visitor sends no sign of life")),
                // Not passed on: QUIC datagrams cannot cross this layer, so neither end may send them.
                Carried::QuicReady => continue,
            };
            if let Err(error) = encoded {
                // Dropped, because datagrams may get lost, while a reader would fail on an oversized frame and lose all
                // that follow.
                debug!(%error, "a datagram of a visitor was dropped");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv6Addr, SocketAddrV6};

    use mgrok_proto::WireVersion;
    use mgrok_proto::message::{Message, Pong};

    use super::*;
    use crate::testing::pattern;

    /// Each datagram in a frame of its own.
    fn datagrams(framing: Framing, payloads: &[&[u8]]) -> BytesMut {
        let user = Some(([127, 0, 0, 1], 53).into());
        let (mut encoder, mut frames) = (Encoder::new(framing), BytesMut::new());
        for payload in payloads {
            encoder.datagram(payload, user, &mut frames).unwrap();
            encoder.end_frame();
        }
        frames
    }

    /// The payloads of all `frames`.
    fn payloads(framing: Framing, mut frames: &[u8]) -> Vec<Vec<u8>> {
        let (mut decoder, mut payloads) = (Decoder::new(framing), Vec::new());
        let mut payload = BytesMut::new();
        while let Some((_, len)) = decoder.decode(frames, &mut payload).unwrap() {
            frames.advance(len);
            payloads.push(payload.split().to_vec());
        }
        assert!(frames.is_empty() && !decoder.in_frame());
        payloads
    }

    fn ping(framing: Framing) -> BytesMut {
        let mut frame = BytesMut::new();
        Encoder::new(framing).ping(&mut frame).unwrap();
        frame
    }

    /// A message that is neither a datagram nor a ping, or its counterpart in the binary framing.
    fn other(framing: Framing) -> BytesMut {
        let mut frame = BytesMut::new();
        let version = match framing {
            Framing::V1 => WireVersion::V1,
            Framing::V2 | Framing::V2Binary => WireVersion::V2,
            Framing::Binary => return BytesMut::from(&[7][..]),
        };
        let pong = Message::from(Pong::default());
        version.encode(&pong, &mut frame).unwrap();
        frame
    }

    /// The bytes that the proxy receives when a visitor sends `sent` in pieces of `piece` bytes.
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

    const FRAMINGS: [(Framing, Framing); 12] = [
        (Framing::V1, Framing::V2Binary),
        (Framing::V2, Framing::V2Binary),
        (Framing::Binary, Framing::V2Binary),
        (Framing::V2Binary, Framing::V1),
        (Framing::V2Binary, Framing::V2),
        (Framing::V2Binary, Framing::Binary),
        (Framing::V1, Framing::V2),
        (Framing::V1, Framing::Binary),
        (Framing::V2, Framing::V1),
        (Framing::V2, Framing::Binary),
        (Framing::Binary, Framing::V1),
        (Framing::Binary, Framing::V2),
    ];

    #[test]
    fn datagrams_are_framed_as_the_other_client_wants_it() {
        let sent = [&b"one"[..], b"", b"three", &pattern(7_000)];
        for (visitor, proxy) in FRAMINGS {
            for piece in [1, 5, 100, 100_000] {
                let mut layer = Reframe::new(visitor, proxy);
                let arrived = to_proxy(&mut layer, &datagrams(visitor, &sent), piece).unwrap();
                assert!(payloads(proxy, &arrived) == sent);
                let arrived = to_visitor(&mut layer, &datagrams(proxy, &sent), piece).unwrap();
                assert!(payloads(visitor, &arrived) == sent);
                assert!(layer.may_end());
            }
        }
    }

    #[test]
    fn signs_of_life_go_to_the_visitor_only() {
        for (visitor, proxy) in FRAMINGS {
            let mut layer = Reframe::new(visitor, proxy);
            assert_eq!(
                to_visitor(&mut layer, &ping(proxy), 100).unwrap(),
                ping(visitor)
            );
            assert!(to_proxy(&mut layer, &ping(visitor), 100).is_err());
        }
    }

    #[test]
    fn anything_else_ends_it() {
        for (visitor, proxy) in FRAMINGS {
            let mut layer = Reframe::new(visitor, proxy);
            assert!(to_visitor(&mut layer, &other(proxy), 9).is_err());
            assert!(to_proxy(&mut layer, &other(visitor), 9).is_err());
        }
    }

    #[test]
    fn a_datagram_that_does_not_fit_is_lost_and_no_other() {
        for (visitor, proxy, len) in [
            (Framing::V2, Framing::V1, 9_000),
            (Framing::Binary, Framing::V1, 9_000),
            (Framing::Binary, Framing::V2, 65_507),
            (Framing::V2Binary, Framing::V1, 9_000),
            (Framing::V2Binary, Framing::V2, 65_507),
        ] {
            let mut layer = Reframe::new(visitor, proxy);
            let sent = datagrams(visitor, &[b"one", &pattern(len), b"three"]);
            let arrived = to_proxy(&mut layer, &sent, 1000).unwrap();
            assert_eq!(payloads(proxy, &arrived), [&b"one"[..], b"three"]);
        }
    }

    #[test]
    fn datagrams_of_one_user_share_a_frame() {
        let mut layer = Reframe::new(Framing::V1, Framing::Binary);
        let sent = datagrams(Framing::V1, &[b"one", b"two"]);
        let arrived = to_proxy(&mut layer, &sent, 1000).unwrap();
        assert_eq!(arrived, b"\x04\x02\x7f\0\0\x01\0\x35\0\x03one\0\x03two");
    }

    #[test]
    fn the_longest_datagram_passes_between_binary_framings() {
        let longest = pattern(65_507);
        for (visitor, proxy) in [
            (Framing::V2Binary, Framing::Binary),
            (Framing::Binary, Framing::V2Binary),
        ] {
            let mut layer = Reframe::new(visitor, proxy);
            let sent = datagrams(visitor, &[b"one", &longest, b"three"]);
            let arrived = to_proxy(&mut layer, &sent, 1000).unwrap();
            assert!(payloads(proxy, &arrived) == [&b"one"[..], &longest, b"three"]);
        }
    }

    #[test]
    fn a_user_gets_its_zone_back() {
        for (visitor, proxy) in FRAMINGS {
            if visitor == Framing::Binary {
                continue;
            }
            let zones = Zones::default();
            let addr = |scope_id| SocketAddrV6::new(Ipv6Addr::LOCALHOST, 53, 0, scope_id).into();
            let write = |framing, user| {
                let mut frame = BytesMut::new();
                let mut encoder = Encoder::new(framing).with_zones(zones.clone());
                encoder.datagram(b"x", Some(user), &mut frame).unwrap();
                frame
            };
            let user = addr(zones.scope_id("eth0").unwrap());
            let mut layer = Reframe::new(visitor, proxy);
            let arrived = to_proxy(&mut layer, &write(visitor, user), 1000).unwrap();
            // The proxy's client sees another user address than without a zone, and answers to that.
            let mut payload = BytesMut::new();
            let decoded = Decoder::new(proxy).decode(&arrived, &mut payload).unwrap();
            let (Carried::Packet { user: Some(seen) }, _) = decoded.unwrap() else {
                panic!("{decoded:?}");
            };
            assert_ne!(seen, addr(0));
            if proxy != Framing::Binary {
                assert_eq!(arrived, write(proxy, user));
            }
            let mut reply = BytesMut::from(&arrived[..]);
            if proxy == Framing::Binary {
                reply.clear();
                let mut encoder = Encoder::new(proxy);
                encoder.datagram(b"x", Some(seen), &mut reply).unwrap();
            }
            let back = to_visitor(&mut layer, &reply, 1000).unwrap();
            assert_eq!(back, write(visitor, user));
        }
    }

    #[test]
    fn an_announcement_of_quic_datagrams_is_not_passed_on() {
        let mut frame = BytesMut::new();
        Encoder::new(Framing::Binary).quic_ready(&mut frame);
        let mut layer = Reframe::new(Framing::V1, Framing::Binary);
        assert!(to_visitor(&mut layer, &frame, 9).unwrap().is_empty());
    }

    #[test]
    fn an_end_inside_a_frame_is_noticed() {
        for (visitor, proxy) in FRAMINGS {
            let mut layer = Reframe::new(visitor, proxy);
            let frame = datagrams(visitor, &[b"one"]);
            to_proxy(&mut layer, &frame[..frame.len() - 1], 100).unwrap();
            assert!(!layer.may_end());
        }
        let mut layer = Reframe::new(Framing::Binary, Framing::V1);
        // The first of two datagrams of a frame.
        to_proxy(&mut layer, b"\x04\x02\x7f\0\0\x01\0\x35\0\x03one", 100).unwrap();
        assert!(!layer.may_end());
    }
}
