//! One message, one frame: the ways to frame a message, behind one choice that a connection makes once.

use bytes::BytesMut;

use crate::{
    frame::{DecodeError, EncodeError, Frame},
    message::{Kind, Message},
    v1, v2,
};

/// How messages are framed. All connections of a session use the same version.
///
/// ```
/// use bytes::BytesMut;
/// use mgrok_proto::{WireVersion, message::Ping};
///
/// let ping = Ping::default().into();
/// let mut frame = BytesMut::new();
/// WireVersion::V1.encode(&ping, &mut frame)?;
/// assert_eq!(&frame[..], b"h\0\0\0\0\0\0\0\x02{}");
///
/// assert_eq!(WireVersion::V1.decode(&frame[..10])?, None);
/// assert_eq!(WireVersion::V1.decode(&frame)?, Some((ping, frame.len())));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum WireVersion {
    /// A type byte and a 64-bit length; every frp speaks it.
    V1,
    /// Frames with types and ids of 16 bits and up to 64 KiB (since frp 0.69.0).
    V2,
}

impl WireVersion {
    /// Appends `message` to `out` as one frame.
    ///
    /// # Errors
    /// If the frame would be longer than a reader accepts; `out` is then as it was.
    pub fn encode(self, message: &Message, out: &mut BytesMut) -> Result<(), EncodeError> {
        self.encode_with(message.kind(), out, |out| message.write(out))
    }

    /// Takes the first frame of `input` apart, and says how many bytes it has. `None`: the frame is not yet complete.
    ///
    /// # Errors
    /// If these bytes are no frame, which is said as soon as it can be seen, or the frame holds no message.
    pub fn decode(self, input: &[u8]) -> Result<Option<(Message, usize)>, DecodeError> {
        let Some(frame) = self.split(input)? else {
            return Ok(None);
        };
        Ok(Some((frame.read()?, frame.len)))
    }

    /// How what is framed within the payload of work and visitor connections is framed: datagrams of `udp` and `sudp`, and the
    /// news of an `xtcp` visitor. `self` is how the session's own messages are, `version` what the other end says of itself.
    ///
    /// ```
    /// use mgrok_proto::WireVersion;
    ///
    /// assert_eq!(WireVersion::V2.of_payload("0.70.1"), WireVersion::V2);
    /// assert_eq!(WireVersion::V2.of_payload("0.69.0"), WireVersion::V1);
    /// ```
    pub fn of_payload(self, version: &str) -> Self {
        // frp: the first version with v2 still frames payload as v1 does (client/proxy/udp.go, server/proxy/udp.go at v0.69.0).
        match version {
            "0.69.0" => Self::V1,
            _ => self,
        }
    }

    /// Appends a frame whose body `write` appends.
    pub(crate) fn encode_with(
        self,
        kind: Kind,
        out: &mut BytesMut,
        write: impl FnOnce(&mut BytesMut),
    ) -> Result<(), EncodeError> {
        match self {
            Self::V1 => v1::encode_with(kind, out, write),
            Self::V2 => v2::encode_with(kind, out, write),
        }
    }

    /// Finds the first frame of `input`.
    pub(crate) fn split(self, input: &[u8]) -> Result<Option<Frame<'_>>, DecodeError> {
        match self {
            Self::V1 => v1::split(input),
            Self::V2 => v2::split(input),
        }
    }
}
