//! Whatever arrives, frp's binary codec of datagrams does not panic, takes no more than there is, leaves what is before it alone, and
//! what it reads it writes as the same datagram.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::udp::{Carried, Decoder, Encoder, Framing};

fuzz_target!(|input: &[u8]| {
    check(input);
    // With the header given, all of the fuzzer's wits go into the body.
    let Ok(len) = u16::try_from(input.len() + 2) else {
        return;
    };
    let mut frame = vec![0, 16, 0, 0, 0, 0];
    frame.extend_from_slice(&len.to_be_bytes());
    frame.extend_from_slice(&[0, 19]);
    frame.extend_from_slice(input);
    check(&frame);
});

fn check(mut input: &[u8]) {
    let mut decoder = Decoder::new(Framing::V2Binary);
    loop {
        let mut payload = BytesMut::from("before");
        let decoded = decoder.decode(input, &mut payload);
        let payload = payload.strip_prefix(b"before").expect("it was left alone");
        let Ok(Some((carried, len))) = decoded else {
            assert!(payload.is_empty());
            return;
        };
        input = &input[len..];
        let Carried::Packet { user: Some(user) } = carried else {
            continue;
        };
        let zones = decoder.zones().clone();
        let mut again = BytesMut::new();
        let mut encoder = Encoder::new(Framing::V2Binary).with_zones(zones.clone());
        encoder
            .datagram(payload, Some(user), &mut again)
            .expect("it came in a frame that was no shorter");
        let mut copy = BytesMut::new();
        let mut decoder = Decoder::new(Framing::V2Binary).with_zones(zones);
        let read = decoder.decode(&again, &mut copy).expect("our own");
        assert_eq!(read, Some((carried, again.len())));
        assert_eq!(copy, payload);
    }
}
