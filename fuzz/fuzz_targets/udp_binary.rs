//! Whatever arrives as frames of datagrams, it is read the same however it is cut, and what was read can be written.
#![no_main]

use bytes::{Buf, BytesMut};
use libfuzzer_sys::fuzz_target;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing, binary, quarter_id};

fuzz_target!(|input: (&[u8], u8)| {
    let (bytes, piece) = input;
    let whole = read(bytes, bytes.len().max(1));
    assert_eq!(read(bytes, usize::from(piece).max(1)), whole);
    if let Some((_, len)) = quarter_id::decode(bytes) {
        let _ = binary::Decoder::decode_quic(&bytes[len..], &mut BytesMut::new(), |_, _| {});
    }

    let mut encoder = Encoder::new(Framing::Binary);
    let mut written = BytesMut::new();
    for (carried, payload) in &whole.0 {
        match carried {
            Carried::Packet { user } => encoder.datagram(payload, *user, &mut written).unwrap(),
            Carried::Ping => encoder.ping(&mut written).unwrap(),
            Carried::QuicReady => encoder.quic_ready(&mut written),
        }
    }
    assert_eq!(read(&written, written.len().max(1)), (whole.0, None));
});

/// What was read, and what is wrong with the rest.
fn read(bytes: &[u8], piece: usize) -> (Vec<(Carried, Vec<u8>)>, Option<String>) {
    let mut decoder = Decoder::new(Framing::Binary);
    let (mut heard, mut partial) = (Vec::new(), BytesMut::new());
    for piece in bytes.chunks(piece) {
        partial.extend_from_slice(piece);
        loop {
            let mut payload = BytesMut::new();
            match decoder.decode(&partial, &mut payload) {
                Ok(Some((carried, len))) => {
                    partial.advance(len);
                    heard.push((carried, payload.to_vec()));
                }
                Ok(None) => break,
                Err(error) => return (heard, Some(error.to_string())),
            }
        }
    }
    (heard, None)
}
