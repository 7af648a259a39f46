//! What is answered to an SSH client, as russh asks for it: who may come, and the little that there is to ask for.
//!
//! Nothing is decided here but who is let in and how much may be asked for; the rest is told to the task of the connection.

use std::net::SocketAddr;
use std::path::PathBuf;

use bytes::Bytes;
use russh::keys::PublicKey;
use russh::server::{
    Auth, ChannelOpenHandle, Handler, Msg, PublicKeyOffer, Session, VerifiedPublicKey,
};
use russh::{Channel, ChannelId, ChannelOpenFailure, Disconnect};
use tokio::sync::mpsc;
use tokio::task::spawn_blocking;
use tracing::{debug, warn};

use super::authorized_keys::comment_of;
use super::inbox::Inboxes;
use super::work_conn::Forward;

/// How many requests and channels that are not granted a client may ask for. Beyond it the connection is ended.
const MAX_REFUSED: u32 = 64;

/// The longest name of an address that is forwarded, in bytes.
const MAX_ADDRESS: usize = 255;

/// What an SSH client has done.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Event {
    /// It may come. The comment of its key, if it needed one, and what it calls itself.
    Authenticated {
        comment: Option<String>,
        version: String,
    },
    /// It wants connections carried to its local service.
    Forward(Forward),
    /// It has said what it wants published.
    Command { channel: ChannelId, command: Bytes },
    /// It has closed the channel to its terminal.
    TerminalClosed,
    /// It wants nothing carried any more.
    Cancelled,
}

/// The most events that the task of a connection may be behind: more than any client may bring about.
pub(super) const EVENT_QUEUE: usize = 16;

/// Answers one client.
pub(super) struct Answers {
    pub(super) from: SocketAddr,
    /// The file of those who may come; `None` is everybody.
    pub(super) authorized_keys: Option<PathBuf>,
    pub(super) events: mpsc::Sender<Event>,
    pub(super) inboxes: Inboxes,
    /// The comment of the key by which it came.
    comment: Option<String>,
    terminal: Option<ChannelId>,
    has_forward: bool,
    has_command: bool,
    refused: u32,
}

impl Answers {
    pub(super) fn new(
        from: SocketAddr,
        authorized_keys: Option<PathBuf>,
        events: mpsc::Sender<Event>,
        inboxes: Inboxes,
    ) -> Self {
        Self {
            from,
            authorized_keys,
            events,
            inboxes,
            comment: None,
            terminal: None,
            has_forward: false,
            has_command: false,
            refused: 0,
        }
    }

    /// Tells the task of the connection. Each event comes once, so there is room.
    fn tell(&self, event: Event) -> Result<(), russh::Error> {
        self.events
            .try_send(event)
            .map_err(|_| russh::Error::Disconnect)
    }

    /// Counts what is not granted; ends the connection of a client that does not stop.
    fn refuse(&mut self, session: &mut Session) -> Result<(), russh::Error> {
        self.refused += 1;
        if self.refused > MAX_REFUSED {
            debug!(source = %self.from, "SSH client asks for too much");
            session.disconnect(Disconnect::ByApplication, "too many requests", "")?;
        }
        Ok(())
    }

    fn command(
        &mut self,
        channel: ChannelId,
        command: &[u8],
        session: &mut Session,
    ) -> Result<(), russh::Error> {
        if self.has_command {
            session.channel_failure(channel)?;
            return self.refuse(session);
        }
        self.has_command = true;
        session.channel_success(channel)?;
        let command = Bytes::copy_from_slice(command);
        self.tell(Event::Command { channel, command })
    }

    async fn look_up(&self, key: &PublicKey) -> Option<String> {
        let (path, key, from) = (self.authorized_keys.clone()?, key.clone(), self.from);
        let shown = path.display().to_string();
        let found = spawn_blocking(move || comment_of(&key, &path, from))
            .await
            .ok()?;
        found.unwrap_or_else(|error| {
            // frp: the first words
            warn!(
                source = %from,
                "load authorized keys file error: {shown} (sshTunnelGateway.authorizedKeysFile) lets nobody in: {error}"
            );
            None
        })
    }
}

impl Handler for Answers {
    type Error = russh::Error;

    async fn auth_none(&mut self, _user: &str) -> Result<Auth, Self::Error> {
        // The token is asked for instead.
        Ok(match self.authorized_keys {
            None => Auth::Accept,
            Some(_) => Auth::reject(),
        })
    }

    async fn auth_publickey_offered(
        &mut self,
        _user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        Ok(match self.look_up(offer.public_key).await {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_publickey(
        &mut self,
        _user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        // Looked up again: what was offered need not be what was shown in the end.
        self.comment = self.look_up(key.public_key).await;
        Ok(match self.comment {
            Some(_) => Auth::Accept,
            None => Auth::reject(),
        })
    }

    async fn auth_succeeded(&mut self, session: &mut Session) -> Result<(), Self::Error> {
        let comment = self.comment.take();
        let version = String::from_utf8_lossy(session.remote_sshid()).into_owned();
        self.tell(Event::Authenticated { comment, version })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.terminal.is_some() {
            reply.reject(ChannelOpenFailure::ResourceShortage).await;
            return self.refuse(session);
        }
        self.terminal = Some(channel.id());
        reply.accept().await;
        Ok(())
    }

    async fn channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _address: &str,
        _port: u32,
        _reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(session)
    }

    async fn channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _to: &str,
        _to_port: u32,
        _from: &str,
        _from_port: u32,
        _reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(session)
    }

    async fn channel_open_forwarded_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _to: &str,
        _to_port: u32,
        _from: &str,
        _from_port: u32,
        _reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(session)
    }

    async fn channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _path: &str,
        _reply: ChannelOpenHandle,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.refuse(session)
    }

    async fn channel_open_confirmation(
        &mut self,
        channel: ChannelId,
        _max_packet_size: u32,
        _window_size: u32,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.inboxes.open(channel);
        Ok(())
    }

    async fn data(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        // What is typed at the terminal is for nobody.
        self.inboxes.push(channel, data).await;
        Ok(())
    }

    async fn channel_eof(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.inboxes.finish(channel);
        Ok(())
    }

    async fn channel_close(
        &mut self,
        channel: ChannelId,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if self.terminal == Some(channel) {
            // It stays taken: one terminal is all that a connection gets.
            self.tell(Event::TerminalClosed)?;
        }
        self.inboxes.close(channel);
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        data: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        self.command(channel, data, session)
    }

    async fn shell_request(
        &mut self,
        channel: ChannelId,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // As an empty command, so that whoever has left it out is told what to say.
        self.command(channel, b"", session)
    }

    async fn subsystem_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)?;
        self.refuse(session)
    }

    async fn pty_request(
        &mut self,
        channel: ChannelId,
        _term: &str,
        _columns: u32,
        _rows: u32,
        _width: u32,
        _height: u32,
        _modes: &[(russh::Pty, u32)],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        // With one, `ssh -t` hands Ctrl-C on instead of ending: there is nobody here to take it.
        session.channel_failure(channel)?;
        self.refuse(session)
    }

    async fn env_request(
        &mut self,
        channel: ChannelId,
        _name: &str,
        _value: &str,
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_failure(channel)
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if self.has_forward || address.len() > MAX_ADDRESS {
            self.refuse(session)?;
            return Ok(false);
        }
        self.has_forward = true;
        let (address, port) = (address.to_owned(), *port);
        self.tell(Event::Forward(Forward { address, port }))?;
        Ok(true)
    }

    async fn cancel_tcpip_forward(
        &mut self,
        _address: &str,
        _port: u32,
        session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if !self.has_forward {
            self.refuse(session)?;
            return Ok(false);
        }
        // Once: it may not be had again, so that what follows is refused.
        self.tell(Event::Cancelled)?;
        Ok(true)
    }
}
