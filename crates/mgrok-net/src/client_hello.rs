//! Reads the server name of a TLS ClientHello, so that TLS can be routed without being terminated.
//!
//! [`parse`] looks at the bytes that have arrived and says how many it needs to decide more, so that a hello that
//! arrives byte by byte is not parsed once per byte. Only what routing needs is checked: the service behind the route
//! checks the rest of the hello. But a hello in which two parsers might see different names is refused, because a
//! router that sees another name than the service does would let a client get around the router's rules.

use std::borrow::Cow;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::conn::Conn;

/// The largest handshake message that is parsed, in bytes. Hellos with post-quantum key shares have about 1,800; some
/// that also contain tickets and encrypted hellos have twice that.
pub const MAX_HELLO: usize = 64 * 1024;

/// The most records that one hello may span. Clients use one; a few split the hello into two or three so that the name
/// does not show.
pub const MAX_RECORDS: usize = 64;

/// The fatal alert `unrecognized_name` (RFC 6066, section 3) as a record. The server sends it to a client whose name
/// has no route.
pub const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// The longest payload of an unencrypted record (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_RECORD: u8 = 22;
/// The major version in the record header, the same from SSL 3.0 to TLS 1.3.
const MAJOR_VERSION: u8 = 3;

/// Type and length.
const HANDSHAKE_HEADER: usize = 4;
pub(crate) const CLIENT_HELLO: u8 = 1;

/// Version and random.
const FIXED_FIELDS: usize = 2 + 32;
pub(crate) const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// The longest name in the DNS, in bytes.
const MAX_NAME: usize = 255;

/// What the bytes so far say about a stream that should begin with a ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Undecided: a decision needs at least this many bytes, counted from the start.
    NeedMore(usize),
    /// The hello is complete.
    Hello(ClientHello),
    /// The stream does not begin with a hello, or with one that cannot be routed.
    Refused(Refusal),
}

/// The part of a ClientHello that routing uses.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientHello {
    /// The host that the client asks for (SNI), in lower case; `None` if the hello has no server name.
    ///
    /// Visible ASCII, at most 255 bytes, but not necessarily a DNS name: some clients write `192.0.2.1:443`.
    pub server_name: Option<String>,
}

/// Why a stream cannot be routed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A record without payload. No client needs one, and a stream of them would cost the sender nothing.
    #[error("TLS record without payload")]
    EmptyRecord,
    /// The hello contradicts its own length fields.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// The name is empty, too long, or not visible ASCII.
    #[error(
        "server name of {len} bytes in the ClientHello is not 1 to {MAX_NAME} bytes of visible ASCII"
    )]
    Name {
        /// Its length.
        len: usize,
    },
    /// The stream is TLS but begins with another handshake message.
    #[error("TLS handshake begins with message {0} instead of a ClientHello")]
    NotClientHello(u8),
    /// The stream is not TLS.
    #[error("not TLS: the first byte is {0:#04x}")]
    NotTls(u8),
    /// A record is longer than the standard allows.
    #[error("TLS record of {0} bytes, more than {MAX_RECORD}")]
    RecordTooLong(usize),
    /// The hello of a client that still supports SSL 2.0. Its format has no field for a server name.
    #[error("SSL 2.0 hello, which has no server name")]
    Ssl2,
    /// The hello is longer than [`MAX_HELLO`].
    #[error("ClientHello of {0} bytes, more than {MAX_HELLO}")]
    TooLong(usize),
    /// The hello spans more than [`MAX_RECORDS`] records.
    #[error("ClientHello in more than {MAX_RECORDS} records")]
    TooManyRecords,
    /// The record has a version that does not exist.
    #[error("not TLS: record version {0}.{1}")]
    Version(u8, u8),
}

/// Why no hello was read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The connection ended before the hello was complete.
    #[error("connection ended after {0} bytes of a ClientHello")]
    Ended(usize),
    /// The connection failed.
    #[error("connection failed before the ClientHello was complete")]
    Io(#[from] io::Error),
    /// The hello cannot be routed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads until the hello is complete. All bytes that were read stay in front of `conn`, unchanged, even if the hello is
/// refused.
///
/// Holds at most [`MAX_HELLO`], the headers of [`MAX_RECORDS`], and one read. Waits for as long as the peer is silent:
/// the caller sets the deadline. Not cancel-safe: bytes may be lost.
///
/// # Errors
/// If the connection fails or ends first, or [`parse`] refuses what arrives.
pub async fn read(conn: &mut Conn) -> Result<ClientHello, ReadError> {
    // The hello nearly always arrives in one read, and that chunk is passed on without a copy.
    let first = conn.recv().await?;
    let mut progress = parse(&first);
    if !matches!(progress, Progress::NeedMore(_)) || first.is_empty() {
        let len = first.len();
        conn.unread(first);
        return finish(progress, len);
    }
    let mut seen = BytesMut::from(&first[..]);
    while let Progress::NeedMore(needed) = progress {
        let more: Bytes = conn.recv().await?;
        if more.is_empty() {
            break;
        }
        seen.extend_from_slice(&more);
        if seen.len() >= needed {
            progress = parse(&seen);
        }
    }
    let len = seen.len();
    conn.unread(seen.freeze());
    finish(progress, len)
}

fn finish(progress: Progress, seen: usize) -> Result<ClientHello, ReadError> {
    match progress {
        Progress::Hello(hello) => Ok(hello),
        Progress::NeedMore(_) => Err(ReadError::Ended(seen)),
        Progress::Refused(refusal) => Err(refusal.into()),
    }
}

/// Parses the beginning of a stream.
///
/// The result does not depend on how the bytes were split in transit, and stays the same with more of them. A call with
/// fewer bytes than the last result asked for is useless but harmless.
pub fn parse(seen: &[u8]) -> Progress {
    match complete(seen) {
        Ok(hello) => Progress::Hello(hello),
        Err(Stop::NeedMore(needed)) => Progress::NeedMore(needed),
        Err(Stop::Refused(refusal)) => Progress::Refused(refusal),
    }
}

/// Why parsing stopped early.
enum Stop {
    NeedMore(usize),
    Refused(Refusal),
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

fn complete(seen: &[u8]) -> Result<ClientHello, Stop> {
    let message = handshake_message(seen)?;
    let server_name = server_name(&message)?.map(|found| found.name.to_ascii_lowercase());
    Ok(ClientHello { server_name })
}

/// The first handshake message with its header, reassembled from its records.
fn handshake_message(seen: &[u8]) -> Result<Cow<'_, [u8]>, Stop> {
    let mut message = Cow::Borrowed(&[][..]);
    let mut start = 0;
    for _ in 0..MAX_RECORDS {
        let payload = record(seen, start)?;
        start += RECORD_HEADER + payload.len();
        if message.is_empty() {
            message = Cow::Borrowed(payload);
        } else {
            message.to_mut().extend_from_slice(payload);
        }
        let [kind, rest @ ..] = &*message else {
            return Err(Refusal::EmptyRecord.into());
        };
        if *kind != CLIENT_HELLO {
            return Err(Refusal::NotClientHello(*kind).into());
        }
        let Some(&[high, middle, low]) = rest.first_chunk() else {
            continue;
        };
        let len = u32::from_be_bytes([0, high, middle, low]) as usize;
        if len > MAX_HELLO {
            return Err(Refusal::TooLong(len).into());
        }
        let len = HANDSHAKE_HEADER + len;
        if message.len() >= len {
            return Ok(match message {
                Cow::Borrowed(message) => Cow::Borrowed(&message[..len]),
                Cow::Owned(mut message) => {
                    message.truncate(len);
                    Cow::Owned(message)
                }
            });
        }
    }
    Err(Refusal::TooManyRecords.into())
}

/// The payload of the record that begins at `start`.
fn record(seen: &[u8], start: usize) -> Result<&[u8], Stop> {
    let need_header = Stop::NeedMore(start + RECORD_HEADER);
    let bytes = seen.get(start..).unwrap_or_default();
    match *bytes {
        [] => return Err(need_header),
        [HANDSHAKE_RECORD, ..] => {}
        // SSL 2.0: a record header of two bytes, then the message type.
        [first, _, CLIENT_HELLO, ..] if start == 0 && first & 0x80 != 0 => {
            return Err(Refusal::Ssl2.into());
        }
        [first] | [first, _] if start == 0 && first & 0x80 != 0 => return Err(need_header),
        [first, ..] if start == 0 => return Err(Refusal::NotTls(first).into()),
        [_, ..] => return Err(Refusal::Malformed("another record is in its midst").into()),
    }
    let Some(&[_, major, minor, high, low]) = bytes.first_chunk() else {
        return Err(need_header);
    };
    if major != MAJOR_VERSION {
        return Err(Refusal::Version(major, minor).into());
    }
    let len = usize::from(u16::from_be_bytes([high, low]));
    match len {
        0 => Err(Refusal::EmptyRecord.into()),
        1..=MAX_RECORD => {
            let end = RECORD_HEADER + len;
            bytes
                .get(RECORD_HEADER..end)
                .ok_or(Stop::NeedMore(start + end))
        }
        _ => Err(Refusal::RecordTooLong(len).into()),
    }
}

/// The server name of a hello, and its position.
#[derive(Debug)]
pub(crate) struct FoundName<'a> {
    /// As the client wrote it: visible ASCII.
    pub(crate) name: &'a str,
    /// Offset in the message of the extension's two type bytes, which mark it as a server name.
    pub(crate) type_at: usize,
}

/// Finds the server name in a complete ClientHello, header included.
pub(crate) fn server_name(message: &[u8]) -> Result<Option<FoundName<'_>>, Refusal> {
    let mut found = None;
    for extension in extensions(message)? {
        let extension = extension?;
        if extension.kind == SERVER_NAME {
            if found.is_some() {
                return Err(Refusal::Malformed("two lists of server names"));
            }
            found = Some(FoundName {
                name: host_name(extension.data)?,
                type_at: extension.at,
            });
        }
    }
    Ok(found)
}

/// The name in a list of names.
fn host_name(list: &[u8]) -> Result<&str, Refusal> {
    const BROKEN: Refusal = Refusal::Malformed("the list of server names is cut off");
    let mut outer = Reader::new(list);
    let mut names = Reader::new(outer.list_16().ok_or(BROKEN)?);
    if !outer.is_empty() {
        return Err(Refusal::Malformed("bytes after the list of server names"));
    }
    let mut found = None;
    while !names.is_empty() {
        let kind = names.u8().ok_or(BROKEN)?;
        // RFC 6066 requires future kinds of names to have the same layout, or parsers could not skip them.
        let name = names.list_16().ok_or(BROKEN)?;
        if kind == HOST_NAME {
            if found.is_some() {
                return Err(Refusal::Malformed("two host names"));
            }
            found = Some(name);
        }
    }
    let name = found.ok_or(Refusal::Malformed(
        "a list of server names without a host name",
    ))?;
    let refused = Refusal::Name { len: name.len() };
    let fits = (1..=MAX_NAME).contains(&name.len()) && name.iter().all(u8::is_ascii_graphic);
    match std::str::from_utf8(name) {
        Ok(name) if fits => Ok(name),
        Ok(_) | Err(_) => Err(refused),
    }
}

/// One extension of a hello.
pub(crate) struct Extension<'a> {
    pub(crate) kind: u16,
    pub(crate) data: &'a [u8],
    /// Offset of the extension in the message.
    pub(crate) at: usize,
}

/// The extensions of a complete ClientHello, header included.
pub(crate) fn extensions(
    message: &[u8],
) -> Result<impl Iterator<Item = Result<Extension<'_>, Refusal>>, Refusal> {
    const BROKEN: Refusal = Refusal::Malformed("it is cut off before its extensions");
    const CUT: Refusal = Refusal::Malformed("an extension is cut off");
    let mut reader = Reader::new(message);
    reader.take(HANDSHAKE_HEADER + FIXED_FIELDS).ok_or(BROKEN)?;
    let _session_id = reader.list_8().ok_or(BROKEN)?;
    let _cipher_suites = reader.list_16().ok_or(BROKEN)?;
    let _compression_methods = reader.list_8().ok_or(BROKEN)?;
    if !reader.is_empty() {
        let len = reader.u16().ok_or(BROKEN)?;
        if usize::from(len) != reader.rest().len() {
            return Err(Refusal::Malformed(
                "the extensions do not end where it does",
            ));
        }
    }
    Ok(std::iter::from_fn(move || {
        let at = reader.at;
        let mut next = || {
            Some(Extension {
                at,
                kind: reader.u16()?,
                data: reader.list_16()?,
            })
        };
        if at == message.len() {
            return None;
        }
        let extension = next().ok_or(CUT);
        if extension.is_err() {
            // Parsing stops at the first broken extension.
            reader.at = message.len();
        }
        Some(extension)
    }))
}

/// A cursor over the fields of a message.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    fn is_empty(&self) -> bool {
        self.rest().is_empty()
    }

    fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let taken = self.rest().get(..len)?;
        self.at += len;
        Some(taken)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    fn u16(&mut self) -> Option<u16> {
        let bytes = self.take(2)?.first_chunk()?;
        Some(u16::from_be_bytes(*bytes))
    }

    /// The bytes that follow a one-byte length.
    fn list_8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// The bytes that follow a two-byte length.
    fn list_16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests;
