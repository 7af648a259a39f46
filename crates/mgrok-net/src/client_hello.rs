//! The server name in a TLS ClientHello, for routing TLS without ending it.
//!
//! [`parse`] looks at the bytes that have arrived and says how many it takes to know more, so that
//! a hello that comes byte by byte is not parsed byte by byte. Nothing is checked that routing does
//! not need: the service behind the route will judge the hello, and what it cannot agree on with its
//! client is between them. But where two readers of one hello might see different names, the hello is
//! refused, since a router that sees another name than the service is a way around its rules.

use std::borrow::Cow;
use std::io;

use bytes::{Bytes, BytesMut};

use crate::conn::Conn;

/// The largest handshake message that is looked into, in bytes. Hellos with post-quantum key shares
/// have about 1,800, some with tickets and encrypted hellos in them twice that.
pub const MAX_HELLO: usize = 64 * 1024;

/// Over how many records a hello may be spread. Clients use one; a few cut it in two or three so that
/// the name does not show.
pub const MAX_RECORDS: usize = 64;

/// The fatal alert `unrecognized_name`, as a record: what a client is told for whose name there is
/// no route (RFC 6066, section 3).
pub const UNRECOGNIZED_NAME: [u8; 7] = [0x15, 0x03, 0x03, 0x00, 0x02, 0x02, 112];

/// The longest payload of a record in clear (RFC 8446, section 5.1).
const MAX_RECORD: usize = 1 << 14;
const RECORD_HEADER: usize = 5;
const HANDSHAKE_RECORD: u8 = 22;
/// SSL 3.0 to TLS 1.3 all have it in their records.
const MAJOR_VERSION: u8 = 3;

/// Type and length.
const HANDSHAKE_HEADER: usize = 4;
pub(crate) const CLIENT_HELLO: u8 = 1;

/// Version and random.
const FIXED_FIELDS: usize = 2 + 32;
pub(crate) const SERVER_NAME: u16 = 0;
const HOST_NAME: u8 = 0;
/// What a name in the DNS can have at most.
const MAX_NAME: usize = 255;

/// What is known of a stream that should begin with a ClientHello.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Progress {
    /// Too little: nothing more can be said of less than this many bytes, counted from the start.
    NeedMore(usize),
    /// The hello is complete.
    Hello(ClientHello),
    /// It is no hello, or none that can be routed.
    Refused(Refusal),
}

/// What a client says first.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ClientHello {
    /// Whom the client wants to reach (SNI), in lower case; `None` if it does not say.
    ///
    /// Visible ASCII, at most 255 bytes, but otherwise whatever the client wrote, which need not be a
    /// name of the DNS: some write `192.0.2.1:443`.
    pub server_name: Option<String>,
}

/// Why a stream cannot be routed.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Refusal {
    /// A record without payload, which nobody needs and which would cost nothing to send.
    #[error("TLS record without payload")]
    EmptyRecord,
    /// The hello is not what its own lengths say.
    #[error("malformed ClientHello: {0}")]
    Malformed(&'static str),
    /// A name that cannot be one.
    #[error(
        "server name of {len} bytes in the ClientHello is not 1 to {MAX_NAME} bytes of visible ASCII"
    )]
    Name {
        /// Its length.
        len: usize,
    },
    /// TLS, but another message.
    #[error("TLS handshake begins with message {0} instead of a ClientHello")]
    NotClientHello(u8),
    /// Something else.
    #[error("not TLS: the first byte is {0:#04x}")]
    NotTls(u8),
    /// A record that is longer than records are.
    #[error("TLS record of {0} bytes, more than {MAX_RECORD}")]
    RecordTooLong(usize),
    /// How clients began that could still speak SSL 2.0. It has no room for a server name.
    #[error("SSL 2.0 hello, which has no server name")]
    Ssl2,
    /// Longer than [`MAX_HELLO`].
    #[error("ClientHello of {0} bytes, more than {MAX_HELLO}")]
    TooLong(usize),
    /// More than [`MAX_RECORDS`].
    #[error("ClientHello in more than {MAX_RECORDS} records")]
    TooManyRecords,
    /// A version of the record layer that never was.
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
    /// What came cannot be routed.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

/// Reads until the hello is complete. All that was read stays in front of `conn`, unchanged, also where
/// the hello is refused.
///
/// Holds at most [`MAX_HELLO`], the headers of [`MAX_RECORDS`], and one read. Waits for as long as the
/// peer is silent: the caller sets the deadline. Not cancel-safe: bytes may be lost.
///
/// # Errors
/// If the connection fails or ends first, or what arrives is not a hello that [`parse`] takes.
pub async fn read(conn: &mut Conn) -> Result<ClientHello, ReadError> {
    // Nearly always all of it comes at once, and is handed on as it came.
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

/// Looks into the first bytes of a stream, from its start on.
///
/// What it says does not depend on how the bytes were cut on their way, and stays true with more of them.
/// To call it again with fewer bytes than it asked for is useless but harmless.
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

/// The first handshake message with its header, put together from its records.
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
        // A record header of two bytes, then the type of the message.
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

/// The server name of a hello, and where it is.
#[derive(Debug)]
pub(crate) struct FoundName<'a> {
    /// As the client wrote it: visible ASCII.
    pub(crate) name: &'a str,
    /// Where in the message the two bytes are that make it a server name: the type of the extension.
    pub(crate) type_at: usize,
}

/// Finds the server name in a whole ClientHello, header included.
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
        // Kinds of names that are yet to come have the same shape, or could not be passed over.
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
    /// Where in the message it begins.
    pub(crate) at: usize,
}

/// The extensions of a whole ClientHello, header included.
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
            // Nothing follows what is broken.
            reader.at = message.len();
        }
        Some(extension)
    }))
}

/// Reads the parts of a message one after the other.
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

    /// What stands behind its length in one byte.
    fn list_8(&mut self) -> Option<&'a [u8]> {
        let len = self.u8()?;
        self.take(len.into())
    }

    /// What stands behind its length in two bytes.
    fn list_16(&mut self) -> Option<&'a [u8]> {
        let len = self.u16()?;
        self.take(len.into())
    }
}

#[cfg(test)]
mod tests;
