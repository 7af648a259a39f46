//! The accepting end of SOCKS version 5: RFC 1928, with user and password, RFC 1929.
//!
//! Only CONNECT: BIND waits for strangers, and UDP ASSOCIATE promises a port that whoever sits at the other end of a tunnel cannot
//! reach. Not built on `fast-socks5` (1.0.0), which owns the socket, dials by itself and brings an older `socket2` along.

use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use crate::conn::Conn;

const VERSION: u8 = 5;
const NO_CREDENTIALS: u8 = 0;
const PASSWORD: u8 = 2;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// What a user is to be connected to.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Target {
    /// A name, or an address without brackets. A name has 1 to 255 printable characters.
    pub host: String,
    /// The port.
    pub port: u16,
}

/// How a request is answered (RFC 1928, section 6).
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum Reply {
    /// The user is connected.
    Succeeded = 0,
    /// It did not work, for a reason that there is no code for.
    Failure = 1,
    /// It is not allowed.
    NotAllowed = 2,
    /// There is no way to the network.
    NetworkUnreachable = 3,
    /// The host does not answer, or has no address.
    HostUnreachable = 4,
    /// The host refused.
    Refused = 5,
    /// Only CONNECT is known.
    CommandNotSupported = 7,
    /// An address is of IPv4 or IPv6, or a name.
    AddressNotSupported = 8,
}

/// Why there is no request to answer.
#[derive(Debug, thiserror::Error)]
pub enum AcceptError {
    /// The user asks for an address of an unknown type.
    #[error("the address is of the unknown type {0}")]
    AddressType(u8),
    /// The user ended the connection.
    #[error("the user ended the connection")]
    Closed,
    /// The user wants something other than CONNECT.
    #[error("{}", match .0 {
        2 => "BIND is not supported".to_owned(),
        3 => "UDP ASSOCIATE is not supported".to_owned(),
        other => format!("the command {other} is unknown"),
    })]
    Command(u8),
    /// User or password are wrong.
    #[error("wrong user or password")]
    Credentials,
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The user offers no method of authentication that is accepted.
    #[error("{}", match .with_credentials {
        true => "the user offers no password",
        false => "the user insists on authentication, and there is none",
    })]
    Method {
        /// Whether a password is wanted.
        with_credentials: bool,
    },
    /// What is to be the host's name is none.
    #[error("the name of the host is empty or has unprintable characters")]
    Name,
    /// The user does not speak SOCKS 5.
    #[error("no SOCKS5: a message begins with the byte {0:#04x}")]
    Version(u8),
}

impl AcceptError {
    /// What is to be sent before the connection is closed; empty if the user would not understand it.
    pub fn answer(&self) -> Bytes {
        match self {
            Self::Closed | Self::Io(_) | Self::Version(_) => Bytes::new(),
            Self::AddressType(_) => reply(Reply::AddressNotSupported),
            Self::Command(_) => reply(Reply::CommandNotSupported),
            Self::Credentials => Bytes::from_static(&[PASSWORD_VERSION, 1]),
            Self::Method { .. } => Bytes::from_static(&[VERSION, 0xff]),
            Self::Name => reply(Reply::HostUnreachable),
        }
    }
}

/// The answer to a request.
// The address that the host sees is ours, and no user's business; with CONNECT nobody needs it.
pub fn reply(reply: Reply) -> Bytes {
    Bytes::copy_from_slice(&[VERSION, reply as u8, 0, IPV4, 0, 0, 0, 0, 0, 0])
}

/// Reads what a user wants to be connected to, after the user has shown to be the one whom `is_known` knows by user and password;
/// `None` asks for neither. What follows the request stays in front of `conn`, and the request is yet to be answered by [`reply`].
///
/// Has no deadline of its own, and takes no more than a kilobyte. Not cancel-safe.
///
/// # Errors
/// If the user is no such user. The [answer](AcceptError::answer) is not sent yet.
pub async fn accept(
    conn: &mut Conn,
    is_known: Option<impl FnOnce(&[u8], &[u8]) -> bool>,
) -> Result<Target, AcceptError> {
    let [version, count] = receive(conn).await?;
    check_version(version, VERSION)?;
    let mut methods = [0; u8::MAX as usize];
    let methods = &mut methods[..usize::from(count)];
    read(conn, methods).await?;
    let method = match is_known {
        Some(_) => PASSWORD,
        None => NO_CREDENTIALS,
    };
    if !methods.contains(&method) {
        return Err(AcceptError::Method {
            with_credentials: is_known.is_some(),
        });
    }
    send(conn, Bytes::copy_from_slice(&[VERSION, method])).await?;
    if let Some(is_known) = is_known {
        let [version] = receive(conn).await?;
        check_version(version, PASSWORD_VERSION)?;
        let user = receive_short(conn).await?;
        let password = receive_short(conn).await?;
        if !is_known(&user, &password) {
            return Err(AcceptError::Credentials);
        }
        send(conn, Bytes::from_static(&[PASSWORD_VERSION, 0])).await?;
    }
    let [version, command, _reserved, kind] = receive(conn).await?;
    check_version(version, VERSION)?;
    let host = match kind {
        IPV4 => Ipv4Addr::from(receive(conn).await?).to_string(),
        IPV6 => Ipv6Addr::from(receive::<16>(conn).await?).to_string(),
        NAME => name(receive_short(conn).await?)?,
        kind => return Err(AcceptError::AddressType(kind)),
    };
    let port = u16::from_be_bytes(receive(conn).await?);
    // After the address, so that the answer meets no unread bytes.
    if command != CONNECT {
        return Err(AcceptError::Command(command));
    }
    Ok(Target { host, port })
}

/// A name for the resolver, and for the log.
fn name(bytes: Bytes) -> Result<String, AcceptError> {
    let is_printable = !bytes.is_empty() && bytes.iter().all(u8::is_ascii_graphic);
    match String::from_utf8(bytes.into()) {
        Ok(name) if is_printable => Ok(name),
        Ok(_) | Err(_) => Err(AcceptError::Name),
    }
}

fn check_version(got: u8, wanted: u8) -> Result<(), AcceptError> {
    match got == wanted {
        true => Ok(()),
        false => Err(AcceptError::Version(got)),
    }
}

async fn send(conn: &mut Conn, message: Bytes) -> Result<(), AcceptError> {
    conn.send(message).await.map_err(AcceptError::Io)
}

/// A text behind a byte that says how long it is.
async fn receive_short(conn: &mut Conn) -> Result<Bytes, AcceptError> {
    let [len] = receive(conn).await?;
    let mut text = BytesMut::new();
    text.put_bytes(0, usize::from(len));
    read(conn, &mut text).await?;
    Ok(text.freeze())
}

async fn receive<const LEN: usize>(conn: &mut Conn) -> Result<[u8; LEN], AcceptError> {
    let mut bytes = [0; LEN];
    read(conn, &mut bytes).await?;
    Ok(bytes)
}

async fn read(conn: &mut Conn, bytes: &mut [u8]) -> Result<(), AcceptError> {
    match conn.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(AcceptError::Closed),
        Err(error) => Err(AcceptError::Io(error)),
    }
}

#[cfg(test)]
mod tests;
