//! Dials through an outbound proxy, for clients that cannot connect to the server directly.
//!
//! [`dial_through`] asks an [`OutboundProxy`] for a tunnel to the server. The caller parses `transport.proxyURL`, and
//! may send anything through the tunnel, TLS included.

mod connect;
mod ntlm;
mod socks5;

use std::fmt;
use std::io;
use std::sync::OnceLock;
use std::time::Duration;

use mgrok_proto::auth::Secret;
use tokio::time::{Instant, timeout_at};

use crate::conn::Conn;
use crate::head::HeadError;
use crate::resolver::without_brackets;
use crate::tcp::{self, DialError, DialOptions};
use crate::tls::{ClientTls, TlsError};

pub use socks5::Socks5Error;

/// A proxy that connects to the server for the client. `Debug` and `Display` do not show its password.
#[derive(Clone)]
pub struct OutboundProxy {
    scheme: OutboundScheme,
    /// A name or an address, without brackets.
    host: String,
    port: u16,
    credentials: Option<OutboundCredentials>,
    /// Set up at the first use, and only for `https`.
    tls: OnceLock<ClientTls>,
}

/// The protocol of an outbound proxy.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum OutboundScheme {
    /// `CONNECT`, with Basic credentials.
    Http,
    /// `CONNECT` within TLS.
    Https,
    /// `CONNECT`, with an NTLM handshake.
    Ntlm,
    /// RFC 1928.
    Socks5,
}

/// The client's credentials for an outbound proxy.
#[derive(Clone, Debug)]
pub struct OutboundCredentials {
    /// The user. With NTLM it may begin with a domain, as in `DOMAIN\user`.
    pub user: String,
    /// The password.
    pub password: Secret,
}

/// Why there is no connection through an outbound proxy.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// The proxy wants credentials, or rejects those that it got.
    #[error("the outbound proxy {proxy} answered `{status_line}` (it offers {offers}); {advice}")]
    Credentials {
        /// The proxy.
        proxy: String,
        /// The status line of the response.
        status_line: String,
        /// The authentication schemes that the proxy offers.
        offers: String,
        /// What to change.
        advice: &'static str,
    },
    /// The proxy cannot be reached.
    #[error("cannot reach the outbound proxy {proxy}")]
    Dial {
        /// The proxy.
        proxy: String,
        /// What went wrong.
        #[source]
        source: DialError,
    },
    /// The proxy does not speak HTTP.
    #[error(
        "the outbound proxy {proxy} gave no answer in HTTP; check scheme and port of \
         transport.proxyURL"
    )]
    Head {
        /// The proxy.
        proxy: String,
        /// What is wrong with its response.
        #[source]
        source: HeadError,
    },
    /// The host contains characters that a request to a proxy cannot carry.
    #[error("`{host}` is no host that an outbound proxy can connect to")]
    Host {
        /// The host.
        host: String,
    },
    /// The connection to the proxy failed.
    #[error("the connection to the outbound proxy {proxy} failed")]
    Io {
        /// The proxy.
        proxy: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The NTLM handshake cannot go on.
    #[error("NTLM with the outbound proxy {proxy} failed: {reason}")]
    Ntlm {
        /// The proxy.
        proxy: String,
        /// Why, and what to change.
        reason: &'static str,
    },
    /// The proxy refused to connect to the target.
    #[error(
        "the outbound proxy {proxy} answered `{status_line}` to CONNECT {target}; it must be able \
         and willing to connect there"
    )]
    Refused {
        /// The proxy.
        proxy: String,
        /// The target.
        target: String,
        /// The status line of the response.
        status_line: String,
    },
    /// The SOCKS proxy did not open a tunnel.
    #[error("the outbound proxy {proxy} did not connect to {target}")]
    Socks {
        /// The proxy.
        proxy: String,
        /// The target.
        target: String,
        /// Why.
        #[source]
        source: Socks5Error,
    },
    /// The proxy opened no tunnel in time.
    #[error("the outbound proxy {proxy} did not connect to {target} within {timeout:?}")]
    Timeout {
        /// The proxy.
        proxy: String,
        /// The target.
        target: String,
        /// The time limit.
        timeout: Duration,
    },
    /// TLS with the proxy cannot be set up.
    #[error("cannot set up TLS with the outbound proxy {proxy}")]
    Tls {
        /// The proxy.
        proxy: String,
        /// What is wrong.
        #[source]
        source: Box<TlsError>,
    },
    /// TLS with the proxy failed.
    #[error(
        "TLS with the outbound proxy {proxy} failed; its certificate must be valid for that name \
         and signed by an authority that this system trusts"
    )]
    TlsHandshake {
        /// The proxy.
        proxy: String,
        /// What went wrong.
        #[source]
        source: io::Error,
    },
}

/// Connects to `host` (a name, or an address with or without brackets) through `proxy`, which also
/// resolves names.
///
/// The timeout of `options` covers everything up to the open tunnel; the other options apply to the connection to the
/// proxy. Dropping the future cancels the attempt.
pub async fn dial_through(
    proxy: &OutboundProxy,
    host: &str,
    port: u16,
    options: &DialOptions,
) -> Result<Conn, OutboundError> {
    let deadline = Instant::now() + options.timeout;
    let target = Target::new(host, port)?;
    let dialled = tcp::dial(&proxy.host, proxy.port, options).await;
    let socket = dialled.map_err(|source| OutboundError::Dial {
        proxy: proxy.to_string(),
        source,
    })?;
    match timeout_at(deadline, proxy.open_tunnel(socket.into(), &target)).await {
        Ok(opened) => opened,
        Err(_) => Err(OutboundError::Timeout {
            proxy: proxy.to_string(),
            target: target.to_string(),
            timeout: options.timeout,
        }),
    }
}

/// The host and port that a proxy shall connect to.
struct Target<'a> {
    /// Without brackets.
    host: &'a str,
    port: u16,
}

impl<'a> Target<'a> {
    fn new(host: &'a str, port: u16) -> Result<Self, OutboundError> {
        let host = without_brackets(host);
        // The host becomes part of a request line.
        if host.is_empty() || host.contains(|it: char| it.is_whitespace() || it.is_control()) {
            return Err(OutboundError::Host {
                host: host.escape_debug().to_string(),
            });
        }
        Ok(Self { host, port })
    }
}

impl OutboundScheme {
    fn name(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
            Self::Ntlm => "ntlm",
            Self::Socks5 => "socks5",
        }
    }
}

impl OutboundProxy {
    /// A proxy at `host`, a name or an address without brackets.
    pub fn new(
        scheme: OutboundScheme,
        host: String,
        port: u16,
        credentials: Option<OutboundCredentials>,
    ) -> Self {
        Self {
            scheme,
            host,
            port,
            credentials,
            tls: OnceLock::new(),
        }
    }

    async fn open_tunnel(&self, conn: Conn, target: &Target<'_>) -> Result<Conn, OutboundError> {
        match self.scheme {
            OutboundScheme::Http => connect::basic(self, conn, target).await,
            OutboundScheme::Https => connect::basic(self, self.secure(conn).await?, target).await,
            OutboundScheme::Ntlm => connect::ntlm(self, conn, target).await,
            OutboundScheme::Socks5 => {
                let credentials = self.credentials.as_ref();
                let opened = socks5::open(conn, target, credentials).await;
                opened.map_err(|source| OutboundError::Socks {
                    proxy: self.to_string(),
                    target: target.to_string(),
                    source,
                })
            }
        }
    }

    async fn secure(&self, conn: Conn) -> Result<Conn, OutboundError> {
        let tls = match self.tls.get() {
            Some(tls) => tls,
            None => {
                let tls = ClientTls::trusting_system(&self.host);
                let tls = tls.map_err(|source| OutboundError::Tls {
                    proxy: self.to_string(),
                    source: Box::new(source),
                })?;
                self.tls.get_or_init(|| tls)
            }
        };
        let secured = tls.connect(conn).await;
        secured.map_err(|source| OutboundError::TlsHandshake {
            proxy: self.to_string(),
            source,
        })
    }

    fn io_error(&self, source: io::Error) -> OutboundError {
        OutboundError::Io {
            proxy: self.to_string(),
            source,
        }
    }
}

/// Omits the credentials.
impl fmt::Display for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = Target {
            host: &self.host,
            port: self.port,
        };
        write!(f, "{}://{host}", self.scheme.name())
    }
}

impl fmt::Debug for OutboundProxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OutboundProxy")
            .field("url", &format_args!("{self}"))
            .field("credentials", &self.credentials)
            .finish()
    }
}

/// Writes `host:port`, with IPv6 addresses in brackets.
impl fmt::Display for Target<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.host.contains(':') {
            true => write!(f, "[{}]:{}", self.host, self.port),
            false => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
mod tests;
