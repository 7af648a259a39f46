//! Protects TLS records with keys that rustls has agreed on (RFC 8446, section 5.2; RFC 5246, section 6.2.3.3).
//!
//! Records are protected and opened where they lie: a sender copies what it sends once, a receiver not at all. rustls
//! itself copies once more when it sends and twice more when it receives.

use aws_lc_rs::aead::{
    AES_128_GCM, AES_256_GCM, Aad, Algorithm, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce,
    UnboundKey,
};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use rustls::{ConnectionTrafficSecrets, Error, ProtocolVersion};

/// The most plaintext of one record, in bytes (RFC 8446, section 5.1).
pub(super) const MAX_PLAIN: usize = 1 << 14;

/// Content type, version, length.
pub(super) const HEADER_LEN: usize = 5;

/// The content types (RFC 8446, section 5.1).
pub(super) const ALERT: u8 = 21;
pub(super) const HANDSHAKE: u8 = 22;
pub(super) const APPLICATION_DATA: u8 = 23;

const TAG_LEN: usize = 16;
const EXPLICIT_NONCE_LEN: usize = 8;

/// What protection adds to the plaintext at most, in bytes: the header, the nonce of TLS 1.2 or the content type of
/// TLS 1.3, and the tag.
pub(super) const MAX_ADDED: usize = HEADER_LEN + EXPLICIT_NONCE_LEN + TAG_LEN;

/// The length of a full record of TLS 1.3, header included.
pub(super) const FULL_RECORD: usize = HEADER_LEN + MAX_PLAIN + 1 + TAG_LEN;

/// The version in the header of each protected record, in TLS 1.3 too (RFC 8446, section 5.2).
const VERSION: [u8; 2] = [3, 3];

/// The keys of one direction, and how many records they have protected.
pub(super) struct Protection {
    key: LessSafeKey,
    iv: [u8; NONCE_LEN],
    /// The number of the next record.
    sequence: u64,
    is_tls13: bool,
    /// Each record contains a part of its nonce (AES-GCM in TLS 1.2, RFC 5288).
    has_explicit_nonce: bool,
}

impl Protection {
    pub(super) fn new(
        version: ProtocolVersion,
        (sequence, secrets): (u64, ConnectionTrafficSecrets),
    ) -> Result<Self, Error> {
        let (algorithm, key, iv): (&'static Algorithm, _, _) = match &secrets {
            ConnectionTrafficSecrets::Aes128Gcm { key, iv } => (&AES_128_GCM, key, iv),
            ConnectionTrafficSecrets::Aes256Gcm { key, iv } => (&AES_256_GCM, key, iv),
            ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv } => (&CHACHA20_POLY1305, key, iv),
            _ => return Err(unusable()),
        };
        let is_tls13 = version == ProtocolVersion::TLSv1_3;
        let key = UnboundKey::new(algorithm, key.as_ref()).map_err(|_| unusable())?;
        Ok(Self {
            key: LessSafeKey::new(key),
            iv: iv.as_ref().try_into().map_err(|_| unusable())?,
            sequence,
            is_tls13,
            has_explicit_nonce: !is_tls13 && *algorithm != CHACHA20_POLY1305,
        })
    }

    /// How many records the keys have protected.
    pub(super) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends a record to `out` whose plaintext `fill` appends, up to [`MAX_PLAIN`] bytes.
    pub(super) fn seal(
        &mut self,
        content_type: u8,
        out: &mut BytesMut,
        fill: impl FnOnce(&mut BytesMut),
    ) -> Result<(), Error> {
        let start = out.len();
        let nonce = self.nonce();
        out.put_bytes(0, HEADER_LEN);
        if self.has_explicit_nonce {
            out.put_slice(&nonce[NONCE_LEN - EXPLICIT_NONCE_LEN..]);
        }
        let body = out.len();
        fill(out);
        let plain_len = out.len() - body;
        let mut outer_type = content_type;
        if self.is_tls13 {
            out.put_u8(content_type);
            outer_type = APPLICATION_DATA;
        }
        let record_len = out.len() - start - HEADER_LEN + TAG_LEN;
        let header = header(outer_type, record_len)?;
        out[start..][..HEADER_LEN].copy_from_slice(&header);
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (aad, aad_len) = self.aad(content_type, plain_len, header);
        let aad = Aad::from(&aad[..aad_len]);
        let tag = self
            .key
            .seal_in_place_separate_tag(nonce, aad, &mut out[body..])
            .map_err(|_| Error::EncryptError)?;
        out.put_slice(tag.as_ref());
        self.sequence += 1;
        Ok(())
    }

    /// Opens a whole record: its content type and its plaintext.
    pub(super) fn open(&mut self, mut record: BytesMut) -> Result<(u8, Bytes), Error> {
        let header: [u8; HEADER_LEN] = *record.first_chunk().ok_or(Error::DecryptError)?;
        let mut nonce = self.nonce();
        let mut body = HEADER_LEN;
        if self.has_explicit_nonce {
            body += EXPLICIT_NONCE_LEN;
            let explicit = record.get(HEADER_LEN..body).ok_or(Error::DecryptError)?;
            nonce[NONCE_LEN - EXPLICIT_NONCE_LEN..].copy_from_slice(explicit);
        }
        let sealed_len = record.len() - body;
        let plain_len = sealed_len.checked_sub(TAG_LEN).ok_or(Error::DecryptError)?;
        let nonce = Nonce::assume_unique_for_key(nonce);
        let (aad, aad_len) = self.aad(header[0], plain_len, header);
        let aad = Aad::from(&aad[..aad_len]);
        self.key
            .open_in_place(nonce, aad, &mut record[body..])
            .map_err(|_| Error::DecryptError)?;
        self.sequence += 1;
        record.advance(body);
        record.truncate(plain_len);
        let mut content_type = header[0];
        if self.is_tls13 {
            // The content type follows the plaintext, and zeros may follow it.
            let at = record.iter().rposition(|&byte| byte != 0);
            let at = at.ok_or(rustls::PeerMisbehaved::IllegalTlsInnerPlaintext)?;
            content_type = record[at];
            record.truncate(at);
        }
        if record.len() > MAX_PLAIN {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok((content_type, record.freeze()))
    }

    /// The most bytes that may follow the header of a record, as both RFCs bound it.
    pub(super) fn max_sealed(&self) -> usize {
        MAX_PLAIN + if self.is_tls13 { 256 } else { 2048 }
    }

    /// The nonce of the next record. In TLS 1.2 with an explicit nonce this is that of what we send: the IV contains a
    /// random start for it.
    fn nonce(&self) -> [u8; NONCE_LEN] {
        let mut nonce = self.iv;
        let sequence = self.sequence.to_be_bytes();
        for (byte, of_sequence) in nonce[NONCE_LEN - sequence.len()..].iter_mut().zip(sequence) {
            *byte ^= of_sequence;
        }
        nonce
    }

    /// What is authenticated beside the plaintext: the bytes, and how many of them count.
    fn aad(
        &self,
        content_type: u8,
        plain_len: usize,
        header: [u8; HEADER_LEN],
    ) -> ([u8; 13], usize) {
        let mut aad = [0; 13];
        if self.is_tls13 {
            aad[..HEADER_LEN].copy_from_slice(&header);
            return (aad, HEADER_LEN);
        }
        aad[..8].copy_from_slice(&self.sequence.to_be_bytes());
        aad[8] = content_type;
        aad[9..11].copy_from_slice(&header[1..3]);
        // A longer one was refused by its header.
        aad[11..].copy_from_slice(&(plain_len as u16).to_be_bytes());
        (aad, 13)
    }
}

fn header(content_type: u8, len: usize) -> Result<[u8; HEADER_LEN], Error> {
    let [high, low] = u16::try_from(len)
        .map_err(|_| Error::EncryptError)?
        .to_be_bytes();
    Ok([content_type, VERSION[0], VERSION[1], high, low])
}

fn unusable() -> Error {
    Error::General("the connection's keys cannot be used".to_owned())
}
