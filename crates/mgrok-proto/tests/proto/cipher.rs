//! The stream cipher runs on wherever its input is cut.

use mgrok_proto::{
    auth::Secret,
    cipher::{self, CipherKey, Decryptor, Encryptor, IV_LEN},
};
use proptest::prelude::*;

const IV: [u8; IV_LEN] = [7; IV_LEN];

fn key() -> CipherKey {
    CipherKey::derive(&Secret::new("token"))
}

/// Gives `apply` one piece of `data` after the other, cut as `cuts` say, again and again.
fn in_pieces(mut data: &mut [u8], cuts: &[usize], mut apply: impl FnMut(&mut [u8])) {
    for cut in cuts.iter().cycle() {
        if data.is_empty() {
            return;
        }
        let (piece, rest) = data.split_at_mut((*cut).min(data.len()));
        apply(piece);
        data = rest;
    }
}

proptest! {
    #[test]
    fn pieces_make_the_same_stream(
        plain in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1..70_usize, 1..8),
        other_cuts in prop::collection::vec(1..70_usize, 1..8),
    ) {
        let mut at_once = plain.clone();
        Encryptor::new(&key(), IV).apply(&mut at_once);

        let mut coded = plain.clone();
        let mut encryptor = Encryptor::new(&key(), IV);
        in_pieces(&mut coded, &cuts, |piece| encryptor.apply(piece));
        prop_assert_eq!(&coded, &at_once);

        let mut decryptor = Decryptor::new(&key(), IV);
        in_pieces(&mut coded, &other_cuts, |piece| decryptor.apply(piece));
        prop_assert_eq!(coded, plain);
    }

    #[test]
    fn copying_makes_the_same_stream(
        plain in prop::collection::vec(any::<u8>(), 0..600),
        cuts in prop::collection::vec(1..70_usize, 1..8),
    ) {
        let mut coded = plain.clone();
        Encryptor::new(&key(), IV).apply(&mut coded);

        let mut encryptor = Encryptor::new(&key(), IV);
        let mut copy = plain.clone();
        in_pieces(&mut copy, &cuts, |piece| {
            let input = piece.to_vec();
            encryptor.apply_to(&input, piece);
        });
        prop_assert_eq!(&copy, &coded);

        let mut decryptor = Decryptor::new(&key(), IV);
        in_pieces(&mut copy, &cuts, |piece| {
            let input = piece.to_vec();
            decryptor.apply_to(&input, piece);
        });
        prop_assert_eq!(copy, plain);
    }
}

#[test]
fn nothing_is_nothing() {
    let mut encryptor = Encryptor::new(&key(), IV);
    encryptor.apply(&mut []);
    let mut byte = [0];
    encryptor.apply(&mut byte);
    encryptor.apply(&mut []);
    let mut whole = [0];
    Encryptor::new(&key(), IV).apply(&mut whole);
    assert_eq!(byte, whole);
}

#[test]
fn secrets_are_not_shown() {
    assert_eq!(format!("{:?}", key()), "CipherKey(***)");
    let shown = format!("{:?}", Encryptor::new(&key(), [0xab; IV_LEN]));
    assert_eq!(shown, "Encryptor(Feedback { done: 0, .. })");
}

#[test]
fn every_vector_is_new() {
    assert_ne!(cipher::random_iv(), cipher::random_iv());
}
