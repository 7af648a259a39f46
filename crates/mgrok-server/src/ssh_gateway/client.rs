//! The client's side of a session whose client is `ssh`: announces the proxy, and offers the work connections that are asked for.

use std::sync::Arc;

use mgrok_net::conn::Conn;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_proto::message::{Message, NewProxy, NewProxyResp};
use tokio::sync::mpsc;

use super::work_conn::Channels;

/// The end of a session's control stream at which its client would be.
pub(super) struct Client {
    pub(super) control: MessageConn,
    pub(super) channels: Arc<Channels>,
    /// Where the session takes work connections.
    pub(super) work_conns: mpsc::Sender<Conn>,
}

/// Why the session cannot be spoken with. It has ended, mostly.
#[derive(Debug, thiserror::Error)]
pub(super) enum ClientError {
    #[error("the session has ended")]
    Ended,
    #[error(transparent)]
    Recv(#[from] RecvError),
    #[error(transparent)]
    Send(#[from] SendError),
}

impl Client {
    /// Announces a proxy; what the server answers.
    pub(super) async fn announce(&mut self, new: NewProxy) -> Result<NewProxyResp, ClientError> {
        self.control.send(&new.into()).await?;
        loop {
            match self.next().await? {
                Message::NewProxyResp(answer) => return Ok(answer),
                other => self.answer(other).await?,
            }
        }
    }

    /// Does what the session asks for until it ends.
    pub(super) async fn serve(&mut self) -> ClientError {
        loop {
            let answered = match self.next().await {
                Ok(message) => self.answer(message).await,
                Err(error) => Err(error),
            };
            if let Err(error) = answered {
                return error;
            }
        }
    }

    async fn next(&mut self) -> Result<Message, ClientError> {
        self.control.recv().await?.ok_or(ClientError::Ended)
    }

    async fn answer(&mut self, message: Message) -> Result<(), ClientError> {
        match message {
            Message::ReqWorkConn(_) => {
                let offered = self.work_conns.send(self.channels.offer()).await;
                offered.map_err(|_| ClientError::Ended)
            }
            // There is nothing else that concerns it.
            _ => Ok(()),
        }
    }
}
