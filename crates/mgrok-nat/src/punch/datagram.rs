//! The datagrams that cross: an initialization vector, and encrypted behind it a v1 frame with a [`NatHoleSid`]. Always v1,
//! whatever the control connections speak.

use bytes::BytesMut;
use mgrok_proto::cipher::{CipherKey, Decryptor, Encryptor, IV_LEN};
use mgrok_proto::message::{Message, NatHoleSid};
use mgrok_proto::{DecodeError, EncodeError, WireVersion};

/// Why a datagram says nothing.
#[derive(Debug, thiserror::Error)]
pub enum DatagramError {
    /// What the key makes of it is no frame: it is the wrong key, or the datagram a stranger's.
    #[error("not encrypted with this secret")]
    Frame(#[source] DecodeError),
    /// The frame is whole, but it holds another message.
    #[error("holds no NatHoleSid")]
    OtherMessage,
    /// It ends too soon.
    #[error("too short")]
    TooShort,
}

/// The datagram for `message`. `iv` must be new for each.
///
/// # Errors
/// If the message is longer than a reader accepts.
pub fn encode(
    message: &NatHoleSid,
    key: &CipherKey,
    iv: [u8; IV_LEN],
) -> Result<BytesMut, EncodeError> {
    let mut datagram = BytesMut::from(&iv[..]);
    WireVersion::V1.encode(&message.clone().into(), &mut datagram)?;
    Encryptor::new(key, iv).apply(&mut datagram[IV_LEN..]);
    Ok(datagram)
}

/// Reads a datagram, decrypting it where it is.
///
/// # Errors
/// If it is not of someone who has this key, or is not whole.
pub fn decode(datagram: &mut [u8], key: &CipherKey) -> Result<NatHoleSid, DatagramError> {
    let Some((iv, frame)) = datagram.split_first_chunk_mut::<IV_LEN>() else {
        return Err(DatagramError::TooShort);
    };
    Decryptor::new(key, *iv).apply(frame);
    match WireVersion::V1.decode(frame) {
        Ok(Some((Message::NatHoleSid(message), _))) => Ok(message),
        Ok(Some(_)) => Err(DatagramError::OtherMessage),
        Ok(None) => Err(DatagramError::TooShort),
        Err(error) => Err(DatagramError::Frame(error)),
    }
}

#[cfg(test)]
mod tests {
    use mgrok_proto::auth::Secret;
    use mgrok_proto::message::Ping;
    use proptest::prelude::*;

    use super::*;

    /// Bytes that frp's own packages have read, of the secret `abc`.
    const GOLDEN: &str = "000102030405060708090a0b0c0d0e0f9b740161fd1427c7a9b95af6e5f141e2848ed265ed36c3d2d95d2de2dc\
        c92c720d3d3012877a53d31975cca16c4b417ee88e0b5a037923bbe99a9c5bed9a1f5507d27b3734448f174f9076f630fc23883bd1532e19\
        96daef17a3bb5fd0b6a1bf6bbef5b3bd93c51bb5";

    fn key(secret: &str) -> CipherKey {
        CipherKey::derive(&Secret::new(secret))
    }

    fn golden() -> (NatHoleSid, Vec<u8>) {
        let message = NatHoleSid {
            transaction_id: "17000000000123456789abcdef".into(),
            sid: "1700000000fedcba9876543210".into(),
            nonce: "000".into(),
            ..NatHoleSid::default()
        };
        let digit = |index| u8::from_str_radix(&GOLDEN[index..index + 2], 16).unwrap();
        (message, (0..GOLDEN.len()).step_by(2).map(digit).collect())
    }

    #[test]
    fn a_datagram_is_as_frp_reads_and_writes_it() {
        let (message, mut datagram) = golden();
        let iv = std::array::from_fn(|index| index as u8);
        assert_eq!(encode(&message, &key("abc"), iv).unwrap(), datagram);
        assert_eq!(decode(&mut datagram, &key("abc")).unwrap(), message);
    }

    #[test]
    fn what_is_not_whole_or_not_ours_is_an_error() {
        let (_, mut datagram) = golden();
        for len in 0..datagram.len() {
            let error = decode(&mut datagram[..len].to_vec(), &key("abc")).unwrap_err();
            assert!(matches!(error, DatagramError::TooShort), "{len}: {error}");
        }
        let error = decode(&mut datagram, &key("abd")).unwrap_err();
        assert!(matches!(error, DatagramError::Frame(_)), "{error}");

        let mut other = BytesMut::zeroed(IV_LEN);
        WireVersion::V1
            .encode(&Ping::default().into(), &mut other)
            .unwrap();
        Encryptor::new(&key("abc"), [0; IV_LEN]).apply(&mut other[IV_LEN..]);
        let error = decode(&mut other, &key("abc")).unwrap_err();
        assert!(matches!(error, DatagramError::OtherMessage), "{error}");
    }

    proptest! {
        #[test]
        fn any_datagram_is_read_without_a_panic(mut datagram: Vec<u8>) {
            let _ = decode(&mut datagram, &key("abc"));
        }
    }
}
