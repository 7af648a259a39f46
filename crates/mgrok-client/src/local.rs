//! Local services: where they listen, and how they are connected.

use std::fmt::{self, Display, Formatter};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mgrok_config::LocalAddr;
use mgrok_net::conn::Conn;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialError, DialOptions, KEEPALIVE, dial};
use tokio::time::timeout;

/// How long a local service may take to accept.
// frp: the same (client/proxy/proxy.go#HandleTCPWorkConnection)
const CONNECT_TIME: Duration = Duration::from_secs(10);

/// Where a local service listens.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Local<'a> {
    /// On a port.
    Tcp { host: &'a str, port: u16 },
    /// On a Unix socket.
    Unix(&'a Path),
}

/// Why a local service is not connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LocalError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error("{} did not accept within {CONNECT_TIME:?}", .0.display())]
    Timeout(PathBuf),
    #[error("cannot connect to {}", path.display())]
    Unix {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
}

impl Local<'_> {
    /// Connects to the service, whose name `resolver` looks up.
    pub(crate) async fn connect(self, resolver: &Resolver) -> Result<Conn, LocalError> {
        match self {
            Self::Tcp { host, port } => {
                let options = DialOptions {
                    timeout: CONNECT_TIME,
                    // A local service on another machine may vanish without a word.
                    keepalive: Some(KEEPALIVE),
                    local_ip: None,
                    resolver: resolver.clone(),
                };
                Ok(dial(host, port, &options).await?.into())
            }
            Self::Unix(path) => match timeout(CONNECT_TIME, connect_unix(path)).await {
                Ok(connected) => connected.map_err(|source| LocalError::Unix {
                    path: path.to_owned(),
                    source,
                }),
                Err(_elapsed) => Err(LocalError::Timeout(path.to_owned())),
            },
        }
    }
}

impl<'a> From<&'a LocalAddr> for Local<'a> {
    fn from(addr: &'a LocalAddr) -> Self {
        Self::Tcp {
            host: &addr.host,
            port: addr.port,
        }
    }
}

/// As logs have it.
impl Display for Local<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => path.display().fmt(f),
        }
    }
}

#[cfg(unix)]
async fn connect_unix(path: &Path) -> io::Result<Conn> {
    Ok(tokio::net::UnixStream::connect(path).await?.into())
}

#[cfg(not(unix))]
#[expect(clippy::unused_async, reason = "it is elsewhere")]
async fn connect_unix(_path: &Path) -> io::Result<Conn> {
    Err(io::ErrorKind::Unsupported.into())
}
