//! One direction of records: which nonce comes next, and what is done with it.

use aws_lc_rs::aead::{
    AES_256_GCM, Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey,
};
use chacha20::{R20, hchacha};

use super::{Algorithm, HEADER_LEN, MAX_NONCE_LEN, OpenError, SealError};

/// Bytes of a key, for both algorithms.
pub(super) const KEY_LEN: usize = 32;

/// The most records under one key of AES-GCM.
// frp: the same (golib crypto/aead_stream.go).
const MAX_GCM_RECORDS: u64 = 1 << 32;

/// Bytes of an XChaCha20 nonce that go into the key; the rest goes into the nonce of ChaCha20.
const PREFIX_LEN: usize = 16;

/// The state of one direction.
pub(super) struct Stream {
    cipher: Cipher,
    nonce_len: usize,
    /// The nonce that the direction opened with.
    first: [u8; MAX_NONCE_LEN],
    /// The nonce of the next record.
    next: [u8; MAX_NONCE_LEN],
    records: u64,
    max_records: u64,
}

impl Stream {
    /// `nonce` is as long as the algorithm wants.
    pub(super) fn new(algorithm: Algorithm, key: &[u8; KEY_LEN], nonce: &[u8]) -> Self {
        let mut first = [0; MAX_NONCE_LEN];
        first[..nonce.len()].copy_from_slice(nonce);
        Self {
            cipher: Cipher::new(algorithm, key, &first),
            nonce_len: nonce.len(),
            first,
            next: first,
            records: 0,
            max_records: match algorithm {
                Algorithm::Aes256Gcm => MAX_GCM_RECORDS,
                Algorithm::XChaCha20Poly1305 => u64::MAX,
            },
        }
    }

    /// Seals the next record: `plain` to `coded`, which is as long, and to `tag`. `header` is the record's.
    pub(super) fn seal(
        &mut self,
        header: [u8; HEADER_LEN],
        plain: &[u8],
        coded: &mut [u8],
        tag: &mut [u8],
    ) -> Result<(), SealError> {
        let records = self.records;
        let aad = self.aad(header);
        // The library fails for wrong lengths only.
        self.next()
            .and_then(|(key, nonce)| {
                key.seal_out_of_place_scatter(nonce, aad, plain, coded, &[], tag)
                    .ok()
            })
            .ok_or(SealError::UsedUp { records })
    }

    /// Opens the next record: `coded` to `plain`, which is as long. What `plain` is after an error must not be used.
    pub(super) fn open(
        &mut self,
        header: [u8; HEADER_LEN],
        coded: &[u8],
        tag: &[u8],
        plain: &mut [u8],
    ) -> Result<(), OpenError> {
        let record = self.records;
        let aad = self.aad(header);
        let (key, nonce) = self.next().ok_or(OpenError::UsedUp { records: record })?;
        key.open_separate_gather(nonce, aad, coded, tag, plain)
            .map_err(|_| OpenError::Forged { record })
    }

    pub(super) fn first_nonce(&self) -> &[u8] {
        &self.first[..self.nonce_len]
    }

    /// How many records there were.
    pub(super) fn records(&self) -> u64 {
        self.records
    }

    /// What is authenticated beside the plaintext of a record: first nonce and header.
    fn aad(&self, header: [u8; HEADER_LEN]) -> Aad<impl AsRef<[u8]> + use<>> {
        let mut aad = AdditionalData {
            bytes: [0; MAX_NONCE_LEN + HEADER_LEN],
            len: self.nonce_len + HEADER_LEN,
        };
        aad.bytes[..self.nonce_len].copy_from_slice(self.first_nonce());
        aad.bytes[self.nonce_len..aad.len].copy_from_slice(&header);
        Aad::from(aad)
    }

    /// Key and nonce of the next record, which is then the one before. `None` if the key is used up.
    fn next(&mut self) -> Option<(&LessSafeKey, Nonce)> {
        if self.records >= self.max_records {
            return None;
        }
        let nonce = self.next;
        self.records += 1;
        if !increment(&mut self.next[..self.nonce_len]) {
            self.max_records = self.records;
        }
        Some(self.cipher.at(&nonce))
    }
}

struct AdditionalData {
    bytes: [u8; MAX_NONCE_LEN + HEADER_LEN],
    len: usize,
}

impl AsRef<[u8]> for AdditionalData {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// Counts `number` up, big-endian. `false` if it became zero.
fn increment(number: &mut [u8]) -> bool {
    number.iter_mut().rev().any(|byte| {
        *byte = byte.wrapping_add(1);
        *byte != 0
    })
}

enum Cipher {
    Aes256Gcm(LessSafeKey),
    /// ChaCha20-Poly1305 under a key that depends on the beginning of the nonce, so that it is the same for most of a stream.
    XChaCha20Poly1305 {
        key: [u8; KEY_LEN],
        prefix: [u8; PREFIX_LEN],
        subkey: LessSafeKey,
    },
}

impl Cipher {
    fn new(algorithm: Algorithm, key: &[u8; KEY_LEN], nonce: &[u8; MAX_NONCE_LEN]) -> Self {
        match algorithm {
            Algorithm::Aes256Gcm => Self::Aes256Gcm(bind(&AES_256_GCM, key)),
            Algorithm::XChaCha20Poly1305 => {
                let (prefix, _) = split(nonce);
                Self::XChaCha20Poly1305 {
                    key: *key,
                    prefix,
                    subkey: subkey(key, prefix),
                }
            }
        }
    }

    /// What the library wants for the record with this nonce.
    fn at(&mut self, nonce: &[u8; MAX_NONCE_LEN]) -> (&LessSafeKey, Nonce) {
        match self {
            Self::Aes256Gcm(key) => {
                let mut short = [0; NONCE_LEN];
                short.copy_from_slice(&nonce[..NONCE_LEN]);
                (key, Nonce::assume_unique_for_key(short))
            }
            Self::XChaCha20Poly1305 {
                key,
                prefix,
                subkey: current,
            } => {
                let (new_prefix, rest) = split(nonce);
                if *prefix != new_prefix {
                    *prefix = new_prefix;
                    *current = subkey(key, new_prefix);
                }
                (current, Nonce::assume_unique_for_key(rest))
            }
        }
    }
}

/// An XChaCha20 nonce as what goes into the key, and the nonce of ChaCha20, which has four bytes more than what is left.
fn split(nonce: &[u8; MAX_NONCE_LEN]) -> ([u8; PREFIX_LEN], [u8; NONCE_LEN]) {
    let (mut prefix, mut rest) = ([0; PREFIX_LEN], [0; NONCE_LEN]);
    prefix.copy_from_slice(&nonce[..PREFIX_LEN]);
    rest[NONCE_LEN - (MAX_NONCE_LEN - PREFIX_LEN)..].copy_from_slice(&nonce[PREFIX_LEN..]);
    (prefix, rest)
}

fn subkey(key: &[u8; KEY_LEN], prefix: [u8; PREFIX_LEN]) -> LessSafeKey {
    bind(
        &CHACHA20_POLY1305,
        &hchacha::<R20>(&(*key).into(), &prefix.into()).into(),
    )
}

#[expect(
    clippy::expect_used,
    reason = "both algorithms have keys of this length"
)]
fn bind(algorithm: &'static aws_lc_rs::aead::Algorithm, key: &[u8; KEY_LEN]) -> LessSafeKey {
    LessSafeKey::new(UnboundKey::new(algorithm, key).expect("the key has the right length"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; KEY_LEN] = [7; KEY_LEN];
    const HEADER: [u8; HEADER_LEN] = [0, 0, 0, 16];

    fn seal(stream: &mut Stream) -> Result<(), SealError> {
        stream.seal(HEADER, &[], &mut [], &mut [0; 16])
    }

    #[test]
    fn gcm_ends_after_so_many_records() {
        let mut stream = Stream::new(Algorithm::Aes256Gcm, &KEY, &[0; 12]);
        stream.records = MAX_GCM_RECORDS - 1;
        assert_eq!(seal(&mut stream), Ok(()));
        let records = 1 << 32;
        assert_eq!(seal(&mut stream), Err(SealError::UsedUp { records }));
        assert_eq!(
            stream.open(HEADER, &[], &[0; 16], &mut []),
            Err(OpenError::UsedUp { records })
        );
    }

    #[test]
    fn a_nonce_never_starts_over() {
        for (algorithm, nonce_len) in [
            (Algorithm::Aes256Gcm, 12),
            (Algorithm::XChaCha20Poly1305, 24),
        ] {
            let mut nonce = [0xff; MAX_NONCE_LEN];
            nonce[nonce_len - 1] = 0xfe;
            let mut stream = Stream::new(algorithm, &KEY, &nonce[..nonce_len]);
            assert_eq!(seal(&mut stream), Ok(()));
            assert_eq!(seal(&mut stream), Ok(()));
            assert_eq!(seal(&mut stream), Err(SealError::UsedUp { records: 2 }));
        }
    }

    #[test]
    fn nonces_count_as_one_number() {
        let mut number = [1, 0xff, 0xff];
        assert!(increment(&mut number));
        assert_eq!(number, [2, 0, 0]);
    }

    /// draft-irtf-cfrg-xchacha-03, section 2.2.1.
    #[test]
    fn the_key_of_chacha20_is_as_in_the_draft() {
        let key: [u8; KEY_LEN] = std::array::from_fn(|at| at as u8);
        let prefix = [
            0, 0, 0, 9, 0, 0, 0, 0x4a, 0, 0, 0, 0, 0x31, 0x41, 0x59, 0x27,
        ];
        let subkey: [u8; KEY_LEN] = hchacha::<R20>(&key.into(), &prefix.into()).into();
        assert_eq!(
            subkey,
            [
                0x82, 0x41, 0x3b, 0x42, 0x27, 0xb2, 0x7b, 0xfe, 0xd3, 0x0e, 0x42, 0x50, 0x8a, 0x87,
                0x7d, 0x73, 0xa0, 0xf9, 0xe4, 0xd5, 0x8a, 0x74, 0xa8, 0x53, 0xc1, 0x2e, 0xc4, 0x13,
                0x26, 0xd3, 0xec, 0xdc,
            ]
        );
    }
}
