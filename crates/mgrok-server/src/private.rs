//! Private services: those that have no public endpoint and are reached by visitors.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mgrok_proto::cipher::CipherKey;
use tracing::{Span, info_span};

use crate::access::Access;
use crate::backend::Backend;

/// The private services of one server, by the names of their proxies. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct PrivateServices {
    by_name: Arc<Mutex<HashMap<String, Arc<PrivateService>>>>,
}

/// One private service.
#[derive(Debug)]
pub(crate) struct PrivateService {
    pub(crate) access: Access,
    /// Whether it carries datagrams, whose framing the two clients may differ in.
    pub(crate) datagrams: bool,
    /// Visitors may encrypt their part of the way with it.
    pub(crate) key: CipherKey,
    pub(crate) backend: Arc<Backend>,
    /// What the log says of its users. One for all: the log's registry keeps the room of every span that it ever had at once.
    pub(crate) span: Span,
}

/// A service in the table, which is taken out when this is dropped.
#[derive(Debug)]
pub(crate) struct PrivateLease {
    services: PrivateServices,
    name: String,
}

impl PrivateService {
    pub(crate) fn new(access: Access, datagrams: bool, backend: Backend) -> Self {
        let name = backend.proxy_name();
        Self {
            key: CipherKey::derive(&access.secret),
            // Its users come on other sessions than its own.
            span: info_span!(parent: None, "proxy", %name),
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

    /// The service of the proxy `name`.
    pub(crate) fn find(&self, name: &str) -> Option<Arc<PrivateService>> {
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
