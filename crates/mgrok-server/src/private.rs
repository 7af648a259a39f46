//! Private services: those that have no public place and are reached by visitors who know their secret.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use mgrok_net::{
    error_chain::Chain,
    layers::{self, Layers},
    message::{MessageConn, SendError},
    relay::HalfClose,
};
use mgrok_proto::{
    RunId,
    auth::{self, Secret},
    cipher::CipherKey,
    message::{NewVisitorConn, NewVisitorConnResp},
};
use tokio::time::timeout;
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    backend::{self, Backend},
    connection::Connection,
    excerpt::Excerpt,
    shared::Shared,
};

/// How long a visitor may take to accept our answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// The private services of one server, by the names of their proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivateServices {
    by_name: Arc<Mutex<HashMap<String, Arc<PrivateService>>>>,
}

/// One private service.
#[derive(Debug)]
pub(crate) struct PrivateService {
    access: Access,
    /// Whether it carries datagrams, whose framing the two clients may differ in.
    datagrams: bool,
    /// Visitors may encrypt their part of the way with it.
    key: CipherKey,
    backend: Arc<Backend>,
}

/// Who may visit.
#[derive(Debug)]
pub(crate) struct Access {
    secret: Secret,
    owner: String,
    allowed: Vec<String>,
}

/// A service in the table, which is taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateLease {
    services: PrivateServices,
    name: String,
}

/// Why a visitor is turned away. The texts begin with frp's.
#[derive(Debug, thiserror::Error)]
enum VisitError {
    #[error(
        "visitor connection of [{0}] auth failed: secretKey of the visitor is not that of the proxy"
    )]
    Auth(String),
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

impl Access {
    /// Those of `allowed` may visit, `*` being everybody; with none named only the owner's own.
    pub(crate) fn new(secret: Secret, owner: String, allowed: Vec<String>) -> Self {
        Self {
            secret,
            owner,
            allowed,
        }
    }

    /// Whether `key` signs `timestamp` with the secret; takes the same time whichever byte is wrong.
    pub(crate) fn knows_secret(&self, timestamp: i64, key: &str) -> bool {
        auth::verify(&self.secret, timestamp, key)
    }

    /// Whether visitors of `user` may come.
    pub(crate) fn allows(&self, user: &str) -> bool {
        match self.allowed.as_slice() {
            [] => user == self.owner,
            allowed => allowed.iter().any(|it| it == "*" || it == user),
        }
    }
}

impl PrivateService {
    pub(crate) fn new(access: Access, datagrams: bool, backend: Backend) -> Self {
        Self {
            key: CipherKey::derive(&access.secret),
            access,
            datagrams,
            backend: Arc::new(backend),
        }
    }
}

impl PrivateServices {
    /// Lets visitors in to `service`. Proxy names are unique, so nobody else has this one.
    pub(crate) fn add(&self, name: &str, service: PrivateService) -> PrivateLease {
        let before = self.services().insert(name.to_owned(), Arc::new(service));
        drop(before);
        PrivateLease {
            services: self.clone(),
            name: name.to_owned(),
        }
    }

    fn find(&self, name: &str) -> Option<Arc<PrivateService>> {
        self.services().get(name).cloned()
    }

    fn services(&self) -> MutexGuard<'_, HashMap<String, Arc<PrivateService>>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PrivateLease {
    fn drop(&mut self) {
        let service = self.services.services().remove(&self.name);
        // Not before the table is free again.
        drop(service);
    }
}

/// Serves a visitor's connection, on which `new` came first.
pub(crate) async fn serve(
    mut visitor: MessageConn,
    new: NewVisitorConn,
    connection: &Connection,
    shared: &Shared,
) {
    let addrs = connection.addrs;
    let name = &new.proxy_name;
    let admitted = admit(&new, connection, shared);
    let error = match &admitted {
        Ok(_) => String::new(),
        Err(error) => {
            warn!(
                source = %addrs.from,
                "visitor connection of {} refused: {}",
                addrs.from,
                Excerpt(error)
            );
            shared.error_text(&error.to_string(), "register visitor conn error")
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
    let layers = Layers {
        encryption: new.use_encryption.then(|| service.key.clone()),
        compression: new.use_compression,
        // The work connection is slowed down, and one limit is enough.
        limit: None,
    };
    let negotiated = shared
        .registry
        .negotiated(&RunId::from(new.run_id.as_str()));
    let framing = negotiated.map_or(visitor.version().into(), |it| it.datagram_framing());
    let half_close = match negotiated {
        // Whoever frames datagrams is done when one direction is.
        Some(negotiated) if !service.datagrams => negotiated.into(),
        Some(_) | None => HalfClose::EndsBoth,
    };
    let mut conn = visitor.into_conn();
    if half_close == HalfClose::Carried {
        conn.refuse_after_drop();
    }
    let mut user = layers.wrap(conn);
    if service.datagrams {
        user = layers::reframe(
            user,
            framing,
            service.backend.negotiated().datagram_framing(),
        );
    }
    let span = info_span!("proxy", name = %name);
    let served = async move {
        info!(source = %addrs.from, "get a user connection [{}]", addrs.from);
        let backend = service.backend.clone();
        backend::carry(user, addrs, half_close, std::iter::once(backend)).await;
    };
    shared.tasks.serve_user(served.instrument(span));
}

fn admit(
    new: &NewVisitorConn,
    connection: &Connection,
    shared: &Shared,
) -> Result<Arc<PrivateService>, VisitError> {
    let name = || new.proxy_name.clone();
    let user = if new.run_id.is_empty() {
        // frp: before 0.50 visitors did not say whose they are.
        String::new()
    } else {
        let run_id = RunId::from(new.run_id.as_str());
        let client = shared.registry.client(&run_id);
        let client = client.ok_or_else(|| VisitError::RunId(run_id.head().to_owned()))?;
        if !connection.may_carry(&run_id) {
            return Err(VisitError::Elsewhere(run_id.head().to_owned()));
        }
        client.user.clone()
    };
    let service = shared
        .private
        .find(&new.proxy_name)
        .ok_or_else(|| VisitError::Unknown(name()))?;
    let access = &service.access;
    if !access.knows_secret(new.timestamp, new.sign_key.expose()) {
        return Err(VisitError::Auth(name()));
    }
    if !access.allows(&user) {
        return Err(VisitError::User { name: name(), user });
    }
    Ok(service)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allowed: &[&str]) -> Access {
        let allowed = allowed.iter().map(|it| (*it).to_owned()).collect();
        Access::new(Secret::new("key"), "ann".to_owned(), allowed)
    }

    #[test]
    fn with_nobody_named_only_the_owners_visitors_may_come() {
        assert!(access(&[]).allows("ann"));
        assert!(!access(&[]).allows(""));
        assert!(!access(&["bob"]).allows("ann"));
        assert!(access(&["eve", "bob"]).allows("bob"));
        assert!(access(&["*"]).allows("anybody"));
    }

    #[test]
    fn a_visitor_signs_with_the_secret() {
        let signed = auth::sign(&Secret::new("key"), 7);
        assert!(access(&[]).knows_secret(7, &signed));
        assert!(!access(&[]).knows_secret(8, &signed));
        assert!(!access(&[]).knows_secret(7, ""));
    }
}
