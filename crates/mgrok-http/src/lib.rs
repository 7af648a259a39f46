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
//! Where it differs from the model of such proxies, Go's: answers with `1xx` other than 101 are not
//! passed on (100 is sent to the user as soon as the backend's connection takes the body); trailers
//! pass if a `Trailer` header announced them and, for answers on HTTP/1, the user sent
//! `TE: trailers`; names of headers are written in title case (`X-Request-Id`), whatever case they
//! came in; a request to change to HTTP/2 (`Upgrade: h2c`) is taken for an ordinary one.
//!
//! Modules are in order, lowest first.

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
pub use upstream::{Connect, ConnectError, Connecting, ForwardError, Upstream, UpstreamOptions};
pub use user::User;

/// The longest head of a request or an answer, in bytes. Users get a 431 beyond it, or beyond 100
/// headers.
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
