//! What a session may use and how long it waits.

use std::time::Duration;

/// Windows and waits of one session.
///
/// What frp fixes for both ends is not here: stream mode, segments of 1326 bytes, no congestion
/// window, forward error correction with 10 data and 3 parity packets. frp's ticks of 20 ms are
/// not kept: what is written leaves as soon as the window has room for it.
#[derive(Clone, Debug)]
pub struct Config {
    /// Segments that may be sent and not acknowledged. It also bounds what
    /// [`Stream`](crate::Stream) takes before it makes its writer wait: so many full segments.
    pub send_window: u16,
    /// Received segments that may wait for the reader. A reader that stops costs at most this,
    /// with 2 KiB each.
    pub receive_window: u16,
    /// Send 3 parity packets after 10 data packets, so that the other end can repair up to 3
    /// losses among the 13 without a retransmission, for 30 % more bytes. Parity packets that
    /// arrive are used in any case.
    pub send_parity: bool,
    /// After so long without a valid datagram from the other end the session has ended. KCP has
    /// no signal for it; the other end is asked for a sign of life every quarter of this, which
    /// also keeps address translators from forgetting the session.
    pub idle_timeout: Duration,
    /// After so long without any progress in the acknowledgement of what was sent, although the
    /// other end has room for it, the session has ended.
    pub acknowledgement_timeout: Duration,
    /// How long a stream that was dropped goes on sending what was written to it.
    pub linger: Duration,
}

impl Config {
    /// As frp's client speaks to its server.
    pub fn frp_client() -> Self {
        // frp: windows of 128 and 512 (golib net/dial.go)
        Self::new(128, 512)
    }

    /// As frp's server speaks to its clients.
    pub fn frp_server() -> Self {
        // frp: windows of 1024 and 1024 (pkg/util/net/kcp.go#ListenKcp)
        Self::new(1024, 1024)
    }

    /// As both ends of a tunnel through address translators speak.
    ///
    /// There the conversation's number is [`TUNNEL_CONVERSATION`](crate::TUNNEL_CONVERSATION).
    pub fn frp_tunnel() -> Self {
        // frp: windows of 1024 and 1024 (pkg/util/net/kcp.go#NewKCPConnFromUDP)
        Self::new(1024, 1024)
    }

    fn new(send_window: u16, receive_window: u16) -> Self {
        Self {
            send_window,
            receive_window,
            send_parity: true,
            idle_timeout: Duration::from_secs(60),
            acknowledgement_timeout: Duration::from_secs(30),
            // frp: waits so long before it exits (cmd/frpc/sub/root.go)
            linger: Duration::from_millis(500),
        }
    }
}

/// Limits of a [`Listener`](crate::Listener), and what its sessions may use.
#[derive(Clone, Debug)]
pub struct ListenerConfig {
    /// Of each session.
    pub session: Config,
    /// Sessions that wait for [`Listener::accept`](crate::Listener::accept). What would begin
    /// one more is dropped, and sent again by the other end. Sessions that are not proved get half of the places.
    pub accept_backlog: usize,
    /// Sessions that exist at a time. What would begin one more is dropped, unless its sender has proved its address and another
    /// has not: that one ends.
    pub max_sessions: usize,
    /// Sessions that exist at a time and whose other end has not proved its address. Beyond, a first datagram is answered with a
    /// challenge and forgotten; it begins a session when its sender has answered that, and sent it again.
    pub max_unproved: usize,
}

impl From<Config> for ListenerConfig {
    fn from(session: Config) -> Self {
        Self {
            session,
            // kcp-go: 128 (sess.go#acceptBacklog)
            accept_backlog: 128,
            max_sessions: 4096,
            max_unproved: 64,
        }
    }
}
