//! From SOCKS version 5 to whichever host the user names.

use std::io;
use std::time::Duration;

use mgrok_config::PluginCredentials;
use mgrok_net::conn::Conn;
use mgrok_net::resolver::Resolver;
use mgrok_net::socks5::{AcceptError, Reply, Target, accept, reply};
use mgrok_net::tcp::DialError;
use mgrok_proto::auth::Secret;
use tokio::time::{sleep, timeout};

use super::answers::WRONG_PASSWORD_DELAY;
use crate::local::{Local, LocalError};

/// How long a user may take to say where to, and to take an answer that refuses.
const REQUEST_TIME: Duration = Duration::from_secs(10);

/// Connects users to whichever host they name.
#[derive(Debug)]
pub(crate) struct Socks5 {
    /// `None`: anybody may come.
    credentials: Option<PluginCredentials>,
}

/// Why a user is not connected.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Socks5Error {
    #[error(transparent)]
    Accept(#[from] AcceptError),
    #[error("{}:{}", .target.host.escape_debug(), .target.port)]
    Dial {
        target: Target,
        #[source]
        source: LocalError,
    },
    #[error("the user does not take the answer")]
    Io(#[source] io::Error),
    #[error("no request came within {REQUEST_TIME:?}")]
    Timeout,
}

impl Socks5 {
    pub(super) fn new(credentials: PluginCredentials) -> Self {
        Self {
            credentials: Some(credentials).filter(|it| !it.is_empty()),
        }
    }

    /// Does what the user asks for on `work`. Returns it, answered, and the connection to the host, whose name `resolver` looks up.
    pub(crate) async fn open(
        &self,
        mut work: Conn,
        resolver: &Resolver,
    ) -> Result<(Conn, Conn), Socks5Error> {
        let is_known = self.credentials.as_ref().map(|it| {
            |user: &[u8], password: &[u8]| {
                let same = |got: &[u8], wanted: &str| {
                    let got = std::str::from_utf8(got).map(Secret::new);
                    got.is_ok_and(|got| got == Secret::new(wanted))
                };
                // Not `&&`, which would tell a known user from an unknown one.
                same(user, &it.user) & same(password, it.password.expose())
            }
        });
        let target = match timeout(REQUEST_TIME, accept(&mut work, is_known)).await {
            Ok(Ok(target)) => target,
            Ok(Err(error)) => {
                if matches!(error, AcceptError::Credentials) {
                    sleep(WRONG_PASSWORD_DELAY).await;
                }
                refuse(work, error.answer()).await;
                return Err(error.into());
            }
            Err(_elapsed) => return Err(Socks5Error::Timeout),
        };
        let local = Local::Tcp {
            host: &target.host,
            port: target.port,
        };
        match local.connect(resolver).await {
            Ok(service) => {
                let succeeded = reply(Reply::Succeeded);
                work.send(succeeded).await.map_err(Socks5Error::Io)?;
                Ok((work, service))
            }
            Err(source) => {
                refuse(work, reply(reply_of(&source))).await;
                Err(Socks5Error::Dial { target, source })
            }
        }
    }
}

/// Sends the last that a user is to get.
async fn refuse(mut work: Conn, answer: bytes::Bytes) {
    let farewell = async {
        work.send(answer).await?;
        work.close().await
    };
    // Whoever has left needs no answer.
    let _ = timeout(REQUEST_TIME, farewell).await;
}

/// What a user is told of a host that is not connected.
fn reply_of(error: &LocalError) -> Reply {
    match error {
        LocalError::Dial(DialError::Connect { source, .. }) => match source.kind() {
            io::ErrorKind::ConnectionRefused => Reply::Refused,
            io::ErrorKind::NetworkUnreachable => Reply::NetworkUnreachable,
            io::ErrorKind::HostUnreachable | io::ErrorKind::TimedOut => Reply::HostUnreachable,
            io::ErrorKind::PermissionDenied => Reply::NotAllowed,
            _ => Reply::Failure,
        },
        // frp: the same code for what has no address and what does not answer
        LocalError::Dial(
            DialError::NoAddress { .. } | DialError::Resolve { .. } | DialError::Timeout { .. },
        ) => Reply::HostUnreachable,
        LocalError::Dial(DialError::LocalIp { .. })
        | LocalError::Timeout(_)
        | LocalError::Unix { .. } => Reply::Failure,
    }
}
