//! The control port: accept, find out what is spoken, hand on.
//!
//! The accept loop only accepts. Everything after that happens in the
//! connection's own task and under a deadline, so a silent or hostile
//! connection delays nobody.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use bytes::Bytes;
use mgrok_mux::Acceptor;
use mgrok_net::{
    conn::Conn,
    message::{MessageConn, RecvError},
    sniff::{self, Opening},
    tcp,
};
use mgrok_proto::{
    RunId, WireVersion, auth,
    hook::Op,
    message::{Message, NewWorkConn},
    v2::Content,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{Semaphore, mpsc},
    time::{sleep, timeout},
};
use tracing::{debug, warn};

use crate::{
    backend::UserAddrs,
    connection::Connection,
    error::chain,
    hooks::HookError,
    login, private,
    session::refuse_work_conn,
    shared::Shared,
    vhost::{self, Vhost as _},
};

/// How long a connection or stream may take to say what it is, as in frp (PROTOCOL 1.2).
const OPENING_TIMEOUT: Duration = Duration::from_secs(10);

/// How many streams of one connection may be at their first message at once.
const MAX_OPENING_STREAMS: usize = 256;

/// How many streams of one connection may wait to be accepted. They are acknowledged at once, so a
/// client that is asked for thousands of work connections opens as many in one go; what is beyond
/// the backlog is reset. A waiting stream costs less than 1 KiB.
const ACCEPT_BACKLOG: usize = 4_096;

/// Why a connection or stream was closed before it was one.
#[derive(Debug, thiserror::Error)]
enum OpeningError {
    #[error("closed before its first message")]
    Closed,
    #[error("connection failed")]
    Io(#[from] io::Error),
    #[error("its first message cannot be read")]
    Message(#[from] RecvError),
    #[error(
        "expected a multiplexed connection; transport.tcpMux is on here, and must be on in the client"
    )]
    MuxExpected,
    #[error(
        "a multiplexed connection; transport.tcpMux is off here, and must be off in the client"
    )]
    MuxUnexpected,
    #[error("not a client of this server")]
    NotAClient,
    #[error("said nothing for {} s", OPENING_TIMEOUT.as_secs())]
    Silent,
    #[error(
        "TLS is required here (transport.tls.force); turn transport.tls.enable on in the client"
    )]
    TlsRequired,
    #[error("TLS handshake failed")]
    Tls(#[source] io::Error),
    #[error("first message {0} is not one that opens a stream")]
    Unexpected(&'static str),
    #[error("WebSocket is not supported by this server")]
    WebSocket,
}

/// Why a work connection is not taken. Clients show the texts, which are frp's.
#[derive(Debug, thiserror::Error)]
enum WorkConnError {
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("no client control found for run id [{0}]")]
    RunId(String),
    #[error("token in NewWorkConn doesn't match token from configuration")]
    Token,
}

/// Accepts clients until the server stops listening.
pub(crate) async fn run(listener: TcpListener, shared: Arc<Shared>) {
    loop {
        let (stream, from) = tokio::select! {
            () = shared.tasks.stop_listening.cancelled() => return,
            accepted = tcp::accept(&listener) => accepted,
        };
        let connection = connection(stream, from, shared.clone());
        shared.tasks.spawn(connection);
    }
}

async fn connection(stream: TcpStream, from: SocketAddr, shared: Arc<Shared>) {
    let keepalive = shared.config.transport.tcp_keepalive;
    let (conn, addrs) = match shared.arrivals.receive(stream, from, keepalive).await {
        Ok(arrived) => arrived,
        Err(error) => return debug!("connection of {from} closed: {}", chain(&error)),
    };
    let from = addrs.from;
    let conn = match timeout(OPENING_TIMEOUT, unwrap(conn, &shared)).await {
        Ok(Ok(Opened::Client(conn))) => conn,
        Ok(Ok(Opened::User(conn, vhost))) => return serve_user(conn, addrs, vhost, &shared),
        Ok(Err(error)) => return log(from, &error),
        Err(_) => return log(from, &OpeningError::Silent),
    };
    let connection = Arc::new(Connection::new(addrs));
    if shared.config.transport.tcp_mux {
        multiplexed(conn, &connection, &shared).await;
    } else {
        let opened = first_message(conn).await;
        dispatch(opened, &connection, &shared).await;
    }
}

/// What a connection to the control port turned out to be.
enum Opened {
    /// A client's, without TLS.
    Client(Conn),
    /// A user's, for a service that shares the port.
    User(Conn, SharedVhost),
}

/// The vhost ports that may be the control port.
#[derive(Clone, Copy)]
enum SharedVhost {
    Http,
    Https,
}

/// Finds out what it is. Takes TLS off, if it is on, and checks that what is inside can be ours.
async fn unwrap(mut conn: Conn, shared: &Shared) -> Result<Opened, OpeningError> {
    let mut opening = sniff::opening(&mut conn).await?;
    if let Some(vhost) = shared_vhost(opening, shared) {
        return Ok(Opened::User(conn, vhost));
    }
    if let Opening::Tls { .. } = opening {
        conn = shared.tls.accept(conn).await.map_err(OpeningError::Tls)?;
        opening = sniff::opening(&mut conn).await?;
    } else if shared.config.transport.tls.force {
        return Err(OpeningError::TlsRequired);
    }
    let tcp_mux = shared.config.transport.tcp_mux;
    match opening {
        Opening::Mux if tcp_mux => Ok(Opened::Client(conn)),
        Opening::Mux => Err(OpeningError::MuxUnexpected),
        Opening::V1 | Opening::V2 if tcp_mux => Err(OpeningError::MuxExpected),
        Opening::V1 | Opening::V2 => Ok(Opened::Client(conn)),
        Opening::WebSocket => Err(OpeningError::WebSocket),
        Opening::Closed => Err(OpeningError::Closed),
        Opening::Http | Opening::Tls { .. } | Opening::Unknown => Err(OpeningError::NotAClient),
    }
}

/// Whose user it is that opens like this, if a vhost port is the control port.
// frp: the same, so that clients need the first byte of frp's own to share the port with HTTPS (PROTOCOL 1.2)
fn shared_vhost(opening: Opening, shared: &Shared) -> Option<SharedVhost> {
    let config = &shared.config;
    let shares = |port: Option<u16>| port.is_some_and(|it| vhost::shares_control_port(config, it));
    match opening {
        Opening::Http if shares(config.vhost.http_port) => Some(SharedVhost::Http),
        Opening::Tls {
            consume_first: false,
        } if shares(config.vhost.https_port) => Some(SharedVhost::Https),
        _ => None,
    }
}

fn serve_user(user: Conn, addrs: UserAddrs, vhost: SharedVhost, shared: &Shared) {
    let vhosts = &shared.vhosts;
    match vhost {
        SharedVhost::Http => {
            if let Some(vhost) = &vhosts.http {
                shared.tasks.serve_user(vhost.clone().serve(user, addrs));
            }
        }
        SharedVhost::Https => {
            if let Some(vhost) = &vhosts.https {
                shared.tasks.serve_user(vhost.clone().serve(user, addrs));
            }
        }
    }
}

/// Serves the streams of a multiplexed connection until it ends.
async fn multiplexed(conn: Conn, connection: &Arc<Connection>, shared: &Arc<Shared>) {
    let from = connection.addrs.from;
    let config = mgrok_mux::Config {
        accept_backlog: ACCEPT_BACKLOG,
        keepalive_interval: Some(shared.config.transport.tcp_mux_keepalive_interval),
        ..mgrok_mux::Config::server()
    };
    let (opener, acceptor, driver) = mgrok_mux::session(conn, config);
    shared.tasks.spawn(async move {
        if let Err(error) = driver.await {
            debug!("connection of {from} ended: {}", chain(&error));
        }
    });
    tokio::select! {
        () = shared.tasks.stop_connections.cancelled() => {}
        () = connection.session_over() => {}
        () = accept_streams(acceptor, connection, shared) => {}
        () = never_logs_in(connection, shared) => log(from, &OpeningError::Silent),
    }
    opener.close();
}

async fn accept_streams(
    mut acceptor: Acceptor,
    connection: &Arc<Connection>,
    shared: &Arc<Shared>,
) {
    let opening = Arc::new(Semaphore::new(MAX_OPENING_STREAMS));
    while let Some(stream) = acceptor.accept().await {
        let Ok(permit) = opening.clone().acquire_owned().await else {
            return;
        };
        let (connection, shared) = (connection.clone(), shared.clone());
        shared.clone().tasks.spawn(async move {
            let opened = first_message(Conn::from(stream)).await;
            drop(permit);
            dispatch(opened, &connection, &shared).await;
        });
    }
}

/// Ends when the connection should have been logged in and is not.
async fn never_logs_in(connection: &Connection, shared: &Shared) {
    // Plugins may take as long over a login that has come in time.
    sleep(OPENING_TIMEOUT + shared.hooks.patience(Op::Login)).await;
    if connection.has_session() {
        std::future::pending().await
    }
}

/// A stream that has said what it is.
struct Stream {
    conn: MessageConn,
    /// The client's hello, which control connections of v2 begin with.
    hello: Option<Bytes>,
    message: Message,
}

async fn first_message(mut conn: Conn) -> Result<Stream, OpeningError> {
    let receive = async {
        if !matches!(sniff::opening(&mut conn).await?, Opening::V2) {
            let mut conn = MessageConn::new(conn, WireVersion::V1);
            let message = conn.recv().await?.ok_or(OpeningError::Closed)?;
            return Ok(Stream {
                conn,
                hello: None,
                message,
            });
        }
        sniff::take_magic(&mut conn).await?;
        let mut conn = MessageConn::new(conn, WireVersion::V2);
        let (hello, message) = match conn.recv_content().await?.ok_or(OpeningError::Closed)? {
            Content::ClientHello(hello) => {
                let message = conn.recv().await?.ok_or(OpeningError::Closed)?;
                (Some(hello), message)
            }
            Content::Message(message) => (None, message),
            Content::ServerHello(_) => return Err(OpeningError::Unexpected("ServerHello")),
        };
        Ok(Stream {
            conn,
            hello,
            message,
        })
    };
    timeout(OPENING_TIMEOUT, receive)
        .await
        .unwrap_or(Err(OpeningError::Silent))
}

/// The first message on a stream says what the stream is.
async fn dispatch(
    opened: Result<Stream, OpeningError>,
    connection: &Connection,
    shared: &Arc<Shared>,
) {
    let Stream {
        conn,
        hello,
        message,
    } = match opened {
        Ok(stream) => stream,
        Err(error) => return log(connection.addrs.from, &error),
    };
    match message {
        Message::Login(login) => login::serve(conn, hello, login, connection, shared).await,
        Message::NewWorkConn(new) => work_conn(conn, new, shared).await,
        Message::NewVisitorConn(new) => {
            private::serve(conn, new, connection.addrs, shared).await;
        }
        other => log(
            connection.addrs.from,
            &OpeningError::Unexpected(other.name()),
        ),
    }
}

/// Takes a work connection to its session.
async fn work_conn(conn: MessageConn, new: NewWorkConn, shared: &Shared) {
    let (version, conn) = (conn.version(), conn.into_conn());
    match admit_work_conn(new, shared).await {
        Ok(offers) => {
            if offers.send(conn).await.is_err() {
                debug!("a work connection came when its session had just ended");
            }
        }
        Err(error) => {
            warn!("work connection refused: {error}");
            let text = shared.error_text(&error.to_string(), "invalid NewWorkConn");
            refuse_work_conn(conn, version, text).await;
        }
    }
}

/// Where the session of a work connection takes it. In frp's order, which wants plugins asked before a token is looked at.
async fn admit_work_conn(
    new: NewWorkConn,
    shared: &Shared,
) -> Result<mpsc::Sender<Conn>, WorkConnError> {
    let run_id = RunId::from(new.run_id.as_str());
    let offers = shared.registry.offers(&run_id);
    let offers = offers.ok_or_else(|| WorkConnError::RunId(new.run_id.clone()))?;
    let new = match shared.registry.client(&run_id) {
        Some(client) if shared.hooks.is_subscribed(Op::NewWorkConn) => {
            shared.hooks.new_work_conn(&client, new).await?
        }
        Some(_) | None => new,
    };
    let auth = &shared.config.auth;
    if auth.new_work_conns && !auth::verify(&auth.token, new.timestamp, new.privilege_key.expose())
    {
        return Err(WorkConnError::Token);
    }
    Ok(offers)
}

/// A scan of the port is nothing to wake anybody for; a client that is set up
/// differently from its server is.
fn log(from: SocketAddr, error: &OpeningError) {
    match error {
        OpeningError::MuxExpected
        | OpeningError::MuxUnexpected
        | OpeningError::TlsRequired
        | OpeningError::WebSocket => warn!("connection of {from} closed: {}", chain(error)),
        OpeningError::Closed
        | OpeningError::Io(_)
        | OpeningError::Message(_)
        | OpeningError::NotAClient
        | OpeningError::Silent
        | OpeningError::Tls(_)
        | OpeningError::Unexpected(_) => debug!("connection of {from} closed: {}", chain(error)),
    }
}
