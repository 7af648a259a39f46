//! Why a server cannot start, or go on as a new configuration wants it.

use std::io;

use mgrok_net::quic::QuicError;
use mgrok_net::tls::TlsError;

use crate::hooks::PluginError;
use crate::ssh_policy::HostKeyError;

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The certificate or key of the admin port cannot be used.
    #[error("webServer.tls")]
    AdminTls(#[source] TlsError),
    /// A port could not be bound.
    #[error(
        "cannot listen on {host}:{port}; choose another {address_key} or {port_key}, or stop what has it"
    )]
    Bind {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// The key of the address.
        address_key: &'static str,
        /// The key of the port.
        port_key: &'static str,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A socket that the service manager has passed cannot be used.
    #[error("the socket {name:?} was passed to this server, and cannot be used: {why}")]
    Passed {
        /// What the service manager calls it.
        name: String,
        /// The reason.
        why: String,
    },
    /// A plugin of `httpPlugins` cannot be used.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// What `transport.quic` says cannot be done.
    #[error("transport.quic")]
    Quic(#[from] QuicError),
    /// The host key of the SSH gateway cannot be used.
    #[error("sshTunnelGateway")]
    Ssh(#[from] HostKeyError),
    /// The certificate, key or CA file could not be used.
    #[error("transport.tls")]
    Tls(#[from] TlsError),
}
