//! A program as a child process: what it prints, how it ends. The tests of both binaries use it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// How long anything may take that takes milliseconds on an idle machine.
pub(crate) const LIMIT: Duration = Duration::from_secs(30);

/// What it is counted in.
const STEP: Duration = Duration::from_millis(100);

/// Runs a program that ends by itself.
pub(crate) fn run(exe: &str, args: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Ended {
    let output = Command::new(exe)
        .args(args)
        .env("STATE_DIRECTORY", env!("CARGO_TARGET_TMPDIR"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    Ended::from(output)
}

/// A program that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stderr: String,
    pub(crate) stdout: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stderr: String::from_utf8(output.stderr).unwrap(),
            stdout: String::from_utf8(output.stdout).unwrap(),
        }
    }
}

/// A program that runs; killed when dropped.
pub(crate) struct Process {
    child: Child,
    lines: Receiver<String>,
    seen: Vec<String>,
}

impl Process {
    /// Starts it. What it prints is read all the time, so it never waits for the test.
    pub(crate) fn start(command: &mut Command) -> Self {
        Self::start_with(command, Stdio::null())
    }

    /// The same, with this standard input.
    pub(crate) fn start_with(command: &mut Command, stdin: Stdio) -> Self {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let lines = read_lines(child.stdout.take().unwrap());
        Self {
            child,
            lines,
            seen: Vec::new(),
        }
    }

    /// Waits for a line that contains `needle`, and returns it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, needle: &str) -> String {
        // In steps, which take longer where the machine is so busy that the program does not get on either.
        let mut left = LIMIT;
        loop {
            match self.lines.recv_timeout(STEP) {
                Ok(line) => {
                    self.seen.push(line.clone());
                    if line.contains(needle) {
                        return line;
                    }
                }
                Err(RecvTimeoutError::Timeout) if left > STEP => left -= STEP,
                Err(_) => panic!("no line with {needle:?} in {:#?}", self.seen),
            }
        }
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Waits for the end, and returns the exit code and everything that was printed.
    #[track_caller]
    pub(crate) fn ended(mut self) -> (Option<i32>, String) {
        let mut left = LIMIT;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(!left.is_zero(), "still runs: {:#?}", self.seen);
            let pause = Duration::from_millis(5);
            thread::sleep(pause);
            left = left.saturating_sub(pause);
        };
        self.seen.extend(self.lines.iter());
        (status.code(), self.seen.join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn read_lines(stdout: ChildStdout) -> Receiver<String> {
    let (send, lines) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stdout).lines() {
            if send.send(line.unwrap()).is_err() {
                return;
            }
        }
    });
    lines
}

/// Connects to a published service that greets with one byte, as soon as it is there.
pub(crate) fn greeted_user(addr: SocketAddr) -> TcpStream {
    let deadline = Instant::now() + LIMIT;
    loop {
        if let Ok(mut user) = TcpStream::connect(addr) {
            user.set_read_timeout(Some(LIMIT)).unwrap();
            if user.read_exact(&mut [0]).is_ok() {
                return user;
            }
        }
        assert!(Instant::now() < deadline, "nobody greets at {addr}");
        thread::sleep(Duration::from_millis(20));
    }
}
