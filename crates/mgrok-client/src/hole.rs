//! Hole punching: a path between this client and another, with the server's help.
//!
//! Each client asks a STUN server for its public addresses and reports them to the server, which tells both how to proceed;
//! then both send until a packet arrives (PROTOCOL 9.4). [`crate::tunnel`] carries streams through the hole.

use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{ClientConfig, TunnelProtocol};
use mgrok_nat::prepare::{PrepareError, Prepared, prepare};
use mgrok_nat::punch::{PunchError, punch};
use mgrok_net::muxes::Muxes;
use mgrok_net::quic::QuicOptions;
use mgrok_net::resolver::Resolver;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use mgrok_proto::message::{NatHoleClient, NatHoleReport, NatHoleResp, NatHoleVisitor};
use tokio::sync::Semaphore;
use tracing::{debug, info};

use crate::handle::{RequestError, SessionHandle};
use crate::server_text::server_text;
use crate::signature::signed_now;
use crate::tunnel::{Tunnel, TunnelAcceptor, TunnelError};

/// How long the server may take to say whether a service may be visited.
// frp: the same (pkg/nathole/nathole.go#PreCheck)
const CHECK_TIMEOUT: Duration = Duration::from_secs(5);
/// How long the server may take to advise us. It waits up to 10 s for the other side, and holds the advice back for
/// one more.
const ADVICE_TIMEOUT: Duration = Duration::from_secs(13);
/// How many holes are punched at a time. One may take hundreds of sockets.
const MAX_PUNCHING: usize = 8;

/// Punches holes for one client. Cheap to clone; clones share the limit.
#[derive(Clone, Debug)]
pub(crate) struct Puncher {
    stun_server: Arc<str>,
    resolver: Resolver,
    quic: QuicOptions,
    permits: Arc<Semaphore>,
    muxes: Muxes,
}

/// Why there is no hole to the other client.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HoleError {
    #[error("the server does not help")]
    Ask(#[from] RequestError),
    #[error("{MAX_PUNCHING} holes are being punched already")]
    Busy,
    #[error("cannot find out how this machine looks from outside (natHoleStunServer is {server})")]
    Prepare {
        server: Arc<str>,
        source: PrepareError,
    },
    #[error("no way through the NATs")]
    Punch(#[from] PunchError),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Tunnel(#[from] TunnelError),
}

/// What a visitor asks for.
#[derive(Debug)]
pub(crate) struct Visit {
    /// The proxy's name on the wire.
    pub(crate) proxy_name: String,
    pub(crate) protocol: TunnelProtocol,
    pub(crate) secret: Secret,
    /// Made of the secret.
    pub(crate) key: CipherKey,
    /// Keeps the addresses of this host's own network private.
    pub(crate) disable_assisted_addrs: bool,
}

/// What a proxy offers.
#[derive(Debug)]
pub(crate) struct HostRequest<'a> {
    /// The proxy's name on the wire.
    pub(crate) proxy_name: &'a str,
    /// The attempt, as the server calls it.
    pub(crate) sid: &'a str,
    /// Made of the proxy's secret.
    pub(crate) key: &'a CipherKey,
    /// Keeps the addresses of this host's own network private.
    pub(crate) disable_assisted_addrs: bool,
}

impl Puncher {
    /// Its tunnels of KCP are among `muxes`.
    pub(crate) fn new(config: &ClientConfig, muxes: Muxes) -> Self {
        let quic = &config.transport.quic;
        Self {
            stun_server: config.nat_hole_stun_server.as_str().into(),
            // A resolver of its own, so that an unresolvable name of a STUN server delays no other lookup.
            resolver: Resolver::new(config.dns_server),
            quic: QuicOptions {
                keepalive: quic.keepalive_period,
                idle_timeout: quic.max_idle_timeout,
                max_streams: quic.max_incoming_streams,
                trusts_at_once: true,
            },
            permits: Arc::new(Semaphore::new(MAX_PUNCHING)),
            muxes,
        }
    }

    /// Makes a tunnel to a service.
    pub(crate) async fn visit(
        &self,
        session: &SessionHandle,
        visit: &Visit,
    ) -> Result<Tunnel, HoleError> {
        let _permit = self.permits.try_acquire().map_err(|_| HoleError::Busy)?;
        let question = NatHoleVisitor {
            transaction_id: mgrok_nat::new_id(),
            proxy_name: visit.proxy_name.clone(),
            pre_check: true,
            ..NatHoleVisitor::default()
        };
        let id = question.transaction_id.clone();
        accepted(session.request(question, &id, CHECK_TIMEOUT).await?)?;

        let side = self.prepare().await?;
        let (sign_key, timestamp) = signed_now(&visit.secret);
        let request = NatHoleVisitor {
            transaction_id: mgrok_nat::new_id(),
            proxy_name: visit.proxy_name.clone(),
            protocol: visit.protocol.as_str().to_owned(),
            sign_key,
            timestamp,
            mapped_addrs: side.mapped_addrs(),
            assisted_addrs: assisted(&side, visit.disable_assisted_addrs),
            ..NatHoleVisitor::default()
        };
        let id = request.transaction_id.clone();
        let advice = accepted(session.request(request, &id, ADVICE_TIMEOUT).await?)?;
        let punched = punch(side.socket, &advice, &visit.key).await?;
        let peer = punched.peer;
        let tunnel = Tunnel::dial(visit.protocol, punched, &self.quic, &self.muxes).await?;
        // frp: these words (client/visitor/xtcp.go#makeNatHole)
        info!(
            "establishing nat hole connection successful, sid [{}], remoteAddr [{peer}]",
            server_text(&advice.sid)
        );
        Ok(tunnel)
    }

    /// Accepts a visitor that the server has announced.
    pub(crate) async fn host(
        &self,
        session: &SessionHandle,
        request: &HostRequest<'_>,
    ) -> Result<TunnelAcceptor, HoleError> {
        let _permit = self.permits.try_acquire().map_err(|_| HoleError::Busy)?;
        let side = self.prepare().await?;
        let hello = NatHoleClient {
            transaction_id: mgrok_nat::new_id(),
            proxy_name: request.proxy_name.to_owned(),
            sid: request.sid.to_owned(),
            mapped_addrs: side.mapped_addrs(),
            assisted_addrs: assisted(&side, request.disable_assisted_addrs),
        };
        let id = hello.transaction_id.clone();
        let advice = accepted(session.request(hello, &id, ADVICE_TIMEOUT).await?)?;
        let punched = punch(side.socket, &advice, request.key).await;
        let report = NatHoleReport {
            sid: advice.sid.clone(),
            success: punched.is_ok(),
        };
        // Whether the server learns of it changes nothing for this attempt.
        if let Err(error) = session.tell(report).await {
            debug!("the server does not learn how it went: {error}");
        }
        let punched = punched?;
        info!(
            "establishing nat hole connection successful, sid [{}], remoteAddr [{}]",
            server_text(&advice.sid),
            punched.peer
        );
        let protocol = match advice.protocol.as_str() {
            "kcp" => TunnelProtocol::Kcp,
            // frp: everything else is (client/proxy/xtcp.go#InWorkConn).
            _ => TunnelProtocol::Quic,
        };
        Ok(TunnelAcceptor::accept(protocol, punched, &self.quic, &self.muxes).await?)
    }

    async fn prepare(&self) -> Result<Prepared, HoleError> {
        let server = &self.stun_server;
        let side = prepare(server, None, &self.resolver)
            .await
            .map_err(|source| HoleError::Prepare {
                server: server.clone(),
                source,
            })?;
        // frp: these words (client/visitor/xtcp.go#makeNatHole)
        info!(
            "nathole prepare success, nat type: {}, behavior: {}, addresses: {:?}, assistedAddresses: {:?}",
            side.nat.kind(),
            side.nat.behavior,
            side.mapped,
            side.assisted
        );
        Ok(side)
    }
}

fn assisted(side: &Prepared, disabled: bool) -> Vec<String> {
    if disabled {
        Vec::new()
    } else {
        side.assisted_addrs()
    }
}

fn accepted(answer: NatHoleResp) -> Result<NatHoleResp, HoleError> {
    if answer.error.is_empty() {
        Ok(answer)
    } else {
        Err(HoleError::Refused(server_text(&answer.error)))
    }
}
