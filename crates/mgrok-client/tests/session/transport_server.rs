//! A server played by the test on any transport, in either wire version.

use std::net::UdpSocket;

use bytes::{Bytes, BytesMut};
use mgrok_config::{ClientConfig, ClientTls, ClientTransport, Protocol, WireProtocol};
use mgrok_mux::Acceptor;
use mgrok_net::conn::Conn;
use mgrok_net::message::MessageConn;
use mgrok_net::quic::{Connection, Endpoint, QuicOptions, QuicServer};
use mgrok_net::tls::{ServerTls, ServerTlsOptions};
use mgrok_net::{kcp, layers, websocket};
use mgrok_proto::WireVersion;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::hello::{self, Extension};
use mgrok_proto::message::{Login, LoginResp, Message, NewWorkConn, ReqWorkConn};
use mgrok_proto::v2::{Content, MAGIC};
use tokio::net::TcpListener;

use crate::server::{RUN_ID, recv, server_addr, start, within};

/// The transport of a client, and the layers on it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setup {
    pub(crate) protocol: Protocol,
    pub(crate) tls: bool,
    pub(crate) mux: bool,
}

impl Setup {
    /// All setups with one transport.
    pub(crate) fn all(protocol: Protocol) -> Vec<Self> {
        let mut setups = Vec::new();
        for mux in [true, false] {
            for tls in [true, false] {
                setups.push(Self { protocol, tls, mux });
            }
        }
        setups
    }
}

/// A server on one transport.
pub(crate) struct TransportServer {
    setup: Setup,
    listener: Listening,
    tls: ServerTls,
}

enum Listening {
    Kcp(kcp::Listener),
    Quic(Endpoint),
    Tcp(TcpListener),
}

impl TransportServer {
    pub(crate) async fn bind(setup: Setup) -> Self {
        Self::with_tls(setup, ServerTlsOptions::default()).await
    }

    pub(crate) async fn with_tls(setup: Setup, options: ServerTlsOptions) -> Self {
        let tls = ServerTls::new(options.clone()).unwrap();
        let listener = match setup.protocol {
            Protocol::Kcp => {
                let (listener, driver) = kcp::Listener::bind("127.0.0.1", 0).await.unwrap();
                tokio::spawn(driver);
                Listening::Kcp(listener)
            }
            Protocol::Quic => {
                let server = QuicServer::with_tls(&tls, QuicOptions::default()).unwrap();
                let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
                Listening::Quic(Endpoint::server(socket, server).unwrap())
            }
            _ => Listening::Tcp(TcpListener::bind("127.0.0.1:0").await.unwrap()),
        };
        Self {
            setup,
            listener,
            tls,
        }
    }

    /// A configuration of a client with this setup.
    pub(crate) fn config(&self, wire_protocol: WireProtocol) -> ClientConfig {
        let addr = match &self.listener {
            Listening::Kcp(listener) => listener.local_addr(),
            Listening::Quic(endpoint) => endpoint.local_addr().unwrap(),
            Listening::Tcp(listener) => listener.local_addr().unwrap(),
        };
        ClientConfig {
            transport: ClientTransport {
                protocol: self.setup.protocol,
                tcp_mux: self.setup.mux,
                tls: self.setup.tls.then(ClientTls::default),
                wire_protocol,
                ..ClientTransport::default()
            },
            ..server_addr(addr)
        }
    }

    /// Accepts the next connection, and removes all layers of the transport.
    pub(crate) async fn conn(&mut self) -> Conn {
        let conn = match &mut self.listener {
            Listening::Kcp(listener) => within(listener.accept()).await.unwrap().0,
            Listening::Quic(_) => panic!("connections of QUIC are of another kind"),
            Listening::Tcp(listener) => within(listener.accept()).await.unwrap().0.into(),
        };
        match self.setup.protocol {
            Protocol::WebSocket => {
                let conn = within(websocket::accept(conn)).await.unwrap();
                self.secured_if_on(conn).await
            }
            Protocol::Wss => {
                let conn = within(self.tls.accept(conn)).await.unwrap();
                within(websocket::accept(conn)).await.unwrap()
            }
            _ => self.secured_if_on(conn).await,
        }
    }

    async fn secured_if_on(&self, conn: Conn) -> Conn {
        match self.setup.tls {
            true => within(self.tls.accept(conn)).await.unwrap(),
            false => conn,
        }
    }

    /// Accepts a client that rejects the server's certificate.
    pub(crate) async fn refused_handshake(&mut self) {
        match &mut self.listener {
            Listening::Kcp(_) => panic!("nobody asks for that"),
            Listening::Quic(endpoint) => {
                let incoming = within(endpoint.accept()).await.unwrap();
                within(incoming.accept()).await.unwrap_err();
            }
            Listening::Tcp(listener) => {
                let (stream, _) = within(listener.accept()).await.unwrap();
                within(self.tls.accept(stream.into())).await.unwrap_err();
            }
        }
    }

    /// Accepts the connection of the client's next session.
    pub(crate) async fn link(&mut self) -> FarLink<'_> {
        if let Listening::Quic(endpoint) = &self.listener {
            let incoming = within(endpoint.accept()).await.unwrap();
            return FarLink::Quic(within(incoming.accept()).await.unwrap());
        }
        if !self.setup.mux {
            return FarLink::Each(self);
        }
        let (_, acceptor, driver) =
            mgrok_mux::session(self.conn().await, mgrok_mux::Config::server());
        tokio::spawn(driver);
        FarLink::Mux(acceptor)
    }

    /// Accepts the next session, with `extensions` at both ends.
    pub(crate) async fn session(&mut self, extensions: &[Extension]) -> FarSession<'_> {
        let mut link = self.link().await;
        let opening = Opening::receive(link.stream().await).await;
        FarSession {
            control: opening.accept(extensions).await,
            link,
        }
    }
}

/// The server's end of a session's connection or connections.
pub(crate) enum FarLink<'a> {
    Each(&'a mut TransportServer),
    Mux(Acceptor),
    Quic(Connection),
}

impl FarLink<'_> {
    /// The next stream that the client opens.
    pub(crate) async fn stream(&mut self) -> Conn {
        match self {
            Self::Each(server) => server.conn().await,
            Self::Mux(acceptor) => within(acceptor.accept()).await.unwrap().into(),
            Self::Quic(connection) => within(connection.accept()).await.unwrap(),
        }
    }
}

/// A login that is not answered yet.
pub(crate) struct Opening {
    pub(crate) conn: MessageConn,
    /// Only in v2.
    pub(crate) hello: Option<Bytes>,
    pub(crate) login: Login,
}

impl Opening {
    pub(crate) async fn receive(stream: Conn) -> Self {
        let (mut conn, wire) = sniff(stream).await;
        if wire == WireVersion::V1 {
            let Message::Login(login) = recv(&mut conn).await else {
                panic!("something else than Login");
            };
            return Self {
                conn,
                hello: None,
                login,
            };
        }
        let hello = match within(conn.recv_content()).await.unwrap() {
            Some(Content::ClientHello(hello)) => hello,
            other => panic!("{other:?} instead of ClientHello"),
        };
        let Message::Login(login) = recv(&mut conn).await else {
            panic!("something else than Login");
        };
        Self {
            conn,
            hello: Some(hello),
            login,
        }
    }

    /// Accepts the login.
    pub(crate) async fn accept(mut self, extensions: &[Extension]) -> MessageConn {
        let answer = LoginResp {
            run_id: RUN_ID.to_owned(),
            version: "0.61.0".to_owned(),
            ..LoginResp::default()
        };
        let token = Secret::new("secret");
        let Some(hello) = self.hello else {
            self.conn.send(&answer.into()).await.unwrap();
            let key = CipherKey::derive(&token);
            let conn = layers::encrypt(self.conn.into_conn(), &key);
            return MessageConn::new(conn, WireVersion::V1);
        };
        let ours = hello::answer(hello, extensions).unwrap();
        let mut frame = BytesMut::new();
        ours.encode(&mut frame);
        self.conn.queue_encoded(&frame).unwrap();
        self.conn.send(&answer.into()).await.unwrap();
        let keys = ours.outcome.unwrap().keys(&token);
        let conn = layers::seal(
            self.conn.into_conn(),
            &keys.server_to_client,
            &keys.client_to_server,
        );
        MessageConn::new(conn, WireVersion::V2)
    }
}

/// Recognises the wire version of a stream, for messages on it.
pub(crate) async fn sniff(mut stream: Conn) -> (MessageConn, WireVersion) {
    let mut start = BytesMut::new();
    while start.len() < MAGIC.len() {
        let chunk = within(stream.recv()).await.unwrap();
        assert!(!chunk.is_empty(), "the stream ended");
        start.extend_from_slice(&chunk);
    }
    let mut start = start.freeze();
    let wire = match start.starts_with(MAGIC) {
        true => {
            drop(start.split_to(MAGIC.len()));
            WireVersion::V2
        }
        false => WireVersion::V1,
    };
    stream.unread(start);
    (MessageConn::new(stream, wire), wire)
}

/// The server's end of a session.
pub(crate) struct FarSession<'a> {
    pub(crate) control: MessageConn,
    pub(crate) link: FarLink<'a>,
}

impl FarSession<'_> {
    /// Requests and accepts a work connection.
    pub(crate) async fn work_conn(&mut self) -> (MessageConn, NewWorkConn) {
        let request = ReqWorkConn::default().into();
        self.control.send(&request).await.unwrap();
        let (mut conn, wire) = sniff(self.link.stream().await).await;
        assert_eq!(wire, self.control.version());
        match recv(&mut conn).await {
            Message::NewWorkConn(offer) => (conn, offer),
            other => panic!("{} instead of NewWorkConn", other.name()),
        }
    }

    /// Makes the client serve a user of `proxy`.
    pub(crate) async fn user(&mut self, proxy: &str) -> Conn {
        let (mut work, offer) = self.work_conn().await;
        assert_eq!(offer.run_id, RUN_ID);
        start(&mut work, proxy).await;
        work.into_conn()
    }
}
