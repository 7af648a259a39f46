//! Programs that people use every day, through a tunnel, where they are installed.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use mgrok_lab::{PATIENCE, Proxy, eventually, ports, skipped, within};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::Tunnel;

/// A program that ends with the test.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null());
        Self(command.stderr(Stdio::null()).spawn().unwrap())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn installed(programs: &[&'static str]) -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    programs.iter().all(|program| {
        let here = std::env::split_paths(&paths).any(|path| path.join(program).exists());
        if !here {
            skipped(program, "it is not installed");
        }
        here
    })
}

/// Runs a program to its end, and gives what it printed.
async fn output(command: &mut Command) -> Vec<u8> {
    let mut command = tokio::process::Command::from(std::mem::replace(command, Command::new("")));
    let command = command.stdin(Stdio::null()).kill_on_drop(true);
    let output = within(PATIENCE, "the program ends", command.output())
        .await
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    output.stdout
}

async fn listens(at: SocketAddr) {
    eventually("the service listens", async || {
        TcpStream::connect(at).await.ok()
    })
    .await;
}

fn somewhere() -> SocketAddr {
    ([127, 0, 0, 1], ports::free()).into()
}

#[tokio::test]
async fn curl_fetches_from_a_web_server() {
    if !installed(&["curl", "python3"]) {
        return;
    }
    let files = TempDir::new().unwrap();
    let page: Vec<u8> = mgrok_lab::traffic::Pattern::new(9).take(3_000_000);
    std::fs::write(files.path().join("page"), &page).unwrap();
    let local = somewhere();
    let _web = Running::start(&mut web_server(local, files.path()));
    listens(local).await;
    for mux in ["transport.tcpMux = true", "transport.tcpMux = false"] {
        let tunnel = Tunnel::with(mux, mux, Proxy::tcp("web", local)).await;
        let url = format!("http://{}/page", tunnel.public);
        let mut curl = Command::new("curl");
        // Twice on one connection.
        curl.args([
            "--silent",
            "--show-error",
            "--fail",
            "--noproxy",
            "*",
            &url,
            &url,
        ]);
        let fetched = output(&mut curl).await;
        assert!(fetched == [page.as_slice(), page.as_slice()].concat());
    }
}

fn web_server(at: SocketAddr, files: &Path) -> Command {
    let mut command = Command::new("python3");
    command.args(["-m", "http.server", "--bind", "127.0.0.1", "--directory"]);
    command.arg(files).arg(at.port().to_string());
    command
}

#[tokio::test]
async fn redis_keeps_what_it_is_told() {
    if !installed(&["redis-server", "redis-cli"]) {
        return;
    }
    let local = somewhere();
    let files = TempDir::new().unwrap();
    let mut redis = Command::new("redis-server");
    redis.args(["--bind", "127.0.0.1", "--save", "", "--port"]);
    redis
        .arg(local.port().to_string())
        .arg("--dir")
        .arg(files.path());
    let _redis = Running::start(&mut redis);
    listens(local).await;
    let tunnel = Tunnel::tcp(local).await;
    let ask = async |words: &[&str]| {
        let mut cli = Command::new("redis-cli");
        cli.args(["-h", "127.0.0.1", "-p", &tunnel.public.port().to_string()]);
        String::from_utf8(output(cli.args(words)).await).unwrap()
    };
    assert_eq!(ask(&["set", "key", "value"]).await.trim(), "OK");
    assert_eq!(ask(&["get", "key"]).await.trim(), "value");
    let pipelined = ask(&["eval", "return string.rep('x', 1000000)", "0"]).await;
    assert_eq!(pipelined.trim().len(), 1_000_000);
}

#[tokio::test]
async fn dig_asks_a_name_server() {
    if !installed(&["dnsmasq", "dig"]) {
        return;
    }
    let local = somewhere();
    let mut dns = Command::new("dnsmasq");
    dns.args([
        "--keep-in-foreground",
        "--no-resolv",
        "--no-hosts",
        "--conf-file=/dev/null",
    ]);
    dns.args(["--bind-interfaces", "--listen-address=127.0.0.1", "--user="]);
    dns.args([
        "--address=/tunnel.test/192.0.2.7",
        &format!("--port={}", local.port()),
    ]);
    let _dns = Running::start(&mut dns);
    listens(local).await;
    let tunnel = Tunnel::udp(local).await;
    let mut dig = Command::new("dig");
    dig.args(["@127.0.0.1", "-p", &tunnel.public.port().to_string()]);
    dig.args(["+short", "+tries=5", "+time=1", "tunnel.test", "A"]);
    assert_eq!(output(&mut dig).await.trim_ascii(), b"192.0.2.7");
}
