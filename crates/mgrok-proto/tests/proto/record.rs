//! Records: however they are cut they make the same stream, and nothing else does.

use bytes::BytesMut;
use mgrok_proto::{
    auth::Secret,
    record::{
        Algorithm, MAX_NONCE_LEN, MAX_PLAIN_LEN, OVERHEAD, OpenError, Opener, RecordKey,
        RecordKeys, Sealer, random_nonce,
    },
};
use proptest::{collection::vec, prelude::*};

const ALGORITHMS: [Algorithm; 2] = [Algorithm::Aes256Gcm, Algorithm::XChaCha20Poly1305];
const NONCE: [u8; MAX_NONCE_LEN] = [7; MAX_NONCE_LEN];

fn key(algorithm: Algorithm) -> RecordKey {
    RecordKeys::derive(algorithm, &Secret::new("token"), b"client", b"server").client_to_server
}

fn nonce_len(algorithm: Algorithm) -> usize {
    match algorithm {
        Algorithm::Aes256Gcm => 12,
        Algorithm::XChaCha20Poly1305 => 24,
    }
}

/// Each of `pieces` as a record, without the nonce in front.
fn records<'a>(algorithm: Algorithm, pieces: impl IntoIterator<Item = &'a [u8]>) -> Vec<BytesMut> {
    let mut sealer = Sealer::new(&key(algorithm), NONCE);
    let mut records = Vec::new();
    for piece in pieces {
        let mut record = BytesMut::new();
        sealer.seal(piece, &mut record).unwrap();
        if records.is_empty() {
            assert_eq!(
                record.split_to(nonce_len(algorithm)),
                NONCE[..nonce_len(algorithm)]
            );
        }
        records.push(record);
    }
    records
}

/// What an opener makes of the nonce and then of `pieces`.
fn open<'a>(
    algorithm: Algorithm,
    pieces: impl IntoIterator<Item = &'a [u8]>,
) -> (BytesMut, Result<bool, OpenError>) {
    let mut opener = Opener::new(&key(algorithm));
    let mut plain = BytesMut::new();
    let nonce = &NONCE[..nonce_len(algorithm)];
    for piece in std::iter::once(nonce).chain(pieces) {
        let mut piece = piece;
        loop {
            let before = plain.len();
            match opener.open(&mut piece, &mut plain) {
                Ok(true) => assert!(plain.len() > before),
                Ok(false) => {
                    assert!(piece.is_empty() && plain.len() == before);
                    break;
                }
                Err(error) => {
                    assert_eq!(plain.len(), before);
                    return (plain, Err(error));
                }
            }
        }
    }
    (plain, Ok(opener.may_end()))
}

#[test]
fn a_long_piece_is_cut_into_records() {
    for algorithm in ALGORITHMS {
        let plain: Vec<_> = (0..2 * MAX_PLAIN_LEN + 1).map(|at| at as u8).collect();
        let mut sealed = BytesMut::from("before");
        let mut sealer = Sealer::new(&key(algorithm), NONCE);
        sealer.seal(&plain, &mut sealed).unwrap();
        let sealed = &sealed[b"before".len() + nonce_len(algorithm)..];
        assert_eq!(sealed.len(), plain.len() + 3 * OVERHEAD);
        assert!(sealed.len() <= Sealer::sealed_len(plain.len()));
        assert_eq!(sealed[..4], 65_552_u32.to_be_bytes());
        let (opened, end) = open(algorithm, [sealed]);
        assert!(opened == plain);
        assert_eq!(end, Ok(true));
    }
}

#[test]
fn nothing_is_no_record() {
    let mut out = BytesMut::new();
    Sealer::new(&key(Algorithm::Aes256Gcm), NONCE)
        .seal(b"", &mut out)
        .unwrap();
    assert!(out.is_empty());
}

#[test]
fn empty_records_are_passed_over() {
    // As others may send them: ours does not. Sealed here with the library itself.
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let algorithm = Algorithm::Aes256Gcm;
    let unbound = UnboundKey::new(&AES_256_GCM, key(algorithm).expose()).unwrap();
    let library = LessSafeKey::new(unbound);
    let seal = |number: u8, plain: &[u8]| {
        let mut nonce = [7; 12];
        nonce[11] += number;
        let header = (plain.len() as u32 + 16).to_be_bytes();
        let aad = Aad::from([&NONCE[..12], &header].concat());
        let mut body = plain.to_vec();
        let nonce = Nonce::assume_unique_for_key(nonce);
        library
            .seal_in_place_append_tag(nonce, aad, &mut body)
            .unwrap();
        [&header[..], &body].concat()
    };
    let stream = [seal(0, b""), seal(1, b"hello"), seal(2, b"")].concat();
    assert_eq!(open(algorithm, [&stream[..]]), ("hello".into(), Ok(true)));
}

#[test]
fn a_length_that_no_record_has_is_refused() {
    for algorithm in ALGORITHMS {
        for (length, good) in [
            (0, false),
            (15, false),
            (16, true),
            (65_552, true),
            (65_553, false),
            (u32::MAX, false),
        ] {
            let expected = match good {
                true => Ok(false),
                false => Err(OpenError::Length { length, record: 0 }),
            };
            assert_eq!(open(algorithm, [&length.to_be_bytes()[..]]).1, expected);
        }
    }
}

#[test]
fn records_have_their_place() {
    for algorithm in ALGORITHMS {
        let sealed = records(algorithm, [&b"one"[..], b"two", b"six"]);
        let check = |order: &[usize], expected: &str, broken_at: Option<u64>| {
            let (plain, end) = open(algorithm, order.iter().map(|&at| &sealed[at][..]));
            assert_eq!(plain, expected, "{order:?}");
            let expected = match broken_at {
                None => Ok(true),
                Some(record) => Err(OpenError::Forged { record }),
            };
            assert_eq!(end, expected, "{order:?}");
        };
        check(&[0, 1, 2], "onetwosix", None);
        // The end may be missing.
        check(&[0, 1], "onetwo", None);
        // Repeated, left out, exchanged.
        check(&[0, 0], "one", Some(1));
        check(&[0, 1, 1], "onetwo", Some(2));
        check(&[1], "", Some(0));
        check(&[0, 2], "one", Some(1));
        check(&[1, 0], "", Some(0));
    }
}

#[test]
fn each_direction_token_hello_and_nonce_has_its_own_stream() {
    let derive = |token: &str, client: &[u8], server: &[u8]| {
        RecordKeys::derive(Algorithm::Aes256Gcm, &Secret::new(token), client, server)
    };
    let keys = derive("token", b"client", b"server");
    let others = [
        keys.server_to_client.clone(),
        derive("", b"client", b"server").client_to_server,
        derive("token", b"clients", b"erver").client_to_server,
        derive("token", b"client", b"Server").client_to_server,
        key(Algorithm::XChaCha20Poly1305),
    ];
    let mut sealed = BytesMut::new();
    Sealer::new(&keys.client_to_server, NONCE)
        .seal(b"hello", &mut sealed)
        .unwrap();
    let open = |key: &RecordKey, sealed: &[u8]| {
        let mut input = sealed;
        Opener::new(key).open(&mut input, &mut BytesMut::new())
    };
    assert_eq!(open(&keys.client_to_server, &sealed), Ok(true));
    for other in &others {
        assert_ne!(open(other, &sealed), Ok(true), "{other:?}");
    }
    sealed[0] ^= 1;
    let forged = Err(OpenError::Forged { record: 0 });
    assert_eq!(open(&keys.client_to_server, &sealed), forged);
}

#[test]
fn the_end_is_clean_between_records_only() {
    for algorithm in ALGORITHMS {
        let sealed = records(algorithm, [&b"one"[..], b"two"]).concat();
        let record = 3 + OVERHEAD;
        for cut in 0..=sealed.len() {
            let (_, end) = open(algorithm, [&sealed[..cut]]);
            assert_eq!(end, Ok(cut % record == 0), "cut at {cut}");
        }
        let mut opener = Opener::new(&key(algorithm));
        assert!(opener.may_end());
        opener.open(&mut &NONCE[..1], &mut BytesMut::new()).unwrap();
        assert!(!opener.may_end());
    }
}

#[test]
fn secrets_are_not_shown() {
    let key = key(Algorithm::Aes256Gcm);
    assert_eq!(format!("{key:?}"), "RecordKey(aes-256-gcm, ***)");
    assert_eq!(
        format!("{:?}", Sealer::new(&key, NONCE)),
        "Sealer { records: 0, .. }"
    );
    assert_eq!(
        format!("{:?}", Opener::new(&key)),
        "Opener { records: None, .. }"
    );
}

#[test]
fn every_nonce_is_new() {
    assert_ne!(random_nonce(), random_nonce());
}

fn any_algorithm() -> impl Strategy<Value = Algorithm> {
    prop::sample::select(&ALGORITHMS)
}

fn any_pieces() -> impl Strategy<Value = Vec<Vec<u8>>> {
    vec(vec(any::<u8>(), 1..200), 1..6)
}

/// `stream` in pieces, cut as `cuts` say, again and again.
fn in_pieces<'a>(mut stream: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    for cut in cuts.iter().cycle() {
        if stream.is_empty() {
            break;
        }
        let (piece, rest) = stream.split_at((*cut).min(stream.len()));
        pieces.push(piece);
        stream = rest;
    }
    pieces
}

proptest! {
    #[test]
    fn a_stream_is_opened_however_it_is_cut(
        algorithm in any_algorithm(),
        pieces in any_pieces(),
        cuts in vec(1..90_usize, 1..8),
    ) {
        let sealed = records(algorithm, pieces.iter().map(Vec::as_slice)).concat();
        let (plain, end) = open(algorithm, in_pieces(&sealed, &cuts));
        prop_assert_eq!(plain, pieces.concat());
        prop_assert_eq!(end, Ok(true));
    }

    #[test]
    fn a_changed_record_is_noticed_and_nothing_of_it_told(
        algorithm in any_algorithm(),
        pieces in any_pieces(),
        at in any::<prop::sample::Index>(),
        change in 1..=u8::MAX,
        cuts in vec(1..90_usize, 1..8),
    ) {
        let records = records(algorithm, pieces.iter().map(Vec::as_slice));
        let mut sealed = records.concat();
        let at = at.index(sealed.len());
        sealed[at] ^= change;
        let mut good = 0;
        let mut end = 0;
        for (record, piece) in records.iter().zip(&pieces) {
            end += record.len();
            if end > at {
                break;
            }
            good += piece.len();
        }
        let (plain, end) = open(algorithm, in_pieces(&sealed, &cuts));
        prop_assert_eq!(plain, &pieces.concat()[..good]);
        // A length that became longer is waited for.
        let noticed = matches!(
            end,
            Err(OpenError::Forged { .. } | OpenError::Length { .. }) | Ok(false)
        );
        prop_assert!(noticed);
    }

    #[test]
    fn garbage_never_panics_and_is_never_plaintext(
        algorithm in any_algorithm(),
        mut garbage in vec(any::<u8>(), 4..300),
        length in 0..400_u32,
        cuts in vec(1..90_usize, 1..8),
    ) {
        garbage[..4].copy_from_slice(&length.to_be_bytes());
        let (plain, _) = open(algorithm, in_pieces(&garbage, &cuts));
        prop_assert!(plain.is_empty());
    }
}
