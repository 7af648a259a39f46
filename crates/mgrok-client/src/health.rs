//! Health checks: whether local services are well enough for their proxies to be announced.
//!
//! A proxy with a health check has a task that tries its local service from time to time, whether
//! there is a session or not. What it finds reaches the session's task as [`Report`]s, and what
//! follows from that is for the table of proxies to decide.

mod http;
#[cfg(test)]
mod tests;

use std::mem;
use std::num::NonZeroU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mgrok_config::{HealthCheck, HealthCheckKind};
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialError, DialOptions, dial};
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, error_span, warn};

use crate::proxy::Proxy;
use crate::tasks::Tasks;

/// How long a new proxy waits for the first look at its service.
// frp: announces none before this time (client/proxy/proxy_wrapper.go#checkWorker)
const FIRST_LOOK: Duration = Duration::from_millis(500);

/// Why a local service does not count as well this time.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CheckError {
    #[error(transparent)]
    Dial(#[from] DialError),
    #[error(transparent)]
    Http(#[from] http::HttpError),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
}

/// What the check of a proxy has found.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) proxy: Arc<Proxy>,
    pub(crate) healthy: bool,
}

/// The checks of all proxies of a client. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Checks {
    reports: Arc<HealthReports>,
    stop: CancellationToken,
    tasks: Tasks,
}

impl Checks {
    /// No checks yet. They run among `tasks` until `stop` is cancelled.
    pub(crate) fn new(tasks: Tasks, stop: CancellationToken) -> Self {
        Self {
            reports: Arc::default(),
            stop,
            tasks,
        }
    }

    /// Starts the check of `proxy` if it has one. It ends when the proxy is retired.
    pub(crate) fn start(&self, proxy: Arc<Proxy>) {
        if proxy.health_check().is_none() {
            return;
        }
        let span = error_span!("proxy", name = %proxy.config().name);
        let Self {
            reports,
            stop,
            tasks,
        } = self.clone();
        let check = async move {
            tokio::select! {
                () = watch(&proxy, &reports) => {}
                () = proxy.is_retired() => {}
                () = stop.cancelled() => {}
                () = tasks.is_cut() => {}
            }
        };
        self.tasks.spawn(check.instrument(span));
    }

    /// Waits until there are reports to [`take`](Self::take). Cancel-safe.
    pub(crate) async fn reported(&self) {
        self.reports.changed.notified().await;
    }

    /// The last report of each proxy that has any since they were taken before.
    pub(crate) fn take(&self) -> Vec<Report> {
        mem::take(
            &mut self
                .reports
                .pending
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        )
    }
}

/// Reports that nobody has taken yet.
#[derive(Debug, Default)]
struct HealthReports {
    changed: Notify,
    /// One for each proxy at most, which bounds it however long there is no session.
    pending: Mutex<Vec<Report>>,
}

impl HealthReports {
    fn report(&self, proxy: &Arc<Proxy>, healthy: bool) {
        {
            let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
            match pending.iter_mut().find(|it| Arc::ptr_eq(&it.proxy, proxy)) {
                Some(report) => report.healthy = healthy,
                None => pending.push(Report {
                    proxy: proxy.clone(),
                    healthy,
                }),
            }
        }
        self.changed.notify_one();
    }
}

/// Tries the local service of `proxy` for ever, and reports when it changes how it is.
async fn watch(proxy: &Arc<Proxy>, reports: &HealthReports) {
    let Some(check) = proxy.health_check() else {
        return;
    };
    let config = proxy.config();
    let mut state = HealthState::new(check.max_failed);
    let mut pause = FIRST_LOOK;
    loop {
        sleep(pause).await;
        let (host, port) = (&config.local_host, config.local_port);
        let tried = attempt(check, host, port, proxy.resolver()).await;
        if let Err(error) = &tried {
            warn!("do one health check failed: {}", Chain(error));
        }
        if let Some(healthy) = state.handle_result(tried.is_ok()) {
            reports.report(proxy, healthy);
        }
        pause = check.interval;
    }
}

/// One try, which takes no longer than it may.
pub(crate) async fn attempt(
    check: &HealthCheck,
    host: &str,
    port: u16,
    resolver: &Resolver,
) -> Result<(), CheckError> {
    let options = DialOptions {
        timeout: check.timeout,
        keepalive: None,
        local_ip: None,
        resolver: resolver.clone(),
    };
    let attempt = async {
        match &check.kind {
            HealthCheckKind::Tcp => drop(dial(host, port, &options).await?),
            HealthCheckKind::Http { path, headers } => {
                http::get(host, port, path, headers, &options).await?;
            }
        }
        Ok(())
    };
    timeout(check.timeout, attempt)
        .await
        .unwrap_or(Err(CheckError::Timeout(check.timeout)))
}

/// Knows from the results of tries how a service is. At first it is unhealthy.
// frp: counts all failures that there ever were, so that in the end one is enough, although its
// documentation says "in a row" (client/health/health.go#checkWorker).
#[derive(Debug)]
struct HealthState {
    healthy: bool,
    /// In a row.
    failures: u32,
    max_failed: NonZeroU32,
}

impl HealthState {
    fn new(max_failed: NonZeroU32) -> Self {
        Self {
            healthy: false,
            failures: 0,
            max_failed,
        }
    }

    /// Takes the result of a try. Returns whether the service is healthy if that has changed.
    fn handle_result(&mut self, is_ok: bool) -> Option<bool> {
        self.failures = if is_ok {
            0
        } else {
            self.failures.saturating_add(1)
        };
        let healthy = is_ok || self.healthy && self.failures < self.max_failed.get();
        let changed = mem::replace(&mut self.healthy, healthy) != healthy;
        changed.then_some(healthy)
    }
}
