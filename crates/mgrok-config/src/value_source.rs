//! Where a secret comes from that does not stand in a configuration: a file, or a program that prints it.

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mgrok_proto::auth::Secret;

use crate::file::{self, ReadError};
use crate::io_reason::io_reason;

/// How long a program may take to print a secret.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much it may print, and how long a file with a secret may be. Keys and tokens have a few kilobytes at most.
const MAX_LEN: usize = 64 * 1024;

/// How often it is looked whether a program that has printed all has ended.
const PAUSE: Duration = Duration::from_millis(5);

/// Where a secret comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueSource {
    /// The file of this path has it, with white space around it that does not count.
    File(String),
    /// A program prints it.
    Program(Program),
}

/// A program that is run without a shell. Its environment is that of this process and `env`.
#[derive(Clone, PartialEq, Eq)]
pub struct Program {
    pub(crate) command: String,
    pub(crate) args: Vec<String>,
    pub(crate) env: Vec<(String, String)>,
}

/// Why there is no secret. Says nothing of what was read or printed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ValueSourceError {
    /// The file or the program gives nothing that could be a secret.
    #[error("leads to a text with nothing in it")]
    Empty,
    /// The file cannot be read, or the program fails.
    #[error("{0}")]
    Failed(String),
}

impl ValueSource {
    /// Reads the file, or runs the program for at most 10 s. What comes of it has at most 64 KiB.
    ///
    /// Blocks meanwhile.
    ///
    /// # Errors
    /// There is no secret to be had.
    pub fn resolve(&self) -> Result<Secret, ValueSourceError> {
        let got = match self {
            Self::File(path) => read(path),
            Self::Program(program) => run(program, TIMEOUT),
        };
        let text = got.map_err(ValueSourceError::Failed)?;
        match text.is_empty() {
            true => Err(ValueSourceError::Empty),
            false => Ok(Secret::new(text)),
        }
    }
}

/// Without what is passed to it, which may be secret.
impl std::fmt::Debug for Program {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Program")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

// frp: white space around it does not count
fn read(path: &str) -> Result<String, String> {
    let text = file::read(Path::new(path)).map_err(|error| {
        let reason = match &error {
            ReadError::Encoding(what) => what.clone(),
            ReadError::Open(error) | ReadError::Read(error) => io_reason(error),
        };
        // frp: the beginning of this wording
        format!("failed to read file {path}: {reason}")
    })?;
    if text.len() > MAX_LEN {
        return Err(format!(
            "{path} is longer than {MAX_LEN} bytes, which no secret is"
        ));
    }
    Ok(text.trim().to_owned())
}

/// Runs a program, without a shell and no longer than `limit`, and returns what it prints.
fn run(program: &Program, limit: Duration) -> Result<String, String> {
    let Program { command, args, env } = program;
    // frp: the beginning of this wording
    let failed = |why: &str| format!("failed to execute command {command}: {why}");
    let mut child = Command::new(command)
        .args(args)
        .envs(env.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|error| failed(&io_reason(&error)))?;
    let printed = wait(&mut child, limit);
    if printed.is_err() {
        // If it ends by itself right now, that is just as well.
        let _ = child.kill();
        let _ = child.wait();
    }
    printed.map_err(|why| failed(&why))
}

/// Waits for what a program prints and for its end.
fn wait(child: &mut Child, limit: Duration) -> Result<String, String> {
    let deadline = Instant::now() + limit;
    let late = || format!("it takes more than {limit:?}");
    let Some(stdout) = child.stdout.take() else {
        return Err("its output cannot be read".to_owned());
    };
    let (sender, receiver) = mpsc::sync_channel(1);
    // A thread of its own, because nothing else can stop to read in time. It ends with the program's output.
    thread::spawn(move || {
        let mut bytes = Vec::new();
        let most = MAX_LEN as u64 + 1;
        let read = stdout.take(most).read_to_end(&mut bytes);
        // If nobody waits any longer, nobody wants it.
        let _ = sender.send(read.map(|_| bytes));
    });
    let bytes = receiver
        .recv_timeout(limit)
        .map_err(|_| late())?
        .map_err(|error| io_reason(&error))?;
    if bytes.len() > MAX_LEN {
        return Err(format!(
            "it prints more than {MAX_LEN} bytes, which no secret has"
        ));
    }
    let status = loop {
        match child.try_wait().map_err(|error| io_reason(&error))? {
            Some(status) => break status,
            None if Instant::now() >= deadline => return Err(late()),
            None => thread::sleep(PAUSE),
        }
    };
    if !status.success() {
        return Err(status.to_string());
    }
    let text = String::from_utf8(bytes).map_err(|_| "it does not print UTF-8".to_owned())?;
    Ok(text.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A program of the shell that tells its process id in a file.
    fn hanging(script: &str) -> (tempfile::TempDir, Program) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pid");
        let script = format!("echo $$ > '{}'; {script}", file.display());
        let program = Program {
            command: "sh".to_owned(),
            args: vec!["-c".to_owned(), script],
            env: Vec::new(),
        };
        (directory, program)
    }

    #[test]
    fn a_program_that_hangs_is_ended() {
        let check = |script: &str| {
            let (directory, program) = hanging(script);
            let why = run(&program, Duration::from_secs(2)).unwrap_err();
            assert_eq!(why, "failed to execute command sh: it takes more than 2s");
            let pid = std::fs::read_to_string(directory.path().join("pid")).unwrap();
            let process = Path::new("/proc").join(pid.trim());
            assert!(!process.exists(), "{} is still there", process.display());
        };
        // One that says nothing, and one that has said all but stays.
        let scripts = ["exec sleep 600", "echo secret; exec 1>&-; exec sleep 600"];
        thread::scope(|threads| {
            for script in scripts {
                threads.spawn(move || check(script));
            }
        });
    }
}
