//! A tunnel to another client, past the server: one stream for each user.
//!
//! It runs over the socket that a hole was punched with. The visiting client dials. The publishing client accepts, and only
//! from the other end of the hole.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mgrok_config::TunnelProtocol;
use mgrok_mux::{Acceptor, OpenError, Opener};
use mgrok_nat::punch::Punched;
use mgrok_net::conn::Conn;
use mgrok_net::muxes::{MuxShown, Muxes};
use mgrok_net::quic::{Connection, Endpoint, QuicClient, QuicError, QuicOptions, QuicServer};
use mgrok_net::tls::{ClientTlsOptions, ServerTlsOptions};
use tokio::net::UdpSocket;
use tokio::time::timeout;
use tokio_util::task::AbortOnDropHandle;

/// How long the other side may take to come through the hole.
const ARRIVAL_TIMEOUT: Duration = Duration::from_secs(10);
/// How long the other side may take to allow one more stream of QUIC.
const STREAM_TIMEOUT: Duration = Duration::from_secs(10);
/// How often a silent tunnel of KCP is probed: KCP itself notices no end.
// frp: the same (client/visitor/xtcp.go#Init, client/proxy/xtcp.go#listenByKCP)
const KCP_KEEPALIVE: Duration = Duration::from_secs(10);
/// The server name in the TLS handshake. Nobody checks it: the hole identifies the other end.
const SERVER_NAME: &str = "mgrok";

/// Why there is no tunnel, or no further stream in it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TunnelError {
    #[error("the other side did not come through the hole within {} s", ARRIVAL_TIMEOUT.as_secs())]
    Nobody,
    #[error("cannot open a stream through the tunnel")]
    Open(#[from] OpenError),
    #[error("QUIC through the hole failed")]
    Quic(#[from] QuicError),
    #[error("cannot use the socket of the hole")]
    Socket(#[from] io::Error),
    #[error("the other side allowed no further stream within {} s", STREAM_TIMEOUT.as_secs())]
    StreamTimeout,
}

/// The dialling end.
#[derive(Debug)]
pub(crate) enum Tunnel {
    Kcp {
        opener: Opener,
        /// Also ends with the tunnel.
        driver: AbortOnDropHandle<()>,
        _shown: MuxShown,
    },
    Quic {
        connection: Connection,
        /// What the connection runs on.
        _endpoint: Endpoint,
    },
}

/// The accepting end.
#[derive(Debug)]
pub(crate) enum TunnelAcceptor {
    Kcp {
        acceptor: Acceptor,
        _driver: AbortOnDropHandle<()>,
        _shown: MuxShown,
    },
    Quic {
        connection: Connection,
        _endpoint: Endpoint,
    },
}

impl Tunnel {
    /// Dials through the hole.
    pub(crate) async fn dial(
        protocol: TunnelProtocol,
        Punched { socket, peer }: Punched,
        options: &QuicOptions,
        muxes: &Muxes,
    ) -> Result<Self, TunnelError> {
        match protocol {
            TunnelProtocol::Kcp => {
                let (opener, _, driver) = kcp(socket, peer, mgrok_mux::Config::client())?;
                Ok(Self::Kcp {
                    _shown: muxes.show(&opener),
                    opener,
                    driver,
                })
            }
            TunnelProtocol::Quic => {
                let tls = ClientTlsOptions {
                    server_name: SERVER_NAME.to_owned(),
                    ..ClientTlsOptions::default()
                };
                let client = QuicClient::new(tls, options.clone())?;
                let endpoint = Endpoint::client(socket.into_std()?)?;
                let connecting = timeout(ARRIVAL_TIMEOUT, endpoint.connect(peer, &client));
                let connection = connecting.await.map_err(|_| TunnelError::Nobody)??;
                Ok(Self::Quic {
                    connection,
                    _endpoint: endpoint,
                })
            }
        }
    }

    /// Opens a stream for one user.
    pub(crate) async fn open(&self) -> Result<Conn, TunnelError> {
        match self {
            Self::Kcp { opener, .. } => Ok(Conn::from(opener.open().await?)),
            Self::Quic { connection, .. } => {
                let opening = timeout(STREAM_TIMEOUT, connection.open());
                Ok(opening.await.map_err(|_| TunnelError::StreamTimeout)??)
            }
        }
    }

    /// Whether it has ended, so that it will not carry another user.
    pub(crate) fn is_ended(&self) -> bool {
        match self {
            Self::Kcp { opener, driver, .. } => opener.is_closed() || driver.is_finished(),
            Self::Quic { connection, .. } => connection.is_closed(),
        }
    }
}

impl TunnelAcceptor {
    /// Accepts the connection of the hole's other end.
    pub(crate) async fn accept(
        protocol: TunnelProtocol,
        Punched { socket, peer }: Punched,
        options: &QuicOptions,
        muxes: &Muxes,
    ) -> Result<Self, TunnelError> {
        match protocol {
            TunnelProtocol::Kcp => {
                let (opener, acceptor, driver) = kcp(socket, peer, mgrok_mux::Config::server())?;
                Ok(Self::Kcp {
                    acceptor,
                    _driver: driver,
                    _shown: muxes.show(&opener),
                })
            }
            TunnelProtocol::Quic => {
                // frp's visitors call us by our address, which is no name (PROTOCOL 9.8).
                let server =
                    QuicServer::by_any_name(&ServerTlsOptions::default(), options.clone())?;
                let endpoint = Endpoint::server(socket.into_std()?, server)?;
                let connection = timeout(ARRIVAL_TIMEOUT, arrival(&endpoint, peer))
                    .await
                    .map_err(|_| TunnelError::Nobody)??;
                endpoint.stop_accepting();
                Ok(Self::Quic {
                    connection,
                    _endpoint: endpoint,
                })
            }
        }
    }

    /// The stream of the next user; `None` when the tunnel has ended.
    pub(crate) async fn next(&mut self) -> Option<Conn> {
        match self {
            Self::Kcp { acceptor, .. } => acceptor.accept().await.map(Conn::from),
            Self::Quic { connection, .. } => connection.accept().await.ok(),
        }
    }
}

/// The connection of `peer`. Others can reach the socket too; their connections are refused.
async fn arrival(endpoint: &Endpoint, peer: SocketAddr) -> Result<Connection, TunnelError> {
    loop {
        let incoming = endpoint.accept().await.ok_or(TunnelError::Nobody)?;
        if incoming.remote_addr() == peer {
            return Ok(incoming.accept().await?);
        }
        incoming.ignore();
    }
}

/// Streams over KCP over the hole.
fn kcp(
    socket: UdpSocket,
    peer: SocketAddr,
    mux: mgrok_mux::Config,
) -> Result<(Opener, Acceptor, AbortOnDropHandle<()>), TunnelError> {
    let (stream, driver) = mgrok_net::kcp::tunnel(socket, peer)?;
    let mux = mgrok_mux::Config {
        keepalive_interval: Some(KCP_KEEPALIVE),
        ..mux
    };
    let (opener, acceptor, streams) = mgrok_mux::session(stream, mux);
    let both = async {
        // The users of the streams see why they end.
        let _ = tokio::join!(driver, streams);
    };
    let both = AbortOnDropHandle::new(tokio::spawn(both));
    Ok((opener, acceptor, both))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_falls_silent_behind_its_hole_is_given_up() {
        let silent = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let punched = Punched {
            socket: UdpSocket::bind("127.0.0.1:0").await.unwrap(),
            peer: silent.local_addr().unwrap(),
        };
        let options = QuicOptions {
            idle_timeout: Duration::ZERO,
            ..QuicOptions::default()
        };
        let began = tokio::time::Instant::now();
        let dialled =
            Tunnel::dial(TunnelProtocol::Quic, punched, &options, &Muxes::default()).await;
        assert!(matches!(dialled, Err(TunnelError::Nobody)), "{dialled:?}");
        assert!(began.elapsed() >= ARRIVAL_TIMEOUT);
        assert!(began.elapsed() < ARRIVAL_TIMEOUT * 2);
    }
}
