//! A reverse proxy for HTTP over any connection.
//!
//! [`serve`] reads requests from a user's connection and has a [`Handler`] answer them; an
//! [`Upstream`] sends a request to a backend and returns its answer. Who the backend is, how it is
//! reached and what an error page looks like is the handler's matter:
//!
//! ```text
//! user ──▶ serve ──▶ Handler ── RequestTarget ─▶ which Upstream? ──▶ Upstream::forward ──▶ backend
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
//! - Names of headers keep their case, and what is added here is in title case (`X-Forwarded-For`), as Go writes it. Headers may
//!   change their order. An answer without `Date` gets one.
//! - Of a target everything stays, also what URLs have to escape (see `raw_target`). Over HTTP/2 such a target is refused.
//! - Heads of answers are mended as user agents do: folded lines are joined, a space before the colon is taken away, a line that
//!   is no header is left out.
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
//! # Who gets an answer
//!
//! A user who ends the sending side of the connection still gets the answer to what was asked, if it begins within a minute: one
//! who has left looks the same until something is sent there. An answer that comes before the request is complete is passed on,
//! also if the backend has closed its connection by then, and the user's connection is not closed under the answer: what is still
//! sent is thrown away for two seconds. A connection on which somebody logs in by NTLM or Negotiate is that user's from then on.
//!
//! # Limits
//!
//! The head of a request has 64 KiB and 100 headers at most and arrives within 60 s, which is also how long a user's
//! connection may be idle; that of an answer is limited by [`AnswerLimits`]. Bodies may be of any length and take any time. An
//! HTTP/2 connection carries 128 requests at once and holds up to 1 MiB that a backend has not taken. A connection that is idle,
//! of a user or to a backend, comes to rest and then holds no buffer: some 2 KiB with its task.
//!
//! Modules are in order, lowest first.

mod byte_ranges;
mod clean_path;
mod meter;
mod raw_target;
mod unreachable;

mod activity;
mod backend_io;
mod user_io;

mod body;
mod pool;
mod user;

mod text_answer;

mod basic;

mod request_target;

mod connection_auth;
mod refusal;
mod rules;
mod switch;

mod tunnel;

mod upstream;

mod serve;

pub use basic::{Credentials, ask_for_credentials};
pub use body::{Body, Pieces};
pub use byte_ranges::ByteRanges;
pub use clean_path::{clean_path, escape_path};
pub use meter::{BodyEnd, Direction, Meter};
pub use pool::AnswerLimits;
pub use request_target::{RequestTarget, host_and_port, host_name};
pub use rules::{Forwarded, Rules, is_fixed};
pub use serve::{Handler, serve};
pub use text_answer::text_answer;
pub use tunnel::tunnel;
pub use unreachable::{UNREACHABLE, UNREACHABLE_ANSWER};
pub use upstream::{
    Connect, ConnectError, Connecting, ForwardError, Place, Upstream, UpstreamOptions, repetition,
};
pub use user::User;

/// The longest head of a request, in bytes. A user gets a 431 beyond it or beyond 100 headers.
const MAX_HEAD: usize = 64 * 1024;

/// What is read ahead or waits to be written on one HTTP/1 connection of a user, in bytes each. A head has to
/// fit.
const MAX_BUFFER: usize = MAX_HEAD;
