//! A published service: from the client's `NewProxy` to a running proxy.
//!
//! Two steps. [`prepare`] checks the request and takes what the proxy needs (its
//! name, its endpoint); [`Prepared::run`] lets users in. What was taken is given back
//! when the value is dropped, at whichever step.

mod quota;

use std::num::{NonZeroU16, NonZeroU32};
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use mgrok_config::{
    AccessList, AccessListError, AnnotationError, Bandwidth, BandwidthError, BandwidthMode,
    SourceLimits,
};
use mgrok_net::layers::{Layers, Limiter};
use mgrok_proto::Negotiated;
use mgrok_proto::message::NewProxy;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{Instrument, info, info_span};

use crate::access::Access;
use crate::admission::{Admission, Public};
use crate::backend::{self, Backend, ServerStreams, WorkRequest};
use crate::directory::{Directory, ProxyRow, ProxySettings, ProxySpec, SessionRow};
use crate::excerpt::Excerpt;
use crate::holder::{Holder, Rival};
use crate::hooks::{HookError, UserHook};
use crate::metrics::ProxyStart;
use crate::policy::{CurrentPolicy, Policy};
use crate::ports::{LeaseError, UdpLease};
use crate::private::{PrivateKind, PrivateLease, PrivateService, PrivateServices};
use crate::public_endpoint::udp::Served;
use crate::public_endpoint::{
    self, EndpointError, EndpointKind, PublicEndpoint, PublicEndpoints, Serving, Share, ShareError,
};
use crate::tasks::Tasks;

pub(crate) use self::quota::{Cost, QuotaError};

/// Why a proxy was not started. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error("access: {0}")]
    Access(#[from] AccessListError),
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
    Balancing(#[from] ShareError),
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

impl ProxyError {
    /// As what it is counted.
    pub(crate) fn outcome(&self) -> ProxyStart {
        match self {
            Self::Access(_)
            | Self::Annotations(_)
            | Self::Balancing(_)
            | Self::Bandwidth { .. }
            | Self::NameEmpty
            | Self::Port(_)
            | Self::UnknownType(_) => ProxyStart::Invalid,
            Self::Endpoint(_) | Self::UdpLease { .. } => ProxyStart::Place,
            Self::Exists { .. } => ProxyStart::Taken,
            Self::Hook(_) => ProxyStart::Plugin,
            Self::Quota(_) => ProxyStart::Limit,
        }
    }
}

/// What publishing a proxy takes of the server.
#[derive(Clone, Debug)]
pub(crate) struct PublishContext {
    pub(crate) policy: CurrentPolicy,
    pub(crate) directory: Directory,
    pub(crate) endpoints: PublicEndpoints,
    pub(crate) private: PrivateServices,
    pub(crate) tasks: Tasks,
}

/// Whose proxy it is going to be.
pub(crate) struct Owner<'a> {
    /// Where its work connections are asked for.
    pub(crate) requests: &'a mpsc::Sender<WorkRequest>,
    /// Opens them, where the client takes what the server opens.
    pub(crate) streams: Option<&'a ServerStreams>,
    pub(crate) session: &'a SessionRow,
    pub(crate) negotiated: Negotiated,
    pub(crate) attempts: usize,
    /// What the session's proxies cost already.
    pub(crate) used: &'a Cost,
}

/// A proxy that has all it needs and serves nobody yet.
pub(crate) struct Prepared {
    row: ProxyRow,
    backend: Backend,
    frontend: Frontend,
    cost: Cost,
    span: tracing::Span,
}

/// How users come in.
enum Frontend {
    /// With the weight among those who share it.
    Endpoint(usize, Arc<PublicEndpoint>),
    Private(PrivateKind, Access),
    Udp(UdpLease),
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
}

/// Checks `new` and takes what it needs.
pub(crate) async fn prepare(
    new: NewProxy,
    owner: &Owner<'_>,
    context: &PublishContext,
) -> Result<Prepared, ProxyError> {
    let kind = Kind::of(&new)?;
    if new.proxy_name.is_empty() {
        return Err(ProxyError::NameEmpty);
    }
    quota::check_names(&new)?;
    mgrok_config::check_annotations(&new.annotations)?;
    let bandwidth = limiter(&new)?;
    let access = AccessList::parse(&new.mgrok_allow_from, &new.mgrok_deny_from)?;
    let limits = SourceLimits {
        connections: limit(new.mgrok_connections_per_source),
        rate: limit(new.mgrok_rate_per_source),
    };
    let share = Share::of(&new)?;
    let holder = Holder {
        proxy: new.proxy_name.as_str().into(),
        user: owner.session.about.user.as_str().into(),
    };
    let spec = ProxySpec {
        holder: holder.clone(),
        kind: kind.as_str(),
        run_id: owner.session.run_id.clone(),
        client_id: owner.session.about.client_id.as_str().into(),
        settings: Arc::new(ProxySettings::of(&new)),
    };
    let row = context
        .directory
        .take_name(spec)
        .map_err(|by| ProxyError::Exists {
            name: holder.proxy.clone(),
            by,
        })?;
    let policy = context.policy.now();
    let max_ports = policy.config.max_ports_per_client;
    let mut cost = Cost::of(&new, kind.has_port());
    cost.check(owner.used, max_ports)?;
    let span = info_span!("proxy", name = %new.proxy_name);
    let frontend = frontend(kind, &new, share, &holder, owner, &context.endpoints)
        .instrument(span.clone())
        .await?;
    if let Frontend::Endpoint(_, endpoint) = &frontend {
        cost.routes = endpoint.routes();
        cost.check(owner.used, max_ports)?;
    }
    let user_hook = user_hook(kind, &new, owner, &policy);
    let backend = Backend::new(backend::Inner {
        proxy: row.entry().clone(),
        requests: owner.requests.clone(),
        streams: owner.streams.cloned(),
        layers: Layers {
            encryption: new
                .use_encryption
                .then(|| owner.session.keys.cipher.clone()),
            compression: new.use_compression,
            limit: bandwidth,
        },
        negotiated: owner.negotiated,
        links: owner.session.links.clone(),
        timeout: policy.config.user_conn_timeout,
        attempts: owner.attempts,
        user_idle_timeout: policy.config.transport.user_idle_timeout,
        user_hook,
        admission: Admission::new(
            &context.policy,
            kind.public(),
            access,
            limits,
            row.entry().name(),
        ),
        opening: AtomicUsize::new(0),
    });
    Ok(Prepared {
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
    share: Share,
    holder: &Holder,
    owner: &Owner<'_>,
    endpoints: &PublicEndpoints,
) -> Result<Frontend, ProxyError> {
    let port = if kind.has_port() {
        u16::try_from(new.remote_port).map_err(|_| ProxyError::Port(new.remote_port))?
    } else {
        0
    };
    match kind {
        Kind::Endpoint(kind) => Ok(Frontend::Endpoint(
            share.weight,
            endpoints
                .take(kind, new, share.strategy, port, holder)
                .await?,
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
        Kind::Private(kind) => {
            if kind != PrivateKind::Xtcp {
                info!(
                    per_session = true,
                    "{} proxy custom listen success",
                    kind.as_str()
                );
            }
            let user = owner.session.about.user.clone();
            let access = Access::new(new.sk.clone(), user, new.allow_users.clone());
            Ok(Frontend::Private(kind, access))
        }
    }
}

/// The kinds of proxy, by how users come in.
#[derive(Clone, Copy)]
enum Kind {
    Endpoint(EndpointKind),
    Udp,
    Private(PrivateKind),
}

impl Kind {
    fn of(new: &NewProxy) -> Result<Self, ProxyError> {
        match new.proxy_type.as_str() {
            "" | "tcp" => Ok(Self::Endpoint(EndpointKind::Tcp)),
            "udp" => Ok(Self::Udp),
            "http" => Ok(Self::Endpoint(EndpointKind::Http)),
            "https" => Ok(Self::Endpoint(EndpointKind::Https)),
            "tcpmux" => Ok(Self::Endpoint(EndpointKind::TcpMux)),
            "stcp" => Ok(Self::Private(PrivateKind::Stcp)),
            "sudp" => Ok(Self::Private(PrivateKind::Sudp)),
            "xtcp" => Ok(Self::Private(PrivateKind::Xtcp)),
            kind => Err(ProxyError::UnknownType(kind.to_owned())),
        }
    }

    /// The kind as frp's configuration has it.
    fn as_str(self) -> &'static str {
        match self {
            Self::Endpoint(kind) => kind.as_str(),
            Self::Udp => "udp",
            Self::Private(kind) => kind.as_str(),
        }
    }

    /// Who comes to proxies of this kind.
    fn public(self) -> Public {
        match self {
            Self::Endpoint(_) | Self::Udp => Public::Users,
            Self::Private(_) => Public::Visitors,
        }
    }

    fn has_port(self) -> bool {
        matches!(self, Self::Endpoint(EndpointKind::Tcp) | Self::Udp)
    }
}

// frp: not for kinds where a user is no connection, or is past the server (INTERFACES 8.2)
fn user_hook(kind: Kind, new: &NewProxy, owner: &Owner<'_>, policy: &Policy) -> Option<UserHook> {
    match kind {
        Kind::Endpoint(EndpointKind::Tcp | EndpointKind::Https | EndpointKind::TcpMux)
        | Kind::Private(PrivateKind::Stcp | PrivateKind::Sudp) => {}
        Kind::Endpoint(EndpointKind::Http) | Kind::Udp | Kind::Private(PrivateKind::Xtcp) => {
            return None;
        }
    }
    policy
        .hooks
        .user_hook(&owner.session.client, &new.proxy_name, kind.as_str())
}

/// As a key of the configuration: less than nothing is nothing, and nothing is no limit.
fn limit(number: i64) -> Option<NonZeroU32> {
    NonZeroU32::new(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
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
            Frontend::Endpoint(_, endpoint) => endpoint.remote_addr().to_owned(),
            Frontend::Udp(lease) => format!(":{}", lease.port()),
            Frontend::Private(..) => String::new(),
        }
    }

    /// Lets users in.
    pub(crate) fn run(self, context: &PublishContext) -> Proxy {
        let remote_addr = self.remote_addr();
        let Self {
            row,
            backend,
            frontend,
            cost,
            span,
        } = self;
        let running = span.in_scope(|| match frontend {
            Frontend::Endpoint(weight, endpoint) => Running::Endpoint {
                serving: endpoint.serve(backend, weight),
                endpoint,
            },
            Frontend::Private(kind, access) => {
                let service = PrivateService::new(kind, access, backend);
                Running::Private(context.private.add(service))
            }
            Frontend::Udp(lease) => run_udp(lease, backend, context),
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

fn run_udp(lease: UdpLease, backend: Backend, context: &PublishContext) -> Running {
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let packet_size = context.policy.now().config.udp_packet_size;
    let serving = async move {
        public_endpoint::udp::run(
            &lease.socket,
            || backend.open(None),
            backend.negotiated(),
            packet_size,
            Served {
                proxy: backend.proxy(),
                admission: backend.admission(),
            },
            stopped,
        )
        .await;
    };
    Running::Udp {
        stop: stop.drop_guard(),
        task: context.tasks.spawn(serving.in_current_span()),
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
        }
        drop(row);
        span.in_scope(|| info!(per_session = true, "proxy closing"));
    }
}
