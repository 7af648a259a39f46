use proptest::prelude::*;

use super::*;

/// The id of the test vectors of RFC 5769.
const ID: TransactionId = TransactionId([
    0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
]);

fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u8> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .map(|digit| digit as u8)
        .collect();
    digits
        .chunks(2)
        .map(|pair| pair[0] * 16 + pair[1])
        .collect()
}

fn addr(text: &str) -> Option<SocketAddrV4> {
    Some(text.parse().unwrap())
}

/// A success response with these attributes.
fn response(attributes: &str) -> Vec<u8> {
    let attributes = hex(attributes);
    let mut datagram = header(BINDING_SUCCESS, attributes.len() as u16, ID).to_vec();
    datagram.extend_from_slice(&attributes);
    datagram
}

#[track_caller]
fn check(datagram: &[u8], mapped: Option<&str>, other: Option<&str>) {
    let expected = Response {
        mapped: mapped.and_then(addr),
        other: other.and_then(addr),
    };
    assert_eq!(parse_response(datagram, ID), Ok(expected));
}

#[test]
fn a_request_is_a_bare_header() {
    let request = binding_request(ID);
    assert_eq!(
        request[..],
        hex("0001 0000 2112a442 b7e7a701bc34d686fa87dfae")
    );
    assert_eq!(parse_request(&request), Some(ID));
    assert_ne!(TransactionId::random(), TransactionId::random());
}

/// RFC 5769, 2.2: SOFTWARE padded with a blank, XOR-MAPPED-ADDRESS, MESSAGE-INTEGRITY and FINGERPRINT.
#[test]
fn the_sample_response_of_the_standard() {
    let datagram = hex("0101003c 2112a442 b7e7a701bc34d686fa87dfae
         8022000b 7465737420766563746f7220
         00200008 0001a147e112a643
         00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
         80280004 c07d4c96");
    check(&datagram, Some("192.0.2.1:32853"), None);
}

#[test]
fn where_to_ask_next_has_an_old_and_a_new_name() {
    check(
        &response("00010008 00010fa0cb007107 00050008 00010d97c0000202"),
        Some("203.0.113.7:4000"),
        Some("192.0.2.2:3479"),
    );
    // The new attributes win wherever they stand.
    check(
        &response(
            "802c0008 00010d98c0000203 00200008 0001a147e112a643
             00010008 00010fa0cb007107 00050008 00010d97c0000202",
        ),
        Some("192.0.2.1:32853"),
        Some("192.0.2.3:3480"),
    );
    check(&response(""), None, None);
    // IPv6, then the same attribute again: the first that can be used.
    check(
        &response(
            "00010014 00020fa020010db8000000000000000000000001
             00010008 00010fa0cb007107 00010008 00010fa1cb007107",
        ),
        Some("203.0.113.7:4000"),
        None,
    );
}

#[test]
fn what_a_server_writes_is_read_again() {
    let sent = Response {
        mapped: addr("192.0.2.1:32853"),
        other: addr("192.0.2.3:3480"),
    };
    let datagram = binding_response(ID, &sent);
    assert_eq!(
        datagram,
        response("00200008 0001a147e112a643 802c0008 00010d98c0000203")
    );
    assert_eq!(parse_response(&datagram, ID), Ok(sent));
}

#[test]
fn what_is_no_answer_is_told_apart() {
    use ResponseError::{Foreign, Malformed, Refused};
    let error = |datagram: &[u8]| parse_response(datagram, ID).unwrap_err();

    let good = response("00200008 0001a147e112a643");
    for len in 0..good.len() {
        assert_eq!(error(&good[..len]), Malformed, "{len} bytes");
    }
    let other = TransactionId([7; 12]);
    assert_eq!(parse_response(&good, other), Err(Foreign));
    assert_eq!(error(&binding_request(ID)), Malformed);

    let mut cookie = good;
    cookie[4] = 0;
    assert_eq!(error(&cookie), Malformed);
    // A length of the message that is no multiple of four; an attribute that runs out of it; an address too short.
    assert_eq!(error(&response("8022000100")), Malformed);
    assert_eq!(error(&response("00200008 0001a147")), Malformed);
    assert_eq!(error(&response("00200004 0001a147")), Malformed);
    assert_eq!(error(&response("0020ffff 0001a147")), Malformed);

    let mut refusal = response("00090004 00000414");
    refusal[..2].copy_from_slice(&BINDING_ERROR.to_be_bytes());
    assert_eq!(error(&refusal), Refused { code: 420 });
}

proptest! {
    #[test]
    fn any_datagram_is_read_without_a_panic(datagram: Vec<u8>) {
        let _ = parse_response(&datagram, ID);
        let _ = parse_request(&datagram);
    }

    #[test]
    fn any_attributes_are_read_without_a_panic(words: Vec<[u8; 4]>) {
        let words = words.concat();
        let mut datagram = header(BINDING_SUCCESS, words.len() as u16, ID).to_vec();
        datagram.extend_from_slice(&words);
        let _ = parse_response(&datagram, ID);
    }

    #[test]
    fn any_address_survives(ip: u32, port: u16) {
        let mapped = Some(SocketAddrV4::new(ip.into(), port));
        let sent = Response { mapped, other: None };
        prop_assert_eq!(parse_response(&binding_response(ID, &sent), ID), Ok(sent));
    }
}
