//! The transports from a client to a server.

use std::future::Future;
use std::net::UdpSocket;
use std::pin::Pin;

use mgrok_mux::Opener;
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::quic::{Connection, Endpoint, QuicClient, QuicError, QuicOptions};
use mgrok_net::tls::{ClientTls, ClientTlsOptions};
use mgrok_net::{kcp, websocket};
use mgrok_proto::WireVersion;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::script::{Client, LIMIT, RunningServer};
use crate::v2;

/// The transport of a client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Transport {
    Kcp,
    KcpTls,
    Quic,
    Tcp,
    Tls,
    /// With the extra first byte that frp's clients may send.
    CustomTls,
    WebSocket,
    WebSocketTls,
    Wss,
}

impl Transport {
    pub(crate) const ALL: [Self; 9] = [
        Self::Kcp,
        Self::KcpTls,
        Self::Quic,
        Self::Tcp,
        Self::Tls,
        Self::CustomTls,
        Self::WebSocket,
        Self::WebSocketTls,
        Self::Wss,
    ];

    pub(crate) fn has_tls(self) -> bool {
        !matches!(self, Self::Kcp | Self::Tcp | Self::WebSocket)
    }

    /// Whether a connection signals the end of one direction.
    pub(crate) fn has_ends(self) -> bool {
        !matches!(self, Self::Kcp | Self::KcpTls)
    }
}

/// A client's connection to the server, on which it opens streams.
pub(crate) enum Line {
    Mux(Opener),
    Quic(Connection),
    /// One connection for each stream.
    Single(Dialler),
}

pub(crate) type Dialler = Box<dyn Fn() -> Dialling + Send + Sync>;
pub(crate) type Dialling = Pin<Box<dyn Future<Output = Conn> + Send>>;

impl Line {
    pub(crate) async fn new(server: &RunningServer, transport: Transport, mux: bool) -> Self {
        if transport == Transport::Quic {
            let quic = quic(server, ClientTlsOptions::default()).await;
            return Self::Quic(quic.unwrap());
        }
        let (tcp, kcp) = (server.addr, server.kcp_addr);
        let dial = move || -> Dialling {
            Box::pin(async move {
                let carrier = match transport {
                    Transport::Kcp | Transport::KcpTls => {
                        let (stream, driver) = kcp::connect(kcp.unwrap()).unwrap();
                        let conn = Conn::from(stream);
                        tokio::spawn(driver);
                        conn
                    }
                    _ => TcpStream::connect(tcp).await.unwrap().into(),
                };
                timeout(LIMIT, wrap(carrier, transport)).await.unwrap()
            })
        };
        if mux {
            Self::Mux(multiplex(dial().await))
        } else {
            Self::Single(Box::new(dial))
        }
    }

    pub(crate) async fn open(&self) -> Conn {
        match self {
            Self::Mux(opener) => opener.open().await.unwrap().into(),
            Self::Quic(quic) => quic.open().await.unwrap(),
            Self::Single(dial) => dial().await,
        }
    }

    /// Opens a stream for messages of v1.
    pub(crate) async fn open_v1(&self) -> MessageConn {
        MessageConn::new(self.open().await, WireVersion::V1)
    }

    /// Opens a stream for messages of v2.
    pub(crate) async fn open_v2(&self) -> MessageConn {
        v2::begin(self.open().await)
    }

    pub(crate) async fn login(&self, run_id: &str) -> Client {
        let control = self.open_v1().await;
        Client::try_login_on(control, run_id).await.unwrap()
    }

    /// Waits until the connection that carries the streams has ended.
    pub(crate) async fn closed(&self) {
        let closed = async {
            match self {
                Self::Mux(opener) => opener.closed().await,
                Self::Quic(quic) => drop(quic.closed().await),
                Self::Single(_) => panic!("there is no one connection"),
            }
        };
        timeout(LIMIT, closed).await.expect("it goes on");
    }
}

async fn wrap(carrier: Conn, transport: Transport) -> Conn {
    let host = "server.example:7000";
    match transport {
        Transport::Kcp | Transport::Quic | Transport::Tcp => carrier,
        Transport::KcpTls | Transport::Tls => tls(carrier, false).await,
        Transport::CustomTls => tls(carrier, true).await,
        Transport::WebSocket => websocket::connect(carrier, host).await.unwrap(),
        Transport::WebSocketTls => {
            tls(websocket::connect(carrier, host).await.unwrap(), true).await
        }
        Transport::Wss => {
            let carrier = tls(carrier, false).await;
            websocket::connect(carrier, host).await.unwrap()
        }
    }
}

/// Starts TLS, and accepts any certificate.
pub(crate) async fn tls(carrier: Conn, custom_first_byte: bool) -> Conn {
    let tls = ClientTls::new(ClientTlsOptions {
        server_name: "127.0.0.1".into(),
        custom_first_byte,
        ..ClientTlsOptions::default()
    });
    tls.unwrap().connect(carrier).await.unwrap()
}

/// A multiplexed session over `conn`.
pub(crate) fn multiplex(conn: Conn) -> Opener {
    let (opener, _, driver) = mgrok_mux::session(conn, mgrok_mux::Config::client());
    tokio::spawn(driver);
    opener
}

/// Dials the server's QUIC port.
pub(crate) async fn quic(
    server: &RunningServer,
    tls: ClientTlsOptions,
) -> Result<Connection, QuicError> {
    let tls = ClientTlsOptions {
        server_name: "127.0.0.1".into(),
        ..tls
    };
    let client = QuicClient::new(tls, QuicOptions::default())?;
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let endpoint = Endpoint::client(socket)?;
    let dialled = endpoint.connect(server.quic_addr.unwrap(), &client);
    timeout(LIMIT, dialled).await.unwrap()
}
