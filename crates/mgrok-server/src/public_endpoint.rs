//! Public endpoints: where the users of one proxy, or of a whole group, come in.
//!
//! A endpoint is what a proxy asks for (a port, some names) together with the backends of those who serve there. It exists
//! before anybody serves, so that a proxy has all it needs or nothing before the first user comes.

mod names;
mod tcp;
pub(crate) mod udp;

use std::collections::BTreeSet;
use std::sync::Arc;

use mgrok_config::{Group, Strategy, StrategyError};
use mgrok_http::UpstreamOptions;
use mgrok_proto::message::NewProxy;
use tracing::info;

use self::tcp::Port;
use crate::accept::AcceptContext;
use crate::backend::Backend;
use crate::backend_set::{BackendSet, Membership};
use crate::excerpt::Excerpt;
use crate::groups::{GroupName, GroupParams, GroupRules, Groups, JoinError, Slot};
use crate::holder::Holder;
use crate::ports::{LeaseError, Ports};
use crate::routes::{Conflict, RouteKey, RouteLease, Routes};
use crate::vhost::Vhosts;
use crate::vhost::http::{self, HttpMember, HttpRoute, RuleError};
use crate::vhost::tcpmux::TcpMuxRoute;

pub(crate) use self::names::NameError;

/// How many routes of one proxy are told to the log one by one.
const MAX_LOGGED_ROUTES: usize = 16;

/// What endpoints are made of. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct PublicEndpoints {
    pub(crate) groups: Groups<PublicEndpoint>,
    pub(crate) ports: Ports,
    pub(crate) vhosts: Arc<Vhosts>,
    pub(crate) accept_context: AcceptContext,
}

/// A public endpoint.
#[derive(Debug)]
pub(crate) struct PublicEndpoint {
    listener: Listener,
    /// What the client shows as the public address.
    remote_addr: String,
    /// How many routes lead here.
    routes: usize,
}

/// The endpoint of a group has a slot there, which is given up when the rest of the endpoint is closed.
type GroupSlot = Option<Slot<PublicEndpoint>>;

/// The routes of an endpoint, in the order in which they are given back.
#[derive(Debug)]
struct HeldRoutes<R> {
    leases: Vec<RouteLease<R>>,
    _slot: GroupSlot,
}

#[derive(Debug)]
enum Listener {
    Port(Port<GroupSlot>),
    Http {
        backends: Arc<BackendSet<HttpMember>>,
        // frp: of a group it is the first member's (PROTOCOL 8).
        options: UpstreamOptions,
        _held: HeldRoutes<Arc<HttpRoute>>,
    },
    Https {
        backends: Arc<BackendSet<Backend>>,
        _held: HeldRoutes<Arc<BackendSet<Backend>>>,
    },
    TcpMux {
        backends: Arc<BackendSet<Backend>>,
        _held: HeldRoutes<Arc<TcpMuxRoute>>,
    },
}

/// Serving at an endpoint, until this is dropped.
#[derive(Debug)]
pub(crate) enum Serving {
    Http(#[expect(dead_code, reason = "held for its drop")] Membership<HttpMember>),
    Streams(#[expect(dead_code, reason = "held for its drop")] Membership<Backend>),
}

/// How a proxy wants to share users with the others of its group.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Share {
    /// `None` goes along with the others.
    pub(crate) strategy: Option<Strategy>,
    pub(crate) weight: usize,
}

/// Why a proxy cannot share users as it wants to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ShareError {
    #[error("loadBalancer.strategy {error}, not {text:?}", text = Excerpt(text).to_string())]
    Strategy { text: String, error: StrategyError },
    #[error("loadBalancer.weight must be between 1 and {most}, not {0}", most = Group::MAX_WEIGHT)]
    Weight(i64),
}

impl Share {
    pub(crate) fn of(new: &NewProxy) -> Result<Self, ShareError> {
        let strategy = match new.mgrok_strategy.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|error| ShareError::Strategy {
                text: text.to_owned(),
                error,
            })?),
        };
        let weight = u32::try_from(new.mgrok_weight.max(1));
        let weight = weight.ok().filter(|it| *it <= Group::MAX_WEIGHT);
        let weight = weight.filter(|_| new.mgrok_weight >= 0);
        Ok(Self {
            strategy,
            weight: weight.ok_or(ShareError::Weight(new.mgrok_weight))? as usize,
        })
    }
}

/// The kinds of proxy that have an endpoint of this sort.
#[derive(Clone, Copy, Debug)]
pub(crate) enum EndpointKind {
    Tcp,
    Http,
    Https,
    TcpMux,
}

/// Why there is no endpoint. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EndpointError {
    #[error(transparent)]
    Conflict(#[from] Conflict),
    #[error(transparent)]
    Group(#[from] JoinError),
    #[error(transparent)]
    Lease(#[from] LeaseError),
    #[error(transparent)]
    Names(#[from] NameError),
    #[error(transparent)]
    Rules(#[from] RuleError),
}

impl PublicEndpoints {
    /// The endpoint that `new` asks for: its own, or that of its group. `port` is its remote port.
    pub(crate) async fn take(
        &self,
        kind: EndpointKind,
        new: &NewProxy,
        strategy: Option<Strategy>,
        port: u16,
        holder: &Holder,
    ) -> Result<Arc<PublicEndpoint>, EndpointError> {
        let shared_by = strategy.unwrap_or_default();
        if new.group.is_empty() {
            let own = self.open(kind, new, shared_by, port, holder, None).await?;
            return Ok(Arc::new(own));
        }
        let name = GroupName {
            kind: kind.as_str(),
            name: new.group.clone(),
        };
        let rules = GroupRules {
            key: new.group_key.clone(),
            params: self.group_params(kind, new)?,
            strategy,
        };
        let open = |slot| self.open(kind, new, shared_by, port, holder, Some(slot));
        self.groups.join(name, rules, open).await
    }

    async fn open(
        &self,
        kind: EndpointKind,
        new: &NewProxy,
        strategy: Strategy,
        port: u16,
        holder: &Holder,
        slot: GroupSlot,
    ) -> Result<PublicEndpoint, EndpointError> {
        match kind {
            EndpointKind::Tcp => {
                let port = std::num::NonZeroU16::new(port);
                let lease = self.ports.lease_tcp(holder, port).await?;
                let port = Port::new(lease, slot, strategy, self.accept_context.clone());
                info!(
                    per_session = true,
                    "tcp proxy listen port [{}]{}",
                    port.number(),
                    in_group(new)
                );
                Ok(PublicEndpoint {
                    remote_addr: format!(":{}", port.number()),
                    listener: Listener::Port(port),
                    routes: 0,
                })
            }
            EndpointKind::Http => self.open_http(new, strategy, slot),
            EndpointKind::Https => self.open_https(new, strategy, slot),
            EndpointKind::TcpMux => self.open_tcpmux(new, strategy, slot),
        }
    }

    fn open_http(
        &self,
        new: &NewProxy,
        strategy: Strategy,
        slot: GroupSlot,
    ) -> Result<PublicEndpoint, EndpointError> {
        let (vhost, port) = self.vhosts.http()?;
        let names = self.vhosts.names(new)?;
        let backends = Arc::new(BackendSet::new(strategy));
        let options = http::upstream_options(new, &vhost.policy.now().config.vhost)?;
        let route = Arc::new(HttpRoute::new(new, backends.clone()));
        let keys = names.keys(&new.locations, &new.route_by_http_user)?;
        log_some(&keys, |key| {
            info!(
                per_session = true,
                "http proxy listen for host [{}] location [{}] group [{}], routeByHTTPUser [{}]",
                key.host,
                key.location,
                new.group,
                key.user
            );
        });
        let held = HeldRoutes::take(&vhost.routes, keys, &route, slot)?;
        Ok(PublicEndpoint {
            remote_addr: names.remote_addr(new.locations.len(), port),
            routes: held.len(),
            listener: Listener::Http {
                backends,
                options,
                _held: held,
            },
        })
    }

    fn open_https(
        &self,
        new: &NewProxy,
        strategy: Strategy,
        slot: GroupSlot,
    ) -> Result<PublicEndpoint, EndpointError> {
        let (vhost, port) = self.vhosts.https()?;
        let names = self.vhosts.names(new)?;
        let backends = Arc::new(BackendSet::new(strategy));
        let keys = names.keys(&[], "")?;
        log_some(&keys, |key| {
            info!(
                per_session = true,
                "https proxy listen for host [{}] group [{}]", key.host, new.group
            );
        });
        let held = HeldRoutes::take(&vhost.routes, keys, &backends, slot)?;
        Ok(PublicEndpoint {
            remote_addr: names.remote_addr(1, port),
            routes: held.len(),
            listener: Listener::Https {
                backends,
                _held: held,
            },
        })
    }

    fn open_tcpmux(
        &self,
        new: &NewProxy,
        strategy: Strategy,
        slot: GroupSlot,
    ) -> Result<PublicEndpoint, EndpointError> {
        let (vhost, port) = self.vhosts.tcpmux(&new.multiplexer)?;
        let names = self.vhosts.names(new)?;
        let backends = Arc::new(BackendSet::new(strategy));
        let route = Arc::new(TcpMuxRoute {
            backends: backends.clone(),
            user: new.http_user.clone(),
            password: new.http_pwd.clone(),
        });
        let keys = names.keys(&[], &new.route_by_http_user)?;
        log_some(&keys, |key| {
            info!(
                per_session = true,
                "tcpmux httpconnect multiplexer listens for host [{}], group [{}] routeByHTTPUser [{}]",
                key.host,
                new.group,
                key.user
            );
        });
        let held = HeldRoutes::take(&vhost.routes, keys, &route, slot)?;
        Ok(PublicEndpoint {
            remote_addr: names.remote_addr(1, port),
            routes: held.len(),
            listener: Listener::TcpMux {
                backends,
                _held: held,
            },
        })
    }

    /// What a member of a group must agree on with the others.
    fn group_params(&self, kind: EndpointKind, new: &NewProxy) -> Result<GroupParams, NameError> {
        let routes = |locations: &[String], user: &str| {
            Ok(GroupParams::Routes {
                keys: self.vhosts.names(new)?.keys(locations, user)?,
                user: String::new(),
                password: Default::default(),
            })
        };
        match kind {
            EndpointKind::Tcp => Ok(GroupParams::Port(new.remote_port)),
            // frp: the credentials of the first member count (PROTOCOL 8).
            EndpointKind::Http => routes(&new.locations, &new.route_by_http_user),
            EndpointKind::Https => routes(&[], ""),
            EndpointKind::TcpMux => Ok(GroupParams::Routes {
                keys: self.vhosts.names(new)?.keys(&[], &new.route_by_http_user)?,
                user: new.http_user.clone(),
                password: new.http_pwd.clone(),
            }),
        }
    }
}

impl PublicEndpoint {
    /// What the client shows as the public address.
    pub(crate) fn remote_addr(&self) -> &str {
        &self.remote_addr
    }

    /// How many routes lead to it.
    pub(crate) fn routes(&self) -> usize {
        self.routes
    }

    /// Lets users in, to `backend` among others, of which each gets as many as its `weight`.
    pub(crate) fn serve(&self, backend: Backend, weight: usize) -> Serving {
        match &self.listener {
            Listener::Port(port) => {
                let serving = Serving::Streams(port.backends().join(backend, weight));
                port.open();
                serving
            }
            Listener::Http {
                backends, options, ..
            } => {
                let member = HttpMember::new(backend, options.clone());
                Serving::Http(backends.join(member, weight))
            }
            Listener::Https { backends, .. } | Listener::TcpMux { backends, .. } => {
                Serving::Streams(backends.join(backend, weight))
            }
        }
    }

    /// Closes the endpoint; what it took is free when this returns. If it is dropped instead, that is so soon.
    pub(crate) async fn close(self) {
        match self.listener {
            Listener::Port(port) => port.close().await,
            listener @ (Listener::Http { .. }
            | Listener::Https { .. }
            | Listener::TcpMux { .. }) => drop(listener),
        }
    }
}

impl<R: Clone> HeldRoutes<R> {
    /// Takes all of `keys` for `route`, or none.
    fn take(
        routes: &Routes<R>,
        keys: BTreeSet<RouteKey>,
        route: &R,
        slot: GroupSlot,
    ) -> Result<Self, Conflict> {
        let leases = keys
            .into_iter()
            .map(|key| routes.add(key, route.clone()))
            .collect::<Result<_, _>>()?;
        Ok(Self {
            leases,
            _slot: slot,
        })
    }

    fn len(&self) -> usize {
        self.leases.len()
    }
}

impl EndpointKind {
    /// The kind as frp's configuration has it.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::TcpMux => "tcpmux",
        }
    }
}

/// Logs the first of the routes of a proxy, and how many more there are.
fn log_some(keys: &BTreeSet<RouteKey>, log: impl Fn(&RouteKey)) {
    keys.iter().take(MAX_LOGGED_ROUTES).for_each(log);
    if keys.len() > MAX_LOGGED_ROUTES {
        let more = keys.len() - MAX_LOGGED_ROUTES;
        info!(per_session = true, "and for {more} more routes");
    }
}

fn in_group(new: &NewProxy) -> String {
    match new.group.as_str() {
        "" => String::new(),
        group => format!(" in group [{group}]"),
    }
}
