//! The WebSocket transport: a stream of bytes in the frames of RFC 6455, which passes through proxies that allow only
//! HTTP.
//!
//! [`accept`] and [`connect`] perform the handshake and wrap the connection; its user sees bytes as on any other
//! connection. Frame boundaries mean nothing, text is not validated (frp before 0.70.0 sends its bytes as text), and
//! there are no extensions.

mod frame;
mod handshake;
mod stream;

use std::io;

use bytes::Bytes;

use crate::conn::Conn;
use crate::head::{HeadError, Request, Response};
use frame::Role;
use stream::WebSocket;

/// Why there is no WebSocket.
#[derive(Debug, thiserror::Error)]
pub enum WebSocketError {
    /// The server accepted the request with an invalid response.
    #[error(
        "the server's answer to the WebSocket request has a wrong or missing {field}; check what \
         proxies on the way do to WebSockets"
    )]
    Answer {
        /// The header field that is wrong.
        field: &'static str,
    },
    /// The peer did not begin with a valid HTTP head.
    #[error("the WebSocket handshake failed; check that the port is that of the server")]
    Head(#[from] HeadError),
    /// The server's name cannot be part of a request.
    #[error("`{host}` cannot stand in the Host field of a request")]
    Host {
        /// The name.
        host: String,
    },
    /// The connection failed.
    #[error("cannot send the WebSocket handshake")]
    Io(#[source] io::Error),
    /// The server refused the request.
    #[error(
        "the server answered `{status_line}` to the WebSocket request; check that address and port \
         lead to the server, and that a proxy on the way passes WebSockets for {} on",
        handshake::PATH
    )]
    Refused {
        /// The status line of its response.
        status_line: String,
    },
    /// A client's request was refused, and the client was told so.
    #[error("a WebSocket request was refused with status {status}: {reason}")]
    Request {
        /// The status of our response.
        status: u16,
        /// What is wrong with the request.
        reason: &'static str,
    },
}

/// Performs the handshake with a client that asks for the tunnel's path, and returns the stream of bytes within its
/// frames. Any other request gets frp's response, and the connection ends.
///
/// Waits for as long as the client is silent: the caller sets the deadline. Not cancel-safe.
pub async fn accept(mut conn: Conn) -> Result<Conn, WebSocketError> {
    let checked = match Request::receive_get(&mut conn).await {
        Ok(request) => handshake::check_request(&request),
        Err(error) => {
            if matches!(error, HeadError::Malformed(_) | HeadError::TooLong) {
                send(&mut conn, handshake::MALFORMED.answer()).await?;
            }
            return Err(error.into());
        }
    };
    match checked {
        Ok(answer) => {
            send(&mut conn, answer).await?;
            Ok(WebSocket::conn(conn, Role::Server))
        }
        Err(refusal) => {
            send(&mut conn, refusal.answer()).await?;
            conn.close().await.map_err(WebSocketError::Io)?;
            Err(WebSocketError::Request {
                status: refusal.status,
                reason: refusal.reason,
            })
        }
    }
}

/// Asks the server for its tunnel, and returns the stream of bytes within the frames.
///
/// `host` is the Host of the request: `server:port`, or within TLS only the server's TLS name. Waits for as long as the
/// server is silent: the caller sets the deadline. Not cancel-safe.
pub async fn connect(mut conn: Conn, host: &str) -> Result<Conn, WebSocketError> {
    if host.is_empty() || host.contains(|it: char| it.is_whitespace() || it.is_control()) {
        return Err(WebSocketError::Host {
            host: host.escape_debug().to_string(),
        });
    }
    let key = handshake::new_key().map_err(WebSocketError::Io)?;
    send(&mut conn, handshake::request(host, &key)).await?;
    let response = Response::receive(&mut conn).await?;
    if response.status != handshake::SWITCHING_PROTOCOLS {
        return Err(WebSocketError::Refused {
            status_line: response.status_line,
        });
    }
    handshake::check_response(&response, &key).map_err(|field| WebSocketError::Answer { field })?;
    Ok(WebSocket::conn(conn, Role::Client))
}

async fn send(conn: &mut Conn, text: String) -> Result<(), WebSocketError> {
    let sent = conn.send(Bytes::from(text)).await;
    sent.map_err(WebSocketError::Io)
}

#[cfg(test)]
mod tests;
