//! The ports that many services share: HTTP, HTTPS and tcpmux, told apart by name.
//!
//! Each module here serves the users of one of them. Which service is meant is asked of the [`Routes`], whose entries
//! proxies own; a user who means none gets an answer and nothing behind this server is touched.

pub(crate) mod http;
pub(crate) mod https;
pub(crate) mod pages;
pub(crate) mod tcpmux;

use std::sync::Arc;

use mgrok_config::ServerConfig;
use mgrok_http::AnswerLimits;
use mgrok_net::{conn::Conn, error_chain::Chain, tcp};
use tokio::net::TcpListener;
use tracing::debug;

use self::{http::HttpVhost, https::HttpsVhost, pages::Page, tcpmux::TcpMuxVhost};
use crate::{
    backend::PeerAddrs,
    client_addr::ClientAddrResolver,
    per_source::{Limits, PerSource},
    routes::Routes,
    tasks::Tasks,
};

/// Users of the HTTPS and tcpmux ports who have not said whom they want. All users of a balancer may be one source.
const UNNAMED: Limits = Limits {
    what: "connections to a shared port",
    total: 16_384,
    per_source: 4_096,
    waiting: 32_768,
    waiting_per_source: 16_384,
};

/// The shared ports of one server. Those that are off are `None`.
#[derive(Debug, Default)]
pub(crate) struct Vhosts {
    pub(crate) http: Option<Arc<HttpVhost>>,
    pub(crate) https: Option<Arc<HttpsVhost>>,
    pub(crate) tcpmux: Option<Arc<TcpMuxVhost>>,
    /// The domain below which proxies may take subdomains, in lower case; empty is none.
    pub(crate) sub_domain_host: String,
}

/// Whether a vhost `port` is the control port, which then tells the users of both apart by their first bytes.
// frp: the same (server/service.go#NewService)
pub(crate) fn shares_control_port(config: &ServerConfig, port: u16) -> bool {
    // Port 0 is any port, and never the same twice.
    port != 0 && port == config.bind_port && config.proxy_bind_addr == config.bind_addr
}

impl Vhosts {
    /// The ports that `config` turns on, without a service yet.
    pub(crate) fn new(config: &ServerConfig, tasks: &Tasks) -> Self {
        let vhost = &config.vhost;
        let not_found = Page::not_found(vhost.not_found_page.clone());
        let unnamed = PerSource::new(UNNAMED);
        let http = vhost.http_port.map(|port| {
            Arc::new(HttpVhost {
                port,
                routes: Routes::default(),
                timeout: vhost.http_timeout,
                answer_limits: AnswerLimits {
                    head: vhost.max_response_head,
                    headers: vhost.max_response_headers,
                },
                not_found: not_found.clone(),
                unreachable: Page::unreachable(vhost.unreachable_page.clone()),
                stop: tasks.stop_listening.clone(),
            })
        });
        let https = vhost.https_port.map(|port| {
            Arc::new(HttpsVhost {
                port,
                unnamed: unnamed.clone(),
                routes: Routes::default(),
            })
        });
        let tcpmux = vhost.tcpmux_port.map(|port| {
            Arc::new(TcpMuxVhost {
                port,
                unnamed,
                routes: Routes::default(),
                passthrough: vhost.tcpmux_passthrough,
                not_found,
            })
        });
        Self {
            http,
            https,
            tcpmux,
            sub_domain_host: vhost.sub_domain_host.clone(),
        }
    }
}

/// One of the shared ports: who its users are served by.
pub(crate) trait Vhost: Send + Sync + 'static {
    /// Serves one user from the first byte on.
    fn serve(
        self: Arc<Self>,
        user: Conn,
        addrs: PeerAddrs,
    ) -> impl Future<Output = ()> + Send + 'static;
}

/// Accepts users of `vhost` until the server stops listening.
pub(crate) async fn run(
    listener: TcpListener,
    vhost: Arc<impl Vhost>,
    client_addrs: ClientAddrResolver,
    tasks: Tasks,
) {
    loop {
        let (stream, from) = tokio::select! {
            () = tasks.stop_listening.cancelled() => return,
            accepted = tcp::accept(&listener) => accepted,
        };
        let (vhost, client_addrs) = (vhost.clone(), client_addrs.clone());
        tasks.serve_user(async move {
            match client_addrs.resolve(stream, from).await {
                Ok((user, addrs)) => vhost.serve(user, addrs).await,
                Err(error) => {
                    debug!(source = %from, "connection of {from} closed: {}", Chain(&error))
                }
            }
        });
    }
}
