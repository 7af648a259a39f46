//! From HTTP to raw bytes: what follows a 101, or a success of CONNECT.

use std::time::Duration;

use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use mgrok_net::conn::Conn;
use mgrok_net::relay::{HalfClose, RelayEnd, Traffic, relay};
use tokio::io::{AsyncRead, AsyncWrite};

use crate::activity::Watched;

/// Two connections that stop speaking HTTP. It travels in the extensions of an answer.
#[derive(Clone, Debug)]
pub(crate) struct Switch {
    pub(crate) user: OnUpgrade,
    pub(crate) backend: OnUpgrade,
    pub(crate) half_close: HalfClose,
    pub(crate) idle_timeout: Option<Duration>,
}

/// Why two connections cannot be joined.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SwitchError {
    #[error("the connection is not one of ours")]
    Foreign,
    #[error("the connection ended before the protocol changed")]
    Lost(#[from] hyper::Error),
}

impl Switch {
    /// Copies both ways until the end.
    pub(crate) async fn run(self) -> Result<RelayEnd, SwitchError> {
        let user = into_conn::<Watched>(self.user.await?)?;
        let backend = into_conn::<Conn>(self.backend.await?)?;
        let traffic = Traffic::default();
        let relay = relay(user, backend, self.half_close, &traffic);
        Ok(relay.with_idle_timeout(self.idle_timeout).await)
    }
}

/// Takes the connection back, with what was read ahead of the change in front of it.
fn into_conn<T>(upgraded: Upgraded) -> Result<Conn, SwitchError>
where
    T: AsyncRead + AsyncWrite + Into<Conn> + Unpin + 'static,
{
    let parts = upgraded
        .downcast::<TokioIo<T>>()
        .map_err(|_foreign| SwitchError::Foreign)?;
    let mut conn: Conn = parts.io.into_inner().into();
    conn.unread(parts.read_buf);
    Ok(conn)
}
