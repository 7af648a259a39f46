//! A published service: from the client's `NewProxy` to a running proxy.
//!
//! Two steps. [`prepare`] checks the request and takes what the proxy needs (its
//! name, its port); [`Prepared::run`] lets users in. What was taken is given back
//! when the value is dropped, at whichever step.

mod tcp;
mod udp;

use std::{num::NonZeroU16, sync::Arc};

use mgrok_config::{AnnotationError, Bandwidth, BandwidthError, BandwidthMode};
use mgrok_net::{
    layers::{Layers, Limiter},
    relay::Traffic,
};
use mgrok_proto::{WireVersion, message::NewProxy};
use tokio::{sync::mpsc, task::JoinHandle};
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, info, info_span};

use crate::{
    backend::{self, Backend, WorkRequest},
    ports::{LeaseError, TcpLease, UdpLease},
    registry::NameLease,
    shared::Shared,
};

/// Why a proxy was not started. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProxyError {
    #[error(transparent)]
    Annotations(#[from] AnnotationError),
    #[error("bandwidth limit [{text}] is not valid: {source}")]
    Bandwidth {
        text: String,
        source: BandwidthError,
    },
    #[error("proxy [{0}] already exists")]
    Exists(String),
    #[error("load-balancing groups are not supported by this server")]
    Group,
    #[error("proxy name should not be empty")]
    NameEmpty,
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error("remote port {0} is not a port number")]
    Port(i64),
    #[error("exceed the max_ports_per_client")]
    TooManyPorts,
    #[error("acquire port {port} error: {source}")]
    UdpLease { port: u16, source: LeaseError },
    #[error("unknown proxy type: {0}")]
    UnknownType(String),
    #[error("proxy type [{0}] is not supported by this server")]
    UnsupportedType(String),
    #[error("type [{0}] not supported when vhost {0} port is not set")]
    VhostPort(String),
}

/// Whose proxy it is going to be.
pub(crate) struct Owner<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    /// Where its work connections are asked for.
    pub(crate) requests: &'a mpsc::Sender<WorkRequest>,
    pub(crate) wire: WireVersion,
    pub(crate) attempts: usize,
    /// How many ports the session holds already.
    pub(crate) ports_in_use: usize,
}

/// A proxy that has all it needs and serves nobody yet.
pub(crate) struct Prepared {
    shared: Arc<Shared>,
    name: NameLease,
    backend: Backend,
    door: Door,
    span: tracing::Span,
}

/// Where users come in.
enum Door {
    Tcp(TcpLease),
    Udp(UdpLease),
}

/// A running proxy. Dropping it stops it soon; [`Proxy::stop`] waits for that.
pub(crate) struct Proxy {
    _name: NameLease,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

/// Checks `new` and takes what it needs.
pub(crate) async fn prepare(new: NewProxy, owner: &Owner<'_>) -> Result<Prepared, ProxyError> {
    let shared = owner.shared;
    let kind = Kind::of(&new)?;
    if new.proxy_name.is_empty() {
        return Err(ProxyError::NameEmpty);
    }
    if !new.group.is_empty() {
        return Err(ProxyError::Group);
    }
    mgrok_config::check_annotations(&new.annotations)?;
    let limit = limiter(&new)?;
    let name = shared
        .registry
        .take_name(&new.proxy_name)
        .ok_or_else(|| ProxyError::Exists(new.proxy_name.clone()))?;
    let quota = shared.config.max_ports_per_client;
    if quota.is_some_and(|quota| owner.ports_in_use >= quota.get() as usize) {
        return Err(ProxyError::TooManyPorts);
    }
    let port = u16::try_from(new.remote_port).map_err(|_| ProxyError::Port(new.remote_port))?;
    let span = info_span!("proxy", name = %new.proxy_name);
    let door = match kind {
        Kind::Tcp => {
            let lease = shared
                .ports
                .lease_tcp(&new.proxy_name, NonZeroU16::new(port))
                .await?;
            span.in_scope(|| info!("tcp proxy listen port [{}]", lease.port()));
            Door::Tcp(lease)
        }
        Kind::Udp => {
            let lease = shared
                .ports
                .lease_udp(&new.proxy_name, NonZeroU16::new(port))
                .await
                .map_err(|source| ProxyError::UdpLease { port, source })?;
            span.in_scope(|| info!("udp proxy listen port [{}]", lease.port()));
            Door::Udp(lease)
        }
    };
    let backend = Backend::new(backend::Inner {
        proxy_name: new.proxy_name,
        requests: owner.requests.clone(),
        layers: Layers {
            encryption: new.use_encryption.then(|| shared.cipher_key.clone()),
            compression: new.use_compression,
            limit,
        },
        wire: owner.wire,
        timeout: shared.config.user_conn_timeout,
        attempts: owner.attempts,
    });
    Ok(Prepared {
        shared: shared.clone(),
        name,
        backend,
        door,
        span,
    })
}

/// The kinds that this server publishes.
enum Kind {
    Tcp,
    Udp,
}

impl Kind {
    fn of(new: &NewProxy) -> Result<Self, ProxyError> {
        match new.proxy_type.as_str() {
            "" | "tcp" => Ok(Self::Tcp),
            "udp" => Ok(Self::Udp),
            kind @ ("http" | "https") => Err(ProxyError::VhostPort(kind.to_owned())),
            kind @ ("tcpmux" | "stcp" | "sudp" | "xtcp") => {
                Err(ProxyError::UnsupportedType(kind.to_owned()))
            }
            kind => Err(ProxyError::UnknownType(kind.to_owned())),
        }
    }
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
    /// What the client shows as the proxy's public address: `:PORT`.
    pub(crate) fn remote_addr(&self) -> String {
        let port = match &self.door {
            Door::Tcp(lease) => lease.port(),
            Door::Udp(lease) => lease.port(),
        };
        format!(":{port}")
    }

    /// Lets users in.
    pub(crate) fn run(self) -> Proxy {
        let Self {
            shared,
            name,
            backend,
            door,
            span,
        } = self;
        let stop = CancellationToken::new();
        let traffic = Arc::new(Traffic::default());
        let stopped = stop.clone();
        let tasks = shared.tasks.clone();
        let task = match door {
            Door::Tcp(lease) => tasks.spawn(
                async move {
                    tcp::run(lease, backend, shared, traffic, stopped).await;
                    info!("proxy closing");
                }
                .instrument(span),
            ),
            Door::Udp(lease) => tasks.spawn(
                async move {
                    udp::run(
                        &lease.socket,
                        || backend.open(None),
                        backend.wire(),
                        shared.config.udp_packet_size,
                        &traffic,
                        stopped,
                    )
                    .await;
                    drop(lease);
                    info!("proxy closing");
                }
                .instrument(span),
            ),
        };
        Proxy {
            _name: name,
            stop,
            task,
        }
    }
}

impl Proxy {
    /// Stops letting users in and gives the port and name back. Connections that
    /// were let in go on until they end or their session's streams do.
    pub(crate) async fn stop(mut self) {
        self.stop.cancel();
        // An error says that the task panicked; what it held is free then too.
        let _ = (&mut self.task).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
