//! Tells the service manager how the program is doing, as `sd_notify(3)` describes it.
//!
//! Not by `sd-notify` (0.5), which does not know sockets with abstract names, as containers pass them on, and whose socket
//! blocks: a manager that does not read would stop the program.

use std::convert::Infallible;
use std::env;
use std::future::pending;
use std::io;
#[cfg(target_os = "linux")]
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::Handle;
use tokio::time::sleep;
use tracing::debug;

/// Where the service manager says that it listens.
const SOCKET_VARIABLE: &str = "NOTIFY_SOCKET";

/// How long a program that is not ready has at least, from a sign of life on.
const STARTING_TIME: Duration = Duration::from_secs(120);

/// The service manager that started this program, if it wants to know.
#[derive(Clone, Debug)]
pub struct ServiceManager {
    addr: Option<SocketAddr>,
    /// The longest time without a sign of life; `None`: it asks for none.
    watchdog: Option<Duration>,
    /// Whether it was told that the program is ready, which a reload must not say earlier.
    is_ready: Arc<AtomicBool>,
}

impl ServiceManager {
    /// The one that the environment names.
    pub(crate) fn from_env() -> Self {
        let addr = env::var_os(SOCKET_VARIABLE).and_then(|it| socket_addr(it.as_bytes()).ok());
        let variable = |name| env::var(name).ok();
        Self {
            watchdog: watchdog_time(
                std::process::id(),
                variable("WATCHDOG_PID").as_deref(),
                variable("WATCHDOG_USEC").as_deref(),
            ),
            ..Self::at(addr)
        }
    }

    fn at(addr: Option<SocketAddr>) -> Self {
        Self {
            addr,
            watchdog: None,
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

    /// Gives a sign of life as often as the manager wants it, for as long as this is polled and the threads of the runtime run what they
    /// are given: a program that hangs gives none, and is started anew.
    pub(crate) async fn keep_alive(&self) -> Infallible {
        let Some(time) = self.watchdog else {
            return pending().await;
        };
        loop {
            if Handle::current().spawn(async {}).await.is_ok() {
                self.notify("WATCHDOG=1");
            }
            // sd_watchdog_enabled(3) advises half the time.
            sleep(time / 2).await;
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

/// How long the process `id` may be without a sign of life. The environment may be that of a program which has started this one.
fn watchdog_time(id: u32, pid: Option<&str>, micros: Option<&str>) -> Option<Duration> {
    let is_ours = pid.is_none_or(|it| it.parse() == Ok(id));
    let micros: u64 = micros?.parse().ok()?;
    (is_ours && micros > 0).then_some(Duration::from_micros(micros))
}

/// A path, or with `@` in front a name in Linux' abstract space.
fn socket_addr(name: &[u8]) -> io::Result<SocketAddr> {
    match name.strip_prefix(b"@") {
        #[cfg(target_os = "linux")]
        Some(name) => SocketAddr::from_abstract_name(name),
        _ => SocketAddr::from_pathname(std::ffi::OsStr::from_bytes(name)),
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
    fn only_a_watchdog_of_this_process_counts() {
        let second = Some(Duration::from_secs(1));
        assert_eq!(watchdog_time(7, Some("7"), Some("1000000")), second);
        assert_eq!(watchdog_time(7, None, Some("1000000")), second);
        assert_eq!(watchdog_time(7, Some("8"), Some("1000000")), None);
        for wrong in [None, Some("0"), Some("-1"), Some("x")] {
            assert_eq!(watchdog_time(7, Some("7"), wrong), None);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn signs_of_life_come_while_the_program_lives() {
        let addr = socket_addr(format!("@mgrok-watch-{}", std::process::id()).as_bytes()).unwrap();
        let listening = UnixDatagram::bind_addr(&addr).unwrap();
        listening.set_nonblocking(true).unwrap();
        let manager = ServiceManager {
            watchdog: Some(Duration::from_secs(10)),
            ..ServiceManager::at(Some(addr))
        };
        let count = || {
            let mut datagram = [0; 64];
            std::iter::from_fn(|| listening.recv(&mut datagram).ok()).count()
        };
        let lived = tokio::time::timeout(Duration::from_secs(31), manager.keep_alive());
        lived.await.unwrap_err();
        // A socket keeps few.
        assert_eq!(count(), 7);
        sleep(Duration::from_secs(60)).await;
        assert_eq!(count(), 0, "nobody polls it");
    }

    #[test]
    fn a_missing_manager_is_no_trouble() {
        let addr = socket_addr(b"/nonexistent/notify").unwrap();
        ServiceManager::at(Some(addr)).ready();
        ServiceManager::at(None).ready();
    }
}
