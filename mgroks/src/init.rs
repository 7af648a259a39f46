//! `mgroks init`: a file to start with, and what the clients need to trust this server.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::net::{IpAddr, UdpSocket};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{self, Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use clap::Args;
use mgrok_config::{LoadOptions, Strictness, load_server};
use mgrok_daemon::{random, say};

use crate::state;

/// The port for clients.
const PORT: u16 = 7000;

/// What follows `init`.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The file to write
    #[arg(long, default_value = "server.toml", value_name = "FILE")]
    file: PathBuf,

    /// The name or address by which clients reach this host
    #[arg(long, value_name = "HOST")]
    host: Option<String>,

    /// A domain of which all names lead to this host: clients may have any name below it
    #[arg(long, value_name = "NAME")]
    domain: Option<String>,

    /// The port on which services are reached by name
    #[arg(long, default_value_t = 8080, value_name = "PORT")]
    http_port: u16,
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
    let (certificate, pin) = state::certificate().or_else(|_| beside(file))?;
    let token = random::token()?;
    let text = text(arguments, &token, &certificate);
    write_new(file, &text).with_context(|| format!("cannot write {shown}"))?;
    // What was typed, such as a domain, is checked where every file is.
    if let Err(error) = load_server(file, LoadOptions::new(Strictness::Strict)) {
        fs::remove_file(file).with_context(|| format!("cannot remove {shown}"))?;
        return Err(error.into());
    }

    let (host, is_known) = host(arguments);
    let access = format!("--server {host}:{PORT} --token {token} --pin {pin}");
    say(&format!(
        "{shown} is written, with a token of its own. Start the server:\n"
    ));
    say(&format!("    mgroks -c {shown}\n"));
    say("On the other side, publish a service at once:\n");
    match arguments.domain {
        Some(_) => {
            say(&format!("    mgrokc http 3000 {access}\n"));
            say(&format!("    mgrokc tcp 22 {access}\n"));
        }
        None => {
            say(&format!("    mgrokc tcp 3000 {access}\n"));
            say(&format!(
                "It prints the public address, tcp://{host}:PORT; a web service opens in a browser as http://{host}:PORT. To give web services\n\
                 names, with `mgrokc http 3000`, the server needs a domain: `mgroks init --domain`, or subDomainHost in {shown}.\n"
            ));
        }
    }
    say("or write a file there:\n");
    say(&format!("    mgrokc init {access}"));
    if !is_known {
        say(&format!(
            "\n{host} is the address of this host in its own network; if clients reach it by another, write that instead."
        ));
    }
    Ok(ExitCode::SUCCESS)
}

/// A certificate next to `file`, if there is no better place.
fn beside(file: &Path) -> anyhow::Result<(PathBuf, String)> {
    let directory = path::absolute(file)?;
    let directory = directory.parent().unwrap_or(Path::new("/"));
    state::certificate_in(directory)
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

fn text(arguments: &Arguments, token: &str, certificate: &Path) -> String {
    let Arguments {
        domain, http_port, ..
    } = arguments;
    // TOML's basic strings escape as Rust's `Debug` does what a path may have.
    let certificate = certificate.display().to_string();
    let domain = match domain {
        Some(domain) => format!("subDomainHost = {domain:?}"),
        None => "# subDomainHost = \"tunnel.example.com\"".to_owned(),
    };
    format!(
        "# The server of a reverse tunnel: mgroks -c <this file>. `mgroks verify -c <this file>` checks it.\n\
         \n\
         # Where clients arrive.\n\
         bindPort = {PORT}\n\
         \n\
         # Clients have to know this.\n\
         auth.token = \"{token}\"\n\
         \n\
         # Clients come by TLS, and know this server by its certificate, which is kept here.\n\
         transport.tls.force = true\n\
         transport.tls.autoGenCertPath = {certificate:?}\n\
         \n\
         # Where users reach services of type `http` by name. Ports below 1024 take a privilege.\n\
         vhostHTTPPort = {http_port}\n\
         # The domain below which clients may have names. All of them (*.<domain>) have to lead to this host.\n\
         {domain}\n\
         \n\
         # The ports that clients may take for services of type `tcp` and `udp`; without this, all.\n\
         # allowPorts = [{{ start = 20000, end = 30000 }}]\n\
         \n\
         # The admin port.\n\
         # webServer.port = 7500\n\
         # webServer.user = \"admin\"\n\
         # webServer.password = \"another secret\"\n"
    )
}

/// How clients reach this host, and whether somebody has said so.
fn host(arguments: &Arguments) -> (String, bool) {
    if let Some(host) = arguments.host.as_ref().or(arguments.domain.as_ref()) {
        return (host.clone(), true);
    }
    match outward_address() {
        Some(IpAddr::V6(addr)) => (format!("[{addr}]"), false),
        Some(addr) => (addr.to_string(), false),
        None => ("127.0.0.1".to_owned(), false),
    }
}

/// The address that this host has towards the internet. Nothing is sent.
fn outward_address() -> Option<IpAddr> {
    // Addresses for documentation (RFC 5737), which nobody has.
    let socket = UdpSocket::bind("0.0.0.0:0").ok()?;
    socket.connect("192.0.2.1:9").ok()?;
    Some(socket.local_addr().ok()?.ip())
}
