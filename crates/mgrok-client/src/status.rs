//! What an observer sees of one proxy.

use std::fmt::{self, Display, Formatter};

/// Where a proxy is in its life; the words are those of frp's status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ProxyPhase {
    /// Its local service is not healthy, or not yet known to be. It is announced once it is.
    CheckFailed,
    /// The client has stopped, and with it the proxy.
    Closed,
    /// Not yet announced to the server, or not since the last session was lost.
    #[default]
    New,
    /// The server serves it.
    Running,
    /// The server refused it, or its plugin cannot be made; that is tried again from time to time.
    StartError,
    /// Announced; the server has not answered yet.
    WaitStart,
}

impl Display for ProxyPhase {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::CheckFailed => "check failed",
            Self::Closed => "closed",
            Self::New => "new",
            Self::Running => "running",
            Self::StartError => "start error",
            Self::WaitStart => "wait start",
        })
    }
}

/// One proxy as an observer sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProxyStatus {
    /// Where it is in its life.
    pub phase: ProxyPhase,
    /// Where users reach it, as `host:port` with the server's address as configured; `None`
    /// while it is not running.
    pub remote_addr: Option<String>,
    /// Why it could not be started the last time; `None` unless the phase is
    /// [`ProxyPhase::StartError`].
    pub error: Option<String>,
}
