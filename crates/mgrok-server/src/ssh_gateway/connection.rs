//! One SSH client, from its first byte to its last.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use mgrok_config::{SshCommand, SshCommandError};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::message::MessageConn;
use mgrok_proto::WireVersion;
use mgrok_proto::message::Login;
use russh::server::{Handle, RunningSession, run_stream};
use russh::{ChannelId, Disconnect};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::UnixStream;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::timeout;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use tracing::{debug, info, warn};

use super::client::Client;
use super::handler::{Answers, EVENT_QUEUE, Event};
use super::inbox::Inboxes;
use super::work_conn::{Channels, Forward, MAX_CHANNELS, Wear};
use crate::excerpt::Excerpt;
use crate::login::gateway::{Admitted, Proof, admit};
use crate::per_source::Permit;
use crate::session::SessionContext;
use crate::ssh_policy::SshPolicy;

/// How long a client that has been let in may take to say what it wants.
// frp: the same
const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// How long the server may take to start a proxy. Plugins are asked about it, for up to 10 s each.
const START_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a client gets to read why it has to go.
const FAREWELL: Duration = Duration::from_secs(2);

/// Why an SSH client has to go. It is told at its terminal, if it has one.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    /// It asked for nothing else.
    #[error("{0}")]
    Help(String),
    #[error("{0}")]
    Command(String),
    #[error("the command is not UTF-8")]
    NotText,
    #[error(
        "say what to publish, as in: ssh -R 80:localhost:8080 v0@SERVER -p PORT tcp --remote_port 9090"
    )]
    NoCommand,
    #[error("get addr and extra payload timeout: a forward (ssh -R) and a command are needed")]
    Silent,
    #[error("{0}")]
    Login(String),
    #[error("{0}")]
    Proxy(String),
    #[error("the proxy was not started in time")]
    Slow,
    #[error("the forward was cancelled")]
    Cancelled,
    #[error("the server has ended this session")]
    Ended,
    #[error("too many users have left before the service had ended: connect anew")]
    Worn,
    /// Nobody is there who could be told.
    #[error("the client is gone")]
    Gone,
}

/// What a client wants.
struct Wanted {
    /// The comment of the key by which it came; `None` if it needed no key.
    comment: Option<String>,
    /// What the client calls itself, as `SSH-2.0-OpenSSH_9.2`.
    version: String,
    forward: Forward,
    command: Bytes,
}

/// A connection that can be cut from outside, since what serves it is a task of russh's own.
struct Cuttable {
    conn: Conn,
    cut: Pin<Box<WaitForCancellationFutureOwned>>,
}

/// A connection on which russh speaks.
struct Ssh {
    handle: Handle,
    running: RunningSession<Answers>,
    events: mpsc::Receiver<Event>,
    inboxes: Inboxes,
    terminal: Option<ChannelId>,
    cut: CancellationToken,
}

/// Serves whoever is at the other end of `conn`. `permit` is held until it has logged in.
pub(super) async fn serve(
    conn: Conn,
    from: SocketAddr,
    permit: Permit,
    ssh: Arc<SshPolicy>,
    context: Arc<SessionContext>,
) {
    let mut expired = Box::pin(permit.expired());
    let opened = tokio::select! {
        opened = Ssh::open(conn, from, &ssh) => opened,
        () = &mut expired => Err(russh::Error::ConnectionTimeout),
        () = context.tasks.stop_sessions.cancelled() => return,
    };
    let mut connection = match opened {
        Ok(connection) => connection,
        Err(error) => {
            return debug!(source = %from, "SSH connection of {from} closed: {}", Chain(&error));
        }
    };
    let wanted = tokio::select! {
        wanted = connection.wanted() => wanted,
        () = expired => Err(Refusal::Silent),
        () = context.tasks.stop_sessions.cancelled() => Err(Refusal::Ended),
    };
    let refusal = match wanted {
        Ok(wanted) => {
            let published = connection.publish(wanted, from, permit, &context);
            match Box::pin(published).await {
                Ok(never) => match never {},
                Err(refusal) => refusal,
            }
        }
        Err(refusal) => refusal,
    };
    connection.part(&refusal, from).await;
}

impl Ssh {
    /// Comes to a connection of which both ends speak SSH. Nobody is let in yet.
    async fn open(conn: Conn, from: SocketAddr, ssh: &SshPolicy) -> Result<Self, russh::Error> {
        let (sender, events) = mpsc::channel(EVENT_QUEUE);
        let (inboxes, cut) = (Inboxes::default(), CancellationToken::new());
        let answers = Answers::new(from, ssh.authorized_keys.clone(), sender, inboxes.clone());
        let conn = Cuttable {
            conn,
            cut: Box::pin(cut.clone().cancelled_owned()),
        };
        // If this is not awaited to its end, there is no task yet.
        let running = run_stream(ssh.config.clone(), conn, answers).await?;
        Ok(Self {
            handle: running.handle(),
            running,
            events,
            inboxes,
            terminal: None,
            cut,
        })
    }

    /// What the client wants, once it is let in.
    async fn wanted(&mut self) -> Result<Wanted, Refusal> {
        let (comment, version) = loop {
            if let Event::Authenticated { comment, version } = self.event().await? {
                break (comment, version);
            }
        };
        let (mut forward, mut command) = (None, None);
        let asked = async {
            loop {
                match self.event().await? {
                    Event::Forward(wanted) => forward = Some(wanted),
                    Event::Command {
                        channel,
                        command: said,
                    } => {
                        self.terminal = Some(channel);
                        command = Some(said);
                    }
                    // frp: whoever is not interested in what it is told may close its terminal (test/e2e/pkg/ssh/client.go)
                    Event::TerminalClosed | Event::Authenticated { .. } => {}
                    Event::Cancelled => return Err(Refusal::Cancelled),
                }
                if let (Some(forward), Some(command)) = (&forward, &command) {
                    return Ok((Forward::clone(forward), Bytes::clone(command)));
                }
            }
        };
        let asked = timeout(REQUEST_TIMEOUT, asked).await;
        let (forward, command) = asked.unwrap_or(Err(Refusal::Silent))?;
        Ok(Wanted {
            comment,
            version,
            forward,
            command,
        })
    }

    /// The next thing that the client does.
    async fn event(&mut self) -> Result<Event, Refusal> {
        self.events.recv().await.ok_or(Refusal::Gone)
    }

    /// Logs the client in and publishes its proxy, for as long as both are there.
    async fn publish(
        &mut self,
        wanted: Wanted,
        from: SocketAddr,
        permit: Permit,
        context: &Arc<SessionContext>,
    ) -> Result<Infallible, Refusal> {
        let Wanted {
            comment,
            version,
            forward,
            command,
        } = wanted;
        let command = std::str::from_utf8(&command).map_err(|_| Refusal::NotText)?;
        if command.is_empty() {
            return Err(Refusal::NoCommand);
        }
        let id = format!("{:08x}", fastrand::u32(..));
        let command = SshCommand::read(command, &id).map_err(|error| match error {
            SshCommandError::Help(text) => Refusal::Help(text),
            SshCommandError::Wrong(why) => Refusal::Command(why),
        })?;
        let proof = match &comment {
            Some(_) => Proof::Verified,
            None => Proof::Token(command.token),
        };
        let login = Login {
            version,
            // frp: the comment of a key counts before what the client says
            user: comment.filter(|it| !it.is_empty()).unwrap_or(command.user),
            client_id: command.client_id,
            ..Login::default()
        };
        let failed = |error: io::Error| Refusal::Login(error.to_string());
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        let [ours, theirs] =
            [ours, theirs].map(|end| MessageConn::new(end.into(), WireVersion::V1));
        let admitted = admit(theirs, login, "ssh", proof, from, context).await;
        let Admitted {
            session,
            run_id,
            user,
        } = admitted.map_err(Refusal::Login)?;
        drop(permit);
        let session = session.run();
        let handle = context.directory.session(&run_id).ok_or(Refusal::Ended)?;
        let wear = Wear::default();
        let mut client = Client {
            control: ours,
            channels: Arc::new(Channels {
                handle: self.handle.clone(),
                inboxes: self.inboxes.clone(),
                forward: Arc::new(forward),
                permits: Arc::new(Semaphore::new(MAX_CHANNELS)),
                wear: wear.clone(),
                tasks: context.tasks.clone(),
            }),
            work_conns: handle.work_conns,
        };
        let (kind, name) = (command.proxy.kind.as_str(), command.proxy.name.clone());
        let new = command.proxy.announcement(&user);
        let life = async {
            let answer = timeout(START_TIMEOUT, client.announce(new)).await;
            let answer = answer.map_err(|_| Refusal::Slow)?;
            let answer = answer.map_err(|_| Refusal::Ended)?;
            if !answer.error.is_empty() {
                return Err(Refusal::Proxy(answer.error));
            }
            // frp: these lines (pkg/ssh/terminal.go)
            let address = answer.remote_addr;
            let lines = format!(
                "\nfrp (via SSH) (Ctrl+C to quit)\n\nUser: {user}\nProxyName: {name}\nType: {kind}\nRemoteAddress: {address}\n\n"
            );
            self.write(&lines).await;
            let gone = async {
                loop {
                    match self.event().await {
                        Err(refusal) => break refusal,
                        Ok(Event::Cancelled) => break Refusal::Cancelled,
                        Ok(_) => {}
                    }
                }
            };
            tokio::select! {
                _ended = client.serve() => Err(Refusal::Ended),
                refusal = gone => Err(refusal),
                () = wear.worn() => Err(Refusal::Worn),
            }
        };
        tokio::pin!(session);
        let ended = tokio::select! {
            ended = life => ended,
            _ended = &mut session => return Err(Refusal::Ended),
        };
        // What the session holds is free when its task has ended, which it does once the client's end of its control stream is closed.
        drop(client);
        session.await;
        ended
    }

    /// Says `text` at the client's terminal, if it has one and takes it.
    async fn write(&self, text: &str) {
        let Some(terminal) = self.terminal else {
            return;
        };
        let text = Bytes::copy_from_slice(text.as_bytes());
        // Where it is closed, nobody is interested.
        let _ = timeout(FAREWELL, self.handle.data(terminal, text)).await;
    }

    /// Tells the client why it has to go, and has it gone.
    async fn part(mut self, refusal: &Refusal, from: SocketAddr) {
        match refusal {
            Refusal::Gone | Refusal::Help(_) => {
                debug!(source = %from, "SSH client {from}: {refusal}")
            }
            Refusal::Cancelled | Refusal::Ended | Refusal::Worn => {
                info!(source = %from, "SSH client {from} is parted: {refusal}")
            }
            // The log has it from the login, and from the session.
            Refusal::Login(_) | Refusal::Proxy(_) => {}
            Refusal::Command(_)
            | Refusal::NoCommand
            | Refusal::NotText
            | Refusal::Silent
            | Refusal::Slow => {
                warn!(source = %from, "SSH client {from} is refused: {}", Excerpt(refusal));
            }
        }
        if !matches!(refusal, Refusal::Gone) {
            self.write(&format!("{refusal}\n")).await;
            if let Some(terminal) = self.terminal {
                // frp: it parts by a disconnect, which ssh takes for this status. By that alone ssh may leave with the text unread.
                let status = match refusal {
                    Refusal::Help(_) => 0,
                    _ => 255,
                };
                let _ = timeout(FAREWELL, self.handle.exit_status_request(terminal, status)).await;
                let _ = timeout(FAREWELL, self.handle.close(terminal)).await;
                if timeout(FAREWELL, &mut self.running).await.is_ok() {
                    return;
                }
            }
            let bye =
                self.handle
                    .disconnect(Disconnect::ByApplication, String::new(), String::new());
            let _ = timeout(FAREWELL, bye).await;
            let _ = timeout(FAREWELL, &mut self.running).await;
        }
        // The drop cuts what is left.
    }
}

impl Drop for Ssh {
    fn drop(&mut self) {
        self.cut.cancel();
        self.inboxes.close_all();
    }
}

impl AsyncRead for Cuttable {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.conn).poll_read(cx, buf)
    }
}

impl AsyncWrite for Cuttable {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
        }
        Pin::new(&mut self.conn).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.conn).poll_shutdown(cx)
    }
}
