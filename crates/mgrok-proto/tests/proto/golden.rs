//! Bytes that frp's own packages have read: signatures, keys and frames of known input.

use std::net::SocketAddr;

use bytes::{Bytes, BytesMut};
use mgrok_proto::{
    WireVersion,
    auth::{self, Secret},
    cipher::{CipherKey, Decryptor, Encryptor, IV_LEN},
    hello::{Bootstrap, Offer, answer_with_random},
    message::{
        Login, LoginResp, Message, NatHoleSid, NewProxy, Ping, ReqWorkConn, UdpAddr, UdpPacket,
    },
    record::{Algorithm, Opener, RecordKeys, Sealer},
    udp, v2,
};

use crate::{decode, encode, hex};

const TIMESTAMP: i64 = 1_700_000_000;

/// The initialization vector of all examples: 00 01 .. 0f.
fn iv() -> [u8; IV_LEN] {
    std::array::from_fn(|index| index as u8)
}

/// `message` is `expected` on the wire, and the other way round.
#[track_caller]
fn check(message: impl Into<Message>, expected: &str) {
    let message = message.into();
    assert_eq!(encode(&message), hex(expected));
    assert_eq!(decode(&hex(expected)).unwrap(), message);
}

/// `plain` behind the vector is `expected` on the wire, and the other way round.
#[track_caller]
fn check_encrypted(secret: &str, plain: &[u8], expected: &str) {
    let key = CipherKey::derive(&Secret::new(secret));
    let expected = hex(expected);
    let (sent_iv, coded) = expected.split_at(IV_LEN);
    assert_eq!(sent_iv, iv());

    let mut data = plain.to_vec();
    Encryptor::new(&key, iv()).apply(&mut data);
    assert_eq!(data, coded);
    Decryptor::new(&key, iv()).apply(&mut data);
    assert_eq!(data, plain);
}

fn new_proxy() -> NewProxy {
    NewProxy {
        proxy_name: "ssh".into(),
        proxy_type: "tcp".into(),
        remote_port: 6000,
        ..NewProxy::default()
    }
}

#[test]
fn signatures() {
    for (secret, expected) in [
        ("secret", "e37729af62f40f134311cffbc230178e"),
        ("", "24920decf83f6960b80f737a28eeafc1"),
    ] {
        let secret = Secret::new(secret);
        assert_eq!(auth::sign(&secret, TIMESTAMP), expected);
        assert!(auth::verify(&secret, TIMESTAMP, expected));
        assert!(!auth::verify(&secret, TIMESTAMP + 1, expected));
        assert!(!auth::verify(&secret, TIMESTAMP, &expected.to_uppercase()));
        assert!(!auth::verify(&secret, TIMESTAMP, &expected[..31]));
        assert!(!auth::verify(&secret, TIMESTAMP, ""));
    }
}

#[test]
fn login() {
    check(
        Login {
            version: "0.70.1".into(),
            hostname: "h".into(),
            os: "linux".into(),
            arch: "amd64".into(),
            privilege_key: auth::sign(&Secret::new("secret"), TIMESTAMP).into(),
            timestamp: TIMESTAMP,
            pool_count: 1,
            ..Login::default()
        },
        "6f00000000000000a97b2276657273696f6e223a22302e37302e31222c22686f73746e616d65223a2268222c22\
         6f73223a226c696e7578222c2261726368223a22616d643634222c2270726976696c6567655f6b6579223a2265\
         3337373239616636326634306631333433313163666662633233303137386522\
         2c2274696d657374616d70223a313730303030303030302c22636c69656e745f73706563223a7b7d2c22706f6f\
         6c5f636f756e74223a317d",
    );
}

#[test]
fn login_resp() {
    check(
        LoginResp {
            version: "0.70.1".into(),
            run_id: "0123456789abcdef".into(),
            ..LoginResp::default()
        },
        "3100000000000000307b2276657273696f6e223a22302e37302e31222c2272756e5f6964223a22303132333435\
         36373839616263646566227d",
    );
}

#[test]
fn messages_without_content() {
    check(Ping::default(), "6800000000000000027b7d");
    check(ReqWorkConn::default(), "7200000000000000027b7d");
}

#[test]
fn new_proxy_of_a_tcp_port() {
    check(
        new_proxy(),
        "70000000000000003a7b2270726f78795f6e616d65223a22737368222c2270726f78795f74797065223a227463\
         70222c2272656d6f74655f706f7274223a363030307d",
    );
}

#[test]
fn udp_packet() {
    const FRAME: &str = "7500000000000000397b2263223a2261476b3d222c2272223a7b224950223a223132372e302e\
                         302e31222c22506f7274223a353335332c225a6f6e65223a22227d7d";
    let user = SocketAddr::from(([127, 0, 0, 1], 5353));
    check(
        UdpPacket {
            content: "hi".into(),
            user: Some(UdpAddr::from(user)),
            ..UdpPacket::default()
        },
        FRAME,
    );

    let mut frame = BytesMut::new();
    let mut encoder = udp::Encoder::new(WireVersion::V1.into());
    encoder.datagram(b"hi", Some(user), &mut frame).unwrap();
    assert_eq!(frame, hex(FRAME));
    let mut payload = BytesMut::new();
    let mut decoder = udp::Decoder::new(WireVersion::V1.into());
    let decoded = decoder.decode(&frame, &mut payload).unwrap();
    let user = Some(user);
    assert_eq!(decoded, Some((udp::Carried::Packet { user }, frame.len())));
    assert_eq!(payload, "hi");
}

#[test]
fn encrypted_control_connection() {
    let mut plain = encode(&Ping::default().into());
    check_encrypted(
        "secret",
        &plain,
        "000102030405060708090a0b0c0d0e0f dc0f8df813e99ddbfa42ac",
    );
    plain.extend_from_slice(&encode(&new_proxy().into()));
    check_encrypted(
        "secret",
        &plain,
        "000102030405060708090a0b0c0d0e0f dc0f8df813e99ddbfa42ac06f0f2fcbc00f9e49cdc66facbfb1bc7526a\
         b20d0a89ac5a3f4647969e8709302f44893af5bab7e85da1384d7b1c8af405ef8aa528ab72a493aaa77c45b9b9\
         720b7db0",
    );
}

#[test]
fn hole_punching_datagram() {
    let message = Message::from(NatHoleSid {
        transaction_id: "17000000000123456789abcdef".into(),
        sid: "1700000000fedcba9876543210".into(),
        nonce: "000".into(),
        ..NatHoleSid::default()
    });
    check(
        message.clone(),
        "3500000000000000607b227472616e73616374696f6e5f6964223a223137303030303030303030313233343536\
         373839616263646566222c22736964223a223137303030303030303066656463626139383736353433323130222c\
         226e6f6e6365223a22303030227d",
    );
    check_encrypted(
        "abc",
        &encode(&message),
        "000102030405060708090a0b0c0d0e0f9b740161fd1427c7a9b95af6e5f141e2848ed265ed36c3d2d95d2de2dc\
         c92c720d3d3012877a53d31975cca16c4b417ee88e0b5a037923bbe99a9c5bed9a1f5507d27b3734448f174f90\
         76f630fc23883bd1532e1996daef17a3bb5fd0b6a1bf6bbef5b3bd93c51bb5",
    );
}

#[test]
fn messages_in_v2_frames() {
    for (message, expected) in [
        (Message::from(Ping::default()), "0010000000000004000b7b7d"),
        (ReqWorkConn::default().into(), "001000000000000400077b7d"),
    ] {
        let mut frame = BytesMut::new();
        WireVersion::V2.encode(&message, &mut frame).unwrap();
        assert_eq!(frame, hex(expected));
        let decoded = WireVersion::V2.decode(&frame).unwrap();
        assert_eq!(decoded, Some((message, frame.len())));
    }
    assert_eq!(v2::MAGIC, hex("46525000020d0a"));
}

/// The hellos of all examples, and what follows from them.
#[track_caller]
fn check_sealed(algorithm: Algorithm, keys: [&str; 2], nonce_len: usize, sealed_ping: &str) {
    let bootstrap = Bootstrap {
        transport: "tcp".into(),
        tls: true,
        tcp_mux: true,
    };
    let offered = [Algorithm::Aes256Gcm, Algorithm::XChaCha20Poly1305];
    let client_random = std::array::from_fn(|index| index as u8);
    let server_random = std::array::from_fn(|index| index as u8 + 32);
    let offer = Offer::with_random(bootstrap, &offered, &[], client_random);
    let mut frame = BytesMut::new();
    offer.encode(&mut frame);
    let client_hello = br#"{"bootstrap":{"transport":"tcp","tls":true,"tcpMux":true},"capabilities":{"message":{"codecs":["json"]},"crypto":{"algorithms":["aes-256-gcm","xchacha20-poly1305"],"clientRandom":"AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="}}}"#;
    let header = hex("00010000000000e4");
    assert_eq!(frame, [&header[..], client_hello].concat());

    let server_hello = format!(
        r#"{{"selected":{{"message":{{"codec":"json"}},"crypto":{{"algorithm":"{algorithm}","serverRandom":"ICEiIyQlJicoKSorLC0uLzAxMjM0NTY3ODk6Ozw9Pj8="}}}}}}"#
    );
    let answer = answer_with_random(Bytes::from_static(client_hello), &[], server_random).unwrap();
    if algorithm == Algorithm::Aes256Gcm {
        let mut frame = BytesMut::new();
        answer.encode(&mut frame);
        let header = hex("000200000000008c");
        assert_eq!(frame, [&header[..], server_hello.as_bytes()].concat());
    }

    let agreement = offer.agree(server_hello.into()).unwrap();
    let derived = agreement.keys(&Secret::new("secret"));
    assert_eq!(derived.client_to_server.expose(), hex(keys[0]));
    assert_eq!(derived.server_to_client.expose(), hex(keys[1]));

    // frp seals header and payload of a frame one by one.
    let ping = hex("0010000000000004000b7b7d");
    let nonce = std::array::from_fn(|index| index as u8 + 0xa0);
    let mut sealer = Sealer::new(&derived.client_to_server, nonce);
    let mut sealed = BytesMut::new();
    sealer.seal(&ping[..8], &mut sealed).unwrap();
    sealer.seal(&ping[8..], &mut sealed).unwrap();
    assert_eq!(sealed[..nonce_len], nonce[..nonce_len]);
    assert_eq!(sealed, hex(sealed_ping));

    let mut opener = Opener::new(&derived.client_to_server);
    let (mut input, mut plain) = (&sealed[..], BytesMut::new());
    while opener.open(&mut input, &mut plain).unwrap() {}
    assert_eq!(plain, ping);
}

#[test]
fn sealed_control_connection() {
    check_sealed(
        Algorithm::Aes256Gcm,
        [
            "f7972ec5a55c6aabed981c3cf493ac53a875f9b0d1af2c25787f64c8e4363685",
            "319c2865e44b890b9f37f00f645bcb65878e61649615913e91deff50bc3d1c6d",
        ],
        12,
        "a0a1a2a3a4a5a6a7a8a9aaab00000018b80c4726e0aa299028176dec2d6bafcec4d07b956c036f5e0000001495\
         6721458317e7d6f0fa2117e62a182bc2ca2776",
    );
    check_sealed(
        Algorithm::XChaCha20Poly1305,
        [
            "db71efe14dc5c91e74e5e843d9fed1e4328d4abe7d983d57bba3b19cd6bfb782",
            "4cafd527d595c98b77c54b07d971c1af3b832f64a17b0f47a65675e7e083a1da",
        ],
        24,
        "a0a1a2a3a4a5a6a7a8a9aaabacadaeafb0b1b2b3b4b5b6b700000018e2ffc971b3bbfdc158203bcf45ef799108\
         e5b53877b2fe1c00000014864285010d510f5be6894b109fe88b813714e083",
    );
}

#[test]
fn an_empty_token_has_keys_too() {
    for (algorithm, expected) in [
        (
            Algorithm::Aes256Gcm,
            "394a01eeb6242cd186e9f17e9f171da2eabc44a2a00be2a1a33f2ef5dcb595ba",
        ),
        (
            Algorithm::XChaCha20Poly1305,
            "aaa0e854c377ca44d6d2db1428a48d5b1926f6bed22b6dc14bc79a247fe67823",
        ),
    ] {
        let keys = RecordKeys::derive(algorithm, &Secret::default(), b"client", b"server");
        assert_eq!(keys.client_to_server.expose(), hex(expected));
    }
}

#[test]
fn nonces_count_across_all_their_bytes() {
    // The second record has a carry into the part of the nonce that XChaCha20 derives its key from.
    #[track_caller]
    fn check(algorithm: Algorithm, nonce: &str, expected: &str) {
        let keys = RecordKeys::derive(algorithm, &Secret::new("token"), b"client", b"server");
        let (nonce, expected) = (hex(nonce), hex(expected));
        let mut whole = [0; 24];
        whole[..nonce.len()].copy_from_slice(&nonce);
        let mut sealer = Sealer::new(&keys.client_to_server, whole);
        let mut sealed = BytesMut::new();
        sealer.seal(b"one", &mut sealed).unwrap();
        sealer.seal(b"two", &mut sealed).unwrap();
        assert_eq!(sealed, [nonce, expected].concat());

        let mut opener = Opener::new(&keys.client_to_server);
        let (mut input, mut plain) = (&sealed[..], BytesMut::new());
        while opener.open(&mut input, &mut plain).unwrap() {}
        assert_eq!(plain, "onetwo");
    }
    check(
        Algorithm::Aes256Gcm,
        "07070707ffffffffffffffff",
        "00000013ac93cd2c5760342ad36778dc3c8c72876a2e6a000000132b583432ecdc9ce7bb63d41669e1bfdaf0f0\
         0e",
    );
    check(
        Algorithm::XChaCha20Poly1305,
        "07070707070707070707070707070707ffffffffffffffff",
        "0000001348c83e68aa0b4da7da2ca7d0499b3dbb10a652000000131b97561f517c2c57c1fb211ffd989966304cba",
    );
}
