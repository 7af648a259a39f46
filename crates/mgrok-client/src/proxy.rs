//! One configured proxy: how it is announced, and what its connections pass through.

use std::fmt::{self, Debug, Formatter};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use mgrok_config::{BandwidthMode, HealthCheck, LocalAddr, ProxyConfig, ProxyKind, ProxyProtocol};
use mgrok_net::layers::{Layers, Limiter};
use mgrok_net::proxy_protocol::Version;
use mgrok_net::resolver::Resolver;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::NewProxy;
use tokio_util::sync::CancellationToken;
use tracing::{Span, error_span};

use crate::local::Local;
use crate::metrics::Metrics;
use crate::plugin::{Plugin, PluginError, Tap};
use crate::shared_span::SharedSpan;
use crate::users::{ProxyUsers, Users};
use crate::virtual_net::VirtualNetwork;

/// One published service. Shared by the connections that serve it, and unchanged for its life:
/// another configuration is another proxy.
pub(crate) struct Proxy {
    config: ProxyConfig,
    layers: Layers,
    /// Made of the secret of an xtcp proxy.
    hole_key: Option<CipherKey>,
    metrics: Arc<Metrics>,
    /// Made before the server knows the proxy.
    plugin: OnceLock<Plugin>,
    resolver: Resolver,
    span: SharedSpan,
    users: Arc<ProxyUsers>,
    /// The client's, if it has one.
    virtual_net: Option<VirtualNetwork>,
    retired: CancellationToken,
    udp_turn: Mutex<CancellationToken>,
}

impl Proxy {
    /// Makes the proxy of `config`, with one bandwidth limiter for all its connections.
    /// `resolver` looks up the name of its local service. `retired` ends the UDP work connection and the health check.
    pub(crate) fn new(
        config: ProxyConfig,
        key: &CipherKey,
        resolver: &Resolver,
        retired: CancellationToken,
    ) -> Self {
        let limit = config
            .bandwidth
            .as_ref()
            .filter(|bandwidth| bandwidth.mode == BandwidthMode::Client)
            .map(|bandwidth| Limiter::new(bandwidth.bytes_per_second));
        // The other client of an xtcp proxy does not know the token.
        let hole_key = match &config.kind {
            ProxyKind::Xtcp { private, .. } => Some(CipherKey::derive(&private.secret_key)),
            _ => None,
        };
        let key = hole_key.as_ref().unwrap_or(key);
        Self {
            layers: Layers {
                encryption: config.use_encryption.then(|| key.clone()),
                compression: config.use_compression,
                limit,
            },
            metrics: Arc::default(),
            plugin: OnceLock::new(),
            resolver: resolver.clone(),
            span: SharedSpan::default(),
            users: Users::default().of(&config.name, config.kind.as_str()),
            udp_turn: Mutex::new(retired.child_token()),
            virtual_net: None,
            retired,
            hole_key,
            config,
        }
    }

    /// The same proxy, whose users are among these.
    pub(crate) fn with_users(self, users: &Users) -> Self {
        let users = users.of(&self.config.name, self.config.kind.as_str());
        Self { users, ..self }
    }

    /// The same proxy, which is counted in `metrics` with all others of its client.
    pub(crate) fn counted_in(self, metrics: Arc<Metrics>) -> Self {
        Self { metrics, ..self }
    }

    /// The same proxy, on a client with this virtual network.
    pub(crate) fn within(self, virtual_net: Option<VirtualNetwork>) -> Self {
        Self {
            virtual_net,
            ..self
        }
    }

    /// What is counted of all proxies of its client.
    pub(crate) fn metrics(&self) -> &Arc<Metrics> {
        &self.metrics
    }

    /// Who is connected to its service.
    pub(crate) fn users(&self) -> &Arc<ProxyUsers> {
        &self.users
    }

    /// Ends the turn of the UDP work connection before, and gives the token of the next one: a
    /// server keeps one per proxy, and asks for another only when it has given up the last.
    pub(crate) fn next_udp_turn(&self) -> CancellationToken {
        let next = self.retired.child_token();
        let mut turn = self.udp_turn.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::replace(&mut *turn, next.clone()).cancel();
        next
    }

    /// Makes the plugin, if the proxy has one and it is not made yet. Reads the files that it names.
    pub(crate) fn make_plugin(&self) -> Result<(), PluginError> {
        if self.plugin.get().is_some() {
            return Ok(());
        }
        let config = &self.config;
        let inspect = match &config.kind {
            ProxyKind::Http(http) => http.inspect.clone().map(Arc::new),
            ProxyKind::Tcp { .. }
            | ProxyKind::Udp { .. }
            | ProxyKind::Https(_)
            | ProxyKind::TcpMux(_)
            | ProxyKind::Stcp(_)
            | ProxyKind::Sudp(_)
            | ProxyKind::Xtcp { .. } => None,
        };
        let is_shown = matches!(config.kind, ProxyKind::Http(_))
            && self.users.observer().is_some()
            && config.plugin.is_none()
            // It speaks of one user for each connection to the service.
            && config.proxy_protocol.is_none();
        let tap = (inspect.is_some() || is_shown).then_some(Tap { inspect });
        let plugin = match (&config.plugin, tap) {
            (Some(plugin), tap) => {
                Plugin::new(plugin, tap, &self.resolver, self.virtual_net.as_ref())?
            }
            // Requests are looked on, so they have to be read.
            (None, Some(tap)) => {
                let service = LocalAddr {
                    host: config.local_host.clone(),
                    port: config.local_port,
                };
                Plugin::watching(service, tap, &self.resolver)?
            }
            (None, None) => return Ok(()),
        };
        // A second caller has made the same.
        let _ = self.plugin.set(plugin);
        Ok(())
    }

    /// The plugin that serves its users; `None` if the local service does, or
    /// before [`make_plugin`](Self::make_plugin).
    pub(crate) fn plugin(&self) -> Option<&Plugin> {
        self.plugin.get()
    }

    /// Looks up the name of its local service.
    pub(crate) fn resolver(&self) -> &Resolver {
        &self.resolver
    }

    /// Where its local service listens.
    pub(crate) fn local(&self) -> Local<'_> {
        Local::Tcp {
            host: &self.config.local_host,
            port: self.config.local_port,
        }
    }

    /// The message that announces this proxy to the server.
    pub(crate) fn announcement(&self, user: &str) -> Box<NewProxy> {
        Box::new(self.config.announcement(user))
    }

    pub(crate) fn config(&self) -> &ProxyConfig {
        &self.config
    }

    pub(crate) fn layers(&self) -> &Layers {
        &self.layers
    }

    /// The version of the PROXY protocol header for its local service; `None`: no header.
    pub(crate) fn proxy_protocol(&self) -> Option<Version> {
        self.config.proxy_protocol.map(|version| match version {
            ProxyProtocol::V1 => Version::V1,
            ProxyProtocol::V2 => Version::V2,
        })
    }

    /// The health check of its local service; `None` if there is none, or the service has no port.
    pub(crate) fn health_check(&self) -> Option<&HealthCheck> {
        let check = self.config.health_check.as_ref();
        check.filter(|_| self.config.local_port != 0)
    }

    /// The key for hole punching, and whether this host's own addresses are kept private; `None` unless the proxy is xtcp.
    pub(crate) fn hole(&self) -> Option<(&CipherKey, bool)> {
        match &self.config.kind {
            ProxyKind::Xtcp {
                disable_assisted_addrs,
                ..
            } => Some((self.hole_key.as_ref()?, *disable_assisted_addrs)),
            _ => None,
        }
    }

    /// Waits until the proxy is removed from the client.
    pub(crate) async fn is_retired(&self) {
        self.retired.cancelled().await;
    }

    /// What the log says of its work connections, within the current span.
    pub(crate) fn span(&self) -> Span {
        let name = &self.config.name;
        self.span.within(
            Span::current().id(),
            |parent| error_span!(parent: parent, "proxy", %name),
        )
    }
}

impl Debug for Proxy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Proxy").field(&self.config.name).finish()
    }
}

/// The configured name behind a name on the wire; `None` if it is not one of `user`.
pub(crate) fn local_name<'a>(user: &str, wire_name: &'a str) -> Option<&'a str> {
    if user.is_empty() {
        Some(wire_name)
    } else {
        wire_name.strip_prefix(user)?.strip_prefix('.')
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::Bandwidth;
    use mgrok_proto::auth::Secret;

    use super::*;

    fn announcement(config: ProxyConfig) -> NewProxy {
        let key = CipherKey::derive(&Secret::default());
        *Proxy::new(config, &key, &Resolver::default(), CancellationToken::new()).announcement("")
    }

    fn tcp() -> ProxyConfig {
        ProxyConfig::new("ssh", ProxyKind::Tcp { remote_port: 6000 }, 22)
    }

    #[test]
    fn a_plain_proxy_is_announced_with_little() {
        let expect = NewProxy {
            proxy_name: "ssh".to_owned(),
            proxy_type: "tcp".to_owned(),
            remote_port: 6000,
            ..NewProxy::default()
        };
        assert_eq!(announcement(tcp()), expect);
        let udp = ProxyConfig::new("dns", ProxyKind::Udp { remote_port: 53 }, 53);
        assert_eq!(announcement(udp).proxy_type, "udp");
    }

    #[test]
    fn the_limit_is_announced_and_applied_on_one_side() {
        for (mode, announced, ours) in [
            (BandwidthMode::Client, "", true),
            (BandwidthMode::Server, "server", false),
        ] {
            let mut config = tcp();
            config.bandwidth = Bandwidth::parse("1.5MB", mode).unwrap();
            let got = config.announcement("");
            assert_eq!(got.bandwidth_limit, "1.5MB");
            assert_eq!(got.bandwidth_limit_mode, announced);
            let key = CipherKey::derive(&Secret::default());
            let proxy = Proxy::new(config, &key, &Resolver::default(), CancellationToken::new());
            assert_eq!(proxy.layers().limit.is_some(), ours);
        }
    }

    #[test]
    fn names_carry_the_user_on_the_wire() {
        for (user, name, on_the_wire) in [("", "ssh", "ssh"), ("ada", "ssh", "ada.ssh")] {
            assert_eq!(local_name(user, on_the_wire), Some(name));
        }
        assert_eq!(local_name("ada", "bob.ssh"), None);
        assert_eq!(local_name("ada", "adamssh"), None);
    }
}
