//! How a session begins: `Login` and its answer, and the cipher that comes after them.
//!
//! In v2 a hello precedes each, and records follow them. [`log_in`] also finds out which version the server speaks.

use std::error::Error as _;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use mgrok_config::ClientConfig;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::layers;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_oidc::TokenError;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::hello::{Agreement, Extension, Offer};
use mgrok_proto::message::{Login, LoginResp, Message, Ping};
use mgrok_proto::record::Algorithm;
use mgrok_proto::v2::{self, Content};
use mgrok_proto::{FRP_VERSION, Negotiated, RunId, WireVersion};
use tokio::time::{Instant, timeout_at};
use tracing::debug;

use crate::backoff::Failure;
use crate::clock::now;
use crate::connect::{ConnectError, Connector, Link, Transport};
use crate::credentials::LoginProof;
use crate::server_text::server_text;
use crate::wire::WireChoice;

/// How long the server may take to answer a login.
// frp: the same (client/control_session.go#connReadTimeout)
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest run id taken from a server; those of frp have 16 bytes.
const MAX_RUN_ID: usize = 128;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
    /// Client and server have no common algorithm or extension in v2.
    #[error(
        "the server does not agree on how to speak: {0}; transport.wireProtocol = \"v1\" does \
         without an agreement"
    )]
    Agreement(String),
    /// The server hung up before it answered.
    #[error(
        "the server closed the connection during login; check that transport.tls, \
         transport.tcpMux and the port agree with the server"
    )]
    Closed(#[source] Option<io::Error>),
    /// The server cannot be reached.
    #[error(transparent)]
    Connect(#[from] ConnectError),
    /// What the server answers is no message of this protocol.
    #[error("the server's answer to the login cannot be understood; check that the port is its")]
    Garbage(#[source] RecvError),
    /// In v2, the server hung up before its hello.
    #[error(
        "the server closed the connection instead of answering in wire protocol v2; if it does not \
         speak v2 (frp before 0.69.0), set transport.wireProtocol to \"auto\" or \"v1\", otherwise \
         check that transport.tls, transport.tcpMux and the port agree with the server"
    )]
    NoHello(#[source] Option<io::Error>),
    /// The server's answer names no session, or gives it no fit name.
    #[error("the server accepted the login without a usable run id")]
    NoRunId,
    /// There is nothing to log in with.
    #[error(transparent)]
    Oidc(#[from] TokenError),
    /// The server refused, with these words.
    #[error("{refusal}{}", advice(.0), refusal = .0)]
    Refused(String),
    /// The login cannot be sent.
    #[error("cannot send the login; if it is too long, shorten metadatas")]
    Send(#[source] SendError),
    /// The server does not answer.
    #[error(
        "no answer to the login within {seconds} s; check that transport.tls, transport.tcpMux \
         and the port agree with the server",
        seconds = ANSWER_TIMEOUT.as_secs()
    )]
    Timeout,
    /// The server answered something else.
    #[error("the server answered the login with {0}")]
    Unexpected(&'static str),
}

/// A login to be made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Request<'a> {
    pub(crate) config: &'a ClientConfig,
    /// The control connection's, in v1.
    pub(crate) key: &'a CipherKey,
    pub(crate) proof: &'a LoginProof,
    /// Whether the earlier session is alive and keeps its users.
    pub(crate) migrating: bool,
    /// Whether the link is for the earlier session, which goes on.
    pub(crate) joins: bool,
    /// Asks for an earlier session back.
    pub(crate) run_id: Option<&'a RunId>,
}

/// A session that has begun.
#[derive(Debug)]
pub(crate) struct LoggedIn {
    pub(crate) control: MessageConn,
    pub(crate) negotiated: Negotiated,
    pub(crate) link: Link,
    pub(crate) run_id: RunId,
    /// The server's version, as it says.
    pub(crate) version: String,
}

/// Logs in over `link`. If the server turns out not to speak v2, and need not, does so in v1 over another link by the same transport. `wire` is
/// the server's.
///
/// Not cancel-safe: a login that was given up may have worked.
pub(crate) async fn log_in(
    connector: &Arc<Connector>,
    mut link: Link,
    wire: &mut WireChoice,
    request: &Request<'_>,
) -> Result<LoggedIn, LoginError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let control = link.control().await?;
    let mut answered = match wire.first() {
        WireVersion::V1 => login_v1(control, request, deadline).await,
        WireVersion::V2 => {
            let offer = offer(connector, link.transport(), request);
            login_v2(control, request, &offer, deadline).await
        }
    };
    if let Err(error) = &answered
        && is_the_end(error, wire.first(), connector.tells_ends(link.transport()))
        && wire.handle_hang_up(now())
    {
        match error.source() {
            None => debug!("no answer in wire protocol v2, trying v1"),
            Some(error) => debug!("no answer in wire protocol v2, trying v1: {error}"),
        }
        let transport = link.transport();
        // The old link may be dead, and the server would hold two at a time.
        link.close().await;
        link = connector.link(transport, None).await?;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        answered = login_v1(link.control().await?, request, deadline).await;
    }
    let Answer {
        control,
        run_id,
        version,
        extensions,
    } = answered?;
    match control.version() {
        WireVersion::V1 => wire.handle_v1_login(&version),
        WireVersion::V2 => wire.handle_v2_login(),
    }
    Ok(LoggedIn {
        negotiated: Negotiated::new(control.version(), &version, &extensions),
        control,
        link,
        run_id,
        version,
    })
}

/// Adds `link` to the session of the run id in `request`, which has agreed on that. Returns the stream that says so for as long as it lives.
pub(crate) async fn join(
    connector: &Connector,
    link: &mut Link,
    request: &Request<'_>,
) -> Result<MessageConn, LoginError> {
    let deadline = Instant::now() + ANSWER_TIMEOUT;
    let extensions = [Extension::LINK, Extension::PROOF];
    let bootstrap = connector.bootstrap(link.transport());
    let offer = Offer::new(bootstrap, &Algorithm::by_speed(), &extensions);
    let answer = login_v2(link.control().await?, request, &offer, deadline).await?;
    Ok(answer.control)
}

/// Whether `error` means that the server ended the connection instead of sending its hello in v2.
fn is_the_end(error: &LoginError, version: WireVersion, tells_ends: bool) -> bool {
    let is_silence = matches!(error, LoginError::Timeout) && version == WireVersion::V2;
    matches!(error, LoginError::NoHello(_)) || (is_silence && !tells_ends)
}

/// The extensions of this end, and its transport.
fn offer(connector: &Connector, transport: Transport, request: &Request<'_>) -> Offer {
    let mut extensions = vec![
        Extension::ACCESS,
        Extension::BALANCING,
        Extension::BINARY_PACKETS,
        Extension::DATAGRAMS,
        Extension::CAN_MIGRATE,
    ];
    if connector.tells_ends(transport) {
        extensions.push(Extension::HALF_CLOSE);
    }
    if request.migrating {
        extensions.push(Extension::MIGRATE);
    }
    if request.run_id.is_some() {
        extensions.push(Extension::PROOF);
    }
    if transport == Transport::Quic {
        extensions.push(Extension::QUIC_DATAGRAMS);
    }
    if connector.further_links(transport) > 0 {
        extensions.extend([Extension::BOND, Extension::LINKS]);
    }
    if connector.is_muxed(transport) {
        extensions.push(Extension::SERVER_STREAMS);
    }
    if connector.may_watch_closely(transport) {
        extensions.push(Extension::LIVENESS);
    }
    let bootstrap = connector.bootstrap(transport);
    Offer::new(bootstrap, &Algorithm::by_speed(), &extensions)
}

/// The server's answer to a login.
#[derive(Debug)]
struct Answer {
    control: MessageConn,
    run_id: RunId,
    /// The server's version, as it says.
    version: String,
    /// What both ends can do beyond frp's protocol.
    extensions: Vec<Extension>,
}

async fn login_v1(
    stream: Conn,
    request: &Request<'_>,
    deadline: Instant,
) -> Result<Answer, LoginError> {
    let mut conn = MessageConn::new(stream, WireVersion::V1);
    let exchange = async {
        conn.send(&request.message().into()).await?;
        let answer = conn.recv().await?.ok_or(LoginError::Closed(None))?;
        accepted(answer)
    };
    let (run_id, version) = timeout_at(deadline, exchange)
        .await
        .map_err(|_| LoginError::Timeout)??;
    let mut conn = conn.into_conn();
    conn.send_first();
    let conn = layers::encrypt(conn, request.key);
    Ok(Answer {
        control: MessageConn::new(conn, WireVersion::V1),
        run_id,
        version,
        extensions: Vec::new(),
    })
}

async fn login_v2(
    stream: Conn,
    request: &Request<'_>,
    offer: &Offer,
    deadline: Instant,
) -> Result<Answer, LoginError> {
    let mut opening = BytesMut::from(v2::MAGIC);
    offer.encode(&mut opening);
    let mut conn = MessageConn::new(stream, WireVersion::V2);
    let exchange = async {
        conn.queue_encoded(&opening)?;
        conn.queue(&request.message().into())?;
        let agreement = match conn.flush().await {
            Ok(()) => receive_hello(&mut conn, offer).await?,
            Err(error) => return Err(LoginError::from(error).before_hello()),
        };
        if request.joins && !agreement.extensions.contains(&Extension::LINK) {
            // To go on would end the session.
            return Err(LoginError::Agreement(
                "it adds no connection to a session any more".to_owned(),
            ));
        }
        let proves = agreement.extensions.contains(&Extension::PROOF);
        if proves {
            // Only a client that can seal a record may replace the session.
            conn = seal(conn, &agreement, request);
            conn.send(&Ping::default().into()).await?;
        }
        let answer = conn.recv().await?.ok_or(LoginError::Closed(None))?;
        let (run_id, version) = accepted(answer)?;
        if !proves {
            conn = seal(conn, &agreement, request);
        }
        Ok((conn, agreement, run_id, version))
    };
    let (control, agreement, run_id, version) = timeout_at(deadline, exchange)
        .await
        .map_err(|_| LoginError::Timeout)??;
    Ok(Answer {
        control,
        run_id,
        version,
        extensions: agreement.extensions,
    })
}

/// From here on the control connection is sealed, in both directions.
fn seal(control: MessageConn, agreement: &Agreement, request: &Request<'_>) -> MessageConn {
    let keys = agreement.keys(&request.config.auth.token);
    let (sends, receives) = (&keys.client_to_server, &keys.server_to_client);
    let mut conn = control.into_conn();
    conn.send_first();
    let conn = layers::seal(conn, sends, receives);
    MessageConn::new(conn, WireVersion::V2)
}

async fn receive_hello(conn: &mut MessageConn, offer: &Offer) -> Result<Agreement, LoginError> {
    let received = conn.recv_content().await;
    match received.map_err(|error| LoginError::from(error).before_hello())? {
        Some(Content::ServerHello(hello)) => offer
            .agree(hello)
            .map_err(|error| LoginError::Agreement(server_text(&Chain(&error).to_string()))),
        Some(Content::ClientHello(_)) => Err(LoginError::Unexpected("ClientHello")),
        // A refusal as a rule.
        Some(Content::Message(message)) => {
            let name = message.name();
            accepted(message)?;
            Err(LoginError::Unexpected(name))
        }
        None => Err(LoginError::NoHello(None)),
    }
}

/// What the server says of itself when it lets us in.
fn accepted(answer: Message) -> Result<(RunId, String), LoginError> {
    match answer {
        Message::LoginResp(LoginResp { error, .. }) if !error.is_empty() => {
            Err(LoginError::Refused(server_text(&error)))
        }
        Message::LoginResp(answer) if is_usable(&answer.run_id) => {
            Ok((RunId::from(answer.run_id.as_str()), answer.version))
        }
        Message::LoginResp(_) => Err(LoginError::NoRunId),
        other => Err(LoginError::Unexpected(other.name())),
    }
}

/// Whether a run id from the server can be sent back and logged.
fn is_usable(run_id: &str) -> bool {
    !run_id.is_empty() && run_id.len() <= MAX_RUN_ID && !run_id.contains(char::is_control)
}

impl Request<'_> {
    fn message(&self) -> Login {
        let Self {
            config,
            proof,
            run_id,
            ..
        } = self;
        Login {
            version: FRP_VERSION.to_owned(),
            hostname: hostname(),
            os: go_os(std::env::consts::OS).to_owned(),
            arch: go_arch(std::env::consts::ARCH).to_owned(),
            user: config.user.clone(),
            privilege_key: proof.privilege_key.clone(),
            timestamp: proof.timestamp,
            run_id: run_id.map(|it| it.as_str().to_owned()).unwrap_or_default(),
            client_id: config.client_id.clone(),
            metas: config.metadatas.clone(),
            pool_count: i64::from(config.transport.pool_count),
            ..Login::default()
        }
    }
}

/// What to do about a refusal in the words of a server, as far as they say what it is about.
fn advice(refusal: &str) -> &'static str {
    // frp: these words (pkg/auth/token.go#VerifyLogin)
    if refusal.starts_with("token in login doesn't match") {
        "; auth.token must be the same on both ends"
    } else if refusal.contains("malformed jwt") {
        "; auth.method of this client and of its server must be the same"
    } else {
        ""
    }
}

impl LoginError {
    /// What it means for the next attempt.
    pub(crate) fn failure(&self) -> Failure {
        match self {
            Self::Closed(_) | Self::NoHello(_) | Self::Timeout => Failure::Unreachable,
            Self::Connect(ConnectError::Certificate { .. }) => Failure::Refused,
            Self::Connect(_) => Failure::Unreachable,
            Self::Agreement(_)
            | Self::Garbage(_)
            | Self::NoRunId
            | Self::Oidc(_)
            | Self::Refused(_)
            | Self::Send(_)
            | Self::Unexpected(_) => Failure::Refused,
        }
    }

    /// What the end of the connection means while the server's hello is waited for.
    fn before_hello(self) -> Self {
        match self {
            Self::Closed(error) => Self::NoHello(error),
            other => other,
        }
    }
}

fn hostname() -> String {
    let names = rustix::system::uname();
    names.nodename().to_string_lossy().into_owned()
}

/// Go's word for an operating system, which servers show.
fn go_os(os: &str) -> &str {
    match os {
        "macos" => "darwin",
        other => other,
    }
}

/// Go's word for a processor architecture, which servers show.
fn go_arch(arch: &str) -> &str {
    match arch {
        "aarch64" => "arm64",
        "loongarch64" => "loong64",
        "powerpc64" => "ppc64le",
        "x86" => "386",
        "x86_64" => "amd64",
        other => other,
    }
}

impl From<RecvError> for LoginError {
    fn from(error: RecvError) -> Self {
        match error {
            RecvError::Io(error) => Self::Closed(Some(error)),
            other => Self::Garbage(other),
        }
    }
}

impl From<SendError> for LoginError {
    fn from(error: SendError) -> Self {
        match error {
            SendError::Io(error) => Self::Closed(Some(error)),
            other => Self::Send(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use mgrok_config::{Auth, ClientTransport};
    use mgrok_proto::auth::{Secret, verify};
    use tokio::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn silence_is_the_end_where_no_end_is_told() {
        let silence = LoginError::Timeout;
        assert!(is_the_end(&silence, WireVersion::V2, false));
        assert!(!is_the_end(&silence, WireVersion::V2, true));
        assert!(!is_the_end(&silence, WireVersion::V1, false));
        let hung_up = LoginError::NoHello(None);
        assert!(is_the_end(&hung_up, WireVersion::V2, true));
        let refused = LoginError::Refused("client id in use".to_owned());
        assert!(!is_the_end(&refused, WireVersion::V2, false));
    }

    #[test]
    fn a_refusal_names_the_key_if_it_says_what_it_is_about() {
        let text = |refusal: &str| LoginError::Refused(refusal.to_owned()).to_string();
        assert_eq!(
            text("token in login doesn't match token from configuration"),
            "token in login doesn't match token from configuration; auth.token must be the same on both ends"
        );
        assert_eq!(text("client id in use"), "client id in use");
    }

    #[test]
    fn a_login_says_who_and_what_this_is() {
        let config = ClientConfig {
            user: "ada".to_owned(),
            client_id: "laptop".to_owned(),
            metadatas: BTreeMap::from([("team".to_owned(), "x".to_owned())]),
            auth: Auth {
                token: Secret::new("secret"),
                ..Auth::default()
            },
            transport: ClientTransport {
                pool_count: 3,
                ..ClientTransport::default()
            },
            ..ClientConfig::default()
        };
        let key = CipherKey::derive(&config.auth.token);
        let run_id = RunId::from("0011223344556677");
        let mut request = Request {
            config: &config,
            key: &key,
            proof: &LoginProof::signed(&config.auth.token),
            migrating: false,
            joins: false,
            run_id: Some(&run_id),
        };
        let login = request.message();
        assert!(verify(
            &config.auth.token,
            login.timestamp,
            login.privilege_key.expose()
        ));
        assert!(login.timestamp > 1_700_000_000);
        assert_eq!(login.version, FRP_VERSION);
        assert_eq!(login.user, "ada");
        assert_eq!(login.client_id, "laptop");
        assert_eq!(login.run_id, "0011223344556677");
        assert_eq!(login.metas, config.metadatas);
        assert_eq!(login.pool_count, 3);
        assert!(!login.hostname.is_empty());
        request.run_id = None;
        assert!(request.message().run_id.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (client, silent) = tokio::join!(TcpStream::connect(addr), listener.accept());
        tokio::time::pause();
        let began = Instant::now();
        let request = Request {
            config: &ClientConfig::default(),
            key: &CipherKey::derive(&Secret::default()),
            proof: &LoginProof::signed(&Secret::default()),
            migrating: false,
            joins: false,
            run_id: None,
        };
        let login = login_v1(client.unwrap().into(), &request, began + ANSWER_TIMEOUT);
        let error = login.await.unwrap_err();
        assert!(matches!(error, LoginError::Timeout), "{error}");
        assert!(began.elapsed() >= ANSWER_TIMEOUT);
        drop(silent);
    }

    #[test]
    fn run_ids_cannot_steer_the_log() {
        for (run_id, usable) in [
            ("0123456789abcdef", true),
            ("my-client", true),
            ("", false),
            ("a\n[E] b", false),
            ("\u{1b}[1m", false),
            (&"x".repeat(MAX_RUN_ID + 1), false),
        ] {
            assert_eq!(is_usable(run_id), usable, "{run_id:?}");
        }
    }

    #[test]
    fn systems_have_go_names() {
        for (ours, gos) in [
            ("linux", "linux"),
            ("macos", "darwin"),
            ("windows", "windows"),
        ] {
            assert_eq!(go_os(ours), gos);
        }
        for (ours, gos) in [
            ("x86_64", "amd64"),
            ("aarch64", "arm64"),
            ("riscv64", "riscv64"),
        ] {
            assert_eq!(go_arch(ours), gos);
        }
    }
}
