//! The authenticated encryption of v2 control connections.
//!
//! A direction is a stream of bytes that is cut into records, wherever the sender likes; where it was cut means nothing. It opens
//! with a random nonce, in clear, right ahead of its first record. Each record is authenticated together with its place in the
//! stream, so that none can be changed, left out, repeated or moved without being noticed. That nothing was cut off at the end
//! cannot be seen.

mod stream;

use std::fmt;

use aws_lc_rs::{
    digest::{Context, Digest, SHA256},
    hkdf::{HKDF_SHA256, Salt},
    rand,
};
use bytes::{BufMut, BytesMut};

use self::stream::{KEY_LEN, Stream};
use crate::auth::Secret;

/// Bytes of the longest nonce that a direction opens with: XChaCha20's. AES-GCM's has 12.
pub const MAX_NONCE_LEN: usize = 24;

/// The most plaintext in one record.
pub const MAX_PLAIN_LEN: usize = 65_536;

/// The most that a record is longer than its plaintext: length and tag.
pub const OVERHEAD: usize = HEADER_LEN + TAG_LEN;

/// Bytes of the length that a record begins with.
const HEADER_LEN: usize = size_of::<u32>();

/// Bytes of the tag that a record ends with.
const TAG_LEN: usize = 16;

/// The most that the length of a record can be.
const MAX_CODED_LEN: usize = MAX_PLAIN_LEN + TAG_LEN;

/// A way to encrypt records.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum Algorithm {
    /// AES-GCM with a key of 256 bits; the faster one where the processor helps.
    Aes256Gcm,
    /// ChaCha20-Poly1305 with a nonce of 24 bytes; fast everywhere.
    XChaCha20Poly1305,
}

impl Algorithm {
    /// All of them, the one that this processor is faster with first.
    pub fn by_speed() -> [Self; 2] {
        #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
        let helps = std::arch::is_x86_feature_detected!("aes")
            && std::arch::is_x86_feature_detected!("pclmulqdq");
        #[cfg(target_arch = "aarch64")]
        let helps = std::arch::is_aarch64_feature_detected!("aes")
            && std::arch::is_aarch64_feature_detected!("pmull");
        #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
        let helps = false;
        if helps {
            [Self::Aes256Gcm, Self::XChaCha20Poly1305]
        } else {
            [Self::XChaCha20Poly1305, Self::Aes256Gcm]
        }
    }

    /// What hellos call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aes256Gcm => "aes-256-gcm",
            Self::XChaCha20Poly1305 => "xchacha20-poly1305",
        }
    }

    /// The algorithm that hellos call `name`; case matters.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Aes256Gcm, Self::XChaCha20Poly1305]
            .into_iter()
            .find(|algorithm| algorithm.name() == name)
    }

    fn nonce_len(self) -> usize {
        match self {
            Self::Aes256Gcm => 12,
            Self::XChaCha20Poly1305 => MAX_NONCE_LEN,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The key of one direction of one connection. Not for a second stream: the nonces might repeat.
#[derive(Clone, Eq, PartialEq)]
pub struct RecordKey {
    algorithm: Algorithm,
    key: [u8; KEY_LEN],
}

impl RecordKey {
    /// The key itself.
    pub fn expose(&self) -> &[u8] {
        &self.key
    }
}

impl fmt::Debug for RecordKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RecordKey({}, ***)", self.algorithm)
    }
}

/// The keys of both directions of one connection.
#[derive(Clone, Debug)]
pub struct RecordKeys {
    /// Of what the client sends.
    pub client_to_server: RecordKey,
    /// Of what the server sends.
    pub server_to_client: RecordKey,
}

impl RecordKeys {
    /// Derives the keys from the token and from what the two ends said: the payloads of their hellos, byte for byte as they were
    /// sent. Without a token, whoever saw the hellos knows the keys.
    pub fn derive(
        algorithm: Algorithm,
        token: &Secret,
        client_hello: &[u8],
        server_hello: &[u8],
    ) -> Self {
        let transcript = transcript(client_hello, server_hello);
        let secret = Salt::new(HKDF_SHA256, transcript.as_ref()).extract(token.expose().as_bytes());
        #[expect(
            clippy::expect_used,
            reason = "only lengths can be wrong, and they are fixed"
        )]
        let key = |direction: &str| {
            let info = [
                b"frp wire v2 control aead ",
                algorithm.name().as_bytes(),
                b" ",
                direction.as_bytes(),
            ];
            let mut key = [0; KEY_LEN];
            // A key of the hash has the 32 bytes that both algorithms want.
            secret
                .expand(&info, HKDF_SHA256)
                .and_then(|okm| okm.fill(&mut key))
                .expect("the hash yields a key at once");
            RecordKey { algorithm, key }
        };
        Self {
            client_to_server: key("client-to-server"),
            server_to_client: key("server-to-client"),
        }
    }
}

/// What was said in clear, boiled down. If somebody changed it on the way, the two ends get different keys.
fn transcript(client_hello: &[u8], server_hello: &[u8]) -> Digest {
    let mut transcript = Context::new(&SHA256);
    transcript.update(b"frp wire v2 crypto transcript");
    for (label, payload) in [
        (b"\0client hello\0", client_hello),
        (b"\0server hello\0", server_hello),
    ] {
        transcript.update(label);
        transcript.update(&(payload.len() as u64).to_be_bytes());
        transcript.update(payload);
    }
    transcript.finish()
}

/// A new nonce for a direction, from the system's cryptographic random generator. Algorithms with a shorter nonce use its beginning.
#[expect(
    clippy::expect_used,
    reason = "a system without randomness must not encrypt"
)]
pub fn random_nonce() -> [u8; MAX_NONCE_LEN] {
    let mut nonce = [0; MAX_NONCE_LEN];
    rand::fill(&mut nonce).expect("the system's random generator works");
    nonce
}

/// Why no more can be sealed.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum SealError {
    /// One record more, and the algorithm would not be safe any more: AES-GCM after 2^32 of them. There is no way to change the key
    /// but a new connection.
    #[error("the key of this direction is used up after {records} records")]
    UsedUp {
        /// How many records were sealed.
        records: u64,
    },
}

/// Why what arrived cannot be opened. The stream is of no more use then.
#[derive(Debug, Eq, PartialEq, thiserror::Error)]
pub enum OpenError {
    /// Changed on the way, out of order, or sealed with another key: after another token, or other hellos.
    #[error(
        "record {record} is not authentic: it was changed on the way, or the two ends have different tokens"
    )]
    Forged {
        /// Its place in the stream, from 0.
        record: u64,
    },
    /// No record is that long, or that short.
    #[error("record {record} has a length of {length}, not within {TAG_LEN}..={MAX_CODED_LEN}")]
    Length {
        /// Bytes of ciphertext and tag, as the sender says.
        length: u32,
        /// Its place in the stream, from 0.
        record: u64,
    },
    /// The sender went on with a key that is used up.
    #[error("the key of this direction was used up after {records} records")]
    UsedUp {
        /// How many records were opened.
        records: u64,
    },
}

/// Seals one direction of a connection.
pub struct Sealer {
    stream: Stream,
    started: bool,
}

impl Sealer {
    /// Starts a direction; `nonce` must be new for each. Nothing is sent until there is something to seal.
    pub fn new(key: &RecordKey, nonce: [u8; MAX_NONCE_LEN]) -> Self {
        let nonce_len = key.algorithm.nonce_len();
        Self {
            stream: Stream::new(key.algorithm, &key.key, &nonce[..nonce_len]),
            started: false,
        }
    }

    /// Appends `plain` to `out` as one record, or as many as it takes. The first has the nonce in front. Nothing is no record.
    ///
    /// # Errors
    /// If the key is used up; `out` is then as it was.
    pub fn seal(&mut self, plain: &[u8], out: &mut BytesMut) -> Result<(), SealError> {
        let start = out.len();
        out.reserve(Self::sealed_len(plain.len()));
        for piece in plain.chunks(MAX_PLAIN_LEN) {
            if !self.started {
                out.put_slice(self.stream.first_nonce());
                self.started = true;
            }
            let header = ((piece.len() + TAG_LEN) as u32).to_be_bytes();
            out.put_slice(&header);
            let sealed = out.len();
            out.put_bytes(0, piece.len() + TAG_LEN);
            let (coded, tag) = out[sealed..].split_at_mut(piece.len());
            if let Err(error) = self.stream.seal(header, piece, coded, tag) {
                out.truncate(start);
                return Err(error);
            }
        }
        Ok(())
    }

    /// The most bytes that `plain_len` bytes become.
    pub const fn sealed_len(plain_len: usize) -> usize {
        MAX_NONCE_LEN + plain_len + plain_len.div_ceil(MAX_PLAIN_LEN) * OVERHEAD
    }
}

/// Leaves the key out.
impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sealer")
            .field("records", &self.stream.records())
            .finish_non_exhaustive()
    }
}

/// Opens one direction of a connection, wherever it is cut.
pub struct Opener {
    key: RecordKey,
    /// `None` until the nonce has arrived.
    stream: Option<Stream>,
    /// The length of the record whose rest comes next.
    header: Option<[u8; HEADER_LEN]>,
    /// The beginning of what comes next, if it does not arrive in one piece.
    partial: BytesMut,
}

impl Opener {
    /// Starts a direction; its nonce is the first that arrives.
    pub fn new(key: &RecordKey) -> Self {
        Self {
            key: key.clone(),
            stream: None,
            header: None,
            partial: BytesMut::new(),
        }
    }

    /// Takes bytes from the front of `input` up to the end of the next record that is not empty, and appends its plaintext to
    /// `plain`. `false`: all was taken, and no such record is complete yet.
    ///
    /// Never keeps more than one record, and nothing while it is between two.
    ///
    /// # Errors
    /// If the record is not as the sender sealed it; `plain` is then as it was.
    pub fn open(&mut self, input: &mut &[u8], plain: &mut BytesMut) -> Result<bool, OpenError> {
        loop {
            let needed = self.needed();
            let missing = needed - self.partial.len();
            if input.len() < missing {
                self.partial.extend_from_slice(input);
                *input = &[];
                return Ok(false);
            }
            let (arrived, rest) = input.split_at(missing);
            *input = rest;
            let opened = if self.partial.is_empty() {
                self.take(arrived, plain)?
            } else {
                let mut whole = std::mem::take(&mut self.partial);
                whole.extend_from_slice(arrived);
                self.take(&whole, plain)?
            };
            if opened {
                return Ok(true);
            }
        }
    }

    /// Whether the stream may end here. That does not mean that it was to.
    pub fn may_end(&self) -> bool {
        self.partial.is_empty() && self.header.is_none()
    }

    /// Bytes of what comes next; never none.
    fn needed(&self) -> usize {
        match (&self.stream, self.header) {
            (None, _) => self.key.algorithm.nonce_len(),
            (Some(_), None) => HEADER_LEN,
            (Some(_), Some(header)) => u32::from_be_bytes(header) as usize,
        }
    }

    /// Takes what came next, of which there are [`Self::needed`] bytes. `true` if that was plaintext.
    fn take(&mut self, arrived: &[u8], plain: &mut BytesMut) -> Result<bool, OpenError> {
        let Some(stream) = &mut self.stream else {
            self.stream = Some(Stream::new(self.key.algorithm, &self.key.key, arrived));
            return Ok(false);
        };
        let Some(header) = self.header.take() else {
            self.header = Some(checked(arrived, stream.records())?);
            return Ok(false);
        };
        let start = plain.len();
        let (coded, tag) = arrived.split_at(arrived.len() - TAG_LEN);
        plain.put_bytes(0, coded.len());
        let opened = stream.open(header, coded, tag, &mut plain[start..]);
        if opened.is_err() {
            plain.truncate(start);
        }
        opened.map(|()| !coded.is_empty())
    }
}

/// Leaves the key out.
impl fmt::Debug for Opener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opener")
            .field("records", &self.stream.as_ref().map(Stream::records))
            .finish_non_exhaustive()
    }
}

/// The header of a record, if a record can have that length.
fn checked(header: &[u8], record: u64) -> Result<[u8; HEADER_LEN], OpenError> {
    let mut bytes = [0; HEADER_LEN];
    bytes.copy_from_slice(header);
    let length = u32::from_be_bytes(bytes);
    match length as usize {
        TAG_LEN..=MAX_CODED_LEN => Ok(bytes),
        _ => Err(OpenError::Length { length, record }),
    }
}
