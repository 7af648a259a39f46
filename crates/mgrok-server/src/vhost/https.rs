//! HTTPS: the service is named by SNI, and TLS is between it and the user.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mgrok_net::access_log::AccessLog;
use mgrok_net::client_hello::{self, ReadError, UNRECOGNIZED_NAME};
use mgrok_net::conn::Conn;
use tokio::time::timeout;
use tracing::{debug, info};

use crate::accept::UserService;
use crate::backend::{self, Backend, PeerAddrs};
use crate::backend_set::BackendSet;
use crate::metrics::{Metrics, UserRefusal};
use crate::per_source::PerSource;
use crate::routes::Routes;

/// How long a user may take for the ClientHello.
// frp: the same (pkg/util/vhost/https.go, server/service.go#vhostReadWriteTimeout)
const HELLO_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a user may take to take an alert.
const ALERT_TIMEOUT: Duration = Duration::from_secs(5);

/// The HTTPS port.
#[derive(Debug)]
pub(crate) struct HttpsVhost {
    /// For users who have not said whom they want.
    pub(crate) unnamed: PerSource,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) routes: Routes<Arc<BackendSet<Backend>>>,
    pub(crate) access_log: AccessLog,
}

impl UserService for Arc<HttpsVhost> {
    async fn serve(self, mut user: Conn, addrs: PeerAddrs) {
        let from = addrs.from;
        let hello = client_hello::read(&mut user);
        let hello = self.unnamed.work(from.ip(), HELLO_TIMEOUT, hello);
        let name = match Box::pin(hello).await {
            Ok(Ok(hello)) => hello.server_name.unwrap_or_default(),
            Ok(Err(error)) => {
                if let ReadError::Refused(refusal) = &error {
                    let reason = refusal.to_string();
                    self.access_log.note_stranger(from, "", None, &reason);
                }
                return debug!(source = %from, "https connection of {from} closed: {error}");
            }
            Err(error) => {
                return debug!(source = %from, "https connection of {from} closed without a ClientHello: {error}");
            }
        };
        let Some(backends) = self.routes.find(&name, b"", "") else {
            self.metrics.users_refused.of(UserRefusal::NoRoute).inc();
            debug!(source = %from, "https connection of {from} closed: no proxy for [{name}]");
            self.access_log
                .note_stranger(from, &name, None, "no proxy has this name");
            let alert = user.send(Bytes::from_static(&UNRECOGNIZED_NAME));
            // Who does not take it is gone.
            let _ = timeout(ALERT_TIMEOUT, alert).await;
            return;
        };
        info!(source = %from, "get a user connection [{from}]");
        backend::serve(user, addrs, &name, backends.in_turn(from.ip())).await;
    }
}
