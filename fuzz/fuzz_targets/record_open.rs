//! Whatever arrives in place of records, nothing of it is taken for plaintext; what was sealed is, however it is cut.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::{
    auth::Secret,
    record::{Algorithm, MAX_NONCE_LEN, Opener, RecordKey, RecordKeys, Sealer},
};

fuzz_target!(|input: (bool, u16, Vec<Vec<u8>>, Vec<u8>)| {
    let (aes, cut, pieces, garbage) = input;
    let algorithm = match aes {
        true => Algorithm::Aes256Gcm,
        false => Algorithm::XChaCha20Poly1305,
    };
    let keys = RecordKeys::derive(algorithm, &Secret::new("token"), b"client", b"server");
    let key = keys.client_to_server;

    let mut sealed = BytesMut::new();
    let mut sealer = Sealer::new(&key, [7; MAX_NONCE_LEN]);
    for piece in &pieces {
        sealer.seal(piece, &mut sealed).unwrap();
    }
    let good = pieces.concat();
    let end = sealed.len();
    sealed.extend_from_slice(&garbage);
    let cut = usize::from(cut).min(sealed.len());
    let (plain, whole) = open(&key, [&sealed[..cut], &sealed[cut..]]);
    assert_eq!(plain, good);
    if garbage.is_empty() {
        assert!(whole, "{end} bytes were sealed");
    }
});

/// What an opener makes of all that arrives, and whether it could end there.
fn open(key: &RecordKey, arrived: [&[u8]; 2]) -> (BytesMut, bool) {
    let mut opener = Opener::new(key);
    let mut plain = BytesMut::new();
    for mut input in arrived {
        loop {
            match opener.open(&mut input, &mut plain) {
                Ok(true) => {}
                Ok(false) => break,
                Err(_) => return (plain, false),
            }
        }
        assert!(input.is_empty());
    }
    (plain, opener.may_end())
}
