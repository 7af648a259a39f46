//! How soon two ends of mgrok notice that the other is gone, if they have agreed on
//! [`Extension::LIVENESS`](crate::hello::Extension::LIVENESS).
//!
//! A link that has fallen silent is given up after [`TIMEOUT`]. So that no living one is, each end sees to a sign of life within
//! [`INTERVAL`]: where a multiplexer carries the session, by its pings, else by `Ping` on the control connection.

use std::time::Duration;

/// After so much silence an end asks for a sign of life.
pub const INTERVAL: Duration = Duration::from_secs(4);

/// How long the answer to a ping of the multiplexer may take, unless anything else arrives meanwhile. Slow links with full queues need
/// most of it.
pub const MUX_TIMEOUT: Duration = Duration::from_secs(7);

/// The longest silence of a living link.
pub const TIMEOUT: Duration = Duration::from_secs(INTERVAL.as_secs() + MUX_TIMEOUT.as_secs());
