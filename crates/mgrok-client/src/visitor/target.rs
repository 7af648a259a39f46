//! What a visitor visits, and how it gets a connection there through the server.

use std::time::Duration;

use mgrok_config::VisitorConfig;
use mgrok_net::conn::Conn;
use mgrok_net::layers::Layers;
use mgrok_net::message::{RecvError, SendError};
use mgrok_net::udp::DatagramConn;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{Message, NewVisitorConn};
use mgrok_proto::{Negotiated, RunId};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::context::VisitorContext;
use crate::connect::ConnectError;
use crate::handle::{SessionHandle, Sessions};
use crate::server_text::server_text;
use crate::signature::signed_now;
use mgrok_config::wire_name;

/// How long the server may take to answer.
// frp: the same (client/visitor/visitor.go#dialRawVisitorConn)
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long a user waits for a session with the server: a reconnect, if nothing is wrong.
// frp closes the listeners of a client without a session, so that its users are refused at once.
const SESSION_TIMEOUT: Duration = Duration::from_secs(10);

/// Why there is no connection to the service.
#[derive(Debug, thiserror::Error)]
pub(super) enum VisitError {
    #[error("the server closed the connection without an answer")]
    Closed,
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("no session with the server for {} s", SESSION_TIMEOUT.as_secs())]
    NoSession,
    #[error("cannot receive the server's answer")]
    Receive(#[from] RecvError),
    #[error("{0}")]
    Refused(String),
    #[error("cannot ask the server for the service")]
    Send(#[from] SendError),
    #[error("the client stops")]
    Stopping,
    #[error("no answer from the server within {} s", ANSWER_TIMEOUT.as_secs())]
    Timeout,
    #[error("the server answered with {0}")]
    Unexpected(&'static str),
}

/// A private service of another client.
#[derive(Debug)]
pub(super) struct Target {
    /// What lies on connections up to the server.
    layers: Layers,
    /// The name of its proxy on the wire.
    proxy_name: String,
    secret: Secret,
    sessions: watch::Receiver<Sessions>,
    stopping: CancellationToken,
}

impl Target {
    pub(super) fn new(config: &VisitorConfig, context: &VisitorContext) -> Self {
        let key = || CipherKey::derive(&config.secret_key);
        let user = config.server_user.as_ref().unwrap_or(&context.user);
        Self {
            layers: Layers {
                encryption: config.use_encryption.then(key),
                compression: config.use_compression,
                limit: None,
            },
            proxy_name: wire_name(user, &config.server_name),
            secret: config.secret_key.clone(),
            sessions: context.sessions.clone(),
            stopping: context.stopping.clone(),
        }
    }

    /// Opens a connection to the service, and says how it is spoken on it. Waits a while for a session with the server if there is none.
    pub(super) async fn open(&self) -> Result<(Conn, Negotiated), VisitError> {
        let session = self.session().await?;
        let mut conn = session.open().await?;
        let exchange = async {
            conn.send(&self.request(session.run_id()).into()).await?;
            Ok::<_, VisitError>(conn.recv().await?)
        };
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange)
            .await
            .map_err(|_| VisitError::Timeout)??;
        match answer {
            None => Err(VisitError::Closed),
            Some(Message::NewVisitorConnResp(answer)) if answer.error.is_empty() => {
                Ok((self.layers.wrap(conn.into_conn()), session.negotiated()))
            }
            Some(Message::NewVisitorConnResp(answer)) => {
                Err(VisitError::Refused(server_text(&answer.error)))
            }
            Some(other) => Err(VisitError::Unexpected(other.name())),
        }
    }

    /// The same to a service that takes datagrams.
    pub(super) async fn open_datagrams(&self) -> Result<DatagramConn, VisitError> {
        let (conn, negotiated) = self.open().await?;
        Ok(DatagramConn::new(conn, negotiated.datagram_framing()))
    }

    /// The session there is, or soon is.
    async fn session(&self) -> Result<SessionHandle, VisitError> {
        let mut sessions = self.sessions.clone();
        let session = Sessions::wait_for_first(&mut sessions);
        tokio::select! {
            biased;
            session = tokio::time::timeout(SESSION_TIMEOUT, session) => match session {
                Ok(Some(session)) => Ok(session),
                Ok(None) => Err(VisitError::Stopping),
                Err(_) => Err(VisitError::NoSession),
            },
            () = self.stopping.cancelled() => Err(VisitError::Stopping),
        }
    }

    fn request(&self, run_id: &RunId) -> NewVisitorConn {
        let (sign_key, timestamp) = signed_now(&self.secret);
        NewVisitorConn {
            run_id: run_id.as_str().to_owned(),
            proxy_name: self.proxy_name.clone(),
            sign_key,
            timestamp,
            use_encryption: self.layers.encryption.is_some(),
            use_compression: self.layers.compression,
        }
    }
}

#[cfg(test)]
mod tests;
