//! Servers and clients that run for a test, and end with it.

mod inside;
mod process;

use std::{net::SocketAddr, path::PathBuf};

use tempfile::TempDir;

use self::{inside::Inside, process::Process};
use crate::{
    Role, binaries,
    config::{Proxy, Visitor, client_toml, server_toml},
    log::Log,
    ports,
    wait::{PATIENCE, within},
};

/// What the configuration file is called.
const FILE: &str = "config.toml";

/// How often a server is started anew when its port was taken meanwhile.
const ATTEMPTS: usize = 5;

/// What runs one end of the tunnel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Peer {
    /// frp's program, named by `FRPS_BIN` or `FRPC_BIN`.
    Frp,
    /// mgrok's library, in the test's process, on a runtime of its own: quick to start.
    Mgrok,
    /// mgrok's program: what can be signalled, limited and killed.
    MgrokProgram,
    /// The program of an frp before 0.69, which knows only the first wire protocol, named by `FRPS_OLD_BIN` or
    /// `FRPC_OLD_BIN`.
    OldFrp,
}

/// How a peer ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// As it should.
    Well,
    /// With an error: an exit code that is not zero, or an error from the library.
    Badly,
}

/// One end of the tunnel while it runs. Dropping it kills it, without a goodbye.
struct Running {
    how: How,
    log: Log,
    // Holds the configuration file; removed after the peer has ended.
    directory: TempDir,
}

enum How {
    Process(Process),
    Inside(Inside),
}

impl Running {
    fn start(peer: Peer, role: Role, toml: &str, open_files: Option<u32>) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join(FILE);
        std::fs::write(&file, toml).unwrap();
        let log = Log::new(&format!("{role:?} ({peer:?})").to_lowercase());
        let program = |path: PathBuf| How::Process(Process::start(&path, &file, open_files, &log));
        let how = match peer {
            Peer::Frp => {
                program(binaries::frp(role).expect("FRPS_BIN and FRPC_BIN name frp's programs"))
            }
            Peer::OldFrp => program(
                binaries::old_frp(role)
                    .expect("FRPS_OLD_BIN and FRPC_OLD_BIN name programs of an frp before 0.69"),
            ),
            Peer::MgrokProgram => program(binaries::binary(role)),
            Peer::Mgrok => How::Inside(Inside::start(role, toml, &log)),
        };
        Self {
            how,
            log,
            directory,
        }
    }

    fn rewrite(&self, toml: &str) {
        std::fs::write(self.directory.path().join(FILE), toml).unwrap();
    }

    async fn stop(&mut self) -> Ended {
        match &mut self.how {
            How::Process(process) => {
                process.terminate();
                process.ended().await
            }
            How::Inside(inside) => inside.stop().await,
        }
    }

    async fn ended(&mut self) -> Ended {
        match &mut self.how {
            How::Process(process) => process.ended().await,
            How::Inside(inside) => inside.ended().await,
        }
    }

    fn pid(&self) -> Option<u32> {
        match &self.how {
            How::Process(process) => Some(process.id()),
            How::Inside(_) => None,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.log.tail());
        }
    }
}

/// A server that listens on loopback.
pub struct Server {
    running: Running,
    addr: SocketAddr,
}

impl Server {
    /// Starts a server on a free port and waits until it listens. `settings` are lines of its
    /// configuration file, above all tables.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start(peer: Peer, settings: &str) -> Self {
        Self::start_limited(peer, settings, None).await
    }

    /// As [`Self::start`], but the process may have only so many open files.
    pub async fn start_limited(peer: Peer, settings: &str, open_files: Option<u32>) -> Self {
        for _ in 0..ATTEMPTS {
            let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()));
            match Self::attempt(peer, addr, settings, open_files).await {
                Ok(server) => return server,
                Err(log) if log.contains("in use") => {}
                Err(log) => panic!("{}the server did not start", log.tail()),
            }
        }
        panic!("no port stayed free long enough to start a server on it");
    }

    /// Starts a server on `addr`: where one has been before, or where a test wants it.
    ///
    /// # Panics
    /// When it does not come up.
    pub async fn start_at(peer: Peer, addr: SocketAddr, settings: &str) -> Self {
        match Self::attempt(peer, addr, settings, None).await {
            Ok(server) => server,
            Err(log) => panic!("{}the server did not start", log.tail()),
        }
    }

    async fn attempt(
        peer: Peer,
        addr: SocketAddr,
        settings: &str,
        open_files: Option<u32>,
    ) -> Result<Self, Log> {
        let toml = server_toml(addr, settings);
        let mut running = Running::start(peer, Role::Server, &toml, open_files);
        let log = running.log.clone();
        let up = tokio::select! {
            _ = log.wait_for("frps started successfully") => true,
            _ = running.ended() => false,
        };
        if up {
            Ok(Self { running, addr })
        } else {
            Err(log)
        }
    }

    /// Where clients find it.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Has its configuration file say something else, which it does not read by itself.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, settings: &str) {
        self.running.rewrite(&server_toml(self.addr, settings));
    }

    /// What it has printed.
    pub fn log(&self) -> &Log {
        &self.running.log
    }

    /// Its process, when it has one of its own.
    pub fn pid(&self) -> Option<u32> {
        self.running.pid()
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> Ended {
        within(PATIENCE, "the server stops", self.running.stop()).await
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> Ended {
        within(PATIENCE, "the server ends", self.running.ended()).await
    }
}

/// A client of one server.
pub struct Client {
    running: Running,
    proxies: Vec<Proxy>,
    visitors: usize,
}

impl Client {
    /// Starts a client and waits until all its proxies are published. `settings` are lines of
    /// its configuration file, above all tables.
    ///
    /// # Panics
    /// When one of them is not.
    pub async fn start(peer: Peer, server: SocketAddr, settings: &str, proxies: &[Proxy]) -> Self {
        let client = Self::launch(peer, server, settings, proxies);
        client.ready(0).await;
        client
    }

    /// As [`Self::start`], with visitors whose listeners are open when this returns.
    ///
    /// # Panics
    /// When something does not come up.
    pub async fn start_with_visitors(
        peer: Peer,
        server: SocketAddr,
        settings: &str,
        proxies: &[Proxy],
        visitors: &[Visitor],
    ) -> Self {
        let client = Self::launch_with_visitors(peer, server, settings, proxies, visitors);
        client.ready(0).await;
        client
    }

    /// Starts a client and does not wait for anything.
    pub fn launch(peer: Peer, server: SocketAddr, settings: &str, proxies: &[Proxy]) -> Self {
        Self::launch_with_visitors(peer, server, settings, proxies, &[])
    }

    /// As [`Self::launch`], with visitors.
    pub fn launch_with_visitors(
        peer: Peer,
        server: SocketAddr,
        settings: &str,
        proxies: &[Proxy],
        visitors: &[Visitor],
    ) -> Self {
        let toml = client_toml(server, settings, proxies, visitors);
        Self {
            running: Running::start(peer, Role::Client, &toml, None),
            proxies: proxies.to_vec(),
            visitors: visitors.len(),
        }
    }

    /// Has its configuration file say something else, which it does not read by itself.
    ///
    /// # Panics
    /// When it cannot be written.
    pub fn rewrite(&self, server: SocketAddr, settings: &str, proxies: &[Proxy]) {
        let toml = client_toml(server, settings, proxies, &[]);
        self.running.rewrite(&toml);
    }

    /// Waits until all its proxies are published and its visitors' listeners are open; only what was logged after `mark`
    /// counts.
    ///
    /// # Panics
    /// When one of them is not within [`PATIENCE`].
    pub async fn ready(&self, mark: usize) {
        // frp does not say which visitor it is.
        let listeners = "start visitor success";
        self.log()
            .wait_for_times(mark, listeners, self.visitors)
            .await;
        for proxy in &self.proxies {
            let line = format!("[{}] start proxy success", proxy.name);
            self.log().wait_after(mark, &line).await;
        }
    }

    /// What it has printed.
    pub fn log(&self) -> &Log {
        &self.running.log
    }

    /// Its process, when it has one of its own.
    pub fn pid(&self) -> Option<u32> {
        self.running.pid()
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(mut self) -> Ended {
        within(PATIENCE, "the client stops", self.running.stop()).await
    }

    /// Waits for it to end by itself.
    pub async fn ended(&mut self) -> Ended {
        within(PATIENCE, "the client ends", self.running.ended()).await
    }
}
