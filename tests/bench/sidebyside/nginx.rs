//! nginx as the HTTP service behind the tunnels: one process, its files in a directory of its own.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::ports;
use tempfile::TempDir;

/// The path of a page of [`PAGE_SIZE`] bytes.
pub(crate) const PAGE: &str = "/page";

/// The path of a file of [`FILE_SIZE`] bytes.
pub(crate) const FILE: &str = "/file";

/// A small page, as most answers of an API are.
pub(crate) const PAGE_SIZE: usize = 1024;

/// Large beside every window and buffer on the way, small beside the memory it is kept in.
const FILE_SIZE: usize = 64 << 20;

/// How long nginx may take to listen.
const PATIENCE: Duration = Duration::from_secs(5);

/// A running nginx, which ends with this value.
pub(crate) struct Nginx {
    child: Child,
    pub(crate) addr: SocketAddr,
    _directory: TempDir,
}

impl Nginx {
    /// Starts it; `None` if it is not installed.
    pub(crate) fn start() -> Option<Self> {
        let directory = TempDir::new().unwrap();
        let root = directory.path();
        // Not zeros: a compressing or deduplicating path must not look better than it is.
        let mut content = vec![0; FILE_SIZE];
        fastrand::Rng::with_seed(2).fill(&mut content);
        fs::write(root.join("file"), &content).unwrap();
        fs::write(root.join("page"), &content[..PAGE_SIZE]).unwrap();
        let addr = SocketAddr::from(([127, 0, 0, 1], ports::free()));
        let settings = root.join("nginx.conf");
        fs::write(&settings, configuration(addr, &root.display().to_string())).unwrap();
        let child = Command::new("nginx")
            .arg("-p")
            .arg(root)
            .arg("-c")
            .arg(&settings)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .ok()?;
        let nginx = Self {
            child,
            addr,
            _directory: directory,
        };
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(addr).is_err() {
            assert!(
                Instant::now() < deadline,
                "nginx does not listen on {addr} after {PATIENCE:?}"
            );
            thread::sleep(Duration::from_millis(20));
        }
        Some(nginx)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// One process that serves files from memory, and never closes a connection of its own accord.
fn configuration(addr: SocketAddr, root: &str) -> String {
    format!(
        "daemon off;
master_process off;
worker_processes 1;
pid {root}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 16384; }}
http {{
  access_log off;
  sendfile on;
  open_file_cache max=8;
  keepalive_requests 1000000000;
  keepalive_timeout 1h;
  client_body_temp_path {root}/body;
  proxy_temp_path {root}/proxy;
  fastcgi_temp_path {root}/fastcgi;
  uwsgi_temp_path {root}/uwsgi;
  scgi_temp_path {root}/scgi;
  server {{
    listen {addr} backlog=4096;
    root {root};
  }}
}}
"
    )
}
