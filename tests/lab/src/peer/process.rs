//! A peer that is a process of its own.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use super::Ended;
use crate::log::Log;

/// How often a process is asked whether it has ended.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// A child process that is killed when dropped.
pub(super) struct Process {
    child: Child,
}

impl Process {
    /// Starts `program -c file`, its output going to `log`.
    pub(super) fn start(program: &Path, file: &Path, open_files: Option<u32>, log: &Log) -> Self {
        let mut command = match open_files {
            // Lowering the limit between fork and exec would take unsafe code; a shell does it
            // without.
            Some(limit) => {
                let mut shell = Command::new("sh");
                shell.args(["-c", &format!("ulimit -n {limit} && exec \"$0\" \"$@\"")]);
                shell.arg(program);
                shell
            }
            None => Command::new(program),
        };
        let mut child = command
            .arg("-c")
            .arg(file)
            .env_remove("http_proxy")
            // What a server keeps from start to start is this test's own.
            .env("STATE_DIRECTORY", file.with_extension("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {}: {error}", program.display()));
        log.follow(child.stdout.take().unwrap());
        log.follow(child.stderr.take().unwrap());
        Self { child }
    }

    pub(super) fn id(&self) -> u32 {
        self.child.id()
    }

    /// Sends SIGTERM.
    pub(super) fn terminate(&self) {
        // The child is not waited for yet, so its id still belongs to it.
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Waits for the end. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return if status.success() {
                    Ended::Well
                } else {
                    Ended::Badly
                };
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails only when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
