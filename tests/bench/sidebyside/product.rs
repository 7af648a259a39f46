//! The products: which are here, what they can do, and how a pair of each is set up.

mod bore;
mod frp;
mod haproxy;
mod rathole;

use std::{
    env,
    ffi::OsStr,
    net::SocketAddr,
    path::{Path as FilePath, PathBuf},
    process::Command,
};

use mgrok_lab::{Proxy, Role, binary, report::Peer};

use crate::{
    link::{Link, Path},
    mode::Mode,
    web::Web,
};

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Mgrok,
    Frp,
    Rathole,
    Bore,
    Nfrp,
    /// One HAProxy behind the other, as server and client of a tunnel are.
    HaproxyTwice,
    /// One HAProxy: a single hop in user space.
    Haproxy,
    /// No tunnel at all.
    Direct,
}

/// What a pair is to do.
pub(crate) struct Task<'a> {
    pub(crate) mode: Mode,
    pub(crate) pool: usize,
    pub(crate) proxies: &'a [Proxy],
    pub(crate) web: Option<Web>,
    /// Where users find the web.
    pub(crate) http_port: u16,
    /// Where files are kept.
    pub(crate) directory: &'a FilePath,
}

/// What is to be started, the server first.
pub(crate) struct Pair {
    pub(crate) server: Vec<Command>,
    pub(crate) clients: Vec<Command>,
    /// Where the server listens for its clients.
    pub(crate) bind: SocketAddr,
}

/// The links of one pair.
pub(crate) struct Links {
    path: Option<Path>,
    all: Vec<Link>,
}

impl Links {
    /// Links like this, or none: then the ends reach each other directly.
    pub(crate) fn new(path: Option<Path>) -> Self {
        Self {
            path,
            all: Vec::new(),
        }
    }

    /// The address by which `target` is reached.
    pub(crate) fn to(&mut self, target: SocketAddr) -> SocketAddr {
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        self.between(listen, target)
    }

    /// The same at `listen`, if there is a link.
    pub(crate) fn between(&mut self, listen: SocketAddr, target: SocketAddr) -> SocketAddr {
        let Some(path) = self.path else { return target };
        let link = Link::between(listen, target, path);
        let addr = link.addr;
        self.all.push(link);
        addr
    }

    pub(crate) fn cut(&self) {
        for link in &self.all {
            link.cut();
        }
    }
}

impl Product {
    pub(crate) const ALL: [Self; 8] = [
        Self::Mgrok,
        Self::Frp,
        Self::Rathole,
        Self::Bore,
        Self::Nfrp,
        Self::HaproxyTwice,
        Self::Haproxy,
        Self::Direct,
    ];

    /// Those whose programs are here, mgrok first.
    pub(crate) fn available() -> Vec<Self> {
        let mut products = Self::ALL.to_vec();
        products.retain(|product| product.is_here());
        products
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mgrok => "mgrok",
            Self::Frp => "frp",
            Self::Rathole => "rathole",
            Self::Bore => "bore",
            Self::Nfrp => "nfrp",
            Self::HaproxyTwice => "haproxy-2",
            Self::Haproxy => "haproxy-1",
            Self::Direct => "direct",
        }
    }

    /// The one of this name.
    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }

    fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Mgrok | Self::HaproxyTwice | Self::Haproxy | Self::Direct => &[],
            Self::Frp => &["FRPS_BIN", "FRPC_BIN"],
            Self::Rathole => &["RATHOLE_BIN"],
            Self::Bore => &["BORE_BIN"],
            Self::Nfrp => &["NFRP_SERVER_BIN", "NFRP_CLIENT_BIN"],
        }
    }

    fn is_here(self) -> bool {
        let name = self.name();
        for variable in self.variables() {
            if env::var_os(variable).is_none() {
                eprintln!("without {name}: {variable} names no program");
                return false;
            }
        }
        let is_haproxy = matches!(self, Self::Haproxy | Self::HaproxyTwice);
        if is_haproxy && Command::new(haproxy::program()).arg("-v").output().is_err() {
            eprintln!("without {name}: haproxy is not installed, nor does HAPROXY_BIN name it");
            return false;
        }
        true
    }

    fn program(self, role: Role) -> PathBuf {
        let variable = match (self, role) {
            (Self::Mgrok, _) => return binary(role),
            (Self::Haproxy | Self::HaproxyTwice, _) => return haproxy::program(),
            (_, Role::Server) => self.variables().first(),
            (_, Role::Client) => self.variables().last(),
        };
        let variable = variable.expect("no tunnel, no program");
        env::var_os(variable).unwrap().into()
    }

    /// Its column in the report.
    pub(crate) fn peer(self) -> Peer {
        let about = match self {
            Self::Mgrok | Self::Frp | Self::Nfrp => self.version(),
            Self::Rathole => format!(
                "{}; plain TCP in both modes, and a pool of its own",
                self.version()
            ),
            Self::Bore => format!(
                "{}; plain TCP in both modes, a connection for each user",
                self.version()
            ),
            Self::HaproxyTwice => format!(
                "{}; two, one behind the other, with TLS between them in the mode tls+mux. No tunnel: it does not multiplex, and the second is dialled",
                self.version()
            ),
            Self::Haproxy => format!("{}; a single hop, in the clear", self.version()),
            Self::Direct => {
                "no tunnel: the limit of the machine and of the load generator".to_owned()
            }
        };
        Peer {
            name: self.name().to_owned(),
            about,
            is_rival: !matches!(self, Self::Haproxy | Self::Direct),
        }
    }

    /// The first line with a number of what its server says of its version.
    fn version(self) -> String {
        let ask = match self {
            Self::Haproxy | Self::HaproxyTwice => "-v",
            _ => "--version",
        };
        let output = Command::new(self.program(Role::Server)).arg(ask).output();
        let output = output.map(|output| output.stdout).unwrap_or_default();
        let text = String::from_utf8_lossy(&output);
        // rathole puts its name in a line of its own.
        text.lines()
            .map(str::trim)
            .find(|line| line.contains(|it: char| it.is_ascii_digit()))
            .unwrap_or("of unknown version")
            .to_owned()
    }

    /// Whether it can be connected so.
    pub(crate) fn speaks(self, mode: Mode) -> bool {
        match self {
            Self::Mgrok | Self::Frp | Self::Nfrp | Self::Direct => true,
            Self::Rathole | Self::Bore | Self::HaproxyTwice => mode.is_tcp(),
            Self::Haproxy => mode == Mode::Plain,
        }
    }

    pub(crate) fn carries_datagrams(self) -> bool {
        !matches!(self, Self::Bore | Self::Haproxy | Self::HaproxyTwice)
    }

    pub(crate) fn knows_http(self) -> bool {
        !matches!(self, Self::Rathole | Self::Bore)
    }

    /// Writes its files; `None` where nothing is to be started.
    pub(crate) fn set_up(self, task: &Task<'_>, links: &mut Links) -> Option<Pair> {
        match self {
            Self::Mgrok | Self::Frp | Self::Nfrp => Some(frp::set_up(self, task, links)),
            Self::Rathole => Some(rathole::set_up(self, task, links)),
            Self::Bore => Some(bore::set_up(self, task, links)),
            Self::HaproxyTwice => Some(haproxy::set_up_twice(task, links)),
            Self::Haproxy => Some(haproxy::set_up_once(task)),
            Self::Direct => None,
        }
    }

    fn command<S: AsRef<OsStr>>(self, role: Role, args: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(self.program(role));
        command.args(args);
        command
    }
}

/// Writes a file of a pair.
fn write(task: &Task<'_>, name: &str, content: &str) -> PathBuf {
    let file = task.directory.join(name);
    std::fs::write(&file, content).unwrap();
    file
}

/// A port of loopback that is free.
fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], mgrok_lab::ports::free()))
}
