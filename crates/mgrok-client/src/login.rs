//! How a session begins: `Login` and its answer, and the cipher that comes after them.

use std::io;
use std::time::Duration;

use mgrok_config::ClientConfig;
use mgrok_net::conn::Conn;
use mgrok_net::layers;
use mgrok_net::message::{MessageConn, RecvError, SendError};
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{Login, Message};
use mgrok_proto::{Dialect, FRP_VERSION, RunId, WireVersion};

use crate::clock::signed_now;
use crate::connect::ConnectError;
use crate::printable::server_text;

/// How long the server may take to answer a login.
// frp: the same (client/control_session.go#connReadTimeout)
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The longest run id taken from a server; those of frp have 16 bytes.
const MAX_RUN_ID: usize = 128;

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum LoginError {
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
    /// The server's answer names no session, or gives it no fit name.
    #[error("the server accepted the login without a usable run id")]
    NoRunId,
    /// The server refused, with these words.
    #[error("{0}")]
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

/// Logs in on a fresh stream. `run_id` asks for an earlier session back, `key` is the control
/// connection's.
///
/// Not cancel-safe: a login that was given up may have worked.
pub(crate) async fn login(
    stream: Conn,
    config: &ClientConfig,
    run_id: Option<&RunId>,
    key: &CipherKey,
) -> Result<(MessageConn, RunId, Dialect), LoginError> {
    let mut conn = MessageConn::new(stream, WireVersion::V1);
    let exchange = async {
        conn.send(&request(config, run_id).into())
            .await
            .map_err(LoginError::from)?;
        conn.recv().await.map_err(LoginError::from)
    };
    let answer = tokio::time::timeout(ANSWER_TIMEOUT, exchange)
        .await
        .map_err(|_| LoginError::Timeout)??;
    let (run_id, version) = match answer {
        None => return Err(LoginError::Closed(None)),
        Some(Message::LoginResp(answer)) => {
            if !answer.error.is_empty() {
                return Err(LoginError::Refused(server_text(&answer.error)));
            }
            if !is_usable(&answer.run_id) {
                return Err(LoginError::NoRunId);
            }
            (RunId::from(answer.run_id.as_str()), answer.version)
        }
        Some(other) => return Err(LoginError::Unexpected(other.name())),
    };
    let conn = layers::encrypt(conn.into_conn(), key);
    let dialect = Dialect::new(WireVersion::V1, &version, &[]);
    Ok((MessageConn::new(conn, WireVersion::V1), run_id, dialect))
}

/// Whether a run id from the server can be sent back and stand in every line of the log.
fn is_usable(run_id: &str) -> bool {
    !run_id.is_empty() && run_id.len() <= MAX_RUN_ID && !run_id.contains(char::is_control)
}

fn request(config: &ClientConfig, run_id: Option<&RunId>) -> Login {
    let (privilege_key, timestamp) = signed_now(&config.auth.token);
    Login {
        version: FRP_VERSION.to_owned(),
        hostname: hostname(),
        os: go_os(std::env::consts::OS).to_owned(),
        arch: go_arch(std::env::consts::ARCH).to_owned(),
        user: config.user.clone(),
        privilege_key,
        timestamp,
        run_id: run_id.map(|it| it.as_str().to_owned()).unwrap_or_default(),
        client_id: config.client_id.clone(),
        metas: config.metadatas.clone(),
        pool_count: i64::from(config.transport.pool_count),
        ..Login::default()
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
        let login = request(&config, Some(&RunId::from("0011223344556677")));
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
        assert!(request(&config, None).run_id.is_empty());
    }

    #[tokio::test]
    async fn a_server_that_does_not_answer_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (client, silent) = tokio::join!(TcpStream::connect(addr), listener.accept());
        tokio::time::pause();
        let began = tokio::time::Instant::now();
        let key = CipherKey::derive(&Secret::default());
        let config = ClientConfig::default();
        let login = login(client.unwrap().into(), &config, None, &key);
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
