//! Tells the service manager how the program is doing, as `sd_notify(3)` describes it.
//!
//! Not by `sd-notify` (0.5), which does not know sockets with abstract names, as containers pass them on, and whose socket
//! blocks: a manager that does not read would stop the program.

use std::env;
use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tracing::debug;

/// Where the service manager says that it listens.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// How long a program that is not ready has at least, from a sign of life on.
const STARTING_TIME: Duration = Duration::from_secs(120);

/// The service manager that started this program, if it wants to know.
#[derive(Clone, Debug)]
pub struct ServiceManager {
    addr: Option<SocketAddr>,
    /// Whether it was told that the program is ready, which a reload must not say earlier.
    is_ready: Arc<AtomicBool>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Self {
        let addr = env::var_os(SOCKET_VARIABLE).and_then(|it| socket_addr(it.as_bytes()).ok());
        Self::at(addr)
    }

    fn at(addr: Option<SocketAddr>) -> Self {
        Self {
            addr,
            is_ready: Arc::default(),
        }
    }

    /// The program does what it is for.
    pub fn ready(&self) {
        self.is_ready.store(true, Ordering::Relaxed);
        self.notify("READY=1");
    }

    /// The program does what is needed to be ready, and this is how far it is; it is given time for it.
    pub fn starting(&self, status: &str) {
        self.notify(&format!(
            "EXTEND_TIMEOUT_USEC={}\nSTATUS={status}",
            STARTING_TIME.as_micros()
        ));
    }

    /// How the program is doing, in one line.
    pub fn status(&self, status: &str) {
        self.notify(&format!("STATUS={status}"));
    }

    /// Whether there is one.
    pub fn is_there(&self) -> bool {
        self.addr.is_some()
    }

    /// The program reads its configuration again. `Type=notify-reload` needs the time to tell this message from that of an earlier reload.
    pub(crate) fn reloading(&self) {
        if self.is_ready.load(Ordering::Relaxed) {
            let now = clock_gettime(ClockId::Monotonic);
            let micros = now.tv_sec * 1_000_000 + now.tv_nsec / 1_000;
            self.notify(&format!("RELOADING=1\nMONOTONIC_USEC={micros}"));
        }
    }

    /// The program has read its configuration again, whether it could use it or not.
    pub(crate) fn reloaded(&self) {
        if self.is_ready.load(Ordering::Relaxed) {
            self.notify("READY=1");
        }
    }

    /// The program is on its way out.
    pub(crate) fn stopping(&self) {
        self.notify("STOPPING=1");
    }

    fn notify(&self, state: &str) {
        let Some(addr) = &self.addr else {
            return;
        };
        if let Err(error) = send(addr, state) {
            debug!(%error, state, "cannot tell the service manager");
        }
    }
}

/// A path, or with `@` in front a name in Linux' abstract space.
fn socket_addr(name: &[u8]) -> io::Result<SocketAddr> {
    match name.strip_prefix(b"@") {
        Some(name) => SocketAddr::from_abstract_name(name),
        None => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
    }
}

fn send(addr: &SocketAddr, state: &str) -> io::Result<()> {
    let socket = UnixDatagram::unbound()?;
    // The program does not hang because its manager does.
    socket.set_nonblocking(true)?;
    socket.send_to_addr(state.as_bytes(), addr)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(name: &[u8]) {
        let addr = socket_addr(name).unwrap();
        let listening = UnixDatagram::bind_addr(&addr).unwrap();
        let manager = ServiceManager::at(Some(addr));
        manager.ready();
        manager.stopping();
        let mut datagram = [0; 64];
        for expect in ["READY=1", "STOPPING=1"] {
            let len = listening.recv(&mut datagram).unwrap();
            assert_eq!(&datagram[..len], expect.as_bytes());
        }
    }

    #[test]
    fn a_manager_at_a_path_hears() {
        let directory = tempfile::tempdir().unwrap();
        check(directory.path().join("notify").as_os_str().as_bytes());
    }

    #[test]
    fn a_manager_with_an_abstract_name_hears() {
        check(format!("@mgrok-test-{}", std::process::id()).as_bytes());
    }

    #[test]
    fn a_reload_is_reported_only_by_a_program_that_is_ready() {
        let addr = socket_addr(format!("@mgrok-reload-{}", std::process::id()).as_bytes()).unwrap();
        let listening = UnixDatagram::bind_addr(&addr).unwrap();
        let manager = ServiceManager::at(Some(addr));
        let recv = || {
            let mut datagram = [0; 64];
            let len = listening.recv(&mut datagram).unwrap();
            String::from_utf8(datagram[..len].to_vec()).unwrap()
        };
        manager.reloading();
        manager.reloaded();
        manager.ready();
        assert_eq!(recv(), "READY=1");
        manager.reloading();
        let reloading = recv();
        let micros = reloading
            .strip_prefix("RELOADING=1\nMONOTONIC_USEC=")
            .unwrap();
        assert!(micros.parse::<u64>().unwrap() > 0);
        manager.reloaded();
        assert_eq!(recv(), "READY=1");
    }

    #[test]
    fn a_missing_manager_is_no_trouble() {
        let addr = socket_addr(b"/nonexistent/notify").unwrap();
        ServiceManager::at(Some(addr)).ready();
        ServiceManager::at(None).ready();
    }
}
