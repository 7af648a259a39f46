//! What the two ends of wire protocol v2 agree on ahead of a login, and how the control connection is sealed by it.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::layers;
use mgrok_net::message::MessageConn;
use mgrok_proto::hello::{self, Agreement, Extension, Refusal};
use tokio::time::timeout;
use tracing::{debug, warn};

use crate::connection::{Connection, Transport};
use crate::keys::Keys;
use crate::policy::Policy;

/// How long a client may take to accept the answer to its login, as in frp (PROTOCOL 7.1).
pub(super) const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// How long a client may take to prove that it knows the token, from when it has all it needs for that.
pub(super) const PROOF_TIMEOUT: Duration = Duration::from_secs(5);

/// Has the client prove that it knows the token, by a first record that can be opened: its key depends on our random value, so nobody
/// has recorded it. All that follows is sealed.
pub(super) async fn prove(
    mut control: MessageConn,
    agreement: &Agreement,
    keys: &Keys,
) -> Option<MessageConn> {
    timeout(ANSWER_TIMEOUT, control.flush()).await.ok()?.ok()?;
    let mut control = seal(control, agreement, keys);
    let record = timeout(PROOF_TIMEOUT, control.recv()).await.ok()?;
    record.ok()??;
    Some(control)
}

/// The stream of a control connection. A flood of uploads must not keep a user waiting for its `ReqWorkConn`.
pub(super) fn urgent(control: MessageConn) -> Conn {
    let mut conn = control.into_conn();
    conn.send_first();
    conn
}

/// From here on the control connection is sealed, in both directions.
pub(super) fn seal(control: MessageConn, agreement: &Agreement, keys: &Keys) -> MessageConn {
    let keys = agreement.keys(&keys.auth.token);
    let (sends, receives) = (&keys.server_to_client, &keys.client_to_server);
    let version = control.version();
    let sealed = layers::seal(urgent(control), sends, receives);
    MessageConn::new(sealed, version)
}

/// What this end can do, if it can as well, with a client that has come by `transport`.
fn extensions(transport: Transport, policy: &Policy) -> Vec<Extension> {
    let settings = &policy.config.transport;
    let tcp_mux = settings.tcp_mux;
    let mut extensions = vec![
        Extension::ACCESS,
        Extension::BALANCING,
        Extension::BINARY_PACKETS,
        Extension::DATAGRAMS,
        Extension::MIGRATE,
        Extension::CAN_MIGRATE,
    ];
    // KCP does not say that a direction ends, and whoever waits for that would wait for ever.
    if transport != Transport::Kcp || tcp_mux {
        extensions.push(Extension::HALF_CLOSE);
    }
    if transport == Transport::Quic {
        extensions.push(Extension::QUIC_DATAGRAMS);
    } else if tcp_mux {
        extensions.extend([Extension::BOND, Extension::LINKS, Extension::LINK]);
        // What we open shows no token.
        if !policy.keys.auth.new_work_conns {
            extensions.push(Extension::SERVER_STREAMS);
        }
    }
    // What the operator has set counts.
    let set = settings.liveness_keys;
    let is_set = match transport {
        Transport::Quic => settings.quic.times_are_set || set.heartbeats,
        Transport::Kcp | Transport::Tcp if tcp_mux => set.mux,
        Transport::Kcp | Transport::Tcp => set.heartbeats,
    };
    if !is_set {
        extensions.push(Extension::LIVENESS);
    }
    extensions
}

/// Answers a client's hello. `is_signed` says whether the login that came with it is signed with our token. The answer stays queued,
/// to leave together with that to the login; `None` if there is nothing to agree on, which the client has been told then.
pub(super) async fn negotiate(
    control: &mut MessageConn,
    client_hello: Bytes,
    is_signed: bool,
    connection: &Connection,
    policy: &Policy,
) -> Option<Agreement> {
    let from = connection.addrs.from;
    let mut extensions = extensions(connection.transport, policy);
    // With another token no record could be opened, and the client has to be able to read the refusal.
    if is_signed {
        extensions.push(Extension::PROOF);
    }
    let answer = match hello::answer(client_hello, &extensions) {
        Ok(answer) => answer,
        Err(error) => {
            warn!(source = %from, "login of {from} refused: {}", Chain(&error));
            return None;
        }
    };
    let mut frame = BytesMut::new();
    answer.encode(&mut frame);
    if let Err(error) = control.queue_encoded(&frame) {
        warn!(source = %from, "cannot answer the hello of {from}: {}", Chain(&error));
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
