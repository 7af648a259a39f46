//! The listening sockets of a server, each under a key that stays the same from one configuration to the next.
//!
//! Accept loops borrow their sockets from here. A socket is bound, or inherited from whoever held it before this server.

use std::collections::HashMap;
use std::fmt;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::OwnedFd;

use mgrok_config::ServerConfig;
use mgrok_net::kcp;
use mgrok_net::quic;
use mgrok_net::tcp;
use socket2::{Socket as Socket2, Type};
use tokio::net::TcpListener;

use crate::policy::Policy;
use crate::start_error::StartError;

/// What a listening socket is for.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(crate) enum SocketKey {
    Control,
    Kcp,
    Quic,
    VhostHttp,
    VhostHttps,
    TcpMux,
    Ssh,
    Admin,
}

/// Where a socket is to listen.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct SocketAddress {
    pub(crate) host: String,
    /// 0 lets the system choose.
    pub(crate) port: u16,
}

/// A socket that is open, and from which nothing is taken yet.
#[derive(Debug)]
pub(crate) enum Socket {
    Tcp(TcpListener),
    Kcp(kcp::Listener, kcp::ListenerDriver),
    Quic(quic::Endpoint),
}

/// The sockets that a server got from its predecessor or its service manager.
#[derive(Debug, Default)]
pub(crate) struct Inherited(HashMap<SocketKey, InheritedSocket>);

#[derive(Debug)]
enum InheritedSocket {
    Tcp(TcpListener),
    Udp(UdpSocket),
}

impl SocketKey {
    /// The keys of the configuration that say where it listens: the address, the port.
    pub(crate) fn config_keys(self) -> (&'static str, &'static str) {
        match self {
            Self::Control => ("bindAddr", "bindPort"),
            Self::Kcp => ("bindAddr", "kcpBindPort"),
            Self::Quic => ("bindAddr", "quicBindPort"),
            Self::VhostHttp => ("proxyBindAddr", "vhostHTTPPort"),
            Self::VhostHttps => ("proxyBindAddr", "vhostHTTPSPort"),
            Self::TcpMux => ("proxyBindAddr", "tcpmuxHTTPConnectPort"),
            Self::Ssh => ("bindAddr", "sshTunnelGateway.bindPort"),
            Self::Admin => ("webServer.addr", "webServer.port"),
        }
    }

    /// Whether TCP ports are what it competes for.
    pub(crate) fn is_tcp(self) -> bool {
        !matches!(self, Self::Kcp | Self::Quic)
    }

    /// Whether the system lets us listen at `at`. Nothing is open afterwards.
    ///
    /// # Errors
    /// What the system says.
    pub(crate) async fn try_bind(self, at: &SocketAddress) -> io::Result<()> {
        let SocketAddress { host, port } = at;
        match self {
            Self::Kcp => kcp::Listener::bind(host, *port).await.map(drop),
            Self::Quic => quic::bind(host, *port).await.map(drop),
            Self::Admin
            | Self::Control
            | Self::Ssh
            | Self::TcpMux
            | Self::VhostHttp
            | Self::VhostHttps => tcp::bind(host, *port).await.map(drop),
        }
    }
}

impl fmt::Display for SocketKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.config_keys().1)
    }
}

/// Whether a vhost `port` is the control port, which then tells the users of both apart by their first bytes.
// frp: the same (server/service.go#NewService)
pub(crate) fn shares_control_port(config: &ServerConfig, port: u16) -> bool {
    // Port 0 is any port, and never the same twice.
    port != 0 && port == config.bind_port && config.proxy_bind_addr == config.bind_addr
}

/// All sockets that `config` wants, in the order in which they are opened.
pub(crate) fn wanted(config: &ServerConfig) -> Vec<(SocketKey, SocketAddress)> {
    let vhost = &config.vhost;
    let own = |port: Option<u16>| port.filter(|port| !shares_control_port(config, *port));
    let (admin, ssh) = (config.web_server.as_ref(), config.ssh_gateway.as_ref());
    let (bind, proxy_bind) = (&config.bind_addr, &config.proxy_bind_addr);
    let all = [
        (SocketKey::Control, bind, Some(config.bind_port)),
        (SocketKey::Kcp, bind, config.kcp_bind_port),
        (SocketKey::Quic, bind, config.quic_bind_port),
        (SocketKey::VhostHttp, proxy_bind, own(vhost.http_port)),
        (SocketKey::VhostHttps, proxy_bind, own(vhost.https_port)),
        (SocketKey::TcpMux, proxy_bind, vhost.tcpmux_port),
        (SocketKey::Ssh, bind, ssh.map(|it| it.bind_port)),
        (
            SocketKey::Admin,
            admin.map_or(bind, |it| &it.addr),
            admin.map(|it| it.port),
        ),
    ];
    all.into_iter()
        .filter_map(|(key, host, port)| {
            let host = host.clone();
            Some((key, SocketAddress { host, port: port? }))
        })
        .collect()
}

/// Whether two sockets cannot be open at the same time because they want the same port, on whatever address.
pub(crate) fn compete(
    (key, at): (SocketKey, &SocketAddress),
    (other, other_at): (SocketKey, &SocketAddress),
) -> bool {
    at.port != 0 && at.port == other_at.port && key.is_tcp() == other.is_tcp()
}

impl Inherited {
    /// Leaves `listener` to the server as its socket for `key`.
    pub(crate) fn add(&mut self, key: SocketKey, listener: TcpListener) {
        self.0.insert(key, InheritedSocket::Tcp(listener));
    }

    /// Finds what each of `sockets` is for: by its name, which is the key of a port, or by where it is bound.
    pub(crate) fn of(
        config: &ServerConfig,
        sockets: impl IntoIterator<Item = (String, OwnedFd)>,
    ) -> Result<Self, StartError> {
        let wanted = wanted(config);
        let mut inherited = Self::default();
        for (name, socket) in sockets {
            let added = inherited.add_passed(&wanted, &name, socket);
            added.map_err(|why| StartError::Passed { name, why })?;
        }
        Ok(inherited)
    }

    fn add_passed(
        &mut self,
        wanted: &[(SocketKey, SocketAddress)],
        name: &str,
        socket: OwnedFd,
    ) -> Result<(), String> {
        let failed = |error: io::Error| error.to_string();
        let socket = Socket2::from(socket);
        let is_tcp = socket.r#type().map_err(failed)? == Type::STREAM;
        let addr = socket.local_addr().map_err(failed)?.as_socket();
        let addr = addr.ok_or("it is not one of the internet")?;
        let fits = |key: SocketKey| key.is_tcp() == is_tcp && !self.0.contains_key(&key);
        let named = wanted.iter().find(|(key, _)| key.to_string() == name);
        let found = match named {
            Some((key, _)) => Some(*key).filter(|key| fits(*key)),
            None => wanted
                .iter()
                .find(|(key, at)| fits(*key) && at.port == addr.port())
                .map(|(key, _)| *key),
        };
        let key = found.ok_or_else(|| {
            let what = if is_tcp { "TCP" } else { "UDP" };
            format!("no key of the configuration wants another {what} port at {addr}")
        })?;
        socket.set_nonblocking(true).map_err(failed)?;
        let socket = match is_tcp {
            true => {
                tcp::prepare_listener(&socket);
                InheritedSocket::Tcp(TcpListener::from_std(socket.into()).map_err(failed)?)
            }
            false => InheritedSocket::Udp(socket.into()),
        };
        self.0.insert(key, socket);
        Ok(())
    }

    /// The socket for `key`: the inherited one, else one that is bound to `at`. Clients that come by QUIC are to be accepted as
    /// `policy` says.
    ///
    /// # Errors
    /// The operating system does not let it.
    pub(crate) async fn take_or_bind(
        &mut self,
        key: SocketKey,
        at: &SocketAddress,
        policy: &Policy,
    ) -> Result<Socket, StartError> {
        let SocketAddress { host, port } = at;
        let failed = |source| {
            let (address_key, port_key) = key.config_keys();
            StartError::Bind {
                host: host.clone(),
                port: *port,
                address_key,
                port_key,
                source,
            }
        };
        match self.0.remove(&key) {
            None => {}
            Some(InheritedSocket::Tcp(listener)) => return Ok(Socket::Tcp(listener)),
            Some(InheritedSocket::Udp(socket)) if key == SocketKey::Kcp => {
                let (listener, driver) = kcp::Listener::from_socket(socket).map_err(failed)?;
                return Ok(Socket::Kcp(listener, driver));
            }
            Some(InheritedSocket::Udp(socket)) => {
                return Ok(Socket::Quic(quic::Endpoint::server(
                    socket,
                    policy.quic()?,
                )?));
            }
        }
        Ok(match key {
            SocketKey::Kcp => {
                let bound = kcp::Listener::bind(host, *port).await;
                let (listener, driver) = bound.map_err(failed)?;
                Socket::Kcp(listener, driver)
            }
            SocketKey::Quic => {
                let socket = quic::bind(host, *port).await.map_err(failed)?;
                Socket::Quic(quic::Endpoint::server(socket, policy.quic()?)?)
            }
            SocketKey::Control if policy.config.transport.multipath => {
                let bound = tcp::bind_multipath(host, *port).await;
                Socket::Tcp(bound.map_err(failed)?)
            }
            SocketKey::Control
            | SocketKey::VhostHttp
            | SocketKey::VhostHttps
            | SocketKey::TcpMux
            | SocketKey::Ssh
            | SocketKey::Admin => {
                let bound = tcp::bind(host, *port).await;
                Socket::Tcp(bound.map_err(failed)?)
            }
        })
    }
}

impl Socket {
    /// Where it listens.
    pub(crate) fn local_addr(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr(),
            Self::Kcp(listener, _) => Ok(listener.local_addr()),
            Self::Quic(endpoint) => endpoint.local_addr().map_err(io::Error::other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_vhost_port_that_is_the_control_port_has_no_socket_of_its_own() {
        let mut config = ServerConfig {
            bind_port: 7000,
            ..ServerConfig::default()
        };
        config.vhost.http_port = Some(7000);
        config.vhost.https_port = Some(443);
        let keys: Vec<_> = wanted(&config).into_iter().map(|(key, _)| key).collect();
        assert_eq!(keys, [SocketKey::Control, SocketKey::VhostHttps]);
    }

    #[test]
    fn tcp_and_udp_ports_do_not_compete() {
        let at = |port| SocketAddress {
            host: "127.0.0.1".to_owned(),
            port,
        };
        let control = (SocketKey::Control, &at(7000));
        assert!(!compete(control, (SocketKey::Kcp, &at(7000))));
        assert!(compete(control, (SocketKey::Admin, &at(7000))));
        assert!(!compete(
            (SocketKey::Control, &at(0)),
            (SocketKey::Admin, &at(0))
        ));
    }
}
