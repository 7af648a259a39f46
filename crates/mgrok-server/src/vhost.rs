//! The ports that many services share: HTTP, HTTPS and tcpmux, told apart by name.
//!
//! Each module here serves the users of one of them. Which service is meant is asked of the [`Routes`], whose entries
//! proxies own; a user who means none gets an answer and nothing behind this server is touched.

pub(crate) mod http;
pub(crate) mod https;
pub(crate) mod pages;
mod request_note;
pub(crate) mod tcpmux;
mod user_rows;

use std::sync::Arc;

use self::http::HttpVhost;
use self::https::HttpsVhost;
use self::tcpmux::TcpMuxVhost;
use crate::directory::Directory;
use crate::metrics::Limit;
use crate::per_source::{Limits, PerSource};
use crate::policy::CurrentPolicy;
use crate::routes::Routes;
use crate::tasks::Tasks;

/// Users of the HTTPS and tcpmux ports who have not said whom they want. All users of a balancer may be one source.
const UNNAMED: Limits = Limits {
    what: "connections to a shared port",
    limit: Limit::VhostOpenings,
    total: 16_384,
    per_source: 4_096,
    waiting: 32_768,
    waiting_per_source: 16_384,
};

/// The shared ports of one server. Each has its routes whether it is open or not.
#[derive(Debug)]
pub(crate) struct Vhosts {
    pub(crate) http: Arc<HttpVhost>,
    pub(crate) https: Arc<HttpsVhost>,
    pub(crate) tcpmux: Arc<TcpMuxVhost>,
    pub(crate) policy: CurrentPolicy,
}

impl Vhosts {
    /// The shared ports as `policy` wants them, without a service yet.
    pub(crate) fn new(policy: &CurrentPolicy, directory: &Directory, tasks: &Tasks) -> Self {
        let (metrics, access_log) = (directory.metrics(), directory.access_log());
        let unnamed = PerSource::new(UNNAMED, metrics);
        Self {
            http: Arc::new(HttpVhost {
                routes: Routes::default(),
                policy: policy.clone(),
                access_log: access_log.clone(),
                metrics: metrics.clone(),
                stop: tasks.stop_listening.clone(),
            }),
            https: Arc::new(HttpsVhost {
                unnamed: unnamed.clone(),
                metrics: metrics.clone(),
                routes: Routes::default(),
                access_log: access_log.clone(),
            }),
            tcpmux: Arc::new(TcpMuxVhost {
                unnamed,
                metrics: metrics.clone(),
                routes: Routes::default(),
                access_log,
                policy: policy.clone(),
            }),
            policy: policy.clone(),
        }
    }
}
