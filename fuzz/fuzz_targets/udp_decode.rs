//! Whatever arrives, the fast way with datagrams answers as the general decoder does.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::{
    WireVersion,
    message::{Kind, Message},
    udp::{Carried, Decoder, Zones},
};

/// Long enough for every shape that bodies have, and quickly filled.
const MAX_BODY_LEN: usize = 300;

fuzz_target!(|body: &[u8]| {
    if body.len() > MAX_BODY_LEN {
        return;
    }
    // With the header given, all of the fuzzer's wits go into the body.
    let mut input = vec![b'u'];
    input.extend_from_slice(&(body.len() as u64).to_be_bytes());
    input.extend_from_slice(body);
    check(WireVersion::V1, &input);

    let mut input = vec![0, 16, 0, 0];
    input.extend_from_slice(&(body.len() as u32 + 2).to_be_bytes());
    input.extend_from_slice(&[0, 13]);
    input.extend_from_slice(body);
    check(WireVersion::V2, &input);
});

fn check(version: WireVersion, input: &[u8]) {
    let mut payload = BytesMut::new();
    let fast = Decoder::new(version.into()).decode(input, &mut payload);
    match version.decode(input) {
        Ok(Some((Message::UdpPacket(packet), len))) => {
            let zones = Zones::default();
            let user = packet.user.and_then(|user| user.socket_addr(&zones));
            assert_eq!(fast.unwrap(), Some((Carried::Packet { user }, len)));
            assert_eq!(payload, packet.content);
        }
        Ok(other) => panic!("{} became {other:?}", Kind::UdpPacket),
        Err(_) => {
            assert!(fast.is_err());
            assert!(payload.is_empty());
        }
    }
}
