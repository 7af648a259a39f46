//! The cipher of frp's v1 control connections and of `useEncryption`: AES-128 in CFB mode, with a key made of a secret.
//!
//! There is no integrity and no end marker in this format. Both are TLS's business.

use std::fmt;
use std::num::NonZeroU32;
use std::ops::Deref;

use aws_lc_rs::{pbkdf2, rand};
pub use mgrok_cfb::{Decryptor, Encryptor, IV_LEN};
use mgrok_cfb::{KEY_LEN, Key};

use crate::auth::Secret;

/// frp: salt and number of rounds are fixed, or two ends would not derive the same key (golib `crypto/encode.go`).
const SALT: &[u8] = b"frp";
const ROUNDS: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// The key that a secret stands for. Deriving costs 64 rounds of PBKDF2, so a key is derived once and kept.
#[derive(Clone)]
pub struct CipherKey(Key);

impl CipherKey {
    /// Derives the key from a token or from a visitor's secret; the empty secret has a key as well.
    pub fn derive(secret: &Secret) -> Self {
        let mut key = [0; KEY_LEN];
        let password = secret.expose().as_bytes();
        pbkdf2::derive(pbkdf2::PBKDF2_HMAC_SHA1, ROUNDS, SALT, password, &mut key);
        Self(Key::new(key))
    }
}

impl Deref for CipherKey {
    type Target = Key;

    fn deref(&self) -> &Key {
        &self.0
    }
}

impl fmt::Debug for CipherKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CipherKey(***)")
    }
}

/// A new initialization vector, from the system's cryptographic random generator.
#[expect(
    clippy::expect_used,
    reason = "a system without randomness must not encrypt"
)]
pub fn random_iv() -> [u8; IV_LEN] {
    let mut iv = [0; IV_LEN];
    rand::fill(&mut iv).expect("the system's random generator works");
    iv
}
