//! The HTTP exchange before the frames, RFC 6455 section 4. Does no I/O.

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use aws_lc_rs::rand;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::head::{Request, Response};

/// The path of the tunnel. A query may follow.
pub(super) const PATH: &str = "/~!frp";

/// The status of an accepted request.
pub(super) const SWITCHING_PROTOCOLS: u16 = 101;

/// The string that is appended to the key before it is hashed.
const ACCEPT_SALT: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
const KEY_LEN: usize = 16;
const VERSION: &str = "13";

/// A response that refuses a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Refusal {
    pub(super) status: u16,
    pub(super) reason: &'static str,
    /// The head of the response, without the empty line.
    head: &'static str,
    body: &'static str,
}

/// The request cannot be parsed.
pub(super) const MALFORMED: Refusal = Refusal {
    status: 400,
    reason: "it is malformed",
    head: "HTTP/1.1 400 Bad Request\r\n\
           Content-Type: text/plain; charset=utf-8\r\n\
           Connection: close\r\n",
    body: "400 Bad Request",
};
const NOT_FOUND: Refusal = Refusal {
    status: 404,
    reason: "its path is not that of the tunnel",
    head: "HTTP/1.1 404 Not Found\r\n\
           Content-Type: text/plain; charset=utf-8\r\n\
           X-Content-Type-Options: nosniff\r\n\
           Connection: close\r\n\
           Content-Length: 19\r\n",
    body: "404 page not found\n",
};
// frp: requires an origin, but any will do (x/net/websocket)
const NO_ORIGIN: Refusal = Refusal {
    status: 403,
    reason: "it has no Origin",
    head: "HTTP/1.1 403 Forbidden\r\n",
    body: "",
};
const NOT_WEB_SOCKET: Refusal = Refusal {
    status: 400,
    reason: "it asks for no WebSocket",
    head: "HTTP/1.1 400 Bad Request\r\n",
    body: "not websocket protocol",
};
const NO_KEY: Refusal = Refusal {
    status: 400,
    reason: "it has no Sec-WebSocket-Key",
    head: "HTTP/1.1 400 Bad Request\r\n",
    body: "mismatch challenge/response",
};
const OTHER_VERSION: Refusal = Refusal {
    status: 400,
    reason: "its Sec-WebSocket-Version is not 13",
    head: "HTTP/1.1 400 Bad Request\r\nSec-WebSocket-Version: 13\r\n",
    body: "missing or bad WebSocket Version",
};

impl Refusal {
    pub(super) fn answer(&self) -> String {
        format!("{}\r\n{}", self.head, self.body)
    }
}

/// A new value for `Sec-WebSocket-Key`.
pub(super) fn new_key() -> io::Result<String> {
    let mut key = [0; KEY_LEN];
    rand::fill(&mut key).map_err(|_| io::Error::other("no random numbers"))?;
    Ok(STANDARD.encode(key))
}

/// The request of a client, with the fields in frp's order and spelling.
pub(super) fn request(host: &str, key: &str) -> String {
    // frp: "http" even within TLS
    format!(
        "GET {PATH} HTTP/1.1\r\n\
         Host: {host}\r\n\
         Upgrade: websocket\r\n\
         Connection: Upgrade\r\n\
         Sec-WebSocket-Key: {key}\r\n\
         Origin: http://{host}\r\n\
         Sec-WebSocket-Version: {VERSION}\r\n\r\n"
    )
}

/// The response to a request. The checks are in frp's order.
pub(super) fn check_request(request: &Request) -> Result<String, Refusal> {
    let fields = &request.fields;
    let path = request.target.split('?').next();
    if path != Some(PATH) || request.method != "GET" {
        return Err(NOT_FOUND);
    }
    if !fields.lists("Upgrade", "websocket") || !fields.lists("Connection", "Upgrade") {
        return Err(NOT_WEB_SOCKET);
    }
    let Some(key) = fields
        .first("Sec-WebSocket-Key")
        .filter(|it| !it.is_empty())
    else {
        return Err(NO_KEY);
    };
    if fields.first("Sec-WebSocket-Version") != Some(VERSION) {
        return Err(OTHER_VERSION);
    }
    match fields.first("Origin") {
        None | Some("" | "null") => Err(NO_ORIGIN),
        // frp: its client demands the values in this form, above all "Upgrade" alone (x/net/websocket)
        Some(_) => Ok(format!(
            "HTTP/1.1 101 Switching Protocols\r\n\
             Upgrade: websocket\r\n\
             Connection: Upgrade\r\n\
             Sec-WebSocket-Accept: {}\r\n\r\n",
            accept_key(key)
        )),
    }
}

/// Returns the name of the invalid field of a response with [`SWITCHING_PROTOCOLS`].
pub(super) fn check_response(response: &Response, key: &str) -> Result<(), &'static str> {
    let fields = &response.fields;
    let empty = |name| fields.first(name).unwrap_or_default().is_empty();
    if !fields.lists("Upgrade", "websocket") {
        return Err("Upgrade");
    }
    if !fields.lists("Connection", "Upgrade") {
        return Err("Connection");
    }
    if fields.first("Sec-WebSocket-Accept") != Some(&accept_key(key)) {
        return Err("Sec-WebSocket-Accept");
    }
    // The request asked for neither of these.
    if !empty("Sec-WebSocket-Extensions") {
        return Err("Sec-WebSocket-Extensions");
    }
    if !empty("Sec-WebSocket-Protocol") {
        return Err("Sec-WebSocket-Protocol");
    }
    Ok(())
}

/// The value of `Sec-WebSocket-Accept`, which shows that the server understood the request.
pub(super) fn accept_key(key: &str) -> String {
    let salted = format!("{key}{ACCEPT_SALT}");
    STANDARD.encode(digest(&SHA1_FOR_LEGACY_USE_ONLY, salted.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_answered_as_in_the_standard() {
        // RFC 6455 section 1.3
        assert_eq!(
            accept_key("dGhlIHNhbXBsZSBub25jZQ=="),
            "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
        );
    }

    #[test]
    fn keys_are_new_and_of_16_bytes() {
        let (one, other) = (new_key().unwrap(), new_key().unwrap());
        assert_ne!(one, other);
        assert_eq!(STANDARD.decode(one).unwrap().len(), 16);
    }
}
