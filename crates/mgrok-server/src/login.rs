//! From a `Login` to a running session, or to a refusal that says why.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use mgrok_config::ServerTransport;
use mgrok_net::{layers, message::MessageConn};
use mgrok_proto::{
    Dialect, FRP_VERSION, RunId, WireVersion, auth,
    hello::{self, Agreement, Extension, Refusal},
    liveness,
    message::{Login, LoginResp},
};
use tokio::{sync::mpsc, time::timeout};
use tracing::{Instrument, debug, info, info_span, warn};

use crate::{
    connection::{Connection, Road},
    error::chain,
    hooks::HookError,
    registry::{Claim, ClaimError, Identity, OFFER_QUEUE},
    session::{ClientSpec, Ended, Session},
    shared::Shared,
};

/// How long a client may take to accept the answer to its login, as in frp (PROTOCOL 7.1).
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest run id that is taken from a client, in bytes. Ours have 16.
const MAX_RUN_ID_LEN: usize = 128;

/// Why a login was refused. The texts are frp's where frp has one.
#[derive(Debug, thiserror::Error)]
enum LoginError {
    #[error(transparent)]
    Claim(#[from] ClaimError),
    #[error(transparent)]
    Hook(#[from] HookError),
    #[error("missing v2 crypto negotiation")]
    NoHello,
    #[error("run_id is longer than {MAX_RUN_ID_LEN} bytes")]
    RunIdTooLong,
    #[error("token in login doesn't match token from configuration")]
    Token,
}

/// Serves a client from its login until its session ends. `hello` is what came ahead of the login.
pub(crate) async fn serve(
    mut control: MessageConn,
    hello: Option<Bytes>,
    login: Login,
    connection: &Connection,
    shared: &Arc<Shared>,
) {
    let from = connection.addrs.from;
    let transport = &shared.config.transport;
    let agreement = match (control.version(), hello) {
        (WireVersion::V1, _) => None,
        (WireVersion::V2, Some(hello)) => {
            match negotiate(&mut control, hello, connection, transport).await {
                Some(agreement) => Some(agreement),
                None => return,
            }
        }
        (WireVersion::V2, None) => {
            return refuse(&mut control, from, &LoginError::NoHello, shared).await;
        }
    };
    // frp: plugins come first, and what they leave is what the client said (server/service.go#handleConnection)
    let login = match shared.hooks.login(login, from).await {
        Ok(login) => login,
        Err(error) => return refuse(&mut control, from, &error.into(), shared).await,
    };
    info!(source = %from,
        "client login info: ip [{from}] version [{}] hostname [{}] os [{}] arch [{}]",
        login.version, login.hostname, login.os, login.arch
    );
    let (offer_sender, offers) = mpsc::channel(OFFER_QUEUE);
    let extensions = agreement.as_ref().map_or(&[][..], |it| &it.extensions);
    let dialect = Dialect::new(control.version(), &login.version, extensions);
    let moves = extensions.contains(&Extension::MOVE);
    let (claim, run_id) = match admit(&login, dialect, moves, offer_sender, shared).await {
        Ok(admitted) => admitted,
        Err(error) => return refuse(&mut control, from, &error, shared).await,
    };
    let wire = control.version();
    let _present = shared.clients.arrive(&login, &run_id, wire, from.ip());
    // Set before the answer: the client may act on it at once.
    connection.session_begins();
    let span = info_span!("session", run_id = run_id.as_str());
    if !answer(&mut control, run_id.as_str().to_owned(), String::new()).await {
        return;
    }
    let pool_count = usize::try_from(login.pool_count)
        .unwrap_or(0)
        .min(shared.config.transport.max_pool_count as usize);
    let mut conn = control.into_conn();
    // A flood of uploads must not keep a user waiting for its `ReqWorkConn`.
    conn.send_first();
    let control = match agreement {
        None => layers::encrypt(conn, &shared.cipher_key),
        Some(agreement) => {
            let keys = agreement.keys(&shared.config.auth.token);
            let (sends, receives) = (&keys.server_to_client, &keys.client_to_server);
            layers::seal(conn, sends, receives)
        }
    };
    let session = Session::new(
        shared.clone(),
        ClientSpec {
            dialect,
            heartbeat_timeout: match dialect.liveness && !connection.watch_closely() {
                true => Some(liveness::TIMEOUT),
                false => transport.heartbeat_timeout,
            },
            pool_count,
        },
        MessageConn::new(control, dialect.streams),
        claim,
        offers,
    );
    match session.run().instrument(span).await {
        Ended::Gone => connection.session_ends(),
        Ended::Moved => connection.session_moves(),
    }
}

/// Checks the login and makes room for its session.
async fn admit(
    login: &Login,
    dialect: Dialect,
    moves: bool,
    offers: mpsc::Sender<mgrok_net::conn::Conn>,
    shared: &Shared,
) -> Result<(Claim, RunId), LoginError> {
    let token = &shared.config.auth.token;
    if !auth::verify(token, login.timestamp, login.privilege_key.expose()) {
        return Err(LoginError::Token);
    }
    if login.run_id.len() > MAX_RUN_ID_LEN {
        return Err(LoginError::RunIdTooLong);
    }
    let run_id = if login.run_id.is_empty() {
        RunId::random()
    } else {
        RunId::from(login.run_id.as_str())
    };
    let identity = Identity {
        run_id: run_id.clone(),
        user: login.user.clone(),
        client_id: login.client_id.clone(),
        metas: login.metas.clone(),
        dialect,
        moves,
    };
    let claim = shared.registry.claim(identity, offers).await?;
    Ok((claim, run_id))
}

/// What this end can do, if it can as well, with a client that has come by `road`.
fn extensions(road: Road, transport: &ServerTransport) -> Vec<Extension> {
    let tcp_mux = transport.tcp_mux;
    let mut extensions = vec![
        Extension::BINARY_PACKETS,
        Extension::DATAGRAMS,
        Extension::MOVE,
        Extension::MOVES,
    ];
    // KCP does not say that a direction ends, and whoever waits for that would wait for ever.
    if road != Road::Kcp || tcp_mux {
        extensions.push(Extension::HALF_CLOSE);
    }
    if road == Road::Quic {
        extensions.push(Extension::QUIC_DATAGRAMS);
    }
    // What the operator has set counts.
    let set = transport.liveness_keys;
    let is_set = match road {
        Road::Quic => transport.quic.times_are_set || set.heartbeats,
        Road::Kcp | Road::Tcp if tcp_mux => set.mux,
        Road::Kcp | Road::Tcp => set.heartbeats,
    };
    if !is_set {
        extensions.push(Extension::LIVENESS);
    }
    extensions
}

/// Answers a client's hello. The answer stays queued, to leave with that to the login; `None` if there is nothing to agree on, which
/// the client has been told then.
async fn negotiate(
    control: &mut MessageConn,
    client_hello: Bytes,
    connection: &Connection,
    transport: &ServerTransport,
) -> Option<Agreement> {
    let from = connection.addrs.from;
    let extensions = extensions(connection.road, transport);
    let answer = match hello::answer(client_hello, &extensions) {
        Ok(answer) => answer,
        Err(error) => {
            warn!(source = %from, "login of {from} refused: {}", chain(&error));
            return None;
        }
    };
    let mut frame = BytesMut::new();
    answer.encode(&mut frame);
    if let Err(error) = control.queue_encoded(&frame) {
        warn!(source = %from, "cannot answer the hello of {from}: {}", chain(&error));
        return None;
    }
    match answer.outcome {
        Ok(agreement) => Some(agreement),
        Err(refusal) => {
            let hint = match refusal {
                Refusal::Algorithm => {
                    "; set transport.wireProtocol = \"v1\" in the client if it can do no better"
                }
                Refusal::Codec | Refusal::Random { .. } => "",
            };
            warn!(source = %from, "login of {from} refused: {refusal}{hint}");
            if !matches!(timeout(ANSWER_TIMEOUT, control.flush()).await, Ok(Ok(()))) {
                debug!(source = %from, "the client left before its hello was answered");
            }
            None
        }
    }
}

async fn refuse(control: &mut MessageConn, from: SocketAddr, error: &LoginError, shared: &Shared) {
    warn!(source = %from, "register control error: {error}");
    let text = shared.error_text(&error.to_string(), "register control error");
    answer(control, String::new(), text).await;
}

/// Answers the login; `false` if the client did not take the answer.
async fn answer(control: &mut MessageConn, run_id: String, error: String) -> bool {
    let answer = LoginResp {
        version: FRP_VERSION.to_owned(),
        run_id,
        error,
    };
    let sent = timeout(ANSWER_TIMEOUT, control.send(&answer.into())).await;
    if !matches!(sent, Ok(Ok(()))) {
        debug!("the client left before its login was answered");
        return false;
    }
    true
}
