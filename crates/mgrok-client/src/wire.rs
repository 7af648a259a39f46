//! The version of the wire protocol that a login uses.

use std::time::{Duration, Instant};

use mgrok_config::WireProtocol;
use mgrok_proto::WireVersion;
use tracing::{info, warn};

/// After so many connections in a row that a server closed instead of answering in v2, and so long after the first of them, it is
/// tried in v1 although it has spoken v2 before: it may have been replaced by an older one. A single reset, which anybody on the way
/// can send, is not enough, nor is a balancer whose server is just restarting.
const HANG_UPS_OF_A_V2_SERVER: u32 = 5;
const HANG_UP_TIME: Duration = Duration::from_secs(10);

/// The configured version, and what was learnt about one server. Does no I/O.
///
/// A server that does not speak v2 closes a connection that begins with it. That may have other reasons, so v1 shows what it was.
/// Nothing in v1 proves who answers, so that no login in v1 decides how the next one begins: every login is tried in v2 first.
#[derive(Clone, Debug)]
pub(crate) struct WireChoice {
    configured: WireProtocol,
    /// Whether the server has ever proved that it speaks v2.
    spoke_v2: bool,
    /// Connections in a row that it closed instead of answering in v2, and when the first of them was.
    hang_ups: u32,
    hung_up_at: Option<Instant>,
    /// Whether the use of v1 with this server was logged.
    told: bool,
}

impl WireChoice {
    pub(crate) fn new(configured: WireProtocol) -> Self {
        Self {
            configured,
            spoke_v2: false,
            hang_ups: 0,
            hung_up_at: None,
            told: false,
        }
    }

    /// What to log in with.
    pub(crate) fn first(&self) -> WireVersion {
        match self.configured {
            WireProtocol::V1 => WireVersion::V1,
            WireProtocol::Auto | WireProtocol::V2 => WireVersion::V2,
        }
    }

    /// The server closed a connection instead of sending its hello. Returns whether to try v1.
    pub(crate) fn handle_hang_up(&mut self, now: Instant) -> bool {
        if self.configured != WireProtocol::Auto {
            return false;
        }
        if !self.spoke_v2 {
            return true;
        }
        self.hang_ups = self.hang_ups.saturating_add(1);
        let first = *self.hung_up_at.get_or_insert(now);
        if self.hang_ups < HANG_UPS_OF_A_V2_SERVER || now < first + HANG_UP_TIME {
            return false;
        }
        if !self.told {
            self.told = true;
            let hang_ups = self.hang_ups;
            warn!(
                "this server has spoken wire protocol v2 before, and has now closed {hang_ups} connections in a row instead of \
                 answering in it; trying v1, which protects less. If the server was not replaced by frp before 0.69.0, somebody \
                 on the way may want this; transport.wireProtocol = \"v2\" forbids it"
            );
        }
        true
    }

    /// A login in v2 worked.
    pub(crate) fn handle_v2_login(&mut self) {
        self.spoke_v2 = true;
        self.hang_ups = 0;
        self.hung_up_at = None;
        self.told = false;
    }

    /// A login in v1 worked, at a server that claims to be frp's `version`.
    pub(crate) fn handle_v1_login(&mut self, version: &str) {
        if self.configured != WireProtocol::Auto || std::mem::replace(&mut self.told, true) {
            return;
        }
        if knows_v2(version) {
            info!("the server did not take wire protocol v2, using v1 for this session");
        } else {
            info!("the server does not speak wire protocol v2, using v1");
        }
    }
}

/// Whether this version of frp has v2, which came with 0.69.0.
fn knows_v2(version: &str) -> bool {
    let mut parts = version.split('.').map(str::parse::<u32>);
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => (major, minor) >= (0, 69),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_configured_is_spoken() {
        for (configured, spoken) in [
            (WireProtocol::V1, WireVersion::V1),
            (WireProtocol::V2, WireVersion::V2),
        ] {
            let mut choice = WireChoice::new(configured);
            assert!(!choice.handle_hang_up(Instant::now()));
            assert_eq!(choice.first(), spoken);
            choice.handle_v1_login("0.61.0");
            assert_eq!(choice.first(), spoken);
        }
    }

    #[test]
    fn a_forged_version_does_not_pin_v1() {
        let mut choice = WireChoice::new(WireProtocol::Auto);
        for version in ["0.61.0", "", "0.70.1"] {
            assert_eq!(choice.first(), WireVersion::V2);
            assert!(choice.handle_hang_up(Instant::now()));
            choice.handle_v1_login(version);
        }
        assert_eq!(choice.first(), WireVersion::V2);
    }

    #[test]
    fn a_server_that_has_spoken_v2_is_not_tried_in_v1_after_one_reset() {
        let mut choice = WireChoice::new(WireProtocol::Auto);
        choice.handle_v2_login();
        let start = Instant::now();
        // A balancer whose server restarts closes many connections in a short time.
        for _ in 0..100 {
            assert!(!choice.handle_hang_up(start));
        }
        choice.handle_v2_login();
        // An operator may have gone back to an old server.
        for _ in 1..HANG_UPS_OF_A_V2_SERVER {
            assert!(!choice.handle_hang_up(start));
        }
        assert!(choice.handle_hang_up(start + HANG_UP_TIME));
        choice.handle_v1_login("0.61.0");
        assert_eq!(choice.first(), WireVersion::V2);
        choice.handle_v2_login();
        assert!(!choice.handle_hang_up(start + HANG_UP_TIME));
    }

    #[test]
    fn versions_with_v2_are_known() {
        for (version, expect) in [
            ("0.68.1", false),
            ("0.69.0", true),
            ("0.70.1", true),
            ("1.0.0", true),
            ("", false),
            ("dev", false),
        ] {
            assert_eq!(knows_v2(version), expect, "{version}");
        }
    }
}
