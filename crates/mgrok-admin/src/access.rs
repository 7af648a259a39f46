//! What of `webServer` may change while a port is served: what one needs to be let in, and which pages there are.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use mgrok_config::WebServer;
use mgrok_net::tls::{ServerTls, TlsError};
use mgrok_proto::auth::Secret;

use crate::tls::load;

/// What one needs to be let in to an admin port: a user and a password, unless both are empty, and TLS, if there is one; and the directory
/// with the operator's own pages, if there is one. It may change while the port is served. Clones are the same. The default asks for nothing.
#[derive(Clone, Debug, Default)]
pub struct AdminAccess(Arc<RwLock<Current>>);

#[derive(Clone, Debug, Default)]
struct Current {
    user: String,
    password: Secret,
    tls: Option<ServerTls>,
    assets_dir: Option<PathBuf>,
}

/// What is asked for from now on, with all files read: putting it in place cannot fail.
#[derive(Clone, Debug)]
pub struct NextAdminAccess(Current);

impl NextAdminAccess {
    /// What `config` asks for. Blocks while it reads the files of TLS.
    ///
    /// # Errors
    /// If these files cannot be used.
    pub fn new(config: &WebServer) -> Result<Self, TlsError> {
        Ok(Self(Current {
            user: config.user.clone(),
            password: config.password.clone(),
            tls: config.tls.as_ref().map(load).transpose()?,
            assets_dir: config.assets_dir.clone(),
        }))
    }
}

impl From<NextAdminAccess> for AdminAccess {
    fn from(next: NextAdminAccess) -> Self {
        Self(Arc::new(RwLock::new(next.0)))
    }
}

impl AdminAccess {
    /// From now on what `next` asks for.
    pub fn replace(&self, next: NextAdminAccess) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = next.0;
    }

    /// The user and password that are asked for now; `None`: nothing.
    pub(crate) fn login(&self) -> Option<(String, Secret)> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let Current { user, password, .. } = &*current;
        let asks = !user.is_empty() || !password.is_empty();
        asks.then(|| (user.clone(), password.clone()))
    }

    /// The directory that has the pages now; `None`: those of the program.
    pub(crate) fn assets_dir(&self) -> Option<PathBuf> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.assets_dir.clone()
    }

    /// The TLS that callers have to speak now; `None`: plain HTTP.
    pub(crate) fn tls(&self) -> Option<ServerTls> {
        let current = self.0.read().unwrap_or_else(PoisonError::into_inner);
        current.tls.clone()
    }
}
