//! Private services: those that have no public endpoint, and that visitors ask for by name.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mgrok_proto::cipher::CipherKey;
use tokio::sync::Semaphore;
use tracing::{Span, info_span};

use crate::access::Access;
use crate::backend::Backend;

/// How many attempts to reach one service past the server may be under way at once, whoever asks.
const MAX_ATTEMPTS: usize = 512;

/// The private services of one server, by the names of their proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivateServices {
    by_name: Arc<Mutex<HashMap<Arc<str>, Arc<PrivateService>>>>,
}

/// The kinds of proxy whose services are private.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum PrivateKind {
    Stcp,
    Sudp,
    Xtcp,
}

/// One private service.
#[derive(Debug)]
pub(crate) struct PrivateService {
    pub(crate) access: Access,
    pub(crate) backend: Arc<Backend>,
    pub(crate) reach: Reach,
}

/// How visitors reach a service.
#[derive(Debug)]
pub(crate) enum Reach {
    /// Through the server.
    Relay(Box<RelayOptions>),
    /// Past the server, which only brings the two sides together. Each attempt takes a permit.
    HolePunch { attempts: Arc<Semaphore> },
}

/// What it takes to carry the bytes of visitors.
#[derive(Debug)]
pub(crate) struct RelayOptions {
    /// Whether they are datagrams, whose framing the two clients may differ in.
    pub(crate) datagrams: bool,
    /// Visitors may encrypt their part of the way with it.
    pub(crate) key: CipherKey,
    /// What the log says of its users. One for all: the log's registry keeps the room of every span that it ever had at once.
    pub(crate) span: Span,
}

/// A service in the table, which is taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateLease {
    services: PrivateServices,
    name: Arc<str>,
}

impl PrivateKind {
    /// The kind as frp's configuration has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Stcp => "stcp",
            Self::Sudp => "sudp",
            Self::Xtcp => "xtcp",
        }
    }
}

impl PrivateService {
    pub(crate) fn new(kind: PrivateKind, access: Access, backend: Backend) -> Self {
        let reach = match kind {
            PrivateKind::Stcp | PrivateKind::Sudp => Reach::Relay(Box::new(RelayOptions {
                datagrams: kind == PrivateKind::Sudp,
                key: CipherKey::derive(&access.secret),
                // Its users come on other sessions than its own.
                span: info_span!(parent: None, "proxy", name = %backend.proxy_name()),
            })),
            PrivateKind::Xtcp => Reach::HolePunch {
                attempts: Arc::new(Semaphore::new(MAX_ATTEMPTS)),
            },
        };
        Self {
            access,
            backend: Arc::new(backend),
            reach,
        }
    }
}

impl PrivateServices {
    /// Lets visitors ask for `service`. Proxy names are unique, so nobody else has this one.
    pub(crate) fn add(&self, service: PrivateService) -> PrivateLease {
        let name = service.backend.proxy().name().clone();
        let before = self.services().insert(name.clone(), Arc::new(service));
        drop(before);
        PrivateLease {
            services: self.clone(),
            name,
        }
    }

    /// The service of the proxy `name`, unless no new users are let in to it.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<PrivateService>> {
        let found = self.services().get(name).cloned();
        found.filter(|it| !it.backend.turns_away())
    }

    fn services(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<PrivateService>>> {
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
