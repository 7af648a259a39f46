//! Configuration files, generated.

use std::{fmt::Write as _, net::SocketAddr};

/// One `[[proxies]]` table.
#[derive(Clone, Debug)]
pub struct Proxy {
    /// Its `name`.
    pub name: String,
    /// Its `type`, as it is written in the file.
    pub kind: &'static str,
    /// Where the local service listens.
    pub local: SocketAddr,
    /// Its `remotePort`; 0 lets the server choose.
    pub remote_port: u16,
    /// More lines of the table, such as `transport.useEncryption = true`.
    pub more: String,
}

impl Proxy {
    /// A tcp proxy on a port found free.
    pub fn tcp(name: impl Into<String>, local: SocketAddr) -> Self {
        Self::new("tcp", name, local)
    }

    /// A udp proxy on a port found free.
    pub fn udp(name: impl Into<String>, local: SocketAddr) -> Self {
        Self::new("udp", name, local)
    }

    /// A proxy of another kind, which users find by its name: what it is found by is for [`Self::with`] to say.
    pub fn new(kind: &'static str, name: impl Into<String>, local: SocketAddr) -> Self {
        Self {
            name: name.into(),
            kind,
            local,
            remote_port: crate::ports::free(),
            more: String::new(),
        }
    }

    /// The same on another public port; 0 lets the server choose.
    #[must_use]
    pub fn at(mut self, remote_port: u16) -> Self {
        self.remote_port = remote_port;
        self
    }

    /// The same with more lines in its table.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self.more.push('\n');
        self
    }

    /// Where users find it.
    pub fn public(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.remote_port).into()
    }
}

/// One `[[visitors]]` table.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Its `name`.
    pub name: String,
    /// Its `type`, as it is written in the file.
    pub kind: &'static str,
    /// The proxy it visits.
    pub server_name: String,
    /// Its `bindPort`; less than 0 has no listener.
    pub bind_port: i32,
    /// More lines of the table, such as `secretKey = "abc"`.
    pub more: String,
}

impl Visitor {
    /// A visitor of the proxy `server_name` with a listener on a port found free.
    pub fn new(kind: &'static str, name: impl Into<String>, server_name: &str) -> Self {
        Self {
            name: name.into(),
            kind,
            server_name: server_name.to_owned(),
            bind_port: crate::ports::free().into(),
            more: String::new(),
        }
    }

    /// The same with more lines in its table.
    #[must_use]
    pub fn with(mut self, more: &str) -> Self {
        self.more.push_str(more);
        self.more.push('\n');
        self
    }

    /// Where users find its listener.
    ///
    /// # Panics
    /// When it has none.
    pub fn listener(&self) -> SocketAddr {
        ([127, 0, 0, 1], u16::try_from(self.bind_port).unwrap()).into()
    }
}

/// A server's file: listening on `bind`, publishing on its address, and `settings` verbatim.
pub fn server_toml(bind: SocketAddr, settings: &str) -> String {
    format!(
        "bindAddr = \"{}\"\nbindPort = {}\nlog.disablePrintColor = true\n{settings}\n",
        bind.ip(),
        bind.port(),
    )
}

/// A client's file: `settings` verbatim, then the proxies and visitors.
pub fn client_toml(
    server: SocketAddr,
    settings: &str,
    proxies: &[Proxy],
    visitors: &[Visitor],
) -> String {
    let mut text = String::new();
    // A test that talks to the server by name says so in its settings.
    if !settings.contains("serverAddr") {
        let _ = writeln!(text, "serverAddr = \"{}\"", server.ip());
    }
    let _ = writeln!(
        text,
        "serverPort = {}\nlog.disablePrintColor = true\n{settings}",
        server.port(),
    );
    for proxy in proxies {
        let Proxy {
            name,
            kind,
            local,
            remote_port,
            more,
        } = proxy;
        let (ip, port) = (local.ip(), local.port());
        let _ = writeln!(
            text,
            "\n[[proxies]]\nname = \"{name}\"\ntype = \"{kind}\"\nlocalIP = \"{ip}\"\nlocalPort = {port}\n{more}",
        );
        // Kinds that are found by name have no port, and frp refuses the key.
        if matches!(*kind, "tcp" | "udp") {
            let _ = writeln!(text, "remotePort = {remote_port}");
        }
    }
    for visitor in visitors {
        let Visitor {
            name,
            kind,
            server_name,
            bind_port,
            more,
        } = visitor;
        let _ = writeln!(
            text,
            "\n[[visitors]]\nname = \"{name}\"\ntype = \"{kind}\"\nserverName = \"{server_name}\"\nbindPort = {bind_port}\n{more}",
        );
    }
    text
}
