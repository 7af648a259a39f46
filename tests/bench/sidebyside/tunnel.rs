//! A running pair of a product, which publishes all services.

use std::{
    env,
    fs::{self, File},
    io::{Error, Result},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::{Proxy, ports};
use tempfile::TempDir;

use crate::{
    connects, datagrams,
    link::Path,
    mode::Mode,
    product::{Links, Product, Task},
    services::Published,
    usage,
};

/// How long a tunnel may take to come up.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked whether it has.
const LOOK: Duration = Duration::from_millis(1);

/// How a pair is set up.
#[derive(Clone, Copy)]
pub(crate) struct Setup {
    pub(crate) mode: Mode,
    /// Connections that are kept ready in plain mode.
    pub(crate) pool: usize,
    /// What is between its ends.
    pub(crate) path: Option<Path>,
}

/// A running pair that publishes all services.
pub(crate) struct Tunnel {
    pub(crate) product: Product,
    /// Where users find what is published, and what the sink received.
    pub(crate) public: Published,
    /// From the start of the server until it listened; zero where there is none.
    pub(crate) listening: Duration,
    /// From the start of the client until a user had the first byte back.
    pub(crate) first_byte: Duration,
    servers: Vec<Child>,
    clients: Vec<Child>,
    links: Links,
    directory: TempDir,
}

impl Tunnel {
    /// Starts a pair and waits until it works.
    ///
    /// # Errors
    /// What its programs have printed, if it does not come up.
    pub(crate) fn start(product: Product, setup: Setup, services: &Published) -> Result<Self> {
        let mut tunnel = Self {
            product,
            public: services.clone(),
            listening: Duration::ZERO,
            first_byte: Duration::ZERO,
            servers: Vec::new(),
            clients: Vec::new(),
            links: Links::new(setup.path),
            directory: TempDir::new()?,
        };
        if product == Product::Direct {
            // Its users take the link to the services.
            for service in [
                &mut tunnel.public.sink,
                &mut tunnel.public.source,
                &mut tunnel.public.echo,
            ] {
                *service = tunnel.links.to(*service);
            }
            return Ok(tunnel);
        }
        let proxies = tunnel.publish(services);
        let web = services.web.filter(|_| product.knows_http());
        let http_port = ports::free();
        tunnel.public.web = web.map(|web| web.at(([127, 0, 0, 1], http_port).into()));
        let task = Task {
            mode: setup.mode,
            pool: setup.pool,
            proxies: &proxies,
            web,
            http_port,
            directory: tunnel.directory.path(),
        };
        let pair = product.set_up(&task, &mut tunnel.links);
        let pair = pair.expect("only direct users need none");
        let start = Instant::now();
        for (index, command) in pair.server.into_iter().enumerate() {
            let child = tunnel.launch(command, &format!("server-{index}"))?;
            tunnel.servers.push(child);
        }
        if !tunnel.servers.is_empty() {
            // A client that comes before the server gives up, or waits longer than needed.
            tunnel.wait("its server does not listen", || {
                TcpStream::connect(pair.bind).is_ok()
            })?;
            tunnel.listening = start.elapsed();
        }
        let start = Instant::now();
        for (index, command) in pair.clients.into_iter().enumerate() {
            let child = tunnel.launch(command, &format!("client-{index}"))?;
            tunnel.clients.push(child);
        }
        let public = tunnel.public.clone();
        tunnel.wait("no byte comes back", || connects::once(public.echo).is_ok())?;
        tunnel.first_byte = start.elapsed();
        for other in [public.sink, public.source] {
            tunnel.wait("not all services are there", || {
                TcpStream::connect(other).is_ok()
            })?;
        }
        if let Some(udp) = public.udp {
            tunnel.wait("no datagram comes back", || datagrams::is_back(udp).is_ok())?;
        }
        if let Some(web) = public.web {
            tunnel.wait("not all domains are there", || web.is_up())?;
        }
        Ok(tunnel)
    }

    /// Gives each service a public port.
    fn publish(&mut self, services: &Published) -> Vec<Proxy> {
        let publish = |name: &str, service: SocketAddr| {
            let proxy = Proxy::tcp(name, service);
            (proxy.public(), proxy)
        };
        let (sink, a) = publish("sink", services.sink);
        let (source, b) = publish("source", services.source);
        let (echo, c) = publish("echo", services.echo);
        let mut proxies = vec![a, b, c];
        let udp = services.udp.filter(|_| self.product.carries_datagrams());
        let udp = udp.map(|service| Proxy::udp("udp", service));
        self.public = Published {
            sink,
            source,
            echo,
            udp: udp.as_ref().map(Proxy::public),
            sunk: services.sunk.clone(),
            web: None,
        };
        proxies.extend(udp);
        proxies
    }

    fn launch(&self, mut command: Command, name: &str) -> Result<Child> {
        let output = File::create(self.directory.path().join(name).with_extension("log"))?;
        command
            .env("STATE_DIRECTORY", env::temp_dir().join("mgrok-sidebyside"))
            .env_remove("http_proxy")
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
    }

    fn wait(&self, what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            if Instant::now() > deadline {
                let said = self.output();
                return Err(Error::other(format!(
                    "{what} within {PATIENCE:?}; its programs said: {said}"
                )));
            }
            thread::sleep(LOOK);
        }
        Ok(())
    }

    /// The last lines that the programs have printed.
    fn output(&self) -> String {
        let files = fs::read_dir(self.directory.path()).into_iter().flatten();
        let logs = files.flatten().map(|file| file.path());
        let logs = logs.filter(|file| file.extension().is_some_and(|it| it == "log"));
        let last = |file| {
            let text = fs::read_to_string(file).unwrap_or_default();
            let lines: Vec<_> = text.lines().collect();
            lines[lines.len().saturating_sub(3)..].join(" / ")
        };
        logs.map(last).collect::<Vec<_>>().join(" / ")
    }

    /// Ends every connection between its ends, which a path lies between.
    pub(crate) fn cut(&self) {
        self.links.cut();
    }

    /// The processor time of both ends so far.
    pub(crate) fn cpu(&self) -> Duration {
        let all = self.servers.iter().chain(&self.clients);
        all.map(|it| usage::cpu(it.id())).sum()
    }

    /// The memory of server and client, in bytes.
    pub(crate) fn memory(&self) -> [f64; 2] {
        [&self.servers, &self.clients].map(|end| {
            let memory = end.iter().map(|it| usage::memory(it.id()));
            memory.sum::<usize>() as f64
        })
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        for process in self.servers.iter_mut().chain(&mut self.clients) {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}
