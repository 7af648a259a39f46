//! From a `Login` to a session that is started, or to a refusal that says why: hello, proof, plugins, signature, and the answer.

pub(crate) mod gateway;
mod hello;
mod link;

use std::future::ready;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::hello::{Agreement, Extension};
use mgrok_proto::message::{Login, LoginResp};
use mgrok_proto::{FRP_VERSION, Negotiated, RunId, WireVersion, liveness};
use tokio::time::timeout;
use tracing::{debug, info, warn};

use self::hello::{ANSWER_TIMEOUT, PROOF_TIMEOUT, negotiate, prove, seal, urgent};
use self::link::{JoinError, Link};
use crate::admission::{self, Denied};
use crate::connection::{Connection, SessionGuard, Transport};
use crate::directory::{ClaimError, ClientInfo, Identity};
use crate::excerpt::Excerpt;
use crate::hooks::HookError;
use crate::keys::{Keys, ProofError, Subject};
use crate::metrics::{LoginEnd, Metrics};
use crate::policy::CurrentPolicy;
use crate::session::start::{Control, Started, start};
use crate::session::{Ended, SessionContext};
use crate::who::Who;

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
    #[error("no login from there: {0}")]
    Denied(#[from] Denied),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(transparent)]
    Join(#[from] JoinError),
    #[error("user and client_id may have at most {MAX_NAME_LEN} bytes each")]
    NameTooLong,
    #[error("missing v2 crypto negotiation")]
    NoHello,
    #[error("run_id is longer than {MAX_RUN_ID_LEN} bytes")]
    RunIdTooLong,
    #[error("there is a session on this connection already")]
    SecondSession,
    #[error(transparent)]
    Proof(#[from] ProofError),
}

impl LoginError {
    /// As what it is counted.
    fn outcome(&self) -> LoginEnd {
        match self {
            Self::Claim(ClaimError::Draining) => LoginEnd::Draining,
            Self::Claim(_) => LoginEnd::Taken,
            Self::Denied(denied) if denied.is_ban() => LoginEnd::Banned,
            Self::Denied(_) => LoginEnd::Denied,
            Self::Hook(_) => LoginEnd::Plugin,
            Self::Join(error) => error.outcome(),
            Self::NameTooLong | Self::NoHello | Self::RunIdTooLong | Self::SecondSession => {
                LoginEnd::Malformed
            }
            Self::Proof(ProofError::Token(_)) => LoginEnd::Token,
            Self::Proof(ProofError::Oidc(..) | ProofError::Subject(_)) => LoginEnd::Oidc,
        }
    }
}

/// What a login has come to, and what is to be given back when it ends.
enum Begun<'a> {
    Session(Box<Started>, SessionGuard<'a>),
    /// One more connection of a session that there was.
    Link(Box<Link<'a>>),
}

/// A client whose hello, plugins and signature have been looked at.
struct Known {
    control: MessageConn,
    /// What the two ends of v2 have agreed on.
    agreement: Option<Agreement>,
    /// How many idle work connections it wants kept.
    pool_count: i64,
    identity: Identity,
    /// Whether the connection is for the session that there is.
    joins: bool,
}

/// Serves a client from its login until its session ends. `hello` is what came ahead of the login.
pub(crate) async fn serve(
    control: MessageConn,
    hello: Option<Bytes>,
    login: Login,
    connection: &Connection,
    context: &Arc<SessionContext>,
) {
    // Boxed, so that a session does not keep what the way to it needed, nor one step of that what another does.
    let begin = Box::pin(async {
        let metrics = context.directory.metrics();
        let identify = identify(control, hello, login, connection, &context.policy, metrics);
        let known = Box::pin(identify).await?;
        match known.joins {
            true => Box::pin(join(known, connection, context)).await,
            false => Box::pin(begin(known, connection, context)).await,
        }
    });
    let begun = tokio::select! {
        begun = begin => begun,
        () = context.tasks.stop_sessions.cancelled() => None,
    };
    let Some(begun) = begun else { return };
    let _logged_in = context.policy.bans().logged_in(connection.addrs.from.ip());
    match begun {
        Begun::Session(session, mut guard) => {
            if session.run().await == Ended::Moved {
                guard.moved();
            }
        }
        Begun::Link(link) => link.run(&context.tasks).await,
    }
}

/// Finds out who logs in; `None` if that is nobody, who has been told then.
async fn identify(
    mut control: MessageConn,
    hello: Option<Bytes>,
    login: Login,
    connection: &Connection,
    current: &CurrentPolicy,
    metrics: &Metrics,
) -> Option<Known> {
    let from = connection.addrs.from;
    // The whole login is decided by one policy.
    let policy = current.now();
    let keys = &policy.keys;
    let mut who = who_is(&login, from);
    let admitted = admission::check_login(current, &policy, from.ip());
    let mut agreement = None;
    let mut proved = false;
    if control.version() == WireVersion::V2 {
        let Some(hello) = hello else {
            return refuse(&mut control, &LoginError::NoHello, &who, current, metrics).await;
        };
        // Whoever may not log in is not to learn by this whether it has guessed the token.
        let is_signed = admitted.is_ok() && keys.is_signed(&login);
        let agreed = negotiate(&mut control, hello, is_signed, connection, &policy).await;
        let Some(agreed) = agreed else {
            metrics.logins.of(LoginEnd::Hello).inc();
            return None;
        };
        if agreed.extensions.contains(&Extension::PROOF) {
            let Some(sealed) = prove(control, &agreed, keys).await else {
                metrics.logins.of(LoginEnd::Proof).inc();
                warn!(source = %from, "{NO_PROOF}; {who}");
                return None;
            };
            control = sealed;
            proved = true;
        }
        agreement = Some(agreed);
    }
    // Ahead of the plugins, which have nothing to say about who may not come at all.
    if let Err(denied) = admitted {
        return refuse(&mut control, &denied.into(), &who, current, metrics).await;
    }
    let extensions = agreement.as_ref().map_or(&[][..], |it| &it.extensions);
    let joins = extensions.contains(&Extension::LINK);
    // frp: plugins come first, and what they leave is what the client said (server/service.go#handleConnection)
    let hooks = policy.hooks.clone();
    let mut login = match joins {
        // They were asked about the session that it joins.
        true => login,
        false => match Box::pin(hooks.login(login, from)).await {
            Ok(login) => login,
            Err(error) => return refuse(&mut control, &error.into(), &who, current, metrics).await,
        },
    };
    shorten(&mut login);
    who = who_is(&login, from);
    if !joins {
        // frp: these words, what follows [arch] is ours
        info!(source = %from,
            "client login info: ip [{from}] version [{}] hostname [{}] os [{}] arch [{}] {who}",
            login.version, login.hostname, login.os, login.arch,
        );
    }
    let subject = match verify(&login, connection, keys).await {
        Ok(subject) => subject,
        Err(error) => {
            // Who comes by KCP may have forged its address.
            if matches!(error, LoginError::Proof(ProofError::Token(_)))
                && connection.transport != Transport::Kcp
            {
                admission::note_wrong_token(current, from.ip());
            }
            return refuse(&mut control, &error, &who, current, metrics).await;
        }
    };
    let run_id = match login.run_id.as_str() {
        "" => RunId::random(),
        run_id => RunId::from(run_id),
    };
    let negotiated = Negotiated::new(control.version(), &login.version, extensions);
    let identity = Identity {
        client: Arc::new(ClientInfo {
            user: login.user,
            client_id: login.client_id,
            version: login.version,
            wire_protocol: match control.version() {
                WireVersion::V1 => "v1",
                WireVersion::V2 => "v2",
            },
            hostname: login.hostname,
            os: login.os,
            arch: login.arch,
            addr: from,
        }),
        metas: login.metas,
        keys: keys.clone(),
        negotiated,
        links: connection.session_links(),
        migrates: extensions.contains(&Extension::MIGRATE),
        proved,
        signed_at: login.timestamp,
        subject,
        run_id,
    };
    Some(Known {
        control,
        agreement,
        pool_count: login.pool_count,
        identity,
        joins,
    })
}

/// Adds `connection` to the session of its run id, and says so to the client; `None` if it may not be added, which the client has been
/// told, or the client is gone.
async fn join<'a>(
    known: Known,
    connection: &'a Connection,
    context: &SessionContext,
) -> Option<Begun<'a>> {
    let Known {
        mut control,
        agreement,
        identity,
        ..
    } = known;
    let run_id = identity.run_id.clone();
    let admitted = link::admit(&identity, connection, &context.directory).map_err(LoginError::from);
    let admitted = admitted.and_then(|place| {
        let guard = connection.begin_session(run_id.clone());
        Ok((place, guard.ok_or(LoginError::SecondSession)?))
    });
    let (place, guard) = match admitted {
        Ok(admitted) => admitted,
        Err(error) => {
            let (who, metrics) = (identity.who(), context.directory.metrics());
            return refuse(&mut control, &error, &who, &context.policy, metrics).await;
        }
    };
    if !answer(&mut control, run_id.as_str().to_owned(), String::new()).await {
        return None;
    }
    if !identity.proved {
        control = seal(control, agreement.as_ref()?, &identity.keys);
    }
    if place.liveness {
        connection.watch_closely();
    }
    Some(Begun::Link(Box::new(Link {
        run_id,
        control,
        place,
        guard,
    })))
}

/// Makes room for the session and answers the login; `None` if there is no session, which the client has been told.
async fn begin<'a>(
    known: Known,
    connection: &'a Connection,
    context: &'a Arc<SessionContext>,
) -> Option<Begun<'a>> {
    let Known {
        control,
        agreement,
        pool_count,
        mut identity,
        joins: _,
    } = known;
    let who = identity.who();
    let mut welcome = Welcome {
        connection,
        policy: &context.policy,
        agreement,
        run_id: identity.run_id.clone(),
        negotiated: identity.negotiated,
        keys: identity.keys.clone(),
        is_sealed: identity.proved,
        control: Some(control),
        guard: None,
        metrics: context.directory.metrics(),
    };
    // A client of v2 proves itself by its first record, which it sends when it has the answer. What it asks for in it has to
    // wait until all is free that the session before it holds, just as the answer has to in every other case.
    let proof_follows = welcome.agreement.is_some()
        && !identity.proved
        && !identity.migrates
        && context.directory.is_online(&identity.run_id);
    // Boxed, as is the start: they are over one after the other.
    let control: Opening<'_> = if proof_follows {
        if let Err(error) = context.directory.check(&identity) {
            return welcome.refuse(&error.into(), &who).await;
        }
        let control = Box::pin(welcome.open_to_prove(&who)).await?;
        identity.proved = control.first.is_some();
        Box::pin(ready(Some(control)))
    } else {
        Box::pin(welcome.open(&who))
    };
    let started = Box::pin(start(identity, pool_count, control, context)).await;
    match started {
        Ok(Some(session)) => {
            welcome.metrics.logins.of(LoginEnd::Ok).inc();
            Some(Begun::Session(session, welcome.guard?))
        }
        Ok(None) => None,
        Err(error) if welcome.control.is_some() => welcome.refuse(&error.into(), &who).await,
        // It has its answer.
        Err(error) => {
            welcome.metrics.logins.of(LoginEnd::Taken).inc();
            warn!(source = %who.from, "register control error: {error}; {who}");
            None
        }
    }
}

/// Comes to the control stream of a client that has its answer.
type Opening<'a> = Pin<Box<dyn Future<Output = Option<Control>> + Send + 'a>>;

/// What is left to do for a client that is to have a session.
struct Welcome<'a> {
    connection: &'a Connection,
    policy: &'a CurrentPolicy,
    agreement: Option<Agreement>,
    run_id: RunId,
    negotiated: Negotiated,
    keys: Arc<Keys>,
    /// All that is said on the control stream is sealed already.
    is_sealed: bool,
    /// Until the login is answered.
    control: Option<MessageConn>,
    /// From then on. It ends the connection if no session comes of it.
    guard: Option<SessionGuard<'a>>,
    metrics: &'a Metrics,
}

impl Welcome<'_> {
    /// Answers the login and seals the control stream; `None` if the client may have no session on this connection, or is gone.
    async fn open(&mut self, who: &Who) -> Option<Control> {
        // Before the answer: the client may act on it at once.
        let Some(guard) = self.connection.begin_session(self.run_id.clone()) else {
            return self.refuse(&LoginError::SecondSession, who).await;
        };
        self.guard = Some(guard);
        let mut control = self.control.take()?;
        if !answer(&mut control, self.run_id.as_str().to_owned(), String::new()).await {
            self.metrics.logins.of(LoginEnd::Abandoned).inc();
            return None;
        }
        let conn = match &self.agreement {
            None => {
                let conn = layers::encrypt(urgent(control), &self.keys.cipher);
                MessageConn::new(conn, self.negotiated.streams)
            }
            Some(_) if self.is_sealed => control,
            Some(agreement) => seal(control, agreement, &self.keys),
        };
        let is_watched = self.negotiated.liveness && !self.connection.watch_closely();
        Some(Control {
            conn,
            first: None,
            heartbeat_timeout: match is_watched {
                true => Some(liveness::TIMEOUT),
                false => self.policy.now().config.transport.heartbeat_timeout,
            },
        })
    }

    /// As [`open`](Self::open), with the client's first record, which proves that it knows the token. `None` also if that cannot be
    /// opened.
    async fn open_to_prove(&mut self, who: &Who) -> Option<Control> {
        let mut control = self.open(who).await?;
        match timeout(PROOF_TIMEOUT, control.conn.recv()).await {
            Ok(Ok(Some(message))) => control.first = Some(message),
            Ok(Ok(None) | Err(_)) => {
                self.metrics.logins.of(LoginEnd::Proof).inc();
                warn!(source = %who.from, "{NO_PROOF}; {who}");
                return None;
            }
            // It has nothing to say, as clients that only visit.
            Err(_) => {}
        }
        Some(control)
    }

    async fn refuse<T>(&mut self, error: &LoginError, who: &Who) -> Option<T> {
        let control = self.control.as_mut()?;
        // Boxed, because few are refused.
        Box::pin(refuse(control, error, who, self.policy, self.metrics)).await
    }
}

fn who_is(login: &Login, from: SocketAddr) -> Who {
    let run_id = RunId::from(login.run_id.as_str());
    Who::new(&login.user, &login.client_id, &run_id, from)
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

/// Whether the login is one that this server takes, and of whom it is.
async fn verify(
    login: &Login,
    connection: &Connection,
    keys: &Keys,
) -> Result<Subject, LoginError> {
    let subject = keys.verify_login(login).await?;
    if login.run_id.len() > MAX_RUN_ID_LEN {
        return Err(LoginError::RunIdTooLong);
    }
    if login.user.len().max(login.client_id.len()) > MAX_NAME_LEN {
        return Err(LoginError::NameTooLong);
    }
    if connection.has_session() {
        return Err(LoginError::SecondSession);
    }
    Ok(subject)
}

/// Says to client and log why there is no session.
async fn refuse<T>(
    control: &mut MessageConn,
    error: &LoginError,
    who: &Who,
    policy: &CurrentPolicy,
    metrics: &Metrics,
) -> Option<T> {
    metrics.logins.of(error.outcome()).inc();
    warn!(source = %who.from, "register control error: {}; {who}", Excerpt(error));
    let text = error.to_string();
    let text = policy.now().error_text(&text, "register control error");
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
        let size = future_size(|(control, hello, login, connection, context)| {
            serve(control, hello, login, connection, context)
        });
        assert!(size <= 9_216, "{size} bytes");
    }

    /// It is there while a client logs in, and thousands may come back at the same time. It was 15 KiB when asking plugins was a part of
    /// it.
    #[test]
    fn a_login_is_small() {
        let identify = future_size(|(control, hello, login, connection, policy, metrics)| {
            identify(control, hello, login, connection, policy, metrics)
        });
        let begin = future_size(|(known, connection, context)| begin(known, connection, context));
        let start = future_size(|(identity, control, context)| {
            let control: Opening<'static> = control;
            start(identity, 0, control, context)
        });
        let open = future_size(
            |(welcome, who): (&'static mut Welcome<'static>, &'static Who)| welcome.open(who),
        );
        // Whoever begins waits for its start, and that for the answer.
        let size = identify.max(begin + start + open);
        assert!(size <= 3_600, "{size} bytes");
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
}
