//! Whatever arrives, the fast way with datagrams answers as the general decoder does.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::{
    WireVersion,
    message::{Kind, Message},
    udp::{self, Carried},
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

    let mut payload = BytesMut::new();
    let fast = udp::decode(WireVersion::V1, &input, &mut payload);
    match WireVersion::V1.decode(&input) {
        Ok(Some((Message::UdpPacket(packet), len))) => {
            let user = packet.user.and_then(|user| user.socket_addr());
            assert_eq!(fast.unwrap(), Some((Carried::Packet { user }, len)));
            assert_eq!(payload, packet.content);
        }
        Ok(other) => panic!("{} became {other:?}", Kind::UdpPacket),
        Err(_) => {
            assert!(fast.is_err());
            assert!(payload.is_empty());
        }
    }
});
