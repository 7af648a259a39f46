//! The `transport.quic` section, the same on both ends.

use std::time::Duration;

/// Times and limits of a QUIC connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quic {
    /// How often a silent connection is probed.
    pub keepalive_period: Duration,
    /// How long a connection outlives the last sign of the other side.
    pub max_idle_timeout: Duration,
    /// Whether the operator has set one of these times. Else two ends of mgrok may agree on a shorter one.
    pub times_are_set: bool,
    /// The most streams that the other side may have open.
    pub max_incoming_streams: u32,
}

impl Default for Quic {
    fn default() -> Self {
        // frp: these values
        Self {
            keepalive_period: Duration::from_secs(10),
            max_idle_timeout: Duration::from_secs(30),
            times_are_set: false,
            max_incoming_streams: 100_000,
        }
    }
}
