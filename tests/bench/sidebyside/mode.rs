//! How client and server are connected.

use std::fmt::Write as _;

use mgrok_lab::Role;

/// How client and server are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A TCP connection for each user, in the clear, with some kept ready.
    Plain,
    /// frp's defaults: one connection with TLS, multiplexed.
    Default,
    /// As `Default`, over QUIC.
    Quic,
    /// As `Default`, over KCP.
    Kcp,
}

impl Mode {
    pub(crate) const ALL: [Self; 4] = [Self::Plain, Self::Default, Self::Quic, Self::Kcp];

    /// Those over TCP.
    pub(crate) const TCP: [Self; 2] = [Self::Plain, Self::Default];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain tcp",
            Self::Default => "tls+mux",
            Self::Quic => "quic",
            Self::Kcp => "kcp",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    pub(crate) fn is_tcp(self) -> bool {
        Self::TCP.contains(&self)
    }

    /// What frp's configuration says of it. `port` is the server's, `pool` how many connections are kept ready in plain mode.
    pub(crate) fn settings(self, role: Role, port: u16, pool: usize) -> String {
        let mut settings = match (self, role) {
            (Self::Plain, Role::Server) => {
                format!("transport.tcpMux = false\ntransport.maxPoolCount = {pool}")
            }
            (Self::Plain, Role::Client) => format!(
                "transport.tcpMux = false\ntransport.tls.enable = false\ntransport.poolCount = {pool}"
            ),
            (Self::Quic, Role::Server) => format!("quicBindPort = {port}"),
            (Self::Kcp, Role::Server) => format!("kcpBindPort = {port}"),
            (Self::Default, Role::Server) => String::new(),
            // The default of frp and mgrok, but not of NFrp.
            (_, Role::Client) => "transport.tls.enable = true".to_owned(),
        };
        if let (Self::Quic | Self::Kcp, Role::Client) = (self, role) {
            let _ = write!(settings, "\ntransport.protocol = \"{}\"", self.name());
        }
        settings
    }
}
