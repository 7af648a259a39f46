//! A published service: from the client's `NewProxy` to a running proxy.
//!
//! Two steps. [`prepare`] checks the request and takes what the proxy needs (its
//! name, its endpoint); [`Prepared::run`] lets users in. What was taken is given back
//! when the value is dropped, at whichever step.

mod quota;

use std::num::NonZeroU16;
use std::sync::Arc;

use mgrok_config::{AnnotationError, Bandwidth, BandwidthError, BandwidthMode};
use mgrok_net::layers::{Layers, Limiter};
use mgrok_proto::Negotiated;
use mgrok_proto::message::NewProxy;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info, info_span};

use crate::access::Access;
use crate::backend::{self, Backend, WorkRequest};
use crate::directory::{ProxyRow, ProxySpec, SessionRow};
use crate::excerpt::Excerpt;
use crate::holder::{Holder, Rival};
use crate::hole_punch::HoleLease;
use crate::hooks::{HookError, UserHook};
use crate::ports::{LeaseError, UdpLease};
use crate::private::{PrivateLease, PrivateService};
use crate::public_endpoint::{self, EndpointError, EndpointKind, PublicEndpoint, Serving};
use crate::shared::Shared;

pub(crate) use self::quota::{Cost, QuotaError};

/// Why a proxy was not started. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Annotations(#[from] AnnotationError),
    #[error("bandwidth limit [{}] is not valid: {source}", Excerpt(text))]
    Bandwidth {
        text: String,
        source: BandwidthError,
    },
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error(
        "proxy [{name}] already exists: the name is that of {by}, and names are unique over the whole server; choose another, \
         or set user in the client"
    )]
    Exists { name: Arc<str>, by: Rival },
    #[error("proxy name should not be empty")]
    NameEmpty,
    #[error(transparent)]
    Endpoint(#[from] EndpointError),
    #[error("remote port {0} is not a port number")]
    Port(i64),
    #[error(transparent)]
    Quota(#[from] QuotaError),
    #[error("acquire port {port} error: {source}")]
    UdpLease { port: u16, source: LeaseError },
    #[error("unknown proxy type: {}", Excerpt(.0))]
    UnknownType(String),
}

/// Whose proxy it is going to be.
pub(crate) struct Owner<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    /// Where its work connections are asked for.
    pub(crate) requests: &'a mpsc::Sender<WorkRequest>,
    pub(crate) session: &'a SessionRow,
    pub(crate) negotiated: Negotiated,
    pub(crate) attempts: usize,
    /// What the session's proxies cost already.
    pub(crate) used: &'a Cost,
}

/// A proxy that has all it needs and serves nobody yet.
pub(crate) struct Prepared {
    shared: Arc<Shared>,
    row: ProxyRow,
    backend: Backend,
    frontend: Frontend,
    cost: Cost,
    span: tracing::Span,
}

/// How users come in.
enum Frontend {
    Endpoint(Arc<PublicEndpoint>),
    Private {
        access: Access,
        /// Whether it carries datagrams.
        datagrams: bool,
    },
    Udp(UdpLease),
    /// Past the server, which only helps to find the way.
    Hole(Access),
}

/// A running proxy. Dropping it stops it soon; [`Proxy::stop`] waits for that.
pub(crate) struct Proxy {
    // Declared first: nobody is let in to a proxy that is being dropped.
    running: Running,
    cost: Cost,
    row: ProxyRow,
    span: tracing::Span,
}

enum Running {
    Endpoint {
        serving: Serving,
        endpoint: Arc<PublicEndpoint>,
    },
    Private(PrivateLease),
    Udp {
        stop: DropGuard,
        task: JoinHandle<()>,
    },
    Hole(HoleLease),
}

/// Checks `new` and takes what it needs.
pub(crate) async fn prepare(new: NewProxy, owner: &Owner<'_>) -> Result<Prepared, ProxyError> {
    let shared = owner.shared;
    let kind = Kind::of(&new)?;
    if new.proxy_name.is_empty() {
        return Err(ProxyError::NameEmpty);
    }
    quota::check_names(&new)?;
    mgrok_config::check_annotations(&new.annotations)?;
    let limit = limiter(&new)?;
    let holder = Holder {
        proxy: new.proxy_name.as_str().into(),
        user: owner.session.about.user.as_str().into(),
    };
    let spec = ProxySpec {
        holder: holder.clone(),
        kind: kind.name(&new),
        run_id: owner.session.run_id.clone(),
        client_id: owner.session.about.client_id.as_str().into(),
    };
    let row = shared
        .directory
        .take_name(spec)
        .map_err(|by| ProxyError::Exists {
            name: holder.proxy.clone(),
            by,
        })?;
    let policy = shared.policy.now();
    let max_ports = policy.config.max_ports_per_client;
    let mut cost = Cost::of(&new, kind.has_port());
    cost.check(owner.used, max_ports)?;
    let span = info_span!("proxy", name = %new.proxy_name);
    let frontend = frontend(kind, &new, &holder, owner)
        .instrument(span.clone())
        .await?;
    if let Frontend::Endpoint(endpoint) = &frontend {
        cost.routes = endpoint.routes();
        cost.check(owner.used, max_ports)?;
    }
    let user_hook = user_hook(kind, &new, owner);
    let backend = Backend::new(backend::Inner {
        proxy: row.entry().clone(),
        requests: owner.requests.clone(),
        layers: Layers {
            encryption: new
                .use_encryption
                .then(|| owner.session.keys.cipher.clone()),
            compression: new.use_compression,
            limit,
        },
        negotiated: owner.negotiated,
        timeout: policy.config.user_conn_timeout,
        attempts: owner.attempts,
        user_idle_timeout: policy.config.transport.user_idle_timeout,
        user_hook,
    });
    Ok(Prepared {
        shared: shared.clone(),
        row,
        backend,
        frontend,
        cost,
        span,
    })
}

async fn frontend(
    kind: Kind,
    new: &NewProxy,
    holder: &Holder,
    owner: &Owner<'_>,
) -> Result<Frontend, ProxyError> {
    let endpoints = &owner.shared.endpoints;
    let port = if kind.has_port() {
        u16::try_from(new.remote_port).map_err(|_| ProxyError::Port(new.remote_port))?
    } else {
        0
    };
    let access = || {
        Access::new(
            new.sk.clone(),
            owner.session.about.user.clone(),
            new.allow_users.clone(),
        )
    };
    match kind {
        Kind::Endpoint(kind) => Ok(Frontend::Endpoint(
            endpoints.take(kind, new, port, holder).await?,
        )),
        Kind::Udp => {
            let lease = endpoints
                .ports
                .lease_udp(holder, NonZeroU16::new(port))
                .await
                .map_err(|source| ProxyError::UdpLease { port, source })?;
            info!(
                per_session = true,
                "udp proxy listen port [{}]",
                lease.port()
            );
            Ok(Frontend::Udp(lease))
        }
        Kind::Private => {
            info!(
                per_session = true,
                "{} proxy custom listen success", new.proxy_type
            );
            Ok(Frontend::Private {
                access: access(),
                datagrams: new.proxy_type == "sudp",
            })
        }
        Kind::Hole => Ok(Frontend::Hole(access())),
    }
}

/// The kinds of proxy, by how users come in.
#[derive(Clone, Copy)]
enum Kind {
    Endpoint(EndpointKind),
    Udp,
    Private,
    Hole,
}

impl Kind {
    fn of(new: &NewProxy) -> Result<Self, ProxyError> {
        match new.proxy_type.as_str() {
            "" | "tcp" => Ok(Self::Endpoint(EndpointKind::Tcp)),
            "udp" => Ok(Self::Udp),
            "http" => Ok(Self::Endpoint(EndpointKind::Http)),
            "https" => Ok(Self::Endpoint(EndpointKind::Https)),
            "tcpmux" => Ok(Self::Endpoint(EndpointKind::TcpMux)),
            "stcp" | "sudp" => Ok(Self::Private),
            "xtcp" => Ok(Self::Hole),
            kind => Err(ProxyError::UnknownType(kind.to_owned())),
        }
    }

    /// The kind as frp's configuration has it.
    fn name(self, new: &NewProxy) -> &'static str {
        match self {
            Self::Endpoint(kind) => kind.as_str(),
            Self::Udp => "udp",
            Self::Private if new.proxy_type == "sudp" => "sudp",
            Self::Private => "stcp",
            Self::Hole => "xtcp",
        }
    }

    fn has_port(self) -> bool {
        matches!(self, Self::Endpoint(EndpointKind::Tcp) | Self::Udp)
    }
}

// frp: not for kinds where a user is no connection, or is past the server (INTERFACES 8.2)
fn user_hook(kind: Kind, new: &NewProxy, owner: &Owner<'_>) -> Option<UserHook> {
    let proxy_type = match kind {
        Kind::Endpoint(EndpointKind::Tcp) => "tcp",
        Kind::Endpoint(EndpointKind::Https | EndpointKind::TcpMux) | Kind::Private => {
            &new.proxy_type
        }
        Kind::Endpoint(EndpointKind::Http) | Kind::Udp | Kind::Hole => return None,
    };
    let hooks = &owner.shared.policy.now().hooks;
    hooks.user_hook(&owner.session.client, &new.proxy_name, proxy_type)
}

/// The limiter that this end applies, if it is the one to do it.
fn limiter(new: &NewProxy) -> Result<Option<Limiter>, ProxyError> {
    let invalid = |source| ProxyError::Bandwidth {
        text: format!("{} {}", new.bandwidth_limit, new.bandwidth_limit_mode),
        source,
    };
    let mode: BandwidthMode = new.bandwidth_limit_mode.parse().map_err(invalid)?;
    let bandwidth = Bandwidth::parse(&new.bandwidth_limit, mode).map_err(invalid)?;
    Ok(bandwidth
        .filter(|it| it.mode == BandwidthMode::Server)
        .map(|it| Limiter::new(it.bytes_per_second)))
}

impl Prepared {
    /// What the client shows as the proxy's public address: `:PORT`, or names; empty where there is none.
    pub(crate) fn remote_addr(&self) -> String {
        match &self.frontend {
            Frontend::Endpoint(endpoint) => endpoint.remote_addr().to_owned(),
            Frontend::Udp(lease) => format!(":{}", lease.port()),
            Frontend::Private { .. } | Frontend::Hole(_) => String::new(),
        }
    }

    /// Lets users in.
    pub(crate) fn run(self) -> Proxy {
        let remote_addr = self.remote_addr();
        let Self {
            shared,
            row,
            backend,
            frontend,
            cost,
            span,
        } = self;
        let running = span.in_scope(|| match frontend {
            Frontend::Endpoint(endpoint) => Running::Endpoint {
                serving: endpoint.serve(backend),
                endpoint,
            },
            Frontend::Private { access, datagrams } => {
                let name = backend.proxy_name().to_owned();
                let service = PrivateService::new(access, datagrams, backend);
                Running::Private(shared.private.add(&name, service))
            }
            Frontend::Udp(lease) => run_udp(lease, backend, &shared),
            Frontend::Hole(access) => Running::Hole(shared.holes.add(access, backend)),
        });
        row.start(&remote_addr);
        Proxy {
            running,
            cost,
            row,
            span,
        }
    }
}

fn run_udp(lease: UdpLease, backend: Backend, shared: &Arc<Shared>) -> Running {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let packet_size = shared.policy.now().config.udp_packet_size;
    let serving = async move {
        public_endpoint::udp::run(
            &lease.socket,
            || backend.open(None),
            backend.negotiated(),
            packet_size,
            backend.proxy(),
            stopped,
        )
        .await;
    };
    Running::Udp {
        stop: stop.drop_guard(),
        task: shared.tasks.spawn(serving.in_current_span()),
    }
}

impl Proxy {
    /// What it costs, of which clients may have only so much.
    pub(crate) fn cost(&self) -> &Cost {
        &self.cost
    }

    /// Stops letting users in and gives the endpoint and name back. Connections that
    /// were let in go on until they end or their session's streams do.
    pub(crate) async fn stop(self) {
        let Self {
            running, row, span, ..
        } = self;
        match running {
            Running::Endpoint { serving, endpoint } => {
                drop(serving);
                // Others of a group may still be there.
                if let Some(endpoint) = Arc::into_inner(endpoint) {
                    endpoint.close().await;
                }
            }
            Running::Private(lease) => drop(lease),
            Running::Udp { stop, task } => {
                drop(stop);
                // An error says that the task panicked; what it held is free then too.
                let _ = task.await;
            }
            Running::Hole(lease) => drop(lease),
        }
        drop(row);
        span.in_scope(|| info!(per_session = true, "proxy closing"));
    }
}
