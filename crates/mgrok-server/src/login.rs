//! From a `Login` to a running session, or to a refusal that says why.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_config::ServerTransport;
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::hello::{self, Agreement, Extension, Refusal};
use mgrok_proto::message::{Login, LoginResp};
use mgrok_proto::{FRP_VERSION, Negotiated, RunId, WireVersion, auth, liveness};
use tokio::sync::mpsc;
use tokio::time::timeout;
use tracing::{Instrument, Span, debug, info, info_span, warn};

use crate::connection::{Connection, SessionGuard, Transport};
use crate::directory::{ClaimError, ClientInfo, Identity};
use crate::excerpt::Excerpt;
use crate::hooks::HookError;
use crate::policy::{Keys, Policy};
use crate::session::{ClientSpec, Ended, Session, WORK_CONN_QUEUE};
use crate::shared::Shared;

/// How long a client may take to accept the answer to its login, as in frp (PROTOCOL 7.1).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to prove that it knows the token, from when it has all it needs for that.
const PROOF_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest run id that is taken from a client, in bytes. Ours have 16.
const MAX_RUN_ID_LEN: usize = 128;

/// The longest user and client id, in bytes. They are kept for long, and stand in many lines of the log.
const MAX_NAME_LEN: usize = 256;

/// How much is kept of what a client says of its host, in bytes. It is only shown.
const MAX_SHOWN_LEN: usize = 255;

/// What the log says of a login that only somebody could make who has seen another.
const NO_PROOF: &str = "login refused: no proof that the client knows the token";

/// Why a login was refused. The texts are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("user and client_id may have at most {MAX_NAME_LEN} bytes each")]
    NameTooLong,
    #[error("missing v2 crypto negotiation")]
    NoHello,
    #[error("run_id is longer than {MAX_RUN_ID_LEN} bytes")]
    RunIdTooLong,
    #[error("there is a session on this connection already")]
    SecondSession,
    #[error("token in login doesn't match token from configuration")]
    Token,
}

/// A session that is about to run, and what is to be given back when it ends.
struct Begun<'a> {
    session: Session,
    span: Span,
    guard: SessionGuard<'a>,
}

/// A client whose hello, plugins and signature have been looked at.
struct Known {
    control: MessageConn,
    /// What the two ends of v2 have agreed on.
    agreement: Option<Agreement>,
    login: Login,
    identity: Identity,
    who: Who,
}

/// Serves a client from its login until its session ends. `hello` is what came ahead of the login.
pub(crate) async fn serve(
    control: MessageConn,
    hello: Option<Bytes>,
    login: Login,
    connection: &Connection,
    shared: &Arc<Shared>,
) {
    // Boxed, so that a session does not keep what the way to it needed.
    let begin = Box::pin(async {
        let known = identify(control, hello, login, connection, shared).await?;
        begin(known, connection, shared).await
    });
    let begun = tokio::select! {
        begun = begin => begun,
        () = shared.tasks.stop_sessions.cancelled() => None,
    };
    let Some(mut begun) = begun else { return };
    if begun.session.run().instrument(begun.span).await == Ended::Moved {
        begun.guard.moved();
    }
}

/// Finds out who logs in; `None` if that is nobody, who has been told then.
async fn identify(
    mut control: MessageConn,
    hello: Option<Bytes>,
    login: Login,
    connection: &Connection,
    shared: &Shared,
) -> Option<Known> {
    let from = connection.addrs.from;
    // The whole login is decided by one policy.
    let policy = shared.policy.now();
    let keys = &policy.keys;
    let mut who = Who::of(&login, from);
    let mut agreement = None;
    let mut proved = false;
    if control.version() == WireVersion::V2 {
        let Some(hello) = hello else {
            return refuse(&mut control, &LoginError::NoHello, &who, shared).await;
        };
        let agreed = negotiate(&mut control, hello, &login, connection, &policy).await?;
        if agreed.extensions.contains(&Extension::PROOF) {
            let Some(sealed) = prove(control, &agreed, keys).await else {
                warn!(source = %from, "{NO_PROOF}; {who}");
                return None;
            };
            control = sealed;
            proved = true;
        }
        agreement = Some(agreed);
    }
    // frp: plugins come first, and what they leave is what the client said (server/service.go#handleConnection)
    let hooks = policy.hooks.clone();
    let mut login = match Box::pin(hooks.login(login, from)).await {
        Ok(login) => login,
        Err(error) => return refuse(&mut control, &error.into(), &who, shared).await,
    };
    shorten(&mut login);
    who = Who::of(&login, from);
    // frp: these words, what follows [arch] is ours
    info!(source = %from,
        "client login info: ip [{from}] version [{}] hostname [{}] os [{}] arch [{}] {who}",
        login.version, login.hostname, login.os, login.arch,
    );
    if let Err(error) = check(&login, connection, keys) {
        return refuse(&mut control, &error, &who, shared).await;
    }
    let run_id = match login.run_id.as_str() {
        "" => RunId::random(),
        run_id => RunId::from(run_id),
    };
    let extensions = agreement.as_ref().map_or(&[][..], |it| &it.extensions);
    let identity = Identity {
        client: Arc::new(ClientInfo {
            user: login.user.clone(),
            client_id: login.client_id.clone(),
            version: login.version.clone(),
            wire_protocol: match control.version() {
                WireVersion::V1 => "v1",
                WireVersion::V2 => "v2",
            },
            hostname: login.hostname.clone(),
            os: login.os.clone(),
            arch: login.arch.clone(),
            addr: from,
        }),
        metas: login.metas.clone(),
        keys: keys.clone(),
        negotiated: Negotiated::new(control.version(), &login.version, extensions),
        migrates: extensions.contains(&Extension::MIGRATE),
        proved,
        signed_at: login.timestamp,
        run_id: run_id.clone(),
    };
    Some(Known {
        control,
        agreement,
        login,
        identity,
        who: who.with_run_id(&run_id),
    })
}

/// Makes room for the session and answers the login; `None` if there is no session, which the client has been told.
async fn begin<'a>(
    known: Known,
    connection: &'a Connection,
    shared: &Arc<Shared>,
) -> Option<Begun<'a>> {
    let Known {
        mut control,
        agreement,
        login,
        mut identity,
        who,
    } = known;
    let from = who.from;
    let (run_id, negotiated) = (identity.run_id.clone(), identity.negotiated);
    let span = info_span!("session", run_id = run_id.head());
    let (work_conn_sender, work_conns) = mpsc::channel(WORK_CONN_QUEUE);
    // A client of v2 proves itself by its first record, which it sends when it has the answer. What it asks for in it has to
    // wait until all is free that the session before it holds, just as the answer has to in every other case.
    let proof_follows = agreement.is_some()
        && !identity.proved
        && !identity.migrates
        && shared.directory.is_online(&run_id);
    let claim = async |identity| {
        let claim = shared.directory.claim(identity, work_conn_sender.clone());
        claim.instrument(span.clone()).await
    };
    let admitted = if proof_follows {
        shared.directory.check(&identity).map(|()| None)
    } else {
        claim(identity.clone()).await.map(Some)
    };
    let admitted = match admitted {
        Ok(admitted) => admitted,
        Err(error) => return refuse(&mut control, &error.into(), &who, shared).await,
    };
    // Before the answer: the client may act on it at once. The guard ends the connection if no session comes of it.
    let Some(guard) = connection.begin_session(run_id.clone()) else {
        return refuse(&mut control, &LoginError::SecondSession, &who, shared).await;
    };
    if !answer(&mut control, run_id.as_str().to_owned(), String::new()).await {
        return None;
    }
    let mut control = match agreement {
        None => {
            let conn = layers::encrypt(urgent(control), &identity.keys.cipher);
            MessageConn::new(conn, negotiated.streams)
        }
        Some(_) if identity.proved => control,
        Some(agreement) => seal(control, &agreement, &identity.keys),
    };
    let mut first = None;
    let claim = match admitted {
        Some(claim) => claim,
        None => {
            match timeout(PROOF_TIMEOUT, control.recv()).await {
                Ok(Ok(Some(message))) => {
                    identity.proved = true;
                    first = Some(message);
                }
                Ok(Ok(None) | Err(_)) => {
                    warn!(source = %from, "{NO_PROOF}; {who}");
                    return None;
                }
                // It has nothing to say, as clients that only visit.
                Err(_) => {}
            }
            match claim(identity).await {
                Ok(claim) => claim,
                Err(error) => {
                    warn!(source = %from, "register control error: {error}; {who}");
                    return None;
                }
            }
        }
    };
    span.in_scope(|| info!(source = %from, "client login success: {who}"));
    let policy = shared.policy.now();
    let transport = &policy.config.transport;
    let client = ClientSpec {
        negotiated,
        heartbeat_timeout: match negotiated.liveness && !connection.watch_closely() {
            true => Some(liveness::TIMEOUT),
            false => transport.heartbeat_timeout,
        },
        pool_count: pool_count(login.pool_count, transport.max_pool_count as usize),
        who: who.to_string(),
        first,
    };
    Some(Begun {
        session: Session::new(shared.clone(), client, control, claim, work_conns),
        span,
        guard,
    })
}

/// Who logs in, as lines of the log say it.
#[derive(Clone, Debug)]
struct Who {
    user: String,
    client_id: String,
    /// Its beginning.
    run_id: String,
    from: SocketAddr,
}

impl Who {
    fn of(login: &Login, from: SocketAddr) -> Self {
        Self {
            user: Excerpt(&login.user).to_string(),
            client_id: Excerpt(&login.client_id).to_string(),
            run_id: RunId::from(login.run_id.as_str()).head().to_owned(),
            from,
        }
    }

    fn with_run_id(self, run_id: &RunId) -> Self {
        let run_id = run_id.head().to_owned();
        Self { run_id, ..self }
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            client_id,
            run_id,
            from,
        } = self;
        write!(
            f,
            "user [{user}] client id [{client_id}] run id [{run_id}] address [{from}]"
        )
    }
}

/// What a client says of its host is only shown; a server keeps it for long.
fn shorten(login: &mut Login) {
    let Login {
        version,
        hostname,
        os,
        arch,
        ..
    } = login;
    for text in [version, hostname, os, arch] {
        text.truncate(text.floor_char_boundary(MAX_SHOWN_LEN));
    }
}

/// How many idle work connections are kept for a client that asks for so many, which may be a number below zero.
fn pool_count(asked: i64, max: usize) -> usize {
    usize::try_from(asked).unwrap_or(0).min(max)
}

fn is_signed(login: &Login, keys: &Keys) -> bool {
    let token = &keys.auth.token;
    auth::verify(token, login.timestamp, login.privilege_key.expose())
}

/// Whether the login is one that this server takes.
fn check(login: &Login, connection: &Connection, keys: &Keys) -> Result<(), LoginError> {
    if !is_signed(login, keys) {
        return Err(LoginError::Token);
    }
    if login.run_id.len() > MAX_RUN_ID_LEN {
        return Err(LoginError::RunIdTooLong);
    }
    if login.user.len().max(login.client_id.len()) > MAX_NAME_LEN {
        return Err(LoginError::NameTooLong);
    }
    if connection.has_session() {
        return Err(LoginError::SecondSession);
    }
    Ok(())
}

/// Has the client prove that it knows the token, by a first record that can be opened: its key depends on our random value, so nobody
/// has recorded it. All that follows is sealed.
async fn prove(
    mut control: MessageConn,
    agreement: &Agreement,
    keys: &Keys,
) -> Option<MessageConn> {
    timeout(ANSWER_TIMEOUT, control.flush()).await.ok()?.ok()?;
    let mut control = seal(control, agreement, keys);
    let record = timeout(PROOF_TIMEOUT, control.recv()).await.ok()?;
    record.ok()??;
    Some(control)
}

/// The stream of a control connection. A flood of uploads must not keep a user waiting for its `ReqWorkConn`.
fn urgent(control: MessageConn) -> Conn {
    let mut conn = control.into_conn();
    conn.send_first();
    conn
}

/// From here on the control connection is sealed, in both directions.
fn seal(control: MessageConn, agreement: &Agreement, keys: &Keys) -> MessageConn {
    let keys = agreement.keys(&keys.auth.token);
    let (sends, receives) = (&keys.server_to_client, &keys.client_to_server);
    let version = control.version();
    let sealed = layers::seal(urgent(control), sends, receives);
    MessageConn::new(sealed, version)
}

/// What this end can do, if it can as well, with a client that has come by `transport`.
fn extensions(transport: Transport, settings: &ServerTransport) -> Vec<Extension> {
    let tcp_mux = settings.tcp_mux;
    let mut extensions = vec![
        Extension::BINARY_PACKETS,
        Extension::DATAGRAMS,
        Extension::MIGRATE,
        Extension::CAN_MIGRATE,
    ];
    // KCP does not say that a direction ends, and whoever waits for that would wait for ever.
    if transport != Transport::Kcp || tcp_mux {
        extensions.push(Extension::HALF_CLOSE);
    }
    if transport == Transport::Quic {
        extensions.push(Extension::QUIC_DATAGRAMS);
    }
    // What the operator has set counts.
    let set = settings.liveness_keys;
    let is_set = match transport {
        Transport::Quic => settings.quic.times_are_set || set.heartbeats,
        Transport::Kcp | Transport::Tcp if tcp_mux => set.mux,
        Transport::Kcp | Transport::Tcp => set.heartbeats,
    };
    if !is_set {
        extensions.push(Extension::LIVENESS);
    }
    extensions
}

/// Answers a client's hello. The answer stays queued, to leave with that to the login; `None` if there is nothing to agree on, which
/// the client has been told then.
async fn negotiate(
    control: &mut MessageConn,
    client_hello: Bytes,
    login: &Login,
    connection: &Connection,
    policy: &Policy,
) -> Option<Agreement> {
    let from = connection.addrs.from;
    let mut extensions = extensions(connection.transport, &policy.config.transport);
    // With another token no record could be opened, and the client has to be able to read the refusal.
    if is_signed(login, &policy.keys) {
        extensions.push(Extension::PROOF);
    }
    let answer = match hello::answer(client_hello, &extensions) {
        Ok(answer) => answer,
        Err(error) => {
            warn!(source = %from, "login of {from} refused: {}", Chain(&error));
            return None;
        }
    };
    let mut frame = BytesMut::new();
    answer.encode(&mut frame);
    if let Err(error) = control.queue_encoded(&frame) {
        warn!(source = %from, "cannot answer the hello of {from}: {}", Chain(&error));
        return None;
    }
    match answer.outcome {
        Ok(agreement) => Some(agreement),
        Err(refusal) => {
            let hint = match refusal {
                Refusal::Algorithm => {
                    "; set transport.wireProtocol = \"v1\" in the client if it can do no better"
                }
                Refusal::Codec | Refusal::Random { .. } => "",
            };
            warn!(source = %from, "login of {from} refused: {refusal}{hint}");
            if !matches!(timeout(ANSWER_TIMEOUT, control.flush()).await, Ok(Ok(()))) {
                debug!(source = %from, "the client left before its hello was answered");
            }
            None
        }
    }
}

/// Says to client and log why there is no session.
async fn refuse<T>(
    control: &mut MessageConn,
    error: &LoginError,
    who: &Who,
    shared: &Shared,
) -> Option<T> {
    warn!(source = %who.from, "register control error: {}; {who}", Excerpt(error));
    let text = error.to_string();
    let text = shared
        .policy
        .now()
        .error_text(&text, "register control error");
    answer(control, String::new(), text).await;
    None
}

/// Answers the login; `false` if the client did not take the answer.
async fn answer(control: &mut MessageConn, run_id: String, error: String) -> bool {
    let answer = LoginResp {
        version: FRP_VERSION.to_owned(),
        run_id,
        error,
    };
    let sent = timeout(ANSWER_TIMEOUT, control.send(&answer.into())).await;
    if !matches!(sent, Ok(Ok(()))) {
        debug!("the client left before its login was answered");
        return false;
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future_size::future_size;

    /// Thousands of clients may be logged in. What only the way there needs is not a part of it.
    #[test]
    fn the_task_of_a_session_is_small() {
        let size = future_size(|(control, hello, login, connection, shared)| {
            serve(control, hello, login, connection, shared)
        });
        assert!(size <= 9_216, "{size} bytes");
    }

    /// It is there while a client logs in, and thousands may come back at the same time. It was 15 KiB when asking plugins was a part of
    /// it.
    #[test]
    fn a_login_is_small() {
        let identify = future_size(|(control, hello, login, connection, shared)| {
            identify(control, hello, login, connection, shared)
        });
        let begin = future_size(|(known, connection, shared)| begin(known, connection, shared));
        let size = identify.max(begin);
        assert!(size <= 3_584, "{size} bytes");
    }

    #[test]
    fn a_pool_count_below_zero_is_none() {
        assert_eq!(pool_count(-1, 5), 0);
        assert_eq!(pool_count(i64::MIN, 5), 0);
        assert_eq!(pool_count(3, 5), 3);
        assert_eq!(pool_count(i64::MAX, 5), 5);
    }

    #[test]
    fn what_is_only_shown_is_cut_and_never_within_a_character() {
        let mut login = Login {
            hostname: "a".to_owned() + &"ä".repeat(MAX_SHOWN_LEN),
            os: "linux".to_owned(),
            ..Login::default()
        };
        shorten(&mut login);
        assert_eq!(login.hostname.len(), MAX_SHOWN_LEN);
        assert_eq!(login.os, "linux");
    }

    #[test]
    fn the_log_says_who_it_is_and_only_the_head_of_the_run_id() {
        let login = Login {
            user: "ann".to_owned(),
            client_id: "laptop".to_owned(),
            run_id: "0123456789abcdef".to_owned(),
            ..Login::default()
        };
        let who = Who::of(&login, "192.0.2.1:7".parse().unwrap());
        assert_eq!(
            who.to_string(),
            "user [ann] client id [laptop] run id [01234567] address [192.0.2.1:7]"
        );
    }
}
