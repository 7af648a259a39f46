//! Secrets, which a configuration may hold, or say where to get them: each key `X` of one has a `XSource` beside it.
//!
//! frp has this for `auth.token` alone.

use std::hash::{BuildHasher, RandomState};
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mgrok_proto::auth::Secret;

use super::Section;
use crate::file::{self, ReadError};
use crate::io_reason::io_reason;

/// How long a program may take to print a secret.
const TIMEOUT: Duration = Duration::from_secs(10);

/// How much it may print, and how long a file with a secret may be. Keys and tokens have a few kilobytes at most.
const MAX_LEN: usize = 64 * 1024;

/// How often it is looked whether a program that has printed all has ended.
const PAUSE: Duration = Duration::from_millis(5);

impl Section<'_> {
    /// A secret that stands under `key`, or comes from where `source` says.
    pub(crate) fn secret(&mut self, key: &'static str, source: &'static str) -> Option<Secret> {
        let text = self.text(key).map(Secret::new);
        if !self.has(source) {
            // It is a key all the same.
            self.section(source);
            return text;
        }
        if self.says(key) {
            // frp: the beginning of this wording
            let both = (self.full(key), self.full(source));
            let why = format!(
                "cannot specify both `{}` and `{}`: take one of them away",
                both.0, both.1
            );
            self.invalid(source, why);
        }
        let got = value_source(self.section(source));
        text.or(got)
    }
}

/// Where a secret comes from.
enum ValueSource {
    File(String),
    Program(Program),
}

struct Program {
    command: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

fn value_source(mut section: Section<'_>) -> Option<Secret> {
    let kind = section.choice("type", &["file", "exec"], |word| {
        // frp: the beginning of this wording
        format!("unsupported value source type: {}", word.escape_debug())
    });
    let file = section.section("file");
    let exec = section.section("exec");
    let source = match kind.as_deref() {
        Some("file") => from_file(file),
        Some(_) => from_program(exec),
        None => {
            if !section.says("type") && !section.is_flawed() {
                section.invalid("", "must have a `type`, \"file\" or \"exec\"");
            }
            file.abandon();
            exec.abandon();
            None
        }
    }?;
    if section.is_flawed() || !section.judged {
        return None;
    }
    let options = section.report.options();
    if matches!(source, ValueSource::Program(_)) && !options.allows_exec {
        // frp: the beginning of this wording
        section.invalid(
            "type",
            "unsafe feature \"TokenSourceExec\" is not enabled: whoever writes this file could have any program run, so start with \
             `--allow-unsafe TokenSourceExec` if that is meant",
        );
        return None;
    }
    if !options.resolves_sources || !section.report.reads_files() {
        return Some(placeholder());
    }
    let got = match &source {
        ValueSource::File(path) => {
            section.report.note_secret(path);
            read(path)
        }
        ValueSource::Program(program) => run(program, TIMEOUT),
    };
    match got {
        Ok(secret) if secret.is_empty() => {
            section.invalid("", "leads to a text with nothing in it");
            None
        }
        Ok(secret) => Some(Secret::new(secret)),
        Err(why) => {
            section.invalid("", why);
            None
        }
    }
}

fn from_file(mut section: Section<'_>) -> Option<ValueSource> {
    let path = section.text("path");
    if path.is_none() && !section.says("path") {
        // frp: the beginning of this wording
        section.invalid(
            "path",
            "file path cannot be empty: name the file with the secret",
        );
    }
    path.map(ValueSource::File)
}

fn from_program(mut section: Section<'_>) -> Option<ValueSource> {
    let command = section.text("command");
    if command.is_none() && !section.says("command") {
        // frp: this wording
        section.invalid("command", "exec command cannot be empty");
    }
    let args = section.texts("args");
    let mut env = Vec::new();
    let mut is_flawed = section.is_flawed();
    for mut variable in section.sections("env") {
        let name = variable.text("name").unwrap_or_default();
        let value = variable.text("value").unwrap_or_default();
        if name.is_empty() && !variable.says("name") {
            // frp: this wording
            variable.invalid("name", "exec env name cannot be empty");
        } else if name.contains(['=', '\0']) {
            // frp: this wording
            variable.invalid("name", "exec env name cannot contain '='");
        }
        is_flawed |= variable.is_flawed();
        env.push((name, value));
    }
    let command = command.filter(|_| !is_flawed)?;
    Some(ValueSource::Program(Program {
        command,
        args: args.into_iter().map(|item| item.text).collect(),
        env,
    }))
}

/// What stands for a secret that is not fetched: nobody knows it, so that it opens nothing if it should be used by mistake.
fn placeholder() -> Secret {
    let random = || RandomState::new().hash_one(0);
    Secret::new(format!("{:016x}{:016x}", random(), random()))
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
    use crate::LoadOptions;
    use crate::load::load_client;

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

    #[test]
    fn a_program_that_fails_is_told_by_its_key() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("client.toml");
        let text = "auth.tokenSource = { type = \"exec\", exec = { command = \"false\" } }\n";
        std::fs::write(&file, text).unwrap();
        let options = LoadOptions::default().allowing_exec(true);
        let error = load_client(&file, options).unwrap_err().to_string();
        assert!(error.contains("auth.tokenSource: "), "{error}");
    }
}
