//! Opens a tunnel by SOCKS version 5, RFC 1928, with user and password, RFC 1929.
//!
//! Not built on `tokio-socks` (0.5.3), although it would run over a [`Conn`]: if the proxy speaks another protocol, its
//! error does not show the byte that arrived; for an unknown reply code it reports an unknown authentication method
//! instead of the code; and it refuses a reply whose reserved byte is not zero. Those bytes tell an operator with a
//! wrong port in `transport.proxyURL` what listens there.

use std::io;
use std::net::IpAddr;

use bytes::{BufMut, Bytes, BytesMut};
use tokio::io::AsyncReadExt;

use super::{OutboundCredentials, Target};
use crate::conn::Conn;

/// The most bytes of a user name, a password or a host name.
const MAX_CREDENTIAL: usize = 255;

const VERSION: u8 = 5;
const NO_CREDENTIALS: u8 = 0;
const PASSWORD: u8 = 2;
const NOTHING_ACCEPTABLE: u8 = 0xff;
const PASSWORD_VERSION: u8 = 1;
const CONNECT: u8 = 1;
const IPV4: u8 = 1;
const NAME: u8 = 3;
const IPV6: u8 = 4;

/// Why a SOCKS proxy opens no tunnel.
#[derive(Debug, thiserror::Error)]
pub enum Socks5Error {
    /// The proxy ended the connection.
    #[error("it ended the connection; check scheme and port of transport.proxyURL")]
    Closed,
    /// The proxy rejected our credentials.
    #[error("it does not accept user and password of transport.proxyURL")]
    Credentials,
    /// The proxy accepts none of the authentication methods that we offered.
    #[error("{}", match .with_credentials {
        true => "it takes no user and password",
        false => "it wants credentials; put user and password into transport.proxyURL, as in \
                  socks5://user:password@proxy.example.com",
    })]
    Method {
        /// Whether we offered user and password.
        with_credentials: bool,
    },
    /// The connection failed.
    #[error("the connection failed")]
    Io(#[source] io::Error),
    /// The name is too long for the protocol.
    #[error("a name of more than 255 bytes cannot be told to a SOCKS proxy")]
    Name,
    /// The proxy answered the request with an error code.
    #[error("{}", reply_text(*.0))]
    Reply(u8),
    /// The proxy does not speak SOCKS 5.
    #[error(
        "it does not speak SOCKS5 (the byte {0:#04x} came); check scheme and port of \
         transport.proxyURL"
    )]
    Version(u8),
}

/// The reply codes of RFC 1928 section 6 as text.
fn reply_text(code: u8) -> String {
    let text = match code {
        1 => "it had a general failure",
        2 => "its rules do not allow it",
        3 => "it says that the network is unreachable",
        4 => "it says that the host is unreachable",
        5 => "it says that the connection was refused",
        6 => "it says that the time to live expired",
        7 => "it does not know the command CONNECT",
        8 => "it does not know this type of address",
        _ => return format!("it answered with the unknown code {code}"),
    };
    format!("{text} (code {code})")
}

/// Requests a tunnel. Has no deadline of its own; not cancel-safe.
pub(super) async fn open(
    mut conn: Conn,
    target: &Target<'_>,
    credentials: Option<&OutboundCredentials>,
) -> Result<Conn, Socks5Error> {
    let methods: &'static [u8] = match credentials {
        Some(_) => &[VERSION, 2, NO_CREDENTIALS, PASSWORD],
        None => &[VERSION, 1, NO_CREDENTIALS],
    };
    send(&mut conn, Bytes::from_static(methods)).await?;
    let [version, method] = receive(&mut conn).await?;
    if version != VERSION {
        return Err(Socks5Error::Version(version));
    }
    match (method, credentials) {
        (NO_CREDENTIALS, _) => {}
        (PASSWORD, Some(credentials)) => authenticate(&mut conn, credentials).await?,
        (NOTHING_ACCEPTABLE, _) | (_, _) => {
            return Err(Socks5Error::Method {
                with_credentials: credentials.is_some(),
            });
        }
    }
    send(&mut conn, request(target)?).await?;
    let [version, reply, _reserved, kind] = receive(&mut conn).await?;
    if version != VERSION {
        return Err(Socks5Error::Version(version));
    }
    if reply != 0 {
        return Err(Socks5Error::Reply(reply));
    }
    // The address that the proxy connected from, which nothing here needs.
    let len = match kind {
        IPV4 => 4,
        IPV6 => 16,
        NAME => {
            let [len] = receive(&mut conn).await?;
            usize::from(len)
        }
        kind => return Err(Socks5Error::Version(kind)),
    };
    let mut unused = [0; MAX_CREDENTIAL + 2];
    read(&mut conn, &mut unused[..len + 2]).await?;
    Ok(conn)
}

async fn authenticate(
    conn: &mut Conn,
    credentials: &OutboundCredentials,
) -> Result<(), Socks5Error> {
    let mut message = BytesMut::new();
    message.put_u8(PASSWORD_VERSION);
    for text in [&*credentials.user, credentials.password.expose()] {
        put_short(&mut message, text).ok_or(Socks5Error::Credentials)?;
    }
    send(conn, message.freeze()).await?;
    match receive(conn).await? {
        [_version, 0] => Ok(()),
        [_version, _refused] => Err(Socks5Error::Credentials),
    }
}

fn request(target: &Target<'_>) -> Result<Bytes, Socks5Error> {
    let mut message = BytesMut::new();
    message.put_slice(&[VERSION, CONNECT, 0]);
    match target.host.parse() {
        Ok(IpAddr::V4(ip)) => {
            message.put_u8(IPV4);
            message.put_slice(&ip.octets());
        }
        Ok(IpAddr::V6(ip)) => {
            message.put_u8(IPV6);
            message.put_slice(&ip.octets());
        }
        Err(_) => {
            message.put_u8(NAME);
            put_short(&mut message, target.host).ok_or(Socks5Error::Name)?;
        }
    }
    message.put_u16(target.port);
    Ok(message.freeze())
}

/// Appends a one-byte length and `text`; `None` if the text is too long.
fn put_short(message: &mut BytesMut, text: &str) -> Option<()> {
    message.put_u8(u8::try_from(text.len()).ok()?);
    message.put_slice(text.as_bytes());
    Some(())
}

async fn send(conn: &mut Conn, message: Bytes) -> Result<(), Socks5Error> {
    conn.send(message).await.map_err(Socks5Error::Io)
}

async fn receive<const LEN: usize>(conn: &mut Conn) -> Result<[u8; LEN], Socks5Error> {
    let mut bytes = [0; LEN];
    read(conn, &mut bytes).await?;
    Ok(bytes)
}

async fn read(conn: &mut Conn, bytes: &mut [u8]) -> Result<(), Socks5Error> {
    match conn.read_exact(bytes).await {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Err(Socks5Error::Closed),
        Err(error) => Err(Socks5Error::Io(error)),
    }
}
