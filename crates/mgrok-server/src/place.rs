//! Public places: where the users of one proxy, or of a whole group, come in.
//!
//! A place is what a proxy asks for (a port, some names) together with the target of those who serve there. It exists
//! before anybody serves, so that a proxy has all it needs or nothing before the first user comes.

mod names;
mod port;

use std::sync::Arc;

use mgrok_http::UpstreamOptions;
use mgrok_proto::message::NewProxy;
use tracing::info;

pub(crate) use self::port::Doors;
use self::port::Port;
use crate::{
    backend::Backend,
    groups::{GroupName, Groups, JoinError, Slot, Terms},
    ports::{LeaseError, Ports},
    routes::{Conflict, RouteLease},
    target::{Membership, Target},
    vhost::{
        Vhosts,
        http::{self, HttpMember, HttpRoute, RuleError},
        tcpmux::TcpMuxRoute,
    },
};

pub(crate) use self::names::NameError;

/// What places are made of. Clones are the same.
#[derive(Clone, Debug)]
pub(crate) struct Places {
    pub(crate) groups: Groups<Place>,
    pub(crate) ports: Ports,
    pub(crate) vhosts: Arc<Vhosts>,
    pub(crate) doors: Doors,
}

/// A public place.
#[derive(Debug)]
pub(crate) struct Place {
    door: Door,
    /// What the client shows as the public address.
    remote_addr: String,
    /// Of a group. Given up last, when the rest is closed.
    slot: Option<Slot<Place>>,
}

#[derive(Debug)]
enum Door {
    Port(Port),
    Http {
        target: Arc<Target<HttpMember>>,
        // frp: of a group it is the first member's (PROTOCOL 8).
        options: UpstreamOptions,
        _routes: Vec<RouteLease<Arc<HttpRoute>>>,
    },
    Https {
        target: Arc<Target<Backend>>,
        _routes: Vec<RouteLease<Arc<Target<Backend>>>>,
    },
    TcpMux {
        target: Arc<Target<Backend>>,
        _routes: Vec<RouteLease<Arc<TcpMuxRoute>>>,
    },
}

/// Serving at a place, until this is dropped.
#[derive(Debug)]
pub(crate) enum Serving {
    Http(#[expect(dead_code, reason = "held for its drop")] Membership<HttpMember>),
    Streams(#[expect(dead_code, reason = "held for its drop")] Membership<Backend>),
}

/// The kinds of proxy that have a place of this sort.
#[derive(Clone, Copy, Debug)]
pub(crate) enum PlaceKind {
    Tcp,
    Http,
    Https,
    TcpMux,
}

/// Why there is no place. Clients show the texts, which are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PlaceError {
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

impl Places {
    /// The place that `new` asks for: its own, or that of its group. `port` is its remote port.
    pub(crate) async fn take(
        &self,
        kind: PlaceKind,
        new: &NewProxy,
        port: u16,
    ) -> Result<Arc<Place>, PlaceError> {
        if new.group.is_empty() {
            return Ok(Arc::new(self.open(kind, new, port, None).await?));
        }
        let name = GroupName {
            kind: kind.as_str(),
            name: new.group.clone(),
        };
        let terms = self.terms(kind, new)?;
        let open = |slot| self.open(kind, new, port, Some(slot));
        self.groups.join(name, &new.group_key, terms, open).await
    }

    async fn open(
        &self,
        kind: PlaceKind,
        new: &NewProxy,
        port: u16,
        slot: Option<Slot<Place>>,
    ) -> Result<Place, PlaceError> {
        let (door, remote_addr) = match kind {
            PlaceKind::Tcp => {
                let port = std::num::NonZeroU16::new(port);
                let lease = self.ports.lease_tcp(&new.proxy_name, port).await?;
                let port = Port::new(lease, self.doors.clone());
                info!(
                    per_session = true,
                    "tcp proxy listen port [{}]{}",
                    port.number(),
                    in_group(new)
                );
                let remote_addr = format!(":{}", port.number());
                (Door::Port(port), remote_addr)
            }
            PlaceKind::Http => self.open_http(new)?,
            PlaceKind::Https => self.open_https(new)?,
            PlaceKind::TcpMux => self.open_tcpmux(new)?,
        };
        Ok(Place {
            door,
            remote_addr,
            slot,
        })
    }

    fn open_http(&self, new: &NewProxy) -> Result<(Door, String), PlaceError> {
        let vhost = self.vhosts.http()?;
        let names = self.vhosts.names(new)?;
        let target = Arc::new(Target::default());
        let options = http::upstream_options(new, vhost.timeout)?;
        let route = Arc::new(HttpRoute::new(new, target.clone()));
        let mut routes = Vec::new();
        for key in names.keys(&new.locations, &new.route_by_http_user) {
            info!(
                per_session = true,
                "http proxy listen for host [{}] location [{}] group [{}], routeByHTTPUser [{}]",
                key.host,
                key.location,
                new.group,
                key.user
            );
            routes.push(vhost.routes.add(key, route.clone())?);
        }
        let remote_addr = names.remote_addr(new.locations.len(), vhost.port);
        let door = Door::Http {
            target,
            options,
            _routes: routes,
        };
        Ok((door, remote_addr))
    }

    fn open_https(&self, new: &NewProxy) -> Result<(Door, String), PlaceError> {
        let vhost = self.vhosts.https()?;
        let names = self.vhosts.names(new)?;
        let target = Arc::new(Target::default());
        let mut routes = Vec::new();
        for key in names.keys(&[], "") {
            info!(
                per_session = true,
                "https proxy listen for host [{}] group [{}]", key.host, new.group
            );
            routes.push(vhost.routes.add(key, target.clone())?);
        }
        let remote_addr = names.remote_addr(1, vhost.port);
        let door = Door::Https {
            target,
            _routes: routes,
        };
        Ok((door, remote_addr))
    }

    fn open_tcpmux(&self, new: &NewProxy) -> Result<(Door, String), PlaceError> {
        let vhost = self.vhosts.tcpmux(&new.multiplexer)?;
        let names = self.vhosts.names(new)?;
        let target = Arc::new(Target::default());
        let route = Arc::new(TcpMuxRoute {
            target: target.clone(),
            user: new.http_user.clone(),
            password: new.http_pwd.clone(),
        });
        let mut routes = Vec::new();
        for key in names.keys(&[], &new.route_by_http_user) {
            info!(
                per_session = true,
                "tcpmux httpconnect multiplexer listens for host [{}], group [{}] routeByHTTPUser [{}]",
                key.host,
                new.group,
                key.user
            );
            routes.push(vhost.routes.add(key, route.clone())?);
        }
        let remote_addr = names.remote_addr(1, vhost.port);
        let door = Door::TcpMux {
            target,
            _routes: routes,
        };
        Ok((door, remote_addr))
    }

    /// What a member of a group must agree on with the others.
    fn terms(&self, kind: PlaceKind, new: &NewProxy) -> Result<Terms, NameError> {
        let routes = |locations: &[String], user: &str| {
            let keys = self.vhosts.names(new)?.keys(locations, user).collect();
            Ok(Terms::Routes {
                keys,
                user: String::new(),
                password: Default::default(),
            })
        };
        match kind {
            PlaceKind::Tcp => Ok(Terms::Port(new.remote_port)),
            // frp: the credentials of the first member count (PROTOCOL 8).
            PlaceKind::Http => routes(&new.locations, &new.route_by_http_user),
            PlaceKind::Https => routes(&[], ""),
            PlaceKind::TcpMux => Ok(Terms::Routes {
                keys: self
                    .vhosts
                    .names(new)?
                    .keys(&[], &new.route_by_http_user)
                    .collect(),
                user: new.http_user.clone(),
                password: new.http_pwd.clone(),
            }),
        }
    }
}

impl Place {
    /// What the client shows as the public address.
    pub(crate) fn remote_addr(&self) -> &str {
        &self.remote_addr
    }

    /// Whether it is a port.
    pub(crate) fn is_port(&self) -> bool {
        matches!(self.door, Door::Port(_))
    }

    /// Lets users in, to `backend` among others.
    pub(crate) fn serve(&self, backend: Backend) -> Serving {
        match &self.door {
            Door::Port(port) => {
                let serving = Serving::Streams(port.target().join(backend));
                port.open();
                serving
            }
            Door::Http {
                target, options, ..
            } => Serving::Http(target.join(HttpMember::new(backend, options.clone()))),
            Door::Https { target, .. } | Door::TcpMux { target, .. } => {
                Serving::Streams(target.join(backend))
            }
        }
    }

    /// Closes the place; what it took is free when this returns.
    pub(crate) async fn close(self) {
        let Self { door, slot, .. } = self;
        match door {
            Door::Port(port) => port.close().await,
            Door::Http { .. } | Door::Https { .. } | Door::TcpMux { .. } => drop(door),
        }
        drop(slot);
    }
}

impl PlaceKind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Http => "http",
            Self::Https => "https",
            Self::TcpMux => "tcpmux",
        }
    }
}

fn in_group(new: &NewProxy) -> String {
    match new.group.as_str() {
        "" => String::new(),
        group => format!(" in group [{group}]"),
    }
}
