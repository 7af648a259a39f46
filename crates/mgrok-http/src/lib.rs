//! A reverse proxy for HTTP over any connection.
//!
//! [`serve`] reads requests from a user's connection and has a [`Handler`] answer them; an
//! [`Upstream`] sends a request to a backend and returns its answer. Who the backend is, how it is
//! reached and what an error page looks like is the handler's matter:
//!
//! ```text
//! user ──▶ serve ──▶ Handler ── Target ─▶ which Upstream? ──▶ Upstream::forward ──▶ backend
//!          refusals                                           Rules, pool
//! ```
//!
//! Messages pass as they are but for the headers that [`Rules`] name. Bodies are never gathered: one
//! piece at a time is under way, and whoever is slow slows the other end down. The end of one side
//! is the end of the other: a user who leaves costs the backend its connection, and a backend that
//! breaks off in the middle of an answer breaks the user's connection off, so that nobody takes a
//! part for the whole.
//!
//! # What is not as it came
//!
//! hyper reads and writes the messages, and this follows from it:
//!
//! - Names of headers are written in title case (`X-Request-Id`), as Go writes them, and headers may
//!   change their order. An answer without `Date` gets one.
//! - A target with a raw `<`, `>` or `` ` ``, a `"` in its query, or bytes that are not UTF-8 gets a
//!   400; a fragment (`#…`) is cut off. All else of a target stays as it is.
//! - Answers with `1xx` other than 101 are not passed on. A user who waits for a 100 gets it as soon
//!   as the connection to the backend takes the body.
//! - Trailers pass if a `Trailer` header announced them and, in answers on HTTP/1, the user sent
//!   `TE: trailers`.
//! - A request with both `Content-Length` and `Transfer-Encoding: chunked` is not refused but has its
//!   length removed; see `refusal`.
//!
//! A request to change to HTTP/2 (`Upgrade: h2c`) is taken for an ordinary one, since it would lead
//! past routes and passwords. HTTP/2 begins with its preface or not at all.
//!
//! # Limits
//!
//! A head has 64 KiB and 100 headers at most and arrives within 60 s, which is also how long a user's
//! connection may be idle. A user who ends the sending side of the connection has left. Bodies may be of any length and take any time. An idle user connection
//! holds about 13 KiB. An HTTP/2 connection carries 128 requests at once and holds up to 1 MiB that a
//! backend has not taken.
//!
//! Modules are in order, lowest first.

mod activity;
mod basic;
mod user;

mod target;

mod refusal;
mod rules;

mod body;
mod pool;
mod switch;

mod upstream;

mod serve;

pub use basic::{Credentials, ask_for_credentials};
pub use body::Body;
pub use rules::{Forwarded, Rules, is_fixed};
pub use serve::{Handler, serve};
pub use target::{Target, host_name};
pub use upstream::{
    Connect, ConnectError, Connecting, ForwardError, Place, Upstream, UpstreamOptions,
};
pub use user::User;

/// The longest head of a request or an answer, in bytes. A user gets a 431 beyond it or beyond 100
/// headers; an answer beyond either is a failure of the backend.
const MAX_HEAD: usize = 64 * 1024;

/// What is read ahead or waits to be written on one HTTP/1 connection, in bytes each. A head has to
/// fit.
const MAX_BUFFER: usize = MAX_HEAD;

/// Prints an error and what caused it.
struct Chain<'a>(&'a dyn std::error::Error);

impl std::fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
