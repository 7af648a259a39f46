//! The login of a client that comes through a gateway. It does not speak frp's protocol, so there is neither hello nor signature: the
//! gateway says who it is, and either vouches for it or hands on what it knows.

use std::net::SocketAddr;
use std::sync::Arc;

use mgrok_net::message::MessageConn;
use mgrok_proto::auth::Secret;
use mgrok_proto::hello::Extension;
use mgrok_proto::message::Login;
use mgrok_proto::{FRP_VERSION, Negotiated, RunId, WireVersion};
use tracing::{info, warn};

use super::{LoginError, MAX_NAME_LEN, shorten, who_is};
use crate::admission;
use crate::directory::{ClientInfo, Identity};
use crate::excerpt::Excerpt;
use crate::keys::ProofError;
use crate::metrics::LoginEnd;
use crate::policy::Policy;
use crate::session::SessionContext;
use crate::session::start::{Control, Started, start};

/// Why the gateway lets a client in.
pub(crate) enum Proof {
    /// It has shown the gateway a key that is let in.
    Verified,
    /// It says that it knows this, which has to be the token.
    Token(Secret),
}

/// A client whose session is about to run.
pub(crate) struct Admitted {
    pub(crate) session: Box<Started>,
    pub(crate) run_id: RunId,
    /// As its plugins want it to be called.
    pub(crate) user: String,
}

/// Starts the session of a client that comes from `from` and says `login` of itself. `control` is its end of the control stream, which
/// does not leave this process; `wire` is what it speaks in the eyes of operators.
///
/// # Errors
/// The text for the client, if it is refused. The log has it then.
pub(crate) async fn admit(
    control: MessageConn,
    mut login: Login,
    wire: &'static str,
    proof: Proof,
    from: SocketAddr,
    context: &Arc<SessionContext>,
) -> Result<Admitted, String> {
    // The whole login is decided by one policy.
    let policy = context.policy.now();
    let metrics = context.directory.metrics();
    login.run_id = RunId::random().as_str().to_owned();
    let admitted = Box::pin(begin(
        control,
        login.clone(),
        wire,
        proof,
        from,
        context,
        &policy,
    ));
    let error = match admitted.await {
        Ok(admitted) => {
            metrics.logins.of(LoginEnd::Ok).inc();
            return Ok(admitted);
        }
        Err(error) => error,
    };
    metrics.logins.of(error.outcome()).inc();
    let who = who_is(&login, from);
    warn!(source = %from, "register control error: {}; {who}", Excerpt(&error));
    Err(policy.error_text(&error.to_string(), "register control error"))
}

async fn begin(
    control: MessageConn,
    login: Login,
    wire: &'static str,
    proof: Proof,
    from: SocketAddr,
    context: &Arc<SessionContext>,
    policy: &Policy,
) -> Result<Admitted, LoginError> {
    let run_id = RunId::from(login.run_id.as_str());
    // frp: plugins come first, and what they leave is what the client said (server/service.go#handleConnection)
    let mut login = Box::pin(policy.hooks.login(login, from)).await?;
    shorten(&mut login);
    let who = who_is(&login, from);
    // frp: these words, what follows [arch] is ours
    info!(source = %from,
        "client login info: ip [{from}] version [{}] hostname [{}] os [{}] arch [{}] {who}",
        login.version, login.hostname, login.os, login.arch,
    );
    match proof {
        Proof::Verified => {}
        // Where tokens of an issuer count, that of the configuration opens nothing.
        Proof::Token(token)
            if policy.keys.verifier().is_none() && token == policy.keys.auth.token => {}
        Proof::Token(_) => {
            admission::note_wrong_token(&context.policy, from.ip());
            return Err(ProofError::Token("login").into());
        }
    }
    if login.user.len().max(login.client_id.len()) > MAX_NAME_LEN {
        return Err(LoginError::NameTooLong);
    }
    let user = login.user.clone();
    let identity = Identity {
        client: Arc::new(ClientInfo {
            user: login.user,
            client_id: login.client_id,
            version: login.version,
            wire_protocol: wire,
            hostname: login.hostname,
            os: login.os,
            arch: login.arch,
            addr: from,
        }),
        metas: login.metas,
        keys: policy.keys.clone(),
        negotiated: Negotiated::new(WireVersion::V1, FRP_VERSION, &[Extension::HALF_CLOSE]),
        links: Arc::default(),
        migrates: false,
        proved: true,
        signed_at: login.timestamp,
        subject: None,
        run_id: run_id.clone(),
    };
    let control = Control {
        conn: control,
        first: None,
        // Whether the client is there is for the gateway to find out.
        heartbeat_timeout: None,
    };
    let ready = std::future::ready(Some(control));
    let started = Box::pin(start(identity, 0, ready, context)).await?;
    // There is a control stream, so there is a session.
    let session = started.ok_or(LoginError::SecondSession)?;
    Ok(Admitted {
        session,
        run_id,
        user,
    })
}
