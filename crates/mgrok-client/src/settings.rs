//! What a client goes by from login to login, and which keys can change while it runs.

use std::sync::Arc;

use mgrok_config::{ClientConfig, ClientTransport, WebServer};
use mgrok_net::resolver::Resolver;
use mgrok_proto::cipher::CipherKey;

use crate::connect::{Connector, SetUpError};
use crate::credentials::Credentials;

/// What a client goes by, but for its proxies and visitors. A session keeps those that it logged in with.
#[derive(Debug)]
pub(crate) struct LoginSettings {
    /// Its proxies and visitors do not count.
    pub(crate) config: Arc<ClientConfig>,
    /// Encrypts between client and server.
    pub(crate) key: CipherKey,
    /// What the server is shown.
    pub(crate) credentials: Credentials,
    /// The servers of each supervisor: all of them, or one.
    pub(crate) connectors: Vec<Vec<Arc<Connector>>>,
}

impl LoginSettings {
    /// Reads what TLS needs. `resolver` looks up the names of servers.
    ///
    /// # Errors
    /// If those files cannot be used.
    pub(crate) fn new(config: ClientConfig, resolver: &Resolver) -> Result<Self, SetUpError> {
        let mut connectors = Vec::new();
        for server in &config.servers {
            connectors.push(Connector::new(&config, server, resolver)?);
        }
        let connectors = match config.connect_all {
            true => connectors.into_iter().map(|it| vec![it]).collect(),
            false => vec![connectors],
        };
        Ok(Self {
            key: CipherKey::derive(&config.auth.token),
            credentials: Credentials::new(&config, resolver),
            config: Arc::new(config),
            connectors,
        })
    }

    /// Those of `config`. Connections are made as before if nothing of that changes, and then resume sessions of TLS.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub(crate) fn next(
        &self,
        config: ClientConfig,
        resolver: &Resolver,
    ) -> Result<Self, SetUpError> {
        let before = &self.config;
        let credentials = self.credentials.next(before, &config, resolver);
        if before.transport != config.transport || before.servers != config.servers {
            return Ok(Self {
                credentials,
                ..Self::new(config, resolver)?
            });
        }
        Ok(Self {
            credentials,
            key: CipherKey::derive(&config.auth.token),
            config: Arc::new(config),
            connectors: self.connectors.clone(),
        })
    }
}

/// The keys of what differs between two configurations, apart from proxies, visitors and what is the program's.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct KeyChanges {
    /// What can change at once.
    pub(crate) at_once: Vec<&'static str>,
    /// What a session keeps, and the next login has anew.
    pub(crate) at_login: Vec<&'static str>,
    /// What cannot change while the client runs.
    pub(crate) fixed: Vec<&'static str>,
}

impl KeyChanges {
    pub(crate) fn between(before: &ClientConfig, next: &ClientConfig) -> Self {
        // By name, so that a new field has to be considered here.
        let ClientConfig {
            user,
            client_id,
            servers,
            connect_all,
            dns_server,
            // It is over when a client has had its first login.
            login_fail_exit: _,
            udp_packet_size,
            metadatas,
            auth,
            oidc,
            // It is the program's.
            access_log: _,
            log: _,
            reload_on_change: _,
            grace_period,
            transport,
            proxies: _,
            visitors: _,
            nat_hole_stun_server,
            // It is read anew.
            store: _,
            virtual_net,
            web_server,
        } = before;
        let ClientTransport {
            protocol,
            wire_protocol,
            proxy_url,
            dial_server_timeout,
            dial_server_keepalive,
            connect_server_local_ip,
            multipath,
            pool_count,
            tcp_mux,
            tcp_mux_connections,
            tcp_mux_keepalive_interval,
            heartbeat_interval,
            heartbeat_timeout,
            quic,
            liveness_keys,
            tls,
        } = transport;
        let it = &next.transport;
        let servers_differ = *servers != next.servers;
        let key_of_servers = "serverAddr, serverPort or serverAddrs";
        let access = |web_server: &Option<WebServer>| {
            let access = web_server.as_ref();
            access.map(|it| (it.user.clone(), it.password.clone(), it.tls.clone()))
        };
        let place = |web_server: &Option<WebServer>| {
            let place = web_server.as_ref();
            place.map(|it| (it.addr.clone(), it.port))
        };
        let moves = place(web_server) != place(&next.web_server);
        let fixed = [
            ("user", *user != next.user),
            ("clientID", *client_id != next.client_id),
            // Each has its supervisor.
            (key_of_servers, servers_differ && *connect_all),
            ("connectAll", *connect_all != next.connect_all),
            ("dnsServer", *dns_server != next.dns_server),
            ("udpPacketSize", *udp_packet_size != next.udp_packet_size),
            // Tunnels past the server go by it too.
            ("transport.quic", *quic != it.quic),
            (
                "natHoleStunServer",
                *nat_hole_stun_server != next.nat_hole_stun_server,
            ),
            ("virtualNet.address", *virtual_net != next.virtual_net),
            ("webServer.addr or webServer.port", moves),
        ];
        let at_login = [
            (key_of_servers, servers_differ),
            ("metadatas", *metadatas != next.metadatas),
            ("auth", *auth != next.auth || *oidc != next.oidc),
            ("transport.protocol", *protocol != it.protocol),
            ("transport.wireProtocol", *wire_protocol != it.wire_protocol),
            ("transport.proxyURL", *proxy_url != it.proxy_url),
            (
                "transport.dialServerTimeout",
                *dial_server_timeout != it.dial_server_timeout,
            ),
            (
                "transport.dialServerKeepalive",
                *dial_server_keepalive != it.dial_server_keepalive,
            ),
            (
                "transport.connectServerLocalIP",
                *connect_server_local_ip != it.connect_server_local_ip,
            ),
            ("transport.multipath", *multipath != it.multipath),
            ("transport.poolCount", *pool_count != it.pool_count),
            ("transport.tcpMux", *tcp_mux != it.tcp_mux),
            (
                "transport.tcpMuxConnections",
                *tcp_mux_connections != it.tcp_mux_connections,
            ),
            (
                "transport.tcpMuxKeepaliveInterval",
                *tcp_mux_keepalive_interval != it.tcp_mux_keepalive_interval,
            ),
            (
                "transport.heartbeatInterval",
                *heartbeat_interval != it.heartbeat_interval,
            ),
            (
                "transport.heartbeatTimeout",
                *heartbeat_timeout != it.heartbeat_timeout,
            ),
            (
                "which heartbeat keys of transport are set",
                *liveness_keys != it.liveness_keys,
            ),
            ("transport.tls", *tls != it.tls),
        ];
        let at_once = [
            ("gracePeriod", *grace_period != next.grace_period),
            (
                "webServer.user, password or tls",
                access(web_server) != access(&next.web_server),
            ),
        ];
        Self {
            at_once: named(&at_once),
            at_login: named(&at_login),
            fixed: named(&fixed),
        }
    }
}

fn named(keys: &[(&'static str, bool)]) -> Vec<&'static str> {
    let differing = keys.iter().filter(|(_, differs)| *differs);
    differing.map(|(key, _)| *key).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use mgrok_config::{ProxyConfig, ProxyKind, ServerAddr};
    use mgrok_proto::auth::Secret;

    use super::*;

    #[test]
    fn each_key_takes_effect_at_its_time_or_is_refused() {
        let before = ClientConfig {
            web_server: Some(WebServer::default()),
            ..ClientConfig::default()
        };
        let none = KeyChanges::default();
        assert_eq!(KeyChanges::between(&before, &before), none);
        let mut next = ClientConfig {
            user: "ada".to_owned(),
            servers: vec![ServerAddr::new("example.com", 7000)],
            grace_period: before.grace_period + Duration::from_secs(1),
            proxies: vec![ProxyConfig::new(
                "new",
                ProxyKind::Tcp { remote_port: 1 },
                22,
            )],
            web_server: Some(WebServer {
                port: 7400,
                password: Secret::new("another"),
                ..WebServer::default()
            }),
            ..before.clone()
        };
        next.auth.token = Secret::new("another");
        next.transport.tls = None;
        let expect = KeyChanges {
            at_once: vec!["gracePeriod", "webServer.user, password or tls"],
            at_login: vec![
                "serverAddr, serverPort or serverAddrs",
                "auth",
                "transport.tls",
            ],
            fixed: vec!["user", "webServer.addr or webServer.port"],
        };
        assert_eq!(KeyChanges::between(&before, &next), expect);
    }

    #[test]
    fn servers_with_a_supervisor_each_are_fixed() {
        let before = ClientConfig {
            connect_all: true,
            ..ClientConfig::default()
        };
        let next = ClientConfig {
            servers: vec![ServerAddr::new("example.com", 7000)],
            ..before.clone()
        };
        let changes = KeyChanges::between(&before, &next);
        assert_eq!(changes.fixed, ["serverAddr, serverPort or serverAddrs"]);
    }

    #[test]
    fn connections_are_made_as_before_unless_that_changes() {
        let resolver = Resolver::default();
        let settings = LoginSettings::new(ClientConfig::default(), &resolver).unwrap();
        let mut config = ClientConfig::default();
        config.auth.token = Secret::new("another");
        let same = settings.next(config.clone(), &resolver).unwrap();
        assert!(Arc::ptr_eq(
            &same.connectors[0][0],
            &settings.connectors[0][0]
        ));
        config.transport.pool_count += 1;
        let other = settings.next(config, &resolver).unwrap();
        assert!(!Arc::ptr_eq(
            &other.connectors[0][0],
            &settings.connectors[0][0]
        ));
    }
}
