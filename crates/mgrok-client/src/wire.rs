//! Which version of the wire protocol a server is spoken to in.

use mgrok_config::WireProtocol;
use mgrok_proto::WireVersion;
use tracing::info;

/// What is configured, and what was learnt of one server. Does no I/O.
///
/// A server that does not speak v2 closes a connection that begins with it. That may have other reasons, so v1 shows what it was.
#[derive(Clone, Debug)]
pub(crate) struct WireChoice {
    configured: WireProtocol,
    /// The version that a server names which took nothing but v1.
    old_server: Option<String>,
}

impl WireChoice {
    pub(crate) fn new(configured: WireProtocol) -> Self {
        Self {
            configured,
            old_server: None,
        }
    }

    /// What to log in with.
    pub(crate) fn first(&self) -> WireVersion {
        match (self.configured, &self.old_server) {
            (WireProtocol::V1, _) | (WireProtocol::Auto, Some(_)) => WireVersion::V1,
            (WireProtocol::V2, _) | (WireProtocol::Auto, None) => WireVersion::V2,
        }
    }

    /// Whether a server that closes the connection instead of saying hello is to be tried in v1.
    pub(crate) fn falls_back(&self) -> bool {
        self.configured == WireProtocol::Auto
    }

    /// Takes note of a login in v1, at a server that says that it is of `version` of frp. Another version than before may speak v2 again;
    /// one that should have done so before was probably disturbed.
    pub(crate) fn handle_v1_login(&mut self, version: &str) {
        if self.configured != WireProtocol::Auto {
            return;
        }
        match &self.old_server {
            Some(known) if known == version => {}
            Some(_) => self.old_server = None,
            None if knows_v2(version) => {
                info!("the server did not take wire protocol v2, using v1 for this session");
            }
            None => {
                info!("the server does not speak wire protocol v2, using v1 from now on");
                self.old_server = Some(version.to_owned());
            }
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
            assert!(!choice.falls_back());
            assert_eq!(choice.first(), spoken);
            choice.handle_v1_login("0.61.0");
            assert_eq!(choice.first(), spoken);
        }
    }

    #[test]
    fn an_old_server_is_remembered_until_it_is_another() {
        let mut choice = WireChoice::new(WireProtocol::Auto);
        assert!(choice.falls_back());
        assert_eq!(choice.first(), WireVersion::V2);
        for _ in 0..2 {
            choice.handle_v1_login("0.61.0");
            assert_eq!(choice.first(), WireVersion::V1);
        }
        choice.handle_v1_login("0.70.1");
        assert_eq!(choice.first(), WireVersion::V2);
    }

    #[test]
    fn a_server_that_knows_better_is_asked_again() {
        let mut choice = WireChoice::new(WireProtocol::Auto);
        choice.handle_v1_login("0.70.1");
        assert_eq!(choice.first(), WireVersion::V2);
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
