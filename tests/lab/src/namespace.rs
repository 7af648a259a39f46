//! A network namespace, and code that runs in it. Needs root, and `ip`.

use std::{
    fs::File,
    io::Write as _,
    os::fd::AsFd,
    process::{Command, Stdio},
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::{
    runtime::{self, Handle},
    sync::oneshot,
    task::JoinHandle,
};

/// A network of its own, gone when this is dropped.
pub struct Namespace {
    name: String,
    inside: Option<Inside>,
}

/// A thread that is in it. Sockets and processes are where the thread is that makes them.
struct Inside {
    handle: Handle,
    stop: oneshot::Sender<()>,
    thread: thread::JoinHandle<()>,
}

impl Namespace {
    /// Makes one, with its loopback interface up.
    ///
    /// # Errors
    /// What `ip` says, as when this process may not.
    pub fn new(name: String) -> Result<Self, String> {
        if !rustix::process::geteuid().is_root() {
            return Err("only root makes network namespaces".to_owned());
        }
        command("ip", &["netns", "add", &name], "")?;
        let mut namespace = Self { name, inside: None };
        namespace.ip("link set lo up")?;
        namespace.inside = Some(Inside::new(&namespace.name)?);
        Ok(namespace)
    }

    /// Its name for `ip`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs commands of `ip`, one a line.
    ///
    /// # Errors
    /// What `ip` says.
    pub fn ip(&self, lines: &str) -> Result<(), String> {
        command("ip", &["-netns", &self.name, "-batch", "-"], lines).map(drop)
    }

    /// Loads rules for `nft`.
    ///
    /// # Errors
    /// What `nft` says, or that there is none.
    pub fn nft(&self, rules: &str) -> Result<(), String> {
        self.command(&["nft", "-f", "-"], rules).map(drop)
    }

    /// Runs a program in it to its end, and returns what it printed.
    ///
    /// # Errors
    /// What it says of a failure.
    pub fn command(&self, words: &[&str], input: &str) -> Result<String, String> {
        let words = [&["netns", "exec", &self.name], words].concat();
        command("ip", &words, input)
    }

    /// Has its router pass packets on.
    ///
    /// # Errors
    /// What the system says.
    pub fn forward(&self) -> Result<(), String> {
        self.set("ip_forward", "1")
    }

    /// Sets an option of IPv4 in it.
    ///
    /// # Errors
    /// What the system says.
    pub fn set(&self, option: &str, value: &str) -> Result<(), String> {
        let script = format!("echo {value} > /proc/sys/net/ipv4/{option}");
        self.command(&["sh", "-c", &script], "").map(drop)
    }

    /// Starts a future in it.
    ///
    /// # Panics
    /// When the namespace is gone.
    pub fn spawn<F>(&self, future: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.inside.as_ref().unwrap().handle.spawn(future)
    }

    /// Runs a future in it.
    ///
    /// # Panics
    /// As the future does.
    pub async fn run<F>(&self, future: F) -> F::Output
    where
        F: Future<Output: Send> + Send + 'static,
    {
        self.spawn(future).await.unwrap()
    }
}

impl Inside {
    fn new(namespace: &str) -> Result<Self, String> {
        let path = format!("/var/run/netns/{namespace}");
        let file = File::open(&path).map_err(|error| format!("{path}: {error}"))?;
        let (stop, stopped) = oneshot::channel::<()>();
        let (tell, told) = std::sync::mpsc::channel();
        let thread = thread::spawn(move || {
            let moved = move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network));
            let runtime = moved
                .map_err(std::io::Error::from)
                .and_then(|()| runtime::Builder::new_current_thread().enable_all().build());
            let _ = match &runtime {
                Ok(runtime) => tell.send(Ok(runtime.handle().clone())),
                Err(error) => tell.send(Err(format!("{path}: {error}"))),
            };
            if let Ok(runtime) = runtime {
                let _ = runtime.block_on(stopped);
            }
        });
        Ok(Self {
            handle: told.recv().unwrap()?,
            stop,
            thread,
        })
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        if let Some(Inside { stop, thread, .. }) = self.inside.take() {
            let _ = stop.send(());
            let _ = thread.join();
        }
        // Nobody is left to tell.
        let _ = command("ip", &["netns", "delete", &self.name], "");
    }
}

/// Runs a program to its end, and returns what it printed; what went wrong, otherwise.
fn command(program: &str, words: &[&str], input: &str) -> Result<String, String> {
    let failed = |why: &str| format!("{program} {}: {}", words.join(" "), why.trim());
    let io_failed = |error: std::io::Error| failed(&error.to_string());
    let mut child = Command::new(program)
        .args(words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(io_failed)?;
    // Whoever does not read it says why.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().map_err(io_failed)?;
    if output.status.success() {
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    } else {
        Err(failed(&String::from_utf8_lossy(&output.stderr)))
    }
}
