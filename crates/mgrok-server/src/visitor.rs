//! Visitors: from a `NewVisitorConn` to a user of a private service, or to a refusal that says why.

use std::sync::Arc;
use std::time::Duration;

use mgrok_net::error_chain::Chain;
use mgrok_net::layers::{self, Layers};
use mgrok_net::message::{MessageConn, SendError};
use mgrok_net::relay::HalfClose;
use mgrok_proto::RunId;
use mgrok_proto::message::{NewVisitorConn, NewVisitorConnResp};
use tokio::time::timeout;
use tracing::{Instrument, debug, info, warn};

use crate::admission::Denied;
use crate::backend;
use crate::bans::Guess;
use crate::connection::{Connection, Transport};
use crate::directory::Directory;
use crate::excerpt::Excerpt;
use crate::metrics::VisitorEnd;
use crate::policy::CurrentPolicy;
use crate::private::{PrivateService, PrivateServices, Reach};
use crate::tasks::Tasks;

/// How long a visitor may take to accept our answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a visitor is turned away. The texts begin with frp's.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error(
        "visitor connection of [{0}] auth failed: secretKey of the visitor is not that of the proxy"
    )]
    Auth(String),
    #[error("visitor connection of [{name}] not allowed: {denied}")]
    Denied { name: String, denied: Denied },
    #[error("the server is draining and takes no new users")]
    Draining,
    #[error("run id [{0}] is that of a session on another connection")]
    Elsewhere(String),
    #[error("no client control found for run id [{0}]")]
    RunId(String),
    #[error(
        "custom listener for [{0}] doesn't exist: no stcp or sudp proxy of this name is online; check serverName and \
         serverUser of the visitor"
    )]
    Unknown(String),
    #[error(
        "visitor connection of [{name}] user [{user}] not allowed: allowUsers of the proxy does not list it"
    )]
    User { name: String, user: String },
}

impl VisitError {
    /// As what it is counted.
    fn outcome(&self) -> VisitorEnd {
        match self {
            Self::Auth(_) => VisitorEnd::Auth,
            Self::Denied { denied, .. } if denied.is_ban() => VisitorEnd::Banned,
            Self::Denied { .. } => VisitorEnd::Denied,
            Self::Draining => VisitorEnd::Draining,
            Self::Elsewhere(_) | Self::RunId(_) => VisitorEnd::NoSession,
            Self::Unknown(_) => VisitorEnd::Unknown,
            Self::User { .. } => VisitorEnd::NotAllowed,
        }
    }
}

/// What serving visitors takes of the server.
#[derive(Debug)]
pub(crate) struct VisitorContext {
    pub(crate) policy: CurrentPolicy,
    pub(crate) directory: Directory,
    pub(crate) private: PrivateServices,
    pub(crate) tasks: Tasks,
}

/// Serves a visitor's connection, on which `new` came first.
pub(crate) async fn serve(
    mut visitor: MessageConn,
    new: NewVisitorConn,
    connection: &Connection,
    context: &VisitorContext,
) {
    let addrs = connection.addrs;
    let name = &new.proxy_name;
    let admitted = admit(&new, connection, context);
    let outcome = admitted.as_ref().err().map(VisitError::outcome);
    let visitors = &context.directory.metrics().visitors;
    visitors.of(outcome.unwrap_or(VisitorEnd::Ok)).inc();
    let error = match &admitted {
        Ok(_) => String::new(),
        Err(error) => {
            warn!(
                source = %addrs.from,
                "visitor connection of {} refused: {}",
                addrs.from,
                Excerpt(error)
            );
            let policy = context.policy.now();
            policy.error_text(&error.to_string(), "register visitor conn error")
        }
    };
    let answer = NewVisitorConnResp {
        proxy_name: name.clone(),
        error,
    };
    // frp hands the connection over before it answers; the answer first is safer (PROTOCOL 9.2).
    let sent = timeout(ANSWER_TIMEOUT, visitor.send(&answer.into())).await;
    match sent {
        Ok(Ok(())) => {}
        Ok(Err(error @ SendError::Io(_))) => {
            return debug!(source = %addrs.from, "visitor of {} left: {}", addrs.from, Chain(&error));
        }
        Ok(Err(error)) => {
            return warn!(source = %addrs.from, "cannot answer a visitor: {}", Chain(&error));
        }
        Err(_) => return debug!(source = %addrs.from, "visitor of {} takes no answer", addrs.from),
    }
    let Ok(service) = admitted else { return };
    // Whoever asks for another was turned away.
    let Reach::Relay(relay) = &service.reach else {
        return;
    };
    let layers = Layers {
        encryption: new.use_encryption.then(|| relay.key.clone()),
        compression: new.use_compression,
        // The work connection is slowed down, and one limit is enough.
        limit: None,
    };
    let session = context.directory.session(&RunId::from(new.run_id.as_str()));
    let negotiated = session.map(|it| it.negotiated);
    let framing = negotiated.map_or(visitor.version().into(), |it| it.datagram_framing());
    let half_close = match negotiated {
        // Whoever frames datagrams is done when one direction is.
        Some(negotiated) if !relay.datagrams => negotiated.into(),
        Some(_) | None => HalfClose::EndsBoth,
    };
    let mut conn = visitor.into_conn();
    if half_close == HalfClose::Carried {
        conn.refuse_after_drop();
    }
    let mut user = layers.wrap(conn);
    if relay.datagrams {
        user = layers::reframe(
            user,
            framing,
            service.backend.negotiated().datagram_framing(),
        );
    }
    let span = relay.span.clone();
    let served = backend::carry(async move {
        info!(source = %addrs.from, "get a user connection [{}]", addrs.from);
        let backend = service.backend.clone();
        backend::open(user, addrs, "", half_close, std::iter::once(backend)).await
    });
    context.tasks.serve_user(served.instrument(span));
}

fn admit(
    new: &NewVisitorConn,
    connection: &Connection,
    context: &VisitorContext,
) -> Result<Arc<PrivateService>, VisitError> {
    let name = || new.proxy_name.clone();
    if context.directory.is_draining() {
        return Err(VisitError::Draining);
    }
    let user = if new.run_id.is_empty() {
        // frp: before 0.50 visitors did not say whose they are.
        String::new()
    } else {
        let run_id = RunId::from(new.run_id.as_str());
        let session = context.directory.session(&run_id);
        let session = session.ok_or_else(|| VisitError::RunId(run_id.head().to_owned()))?;
        if !connection.may_carry(&run_id) {
            return Err(VisitError::Elsewhere(run_id.head().to_owned()));
        }
        session.client.user.clone()
    };
    let service = context
        .private
        .find(&new.proxy_name)
        .filter(|it| matches!(it.reach, Reach::Relay(_)))
        .ok_or_else(|| VisitError::Unknown(name()))?;
    let admitted = service
        .backend
        .admission()
        .check(connection.addrs.from.ip());
    admitted.map_err(|denied| {
        let proxy = service.backend.proxy();
        proxy.note_refused(connection.addrs.from, "", &denied);
        VisitError::Denied {
            name: name(),
            denied,
        }
    })?;
    let access = &service.access;
    let is_right = access.knows_secret(new.timestamp, new.sign_key.expose());
    // Who comes by KCP may have forged its address.
    if is_right || connection.transport != Transport::Kcp {
        let admission = service.backend.admission();
        admission.note_guess(connection.addrs.from.ip(), Guess::VisitorKey, is_right);
    }
    if !is_right {
        return Err(VisitError::Auth(name()));
    }
    if !access.allows(&user) {
        return Err(VisitError::User { name: name(), user });
    }
    Ok(service)
}
