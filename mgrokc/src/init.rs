//! `mgrokc init`: a file to start with.

use std::env;
use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use mgrok_config::{LoadOptions, Strictness, load_client};
use mgrok_daemon::{random, say};

use crate::host_port::{HostPort, parse_server};
use crate::quick::TOKEN_VARIABLE;

/// What follows `init`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The server, and its port for clients if that is not 7000
    #[arg(long, value_name = "HOST[:PORT]", value_parser = parse_server)]
    server: HostPort,

    /// What the server wants to know [default: the environment's MGROK_TOKEN, or else a fresh one]
    #[arg(long, short, value_name = "TEXT", allow_hyphen_values = true)]
    token: Option<String>,

    /// The SHA-256 fingerprint of the server's certificate, which `mgroks init` prints
    #[arg(long, value_name = "HEX")]
    pin: Option<String>,

    /// The file to write
    #[arg(long, default_value = "client.toml", value_name = "FILE")]
    file: PathBuf,
}

/// Does it.
///
/// # Errors
/// What stands in the way. A file that is there is left alone.
pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<ExitCode> {
    let file = &arguments.file;
    let shown = file.display();
    if file.exists() {
        bail!("{shown} is there already, and is left alone; choose another --file");
    }
    let given = arguments
        .token
        .clone()
        .or_else(|| env::var(TOKEN_VARIABLE).ok());
    let is_fresh = given.is_none();
    let token = given.map_or_else(random::token, Ok)?;
    write_new(file, &text(arguments, &token)).with_context(|| format!("cannot write {shown}"))?;
    // What was typed, such as a fingerprint, is checked where every file is.
    if let Err(error) = load_client(file, LoadOptions::new(Strictness::Strict)) {
        fs::remove_file(file).with_context(|| format!("cannot remove {shown}"))?;
        return Err(error.into());
    }
    say(&format!(
        "{shown} is written. Add your services to it, then start the client:\n"
    ));
    say(&format!("    mgrokc -c {shown}"));
    if is_fresh {
        say("\nIts token is a fresh one. The server's file has to have the same:\n");
        say(&format!("    auth.token = \"{token}\""));
    }
    if arguments.pin.is_none() {
        say(
            "\nIt does not verify the server yet: add the line with transport.tls.pinnedSha256 that mgroks prints at its start.",
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn write_new(file: &Path, text: &str) -> io::Result<()> {
    // It holds a secret.
    let mut options = OpenOptions::new();
    let mut written = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(file)?;
    written.write_all(text.as_bytes())?;
    written.sync_all()
}

fn text(arguments: &Arguments, token: &str) -> String {
    let HostPort { host, port } = &arguments.server;
    let host = host.as_deref().unwrap_or_default();
    let port = port.unwrap_or(7000);
    let token = toml_text(token);
    let pin = match &arguments.pin {
        Some(pin) => format!("transport.tls.pinnedSha256 = {}", toml_text(pin)),
        None => "# transport.tls.pinnedSha256 = \"…\"".to_owned(),
    };
    format!(
        "# The client of a reverse tunnel: mgrokc -c <this file>. `mgrokc verify -c <this file>` checks it.\n\
         \n\
         serverAddr = \"{host}\"\n\
         serverPort = {port}\n\
         \n\
         # What the server wants to know.\n\
         auth.token = {token}\n\
         \n\
         # The one certificate that the server may show: mgroks prints this line at its start.\n\
         {pin}\n\
         \n\
         # For `mgrokc status`, `mgrokc reload` and `mgrokc stop`.\n\
         # webServer.port = 7400\n\
         \n\
         # The services. Names are yours to choose.\n\
         # [[proxies]]\n\
         # name = \"ssh\"\n\
         # type = \"tcp\"\n\
         # localPort = 22\n\
         # remotePort = 6000\n\
         \n\
         # [[proxies]]\n\
         # name = \"web\"\n\
         # type = \"http\"\n\
         # localPort = 3000\n\
         # subdomain = \"web\"              # if the server has a subDomainHost\n\
         # customDomains = [\"www.example.com\"]\n"
    )
}

/// A text as a basic string of TOML.
fn toml_text(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => quoted.extend(['\\', c]),
            c if c.is_control() => quoted.push_str(&format!("\\u{:04X}", u32::from(c))),
            c => quoted.push(c),
        }
    }
    quoted.push('"');
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_quoted_as_in_toml() {
        assert_eq!(toml_text("plain"), "\"plain\"");
        assert_eq!(toml_text("a\"b\\c\u{1b}é"), "\"a\\\"b\\\\c\\u001Bé\"");
    }
}
