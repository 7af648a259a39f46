//! One side of frp's protocol v1, read off its description and sharing no code with mgrok.
//!
//! The scripted peers of the tests frame and encrypt with mgrok's own crates, in which a mistake on both sides would look right. A session
//! with this peer shows that it does not.

#![allow(
    clippy::unwrap_used,
    reason = "for tests, in which a panic is how to fail"
)]

use std::fmt::Write as _;

use aes::Aes128;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use md5::{Digest, Md5};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// The token that all of this is about.
pub const TOKEN: &str = "secret";

/// PBKDF2 of [`TOKEN`] with HMAC-SHA1, the salt `frp` and 64 rounds.
const KEY: [u8; 16] = [
    0x8a, 0x69, 0x21, 0x5e, 0x54, 0xac, 0xa5, 0x0e, 0x54, 0xf7, 0x38, 0xde, 0x61, 0x1a, 0x87, 0xf9,
];

/// What this side's encrypted stream begins with.
const IV: [u8; 16] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15];

/// The signature that goes with a timestamp.
pub fn privilege_key(timestamp: i64) -> String {
    let digest = Md5::digest(format!("{TOKEN}{timestamp}"));
    digest.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

/// A connection that carries messages, in the clear or encrypted. Its methods panic where the other side says something else than the
/// protocol has it.
#[derive(Debug)]
pub struct Peer {
    stream: TcpStream,
    cipher: Option<Cipher>,
}

#[derive(Debug)]
struct Cipher {
    sending: Cfb,
    has_sent: bool,
    /// There once the other side's vector has come.
    receiving: Option<Cfb>,
}

impl Peer {
    /// A connection on which nothing is encrypted yet.
    pub fn new(stream: TcpStream) -> Self {
        Self {
            stream,
            cipher: None,
        }
    }

    /// Everything that follows is encrypted, in both directions.
    pub fn encrypt(&mut self) {
        self.cipher = Some(Cipher {
            sending: Cfb::new(IV),
            has_sent: false,
            receiving: None,
        });
    }

    /// Sends a message: the byte that names its kind, the length of the JSON as eight bytes, the JSON.
    pub async fn send(&mut self, kind: u8, json: &str) {
        let mut frame = vec![kind];
        frame.extend(u64::try_from(json.len()).unwrap().to_be_bytes());
        frame.extend(json.as_bytes());
        if let Some(cipher) = &mut self.cipher {
            cipher.sending.encrypt(&mut frame);
            if !cipher.has_sent {
                cipher.has_sent = true;
                frame.splice(0..0, IV);
            }
        }
        self.stream.write_all(&frame).await.unwrap();
    }

    /// The kind and the JSON of the next message.
    pub async fn recv(&mut self) -> (u8, Value) {
        if let Some(cipher) = &mut self.cipher
            && cipher.receiving.is_none()
        {
            let mut iv = [0; 16];
            self.stream.read_exact(&mut iv).await.unwrap();
            cipher.receiving = Some(Cfb::new(iv));
        }
        let head = self.read(9).await;
        let len = u64::from_be_bytes(head[1..].try_into().unwrap());
        let json = self.read(usize::try_from(len).unwrap()).await;
        (head[0], serde_json::from_slice(&json).unwrap())
    }

    /// What is left of the connection when no more messages follow.
    pub fn into_stream(self) -> TcpStream {
        self.stream
    }

    async fn read(&mut self, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        self.stream.read_exact(&mut bytes).await.unwrap();
        if let Some(Cipher {
            receiving: Some(receiving),
            ..
        }) = &mut self.cipher
        {
            receiving.decrypt(&mut bytes);
        }
        bytes
    }
}

/// AES-128 in cipher feedback mode, a byte at a time.
#[derive(Debug)]
struct Cfb {
    aes: Aes128,
    /// The last sixteen bytes of ciphertext.
    register: [u8; 16],
    /// What the register encrypts to.
    pad: [u8; 16],
    used: usize,
}

impl Cfb {
    fn new(iv: [u8; 16]) -> Self {
        Self {
            aes: Aes128::new(&KEY.into()),
            register: iv,
            pad: [0; 16],
            used: 16,
        }
    }

    fn encrypt(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte ^= self.next_pad();
            self.feed(*byte);
        }
    }

    fn decrypt(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            let ciphertext = *byte;
            *byte ^= self.next_pad();
            self.feed(ciphertext);
        }
    }

    fn next_pad(&mut self) -> u8 {
        if self.used == 16 {
            let mut block = self.register.into();
            self.aes.encrypt_block(&mut block);
            self.pad = block.into();
            self.used = 0;
        }
        self.pad[self.used]
    }

    fn feed(&mut self, ciphertext: u8) {
        self.register[self.used] = ciphertext;
        self.used += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ping of frp, encrypted by another implementation.
    #[test]
    fn the_cipher_is_that_of_frp() {
        let mut bytes = *b"h\0\0\0\0\0\0\0\x02{}";
        Cfb::new(IV).encrypt(&mut bytes);
        assert_eq!(
            bytes,
            [
                0xdc, 0x0f, 0x8d, 0xf8, 0x13, 0xe9, 0x9d, 0xdb, 0xfa, 0x42, 0xac
            ]
        );
        Cfb::new(IV).decrypt(&mut bytes);
        assert_eq!(&bytes, b"h\0\0\0\0\0\0\0\x02{}");
    }

    #[test]
    fn the_signature_is_that_of_frp() {
        assert_eq!(
            privilege_key(1_700_000_000),
            "e37729af62f40f134311cffbc230178e"
        );
    }
}
