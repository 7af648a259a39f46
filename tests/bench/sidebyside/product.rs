//! The products, and how a tunnel of each is started.

use std::{
    env,
    fmt::Write as _,
    fs::{self, File},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::{Proxy, Role, binary, client_toml, ports, server_toml};
use tempfile::TempDir;

use crate::{connects, services::Published, usage};

/// How long a tunnel may take to come up.
const PATIENCE: Duration = Duration::from_secs(15);

/// What is compared. `Direct` is no tunnel at all.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Product {
    Mgrok,
    Frp,
    Rathole,
    Direct,
}

/// How client and server are connected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// A TCP connection for each user, in the clear.
    Plain,
    /// frp's defaults: one connection with TLS, multiplexed.
    Default,
    /// As `Default`, over KCP.
    Kcp,
}

impl Mode {
    /// Those over TCP.
    pub(crate) const ALL: [Self; 2] = [Self::Plain, Self::Default];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Plain => "plain tcp",
            Self::Default => "tls+mux",
            Self::Kcp => "kcp",
        }
    }

    fn settings(self, role: Role) -> &'static str {
        match (self, role) {
            (Self::Plain, Role::Server) => "transport.tcpMux = false",
            (Self::Plain, Role::Client) => "transport.tcpMux = false\ntransport.tls.enable = false",
            // The server's port for KCP is that for TCP, see below.
            (Self::Default, _) | (Self::Kcp, Role::Server) => "",
            (Self::Kcp, Role::Client) => "transport.protocol = \"kcp\"",
        }
    }
}

impl Product {
    /// Those whose programs are here, mgrok first.
    pub(crate) fn available() -> Vec<Self> {
        let mut products = vec![Self::Mgrok];
        if env::var_os("FRPS_BIN").is_some() && env::var_os("FRPC_BIN").is_some() {
            products.push(Self::Frp);
        } else {
            eprintln!("without frp: FRPS_BIN and FRPC_BIN do not name its programs");
        }
        if env::var_os("RATHOLE_BIN").is_some() {
            products.push(Self::Rathole);
        } else {
            eprintln!("without rathole: RATHOLE_BIN does not name its program");
        }
        products.push(Self::Direct);
        products
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Mgrok => "mgrok",
            Self::Frp => "frp",
            Self::Rathole => "rathole",
            Self::Direct => "direct",
        }
    }

    /// Whether it can be connected so.
    pub(crate) fn speaks(self, mode: Mode) -> bool {
        mode != Mode::Kcp || self != Self::Rathole
    }

    fn program(self, role: Role) -> PathBuf {
        let variable = match (self, role) {
            (Self::Mgrok, _) => return binary(role),
            (Self::Frp, Role::Server) => "FRPS_BIN",
            (Self::Frp, Role::Client) => "FRPC_BIN",
            (Self::Rathole, _) => "RATHOLE_BIN",
            (Self::Direct, _) => unreachable!("no tunnel, no program"),
        };
        env::var_os(variable).unwrap().into()
    }
}

/// What one client publishes at most; mgrok's server takes 65,536 routes of one. All comparisons but that of many domains need one
/// client alone.
const PROXIES_PER_CLIENT: usize = 600;

/// A running pair that publishes all services.
pub(crate) struct Tunnel {
    /// Where users find what is published, and what the sink received.
    pub(crate) public: Published,
    processes: Vec<Child>,
    directory: TempDir,
}

impl Tunnel {
    /// Starts a pair and waits until it works.
    pub(crate) fn start(product: Product, mode: Mode, services: &Published) -> Self {
        let mut tunnel = Self {
            public: services.clone(),
            processes: Vec::new(),
            directory: TempDir::new().unwrap(),
        };
        if product == Product::Direct {
            return tunnel;
        }
        let bind = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let proxies = [
            Proxy::tcp("sink", services.sink),
            Proxy::tcp("source", services.source),
            Proxy::tcp("echo", services.echo),
            Proxy::udp("udp", services.udp),
        ];
        let [sink, source, echo, udp] = proxies.each_ref().map(Proxy::public);
        // rathole knows no HTTP.
        let web = services.web.filter(|_| product != Product::Rathole);
        let http_port = ports::free();
        let mut proxies = Vec::from(proxies);
        let mut server_settings = mode.settings(Role::Server).to_owned();
        if mode == Mode::Kcp {
            let _ = write!(server_settings, "\nkcpBindPort = {}", bind.port());
        }
        if let Some(web) = web {
            proxies.extend(web.proxies());
            let _ = write!(server_settings, "\nvhostHTTPPort = {http_port}");
        }
        tunnel.public = Published {
            sink,
            source,
            echo,
            udp,
            sunk: services.sunk.clone(),
            web: web.map(|web| web.at(([127, 0, 0, 1], http_port).into())),
        };
        let (for_server, for_clients) = match product {
            Product::Rathole => {
                let (server, client) = rathole(bind, &proxies);
                (server, vec![client])
            }
            _ => {
                let settings = mode.settings(Role::Client);
                let clients = proxies.chunks(PROXIES_PER_CLIENT);
                let clients = clients.map(|it| client_toml(bind, settings, it, &[]));
                (server_toml(bind, &server_settings), clients.collect())
            }
        };
        tunnel.launch(product, Role::Server, &for_server);
        // A client that comes before the server gives up, or waits longer than needed.
        tunnel.wait("the server listens", || {
            std::net::TcpStream::connect(bind).is_ok()
        });
        for client in for_clients {
            tunnel.launch(product, Role::Client, &client);
        }
        tunnel.wait("the tunnel works", || connects::once(echo).is_ok());
        if let Some(web) = tunnel.public.web {
            tunnel.wait("all domains are there", || web.is_up());
        }
        tunnel
    }

    fn launch(&mut self, product: Product, role: Role, toml: &str) {
        let path = |ending| {
            let name = format!("{}-{role:?}.{ending}", self.processes.len());
            self.directory.path().join(name)
        };
        let file = path("toml");
        fs::write(&file, toml).unwrap();
        let output = File::create(path("log")).unwrap();
        let mut command = Command::new(product.program(role));
        command.env("STATE_DIRECTORY", env::temp_dir().join("mgrok-sidebyside"));
        match (product, role) {
            (Product::Rathole, Role::Server) => command.arg("--server"),
            (Product::Rathole, Role::Client) => command.arg("--client"),
            _ => command.arg("-c"),
        };
        let child = command
            .arg(&file)
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.processes.push(child);
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                panic!("{what}: not within {PATIENCE:?}\n{}", self.output());
            }
            thread::sleep(Duration::from_millis(50));
        }
    }

    /// What the programs have printed.
    fn output(&self) -> String {
        ["0-Server.log", "1-Client.log"]
            .map(|name| fs::read_to_string(self.directory.path().join(name)).unwrap_or_default())
            .join("---\n")
    }

    /// The processor time of both ends so far.
    pub(crate) fn cpu(&self) -> Duration {
        self.processes.iter().map(|it| usage::cpu(it.id())).sum()
    }

    /// The memory of server and client.
    pub(crate) fn memory(&self) -> Vec<f64> {
        self.processes
            .iter()
            .map(|it| usage::memory(it.id()))
            .collect()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for process in &mut self.processes {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// rathole's two files.
fn rathole(bind: SocketAddr, proxies: &[Proxy]) -> (String, String) {
    let mut server = format!("[server]\nbind_addr = \"{bind}\"\ndefault_token = \"bench\"\n");
    let mut client = format!("[client]\nremote_addr = \"{bind}\"\ndefault_token = \"bench\"\n");
    for proxy in proxies {
        let Proxy {
            name, kind, local, ..
        } = proxy;
        let public = proxy.public();
        let _ = write!(
            server,
            "[server.services.{name}]\ntype = \"{kind}\"\nbind_addr = \"{public}\"\n",
        );
        let _ = write!(
            client,
            "[client.services.{name}]\ntype = \"{kind}\"\nlocal_addr = \"{local}\"\n",
        );
    }
    (server, client)
}
