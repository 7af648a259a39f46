//! What a connection to the server turns out to be, once all that lies around it is taken off.

use mgrok_config::ServerConfig;
use mgrok_net::conn::Conn;
use mgrok_net::sniff::{self, Opening};
use mgrok_net::websocket;

use super::opening::OpeningError;
use crate::policy::{CurrentPolicy, Policy};
use crate::sockets::shares_control_port;

/// What a connection to the control port turned out to be.
pub(super) enum Opened {
    /// A client's, and nothing lies around it any more.
    Client(Conn),
    /// A user's, for a service that shares the port.
    User(Conn, SharedVhost),
}

/// The vhost ports that may be the control port.
#[derive(Clone, Copy)]
pub(super) enum SharedVhost {
    Http,
    Https,
}

/// Finds out whose connection to the control port it is, and takes off what lies around a client's.
pub(super) async fn strip_shared_transport(
    mut conn: Conn,
    policy: &CurrentPolicy,
) -> Result<Opened, OpeningError> {
    let opening = sniff::opening(&mut conn).await?;
    let policy = policy.now();
    match shared_vhost(opening, &policy.config) {
        Some(vhost) => Ok(Opened::User(conn, vhost)),
        None => Ok(Opened::Client(peel_layers(conn, opening, &policy).await?)),
    }
}

/// Takes off what lies around a client's connection, and checks that what is inside can be ours.
pub(super) async fn strip_transport(
    mut conn: Conn,
    policy: &CurrentPolicy,
) -> Result<Conn, OpeningError> {
    let opening = sniff::opening(&mut conn).await?;
    peel_layers(conn, opening, &policy.now()).await
}

/// Takes off TLS and WebSocket, whichever comes first, and each once at most.
// frp: WebSocket first, and no TLS around it, so that wss needs somebody in front of the server (PROTOCOL 1.4)
async fn peel_layers(
    mut conn: Conn,
    mut opening: Opening,
    policy: &Policy,
) -> Result<Conn, OpeningError> {
    let (mut had_tls, mut had_web_socket) = (false, false);
    loop {
        conn = match opening {
            Opening::Tls { .. } if !had_tls => {
                had_tls = true;
                let accepted = policy.tls.accept(conn).await;
                accepted.map_err(|error| OpeningError::tls(error, policy))?
            }
            Opening::WebSocket if !had_web_socket => {
                had_web_socket = true;
                websocket::accept(conn).await?
            }
            _ => break,
        };
        opening = sniff::opening(&mut conn).await?;
    }
    let transport = &policy.config.transport;
    match opening {
        Opening::Mux | Opening::V1 | Opening::V2 if transport.tls.force && !had_tls => {
            Err(OpeningError::TlsRequired)
        }
        Opening::Mux if transport.tcp_mux => Ok(conn),
        Opening::Mux => Err(OpeningError::MuxUnexpected),
        Opening::V1 | Opening::V2 if transport.tcp_mux => Err(OpeningError::MuxExpected),
        Opening::V1 | Opening::V2 => Ok(conn),
        Opening::Closed => Err(OpeningError::Closed),
        Opening::Http | Opening::Tls { .. } | Opening::Unknown | Opening::WebSocket => {
            Err(OpeningError::NotAClient)
        }
    }
}

/// Whose user it is that opens like this, if a vhost port is the control port.
// frp: the same, so that clients need the first byte of frp's own to share the port with HTTPS (PROTOCOL 1.2)
fn shared_vhost(opening: Opening, config: &ServerConfig) -> Option<SharedVhost> {
    let shares = |port: Option<u16>| port.is_some_and(|it| shares_control_port(config, it));
    match opening {
        Opening::Http if shares(config.vhost.http_port) => Some(SharedVhost::Http),
        Opening::Tls {
            consume_first: false,
        } if shares(config.vhost.https_port) => Some(SharedVhost::Https),
        _ => None,
    }
}
