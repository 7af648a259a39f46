//! The cipher layer: AES-CFB in both directions, each with its own initialisation vector.
//!
//! A direction begins with its vector, unencrypted, directly ahead of the first encrypted byte and in the same write; a
//! direction that never sends payload sends no vector either.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use mgrok_mux::slab::with_local;
use mgrok_proto::cipher::{CipherKey, Decryptor, Encryptor, IV_LEN, random_iv};

use super::coded::Codec;

/// The most bytes that are encrypted at once: few enough to be still in the cache when they are sent.
const MAX_PIECE: usize = 64 * 1024;

/// Encrypts what is sent and decrypts what arrives.
pub(super) struct Cipher {
    sealing: Sealing,
    opening: Opening,
}

/// Keeps the key only until the direction starts.
enum Sealing {
    Unstarted(CipherKey),
    Started(Encryptor),
}

enum Opening {
    /// The first `have` bytes of the vector have arrived.
    Unstarted {
        key: CipherKey,
        iv: [u8; IV_LEN],
        have: usize,
    },
    Started(Decryptor),
}

impl Cipher {
    pub(super) fn new(key: &CipherKey) -> Self {
        Self {
            sealing: Sealing::Unstarted(key.clone()),
            opening: Opening::Unstarted {
                key: key.clone(),
                iv: [0; IV_LEN],
                have: 0,
            },
        }
    }

    /// Encrypts `plain` into `out`. Calls `new_iv` once, before the first bytes.
    fn seal(&mut self, plain: &[u8], out: &mut BytesMut, new_iv: impl FnOnce() -> [u8; IV_LEN]) {
        if let Sealing::Unstarted(key) = &self.sealing {
            let iv = new_iv();
            out.put_slice(&iv);
            self.sealing = Sealing::Started(Encryptor::new(key, iv));
        }
        if let Sealing::Started(encryptor) = &mut self.sealing {
            let start = out.len();
            out.put_bytes(0, plain.len());
            encryptor.apply_to(plain, &mut out[start..]);
        }
    }
}

impl Codec for Cipher {
    fn encode(&mut self, plain: &mut Bytes) -> io::Result<Bytes> {
        let piece = plain.split_to(plain.len().min(MAX_PIECE));
        with_local(|slabs| {
            slabs.read_with(IV_LEN + piece.len(), |out| {
                self.seal(&piece, out, random_iv);
                Ok(out.split().freeze())
            })
        })
    }

    fn decode(&mut self, coded: &mut Bytes) -> io::Result<Option<Bytes>> {
        if let Opening::Unstarted { key, iv, have } = &mut self.opening {
            let taken = coded.len().min(IV_LEN - *have);
            coded.copy_to_slice(&mut iv[*have..][..taken]);
            *have += taken;
            if *have == IV_LEN {
                self.opening = Opening::Started(Decryptor::new(key, *iv));
            }
        }
        let Opening::Started(decryptor) = &mut self.opening else {
            return Ok(None);
        };
        let piece = coded.split_to(coded.len().min(MAX_PIECE));
        if piece.is_empty() {
            return Ok(None);
        }
        // Decrypts in place if nothing else shares the memory.
        let plain = match piece.try_into_mut() {
            Ok(mut owned) => {
                decryptor.apply(&mut owned);
                owned.freeze()
            }
            Err(shared) => with_local(|slabs| {
                slabs.read_with(shared.len(), |out| {
                    out.put_bytes(0, shared.len());
                    decryptor.apply_to(&shared, out);
                    out.split().freeze()
                })
            }),
        };
        Ok(Some(plain))
    }

    fn may_end(&self) -> bool {
        match &self.opening {
            Opening::Unstarted { have, .. } => *have == 0,
            Opening::Started(_) => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use mgrok_proto::auth::Secret;

    use super::*;

    /// PROTOCOL.md 5.2: a Ping under the token `secret` with the vector 00..0f.
    const PING: &[u8] = b"h\0\0\0\0\0\0\0\x02{}";
    const SEALED_PING: [u8; 27] = [
        0x00, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
        0x0f, 0xdc, 0x0f, 0x8d, 0xf8, 0x13, 0xe9, 0x9d, 0xdb, 0xfa, 0x42, 0xac,
    ];

    fn cipher() -> Cipher {
        Cipher::new(&CipherKey::derive(&Secret::new("secret")))
    }

    #[test]
    fn a_direction_opens_with_its_vector() {
        let iv = std::array::from_fn(|at| u8::try_from(at).unwrap());
        for cut in 0..=PING.len() {
            let mut cipher = cipher();
            let mut out = BytesMut::new();
            cipher.seal(&PING[..cut], &mut out, || iv);
            cipher.seal(&PING[cut..], &mut out, || panic!("the vector is sent once"));
            assert_eq!(out[..], SEALED_PING, "cut at {cut}");
        }
    }

    #[test]
    fn a_direction_is_read_however_it_is_cut() {
        for cut in 0..SEALED_PING.len() {
            let mut cipher = cipher();
            let mut plain = Vec::new();
            for mut part in [&SEALED_PING[..cut], &SEALED_PING[cut..]].map(Bytes::copy_from_slice) {
                while !part.is_empty() {
                    plain.extend(cipher.decode(&mut part).unwrap().unwrap_or_default());
                }
            }
            assert_eq!(plain, PING, "cut at {cut}");
        }
    }

    #[test]
    fn shared_bytes_are_not_written_to() {
        let mut cipher = cipher();
        let sealed = Bytes::copy_from_slice(&SEALED_PING);
        let plain = cipher.decode(&mut sealed.clone()).unwrap().unwrap();
        assert_eq!(plain, PING);
        assert_eq!(sealed[..], SEALED_PING);
    }

    #[test]
    fn an_end_inside_the_vector_is_noticed() {
        let mut cipher = cipher();
        assert!(cipher.may_end());
        cipher
            .decode(&mut Bytes::copy_from_slice(&SEALED_PING[..15]))
            .unwrap();
        assert!(!cipher.may_end());
        cipher
            .decode(&mut Bytes::copy_from_slice(&SEALED_PING[15..]))
            .unwrap();
        assert!(cipher.may_end());
    }
}
