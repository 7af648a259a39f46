//! HAProxy: not a tunnel, for its second end is dialled, but what carefully made C does with the same bytes.

use std::{env, fmt::Write as _, net::SocketAddr, path::PathBuf, process::Command};

use super::{Links, Pair, Task, free, write};
use crate::{mode::Mode, web::Web};

pub(super) fn program() -> PathBuf {
    env::var_os("HAPROXY_BIN").map_or_else(|| "haproxy".into(), PathBuf::from)
}

/// One that users come to, and that dials the services.
pub(super) fn set_up_once(task: &Task<'_>) -> Pair {
    let mut file = HEAD.to_owned();
    for proxy in task.proxies.iter().filter(|proxy| proxy.kind == "tcp") {
        forward(&mut file, &proxy.name, proxy.public(), "", proxy.local, "");
    }
    let public = SocketAddr::from(([127, 0, 0, 1], task.http_port));
    if let Some(web) = task.web {
        forward_http(&mut file, web, public, "", web.addr, "");
    }
    let file = write(task, "haproxy.cfg", &file);
    Pair {
        server: Vec::new(),
        clients: vec![command(&file)],
        bind: public,
    }
}

/// One that users come to, and that dials another, which dials the services; with TLS between them but in plain mode.
pub(super) fn set_up_twice(task: &Task<'_>, links: &mut Links) -> Pair {
    let (mut near, mut far) = (HEAD.to_owned(), HEAD.to_owned());
    let (mut accepting, mut dialling) = (String::new(), "");
    if task.mode != Mode::Plain {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let pem = made.cert.pem() + &made.signing_key.serialize_pem();
        let file = write(task, "certificate.pem", &pem);
        accepting = format!("ssl crt {}", file.display());
        dialling = "ssl verify none";
    }
    let mut first = None;
    for proxy in task.proxies.iter().filter(|proxy| proxy.kind == "tcp") {
        let between = free();
        first.get_or_insert(between);
        let via = links.to(between);
        forward(&mut near, &proxy.name, proxy.public(), "", via, dialling);
        forward(&mut far, &proxy.name, between, &accepting, proxy.local, "");
    }
    if let Some(web) = task.web {
        let between = free();
        let public = SocketAddr::from(([127, 0, 0, 1], task.http_port));
        let via = links.to(between);
        forward_http(&mut near, web, public, "", via, dialling);
        forward_http(&mut far, web, between, &accepting, web.addr, "");
    }
    let (near, far) = (write(task, "near.cfg", &near), write(task, "far.cfg", &far));
    Pair {
        // The one that is dialled is there before the one that dials.
        server: vec![command(&far)],
        clients: vec![command(&near)],
        bind: first.expect("services are published"),
    }
}

fn command(file: &std::path::Path) -> Command {
    let mut command = Command::new(program());
    // In the foreground and without a master: one process.
    command.arg("-db").arg("-f").arg(file);
    command
}

/// Without `maxconn` it takes as many connections as it may have files open.
const HEAD: &str = "defaults
  backlog 4096
  timeout connect 10s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
";

fn forward(
    file: &mut String,
    name: &str,
    listen: SocketAddr,
    accepting: &str,
    target: SocketAddr,
    dialling: &str,
) {
    let _ = write!(
        file,
        "listen {name}\n  mode tcp\n  bind {listen} {accepting}\n  server s {target} {dialling}\n"
    );
}

/// Asks every domain for itself, as a server with routes does.
fn forward_http(
    file: &mut String,
    web: Web,
    listen: SocketAddr,
    accepting: &str,
    target: SocketAddr,
    dialling: &str,
) {
    let _ = write!(
        file,
        "frontend web\n  mode http\n  bind {listen} {accepting}\n"
    );
    for domain in web.domains() {
        let _ = writeln!(file, "  acl known hdr(host) -i {domain}");
    }
    let _ = write!(
        file,
        "  use_backend web if known\nbackend web\n  mode http\n  http-reuse always\n  server s {target} {dialling}\n"
    );
}
