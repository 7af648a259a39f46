//! One way to a server, and how a login goes over it.

use std::sync::Arc;

use mgrok_config::{ClientConfig, ClientTls, ProxyConfig, ServerAddr, WireProtocol};
use mgrok_doctor::{PATIENCE, Passed};
use mgrok_net::resolver::Resolver;
use mgrok_proto::WireVersion;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use tokio::time::timeout;

use super::server_clock::ServerClock;
use crate::connect::{Connector, Link, SetUpError, Transport};
use crate::credentials::LoginProof;
use crate::login::{LoginError, Request, log_in};
use crate::wire::WireChoice;

/// A server and a transport to it, by a configuration that may differ from the operator's.
#[derive(Clone, Debug)]
pub(super) struct Trial {
    pub(super) config: ClientConfig,
    pub(super) server: ServerAddr,
    pub(super) transport: Transport,
    pub(super) resolver: Resolver,
    /// What time it is there, if that is known.
    pub(super) clock: Option<ServerClock>,
    /// The token of an issuer to log in with, if that is what the configuration wants.
    pub(super) token: Passed<Option<Secret>>,
    /// Whether the server has to keep users out of some proxy.
    pub(super) wants_access: bool,
}

/// What the server said of itself when it let us in.
#[derive(Debug)]
pub(super) struct Welcome {
    pub(super) wire: WireVersion,
    pub(super) version: String,
    /// Whether it is an mgrok of this kind.
    pub(super) is_kin: bool,
    /// Whether it keeps users out of a proxy by their address, as the client wants it.
    pub(super) keeps_access: bool,
}

/// How a login went.
#[derive(Debug)]
pub(super) enum Attempt {
    In(Welcome),
    /// The server spoke, and said no.
    No(String),
    /// It did not speak as a server does.
    Failed(LoginError),
    Silent,
}

impl Trial {
    /// How `config` reaches `server` by `transport`, in less time than a client has, with nothing to publish.
    ///
    /// It has no client id: the client of the same file that starts meanwhile would be refused because of it.
    pub(super) fn new(
        config: &ClientConfig,
        server: &ServerAddr,
        transport: Transport,
        resolver: &Resolver,
        token: &Passed<Option<Secret>>,
    ) -> Self {
        let wants_access = config.proxies.iter().any(ProxyConfig::is_guarded);
        let mut config = ClientConfig {
            proxies: Vec::new(),
            visitors: Vec::new(),
            client_id: String::new(),
            ..config.clone()
        };
        let options = &mut config.transport;
        options.dial_server_timeout = options.dial_server_timeout.min(PATIENCE);
        options.pool_count = 0;
        Self {
            config,
            server: server.clone(),
            transport,
            resolver: resolver.clone(),
            clock: None,
            token: token.clone(),
            wants_access,
        }
    }

    /// The same by a configuration that `change` has changed.
    pub(super) fn with(&self, change: impl FnOnce(&mut ClientConfig)) -> Self {
        let mut changed = self.clone();
        change(&mut changed.config);
        changed
    }

    /// The same where every certificate of the server will do.
    pub(super) fn unverified(&self) -> Self {
        self.with(|config| {
            if let Some(tls) = &mut config.transport.tls {
                tls.trusted_ca = None;
                tls.pinned_sha256 = None;
            }
        })
    }

    /// The same with the other choice of TLS.
    pub(super) fn with_other_tls(&self) -> Self {
        self.with(|config| {
            let tls = &mut config.transport.tls;
            *tls = match tls {
                None => Some(ClientTls::default()),
                Some(_) => None,
            };
        })
    }

    /// The same with the other choice of multiplexing.
    pub(super) fn with_other_mux(&self) -> Self {
        self.with(|config| config.transport.tcp_mux = !config.transport.tcp_mux)
    }

    pub(super) fn connector(&self) -> Result<Arc<Connector>, SetUpError> {
        Connector::new(&self.config, &self.server, &self.resolver)
    }

    /// Logs in over `link`, and leaves.
    pub(super) async fn log_in(&self, connector: &Arc<Connector>, link: Link) -> Attempt {
        let key = CipherKey::derive(&self.config.auth.token);
        let proof = match &self.token {
            Ok(Some(token)) => LoginProof::shown(token.clone()),
            Ok(None) | Err(_) => LoginProof::signed(&self.config.auth.token),
        };
        let request = Request {
            config: &self.config,
            key: &key,
            proof: &proof,
            migrating: false,
            joins: false,
            run_id: None,
        };
        let mut wire = WireChoice::new(self.config.transport.wire_protocol);
        let attempt = Box::pin(log_in(connector, link, &mut wire, &request));
        match timeout(PATIENCE, attempt).await {
            Ok(Ok(logged_in)) => {
                let welcome = Welcome {
                    wire: logged_in.control.version(),
                    version: crate::server_text::server_text(&logged_in.version),
                    is_kin: logged_in.negotiated.can_migrate,
                    keeps_access: logged_in.negotiated.access,
                };
                drop(logged_in.control);
                logged_in.link.finish().await;
                Attempt::In(welcome)
            }
            Ok(Err(LoginError::Refused(why))) => Attempt::No(why),
            Ok(Err(error)) => Attempt::Failed(error),
            Err(_) => Attempt::Silent,
        }
    }

    /// Whether a server answers that is reached in this way.
    pub(super) async fn is_answered(&self) -> bool {
        let Ok(connector) = self.connector() else {
            return false;
        };
        let Ok(Ok(link)) = timeout(PATIENCE, connector.link(self.transport, None)).await else {
            return false;
        };
        matches!(
            self.log_in(&connector, link).await,
            Attempt::In(_) | Attempt::No(_)
        )
    }

    /// Whether TLS is a matter of the configuration, rather than of the transport.
    pub(super) fn may_lack_tls(&self) -> bool {
        !matches!(self.transport, Transport::Quic | Transport::Wss)
    }

    /// Whether it is pinned to a version that some servers do not have.
    pub(super) fn insists_on_v2(&self) -> bool {
        self.config.transport.wire_protocol == WireProtocol::V2
    }
}
