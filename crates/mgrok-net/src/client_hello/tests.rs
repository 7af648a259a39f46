//! Tests with hellos of rustls, hellos made by hand, and other input.

use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::*;
use rustls::{ClientConfig, ClientConnection, RootCertStore};

use super::*;
use crate::testing::{read_all, tcp_pair};

/// The ClientHello of a rustls client.
fn of_rustls(name: &str, grease: bool) -> Vec<u8> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    let builder = if grease {
        let suite = rustls::crypto::aws_lc_rs::hpke::ALL_SUPPORTED_SUITES[0];
        let (key, _) = suite.generate_key_pair().unwrap();
        builder
            .with_ech(rustls::client::EchGreaseConfig::new(suite, key).into())
            .unwrap()
    } else {
        builder.with_safe_default_protocol_versions().unwrap()
    };
    let config = builder
        .with_root_certificates(RootCertStore::empty())
        .with_no_client_auth();
    let name = name.to_owned().try_into().unwrap();
    let mut client = ClientConnection::new(Arc::new(config), name).unwrap();
    let mut bytes = Vec::new();
    while client.wants_write() {
        client.write_tls(&mut bytes).unwrap();
    }
    bytes
}

fn extension(kind: u16, data: &[u8]) -> Vec<u8> {
    [&kind.to_be_bytes(), &len_16(data)[..], data].concat()
}

fn len_16(data: &[u8]) -> [u8; 2] {
    u16::try_from(data.len()).unwrap().to_be_bytes()
}

fn names(names: &[(u8, &[u8])]) -> Vec<u8> {
    let list: Vec<u8> = names
        .iter()
        .flat_map(|(kind, name)| [&[*kind], &len_16(name)[..], name].concat())
        .collect();
    extension(SERVER_NAME, &[&len_16(&list)[..], &list].concat())
}

/// A handshake message; `None` omits the extensions altogether.
fn message(extensions: Option<&[u8]>) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(32);
    body.extend([9; 32]);
    body.extend([0, 4, 0x0a, 0x0a, 0x13, 0x01]);
    body.extend([1, 0]);
    if let Some(extensions) = extensions {
        body.extend(len_16(extensions));
        body.extend(extensions);
    }
    let len = u32::try_from(body.len()).unwrap().to_be_bytes();
    [&[CLIENT_HELLO], &len[1..], &body[..]].concat()
}

/// `message` in records of at most `len` bytes each.
fn records(message: &[u8], len: usize) -> Vec<u8> {
    message
        .chunks(len)
        .flat_map(|part| [&[HANDSHAKE_RECORD, 3, 1], &len_16(part)[..], part].concat())
        .collect()
}

fn hello(extensions: &[u8]) -> Vec<u8> {
    records(&message(Some(extensions)), MAX_RECORD)
}

fn named(name: impl Into<Option<&'static str>>) -> Progress {
    Progress::Hello(ClientHello {
        server_name: name.into().map(str::to_owned),
    })
}

#[track_caller]
fn check_refused(seen: &[u8], expect: Refusal) {
    assert_eq!(parse(seen), Progress::Refused(expect));
}

/// Checks every prefix: the result comes with the last byte, and `NeedMore` never asks for more bytes than there are.
#[track_caller]
fn check_every_cut(bytes: &[u8], expect: &Progress) {
    for len in 0..bytes.len() {
        match parse(&bytes[..len]) {
            Progress::NeedMore(needed) => {
                assert!(needed > len && needed <= bytes.len(), "{len} {needed}");
            }
            other => panic!("{other:?} after {len} of {} bytes", bytes.len()),
        }
    }
    assert_eq!(parse(bytes), *expect);
    let followed = [bytes, b"anything"].concat();
    assert_eq!(parse(&followed), *expect);
}

#[test]
fn the_name_is_found_in_hellos_of_rustls_however_they_are_cut() {
    for grease in [false, true] {
        let bytes = of_rustls("Www.Example.COM", grease);
        // This size shows that the hello has a post-quantum key share.
        assert!(bytes.len() > 1200, "{}", bytes.len());
        check_every_cut(&bytes, &named("www.example.com"));
    }
    check_every_cut(&of_rustls("192.0.2.1", false), &named(None));
}

#[test]
fn a_hello_may_be_spread_over_records() {
    let message = message(Some(
        &[extension(0x0a0a, &[]), names(&[(0, b"example.com")])].concat(),
    ));
    for len in [2, 3, 4, 5, 40, message.len() - 1] {
        check_every_cut(&records(&message, len), &named("example.com"));
    }
}

#[test]
fn a_large_hello_is_read_and_a_larger_one_refused() {
    let padded = |padding: usize| {
        let padding = extension(21, &vec![0; padding]);
        message(Some(&[padding, names(&[(0, b"a.b")])].concat()))
    };
    let large = padded(65_000);
    assert!(large.len() < MAX_HELLO);
    assert_eq!(parse(&records(&large, MAX_RECORD)), named("a.b"));

    let announced = [&[HANDSHAKE_RECORD, 3, 1, 0, 4][..], &[1, 1, 0, 1]].concat();
    check_refused(&announced, Refusal::TooLong(MAX_HELLO + 1));
}

#[test]
fn crumbs_are_refused_before_they_are_many() {
    let crumbs = records(&large(), 1);
    let enough = MAX_RECORDS * (RECORD_HEADER + 1);
    assert_eq!(
        parse(&crumbs[..enough - 1]),
        Progress::NeedMore(enough),
        "one record too few"
    );
    check_refused(&crumbs[..enough], Refusal::TooManyRecords);
}

fn large() -> Vec<u8> {
    message(Some(&extension(21, &[0; 1000])))
}

#[test]
fn a_hello_may_name_nobody() {
    for extensions in [None, Some(&[][..]), Some(&extension(43, &[2, 3, 4]))] {
        check_every_cut(&records(&message(extensions), MAX_RECORD), &named(None));
    }
}

#[test]
fn only_the_host_name_of_several_names_counts() {
    let listed = names(&[(7, b"\0\xff"), (HOST_NAME, b"a.example"), (9, b"")]);
    assert_eq!(parse(&hello(&listed)), named("a.example"));
}

#[test]
fn odd_names_are_passed_on_as_text() {
    let name = |name: &'static [u8]| parse(&hello(&names(&[(0, name)])));
    assert_eq!(name(b"1.2.3.4:5678"), named("1.2.3.4:5678"));
    assert_eq!(name(b"[2001:DB8::1]:5"), named("[2001:db8::1]:5"));
    assert_eq!(name(b"under_score."), named("under_score."));
}

#[test]
fn a_name_must_be_visible_ascii() {
    for name in [&b""[..], b"a b", b"a\0b", b"a\x7f", "\u{e4}".as_bytes()] {
        check_refused(
            &hello(&names(&[(0, name)])),
            Refusal::Name { len: name.len() },
        );
    }
    let longest = [b'a'; MAX_NAME + 1];
    let found = parse(&hello(&names(&[(0, &longest[1..])])));
    assert!(matches!(found, Progress::Hello(_)), "{found:?}");
    check_refused(
        &hello(&names(&[(0, &longest)])),
        Refusal::Name { len: MAX_NAME + 1 },
    );
}

#[test]
fn a_hello_that_two_readers_may_read_differently_is_refused() {
    let name = names(&[(0, b"a")]);
    let twice = names(&[(0, b"a"), (0, b"b")]);
    check_refused(&hello(&twice), Refusal::Malformed("two host names"));
    check_refused(
        &hello(&[&name[..], &name].concat()),
        Refusal::Malformed("two lists of server names"),
    );
    check_refused(
        &hello(&names(&[])),
        Refusal::Malformed("a list of server names without a host name"),
    );
    check_refused(
        &hello(&extension(SERVER_NAME, &[0, 0, 0])),
        Refusal::Malformed("bytes after the list of server names"),
    );
    check_refused(
        &hello(&extension(SERVER_NAME, &[0, 4, 0, 0, 2, b'a'])),
        Refusal::Malformed("the list of server names is cut off"),
    );
    check_refused(
        &hello(&[0, 21, 0, 1]),
        Refusal::Malformed("an extension is cut off"),
    );
    // Truncated before the extensions, or with bytes after them.
    let whole = message(Some(&name));
    for (len, reason) in [
        (whole.len() - 1, "the extensions do not end where it does"),
        (40, "it is cut off before its extensions"),
    ] {
        let mut cut = whole[..len].to_vec();
        cut[3] = u8::try_from(len - HANDSHAKE_HEADER).unwrap();
        check_refused(&records(&cut, MAX_RECORD), Refusal::Malformed(reason));
    }
}

#[test]
fn other_input_is_refused_as_early_as_possible() {
    check_refused(b"G", Refusal::NotTls(b'G'));
    check_refused(&[0x17, 0x16, 3, 1], Refusal::NotTls(0x17));
    check_refused(&[0x16, 2, 0, 0, 1], Refusal::Version(2, 0));
    check_refused(&[0x16, 3, 1, 0, 0], Refusal::EmptyRecord);
    check_refused(
        &[0x16, 3, 1, 0x40, 1],
        Refusal::RecordTooLong(MAX_RECORD + 1),
    );
    check_refused(&[0x16, 3, 1, 0, 1, 2], Refusal::NotClientHello(2));
    let alert_within = [&records(&large(), 100)[..105], &UNRECOGNIZED_NAME].concat();
    check_refused(
        &alert_within,
        Refusal::Malformed("another record is in its midst"),
    );
}

#[test]
fn a_hello_of_ssl_2_is_known_as_such() {
    let hello = [0x80, 0x2e, CLIENT_HELLO, 3, 1, 0, 0x15];
    assert_eq!(parse(&hello[..2]), Progress::NeedMore(RECORD_HEADER));
    check_refused(&hello[..3], Refusal::Ssl2);
    check_refused(&[0x80, 0x2e, 9], Refusal::NotTls(0x80));
}

#[test]
fn every_version_of_the_record_layer_is_taken() {
    for minor in 0..=4 {
        let mut bytes = hello(&names(&[(0, b"a")]));
        bytes[2] = minor;
        assert_eq!(parse(&bytes), named("a"));
    }
}

/// Sends `pieces` one by one, then closes. Returns the result, and the bytes that can be read afterwards.
async fn read_pieces(pieces: &[&[u8]]) -> (Result<ClientHello, ReadError>, Vec<u8>) {
    let (near, far) = tcp_pair().await;
    let mut near = Conn::from(near);
    let mut far = Conn::from(far);
    let (read, ()) = tokio::join!(read(&mut far), async {
        for piece in pieces {
            near.send(Bytes::copy_from_slice(piece)).await.unwrap();
            tokio::task::yield_now().await;
        }
        near.close().await.unwrap();
    });
    (read, read_all(&mut far).await.unwrap())
}

#[tokio::test]
async fn read_bytes_stay_in_front_of_the_connection() {
    let bytes = of_rustls("example.com", false);
    let all = [&bytes[..], b"early data"].concat();
    let crumbs: Vec<&[u8]> = all.chunks(7).collect();
    for pieces in [&[&all[..]][..], &[&all[..1], &all[1..]], &crumbs] {
        let (read, rest) = read_pieces(pieces).await;
        assert_eq!(read.unwrap().server_name.unwrap(), "example.com");
        assert!(rest == all);
    }
}

#[tokio::test]
async fn refused_bytes_stay_in_front_too() {
    let (read, rest) = read_pieces(&[b"GET / HTTP/1.1\r\n\r\n"]).await;
    let error = read.unwrap_err().to_string();
    assert_eq!(error, "not TLS: the first byte is 0x47");
    assert_eq!(rest, b"GET / HTTP/1.1\r\n\r\n");
}

#[tokio::test]
async fn an_end_within_the_hello_is_an_error() {
    let bytes = of_rustls("example.com", false);
    for len in [0, 3, 100] {
        let (read, rest) = read_pieces(&[&bytes[..len]]).await;
        assert!(matches!(read, Err(ReadError::Ended(seen)) if seen == len));
        assert_eq!(rest, bytes[..len]);
    }
}

proptest! {
    #[test]
    fn nothing_that_arrives_panics(bytes in vec(any::<u8>(), 0..300)) {
        parse(&bytes);
    }

    #[test]
    fn nothing_behind_a_good_beginning_panics(
        tail in vec(any::<u8>(), 0..100),
        cut in 0_usize..60,
        len in 1_usize..200,
    ) {
        let mut message = message(Some(&names(&[(0, b"example.com")])));
        let end = message.len() - cut;
        message.splice(end.., tail);
        let len_bytes = u32::try_from(message.len() - HANDSHAKE_HEADER).unwrap().to_be_bytes();
        message[1..4].copy_from_slice(&len_bytes[1..]);
        parse(&records(&message, len));
    }

    #[test]
    fn a_result_does_not_depend_on_later_bytes(bytes in vec(any::<u8>(), 0..60), cut in any::<prop::sample::Index>()) {
        let seen = [&[HANDSHAKE_RECORD, 3, 1, 0][..], &bytes].concat();
        let early = parse(&seen[..cut.index(seen.len())]);
        if !matches!(early, Progress::NeedMore(_)) {
            prop_assert_eq!(early, parse(&seen));
        }
    }
}
