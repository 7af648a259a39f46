//! The programs: a server, a client that stays, and one that is killed and comes back.

use std::{
    fs::{self, File},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::{Proxy, Role, binary, client_toml, ports, server_toml};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::services::Services;

/// How long a program may take to be there.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where users come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Public {
    pub(crate) exchange: SocketAddr,
    pub(crate) web: SocketAddr,
    pub(crate) udp: SocketAddr,
    /// The same as the first, by the client that is killed.
    pub(crate) unsteady: SocketAddr,
}

/// What runs. Everything ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) server: Child,
    pub(crate) client: Child,
    pub(crate) public: Public,
    unsteady: Child,
    /// The steady client's file, and the proxies in it.
    settings: String,
    control: SocketAddr,
    proxies: Vec<Proxy>,
    reloads: usize,
    directory: TempDir,
}

impl Pair {
    pub(crate) fn start(services: &Services) -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let (control, web) = (at(ports::free()), at(ports::free()));
        let exchange = Proxy::tcp("exchange", services.exchange);
        let udp = Proxy::udp("udp", services.udp);
        let unsteady = Proxy::tcp("unsteady", services.exchange);
        let http = Proxy::new("http", "web", services.web).with("customDomains = [\"web.test\"]");
        let public = Public {
            exchange: exchange.public(),
            web,
            udp: udp.public(),
            unsteady: unsteady.public(),
        };
        let directory = TempDir::new().unwrap();
        let settings = "auth.token = \"soak\"\nloginFailExit = false\n".to_owned();
        let server = server_toml(
            control,
            &format!("auth.token = \"soak\"\nvhostHTTPPort = {}", web.port()),
        );
        let proxies = vec![exchange, udp, http];
        let client = client_toml(control, &settings, &proxies, &[]);
        let other = client_toml(control, &settings, &[unsteady], &[]);
        let server = launch(&directory, Role::Server, "server", &server);
        wait("the server", control);
        let client = launch(&directory, Role::Client, "client", &client);
        let unsteady = launch(&directory, Role::Client, "unsteady", &other);
        wait("the client", public.exchange);
        wait("the other client", public.unsteady);
        Self {
            server,
            client,
            public,
            unsteady,
            settings,
            control,
            proxies,
            reloads: 0,
            directory,
        }
    }

    /// Has server and client read their files again; the client's has one proxy more or less than before.
    pub(crate) fn reload(&mut self) {
        self.reloads += 1;
        let mut proxies = self.proxies.clone();
        if self.reloads % 2 == 1 {
            proxies.push(Proxy::tcp("now and then", self.proxies[0].local).at(0));
        }
        let toml = client_toml(self.control, &self.settings, &proxies, &[]);
        // In one step, or half of it might be read.
        let (new, file) = (self.file("new"), self.file("client"));
        fs::write(&new, toml).unwrap();
        fs::rename(new, file).unwrap();
        for program in [&self.server, &self.client] {
            let pid = Pid::from_raw(program.id().cast_signed()).unwrap();
            let _ = kill_process(pid, Signal::HUP);
        }
    }

    /// Kills the client that is not steady, and starts it anew.
    pub(crate) fn kill_and_start(&mut self) {
        let _ = self.unsteady.kill();
        let _ = self.unsteady.wait();
        self.unsteady = run(&self.directory, Role::Client, "unsteady");
    }

    /// Programs that have ended by themselves.
    pub(crate) fn lost(&mut self) -> Vec<String> {
        [("server", &mut self.server), ("client", &mut self.client)]
            .into_iter()
            .filter_map(|(name, child)| {
                let status = child.try_wait().ok()??;
                Some(format!("the {name} has ended with {status}"))
            })
            .collect()
    }

    fn file(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name).with_extension("toml")
    }
}

fn launch(directory: &TempDir, role: Role, name: &str, toml: &str) -> Child {
    let file = directory.path().join(name).with_extension("toml");
    fs::write(file, toml).unwrap();
    run(directory, role, name)
}

fn run(directory: &TempDir, role: Role, name: &str) -> Child {
    let at = |extension| directory.path().join(name).with_extension(extension);
    let output = File::options()
        .append(true)
        .create(true)
        .open(at("log"))
        .unwrap();
    Command::new(binary(role))
        .arg("-c")
        .arg(at("toml"))
        .env("STATE_DIRECTORY", directory.path())
        .env_remove("http_proxy")
        .stdin(Stdio::null())
        .stdout(output.try_clone().unwrap())
        .stderr(output)
        .spawn()
        .unwrap()
}

fn wait(what: &str, addr: SocketAddr) {
    let deadline = Instant::now() + PATIENCE;
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "{what} is not there");
        thread::sleep(Duration::from_millis(20));
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for child in [&mut self.client, &mut self.unsteady, &mut self.server] {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}
