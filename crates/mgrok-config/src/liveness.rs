//! Which keys about signs of life are set in a `transport` section.

/// Whether the operator has set keys about signs of life, which then count. Where none is set, two ends of mgrok may agree on shorter
/// times than frp's defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LivenessKeys {
    /// `heartbeatInterval` or `heartbeatTimeout`.
    pub heartbeats: bool,
    /// `tcpMuxKeepaliveInterval`.
    pub mux: bool,
}
