//! Clients that are OpenSSH's `ssh -R`, where it is installed.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;

use mgrok_lab::{
    Client, Need, PATIENCE, Peer, Server, Visitor, eventually, ports, service, skipped, traffic,
    within,
};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::TcpStream;
use tokio::process::{Child, ChildStdout, Command};

/// A server with a gateway.
struct Gateway {
    server: Server,
    port: u16,
    directory: TempDir,
}

/// An `ssh` that runs. It is killed when this is dropped.
struct Ssh {
    child: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Gateway {
    async fn start(settings: &str) -> Self {
        let (directory, port) = (TempDir::new().unwrap(), ports::free());
        let key = directory.path().join("host_key");
        let settings = format!(
            "sshTunnelGateway.bindPort = {port}\nsshTunnelGateway.autoGenPrivateKeyPath = {key:?}\n{settings}"
        );
        let server = Server::start(Peer::Mgrok, &settings).await;
        Self {
            server,
            port,
            directory,
        }
    }

    /// The command that has `local` published as `words` say, with the private key in this file if it is there.
    fn ssh(&self, local: SocketAddr, words: &str) -> Command {
        let directory = self.directory.path();
        let option = |name: &str, value: &str| format!("-o{name}={value}");
        let known_hosts = directory.join("known_hosts").display().to_string();
        let mut ssh = Command::new("ssh");
        ssh.args(["-F", "none", "-T", "-p", &self.port.to_string()])
            .arg(option("BatchMode", "yes"))
            .arg(option("StrictHostKeyChecking", "accept-new"))
            .arg(option("UserKnownHostsFile", &known_hosts))
            .arg(option("IdentitiesOnly", "yes"))
            .arg(option(
                "IdentityFile",
                &directory.join("id").display().to_string(),
            ))
            .args(["-R", &format!(":80:{local}"), "v0@127.0.0.1"])
            .args(words.split(' '))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .env_remove("SSH_AUTH_SOCK")
            .kill_on_drop(true);
        ssh
    }

    fn publish(&self, local: SocketAddr, words: &str) -> Ssh {
        let mut child = self.ssh(local, words).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        Ssh { child, lines }
    }

    /// What an `ssh` says that is refused, and its status.
    async fn refused(&self, local: SocketAddr, words: &str) -> (String, Option<i32>) {
        let output = self.ssh(local, words).output();
        let output = within(PATIENCE, "ssh ends", output).await.unwrap();
        let [out, error] = [output.stdout, output.stderr].map(|it| String::from_utf8(it).unwrap());
        (out + &error, output.status.code())
    }
}

impl Ssh {
    /// The text behind `name` in a line of the terminal.
    async fn says(&mut self, name: &str) -> String {
        loop {
            let line = within(
                PATIENCE,
                "ssh says what it publishes",
                self.lines.next_line(),
            )
            .await;
            let Some(line) = line.unwrap() else {
                let mut error = String::new();
                let mut stderr = self.child.stderr.take().unwrap();
                stderr.read_to_string(&mut error).await.unwrap();
                panic!("ssh has ended: {error}");
            };
            if let Some(value) = line.strip_prefix(name) {
                return value.trim().to_owned();
            }
        }
    }

    /// Where users find the proxy.
    async fn public(&mut self) -> SocketAddr {
        let address = self.says("RemoteAddress: ").await;
        format!("127.0.0.1{address}").parse().unwrap()
    }
}

fn is_installed() -> bool {
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let has = |program: &str| std::env::split_paths(&paths).any(|path| path.join(program).exists());
    let is_here = has("ssh") && has("ssh-keygen");
    if !is_here {
        skipped(Need::Programs, "ssh", "it is not installed");
    }
    is_here
}

/// Makes a pair of keys; the line of the public one.
async fn keygen(kind: &str, path: &Path) -> String {
    let mut keygen = Command::new("ssh-keygen");
    keygen
        .args(["-q", "-t", kind, "-N", "", "-C", "", "-f"])
        .arg(path);
    let made = within(PATIENCE, "ssh-keygen ends", keygen.status()).await;
    assert!(made.unwrap().success());
    let public = fs::read_to_string(path.with_extension("pub")).unwrap();
    public.trim().to_owned()
}

async fn until_refused(at: SocketAddr) {
    eventually("the port is closed", async || {
        TcpStream::connect(at).await.is_err().then_some(())
    })
    .await;
}

#[tokio::test]
async fn ssh_publishes_a_port_until_it_is_killed() {
    if !is_installed() {
        return;
    }
    let echo = service::tcp_echo().await;
    let gateway = Gateway::start("auth.token = \"right\"").await;
    let mut ssh = gateway.publish(
        echo.addr(),
        "tcp --proxy_name echo --user ann --token right",
    );
    assert_eq!(ssh.says("User: ").await, "ann");
    assert_eq!(ssh.says("ProxyName: ").await, "echo");
    assert_eq!(ssh.says("Type: ").await, "tcp");
    let public = ssh.public().await;
    traffic::tcp_echo(public, 3_000_000).await;
    let users = (0..20).map(|_| traffic::tcp_echo(public, 10_000));
    futures_util::future::join_all(users).await;
    gateway.server.log().wait_for("[ann.echo]").await;
    ssh.child.kill().await.unwrap();
    until_refused(public).await;
}

#[tokio::test]
async fn services_are_published_by_name_and_for_visitors() {
    if !is_installed() {
        return;
    }
    let (web, echo) = (
        service::tcp(|mut conn| async move {
            let mut request = [0; 4096];
            if conn.read(&mut request).await.is_ok() {
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
                // Whoever has gone misses nothing.
                let _ = conn.write_all(answer).await;
            }
        })
        .await,
        service::tcp_echo().await,
    );
    let vhost = ports::free();
    let gateway = Gateway::start(&format!("vhostHTTPPort = {vhost}")).await;
    let mut by_name = gateway.publish(web.addr(), "http --custom-domain a.example");
    by_name.says("RemoteAddress: ").await;
    let at = SocketAddr::from(([127, 0, 0, 1], vhost));
    let mut user = TcpStream::connect(at).await.unwrap();
    let request = b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n";
    user.write_all(request).await.unwrap();
    let mut answer = String::new();
    within(PATIENCE, "an answer", user.read_to_string(&mut answer))
        .await
        .unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.ends_with("hi"),
        "{answer}"
    );

    let words = "stcp -n private --sk=abc --allow-users=\"*\"";
    let mut private = gateway.publish(echo.addr(), words);
    private.says("Type: ").await;
    let visitor = Visitor::new("stcp", "visitor", "private").with("secretKey = \"abc\"");
    let listener = visitor.listener();
    let addr = gateway.server.addr();
    let _guest = Client::start_with_visitors(Peer::Mgrok, addr, "", &[], &[visitor]).await;
    traffic::tcp_echo(listener, 100_000).await;
}

#[tokio::test]
async fn keys_are_let_in_that_are_in_the_file_and_no_others() {
    if !is_installed() {
        return;
    }
    let echo = service::tcp_echo().await;
    let files = TempDir::new().unwrap();
    let authorized = files.path().join("authorized_keys");
    fs::write(&authorized, "").unwrap();
    let settings =
        format!("auth.token = \"right\"\nsshTunnelGateway.authorizedKeysFile = {authorized:?}");
    let gateway = Gateway::start(&settings).await;
    for (kind, user) in [("ed25519", "ann"), ("rsa", "bob"), ("ecdsa", "eve")] {
        let id = gateway.directory.path().join("id");
        let _ = (
            fs::remove_file(&id),
            fs::remove_file(id.with_extension("pub")),
        );
        let line = keygen(kind, &id).await;
        // It is known nowhere, and the token does not help.
        let (said, status) = gateway.refused(echo.addr(), "tcp --token right").await;
        assert!(said.contains("Permission denied (publickey)"), "{said}");
        assert_eq!(status, Some(255));
        // The file is read anew, and the comment counts before what the client says.
        fs::write(&authorized, format!("# keys\n{line} {user}\n")).unwrap();
        let mut ssh = gateway.publish(echo.addr(), "tcp --user other");
        assert_eq!(ssh.says("User: ").await, user);
        traffic::tcp_echo(ssh.public().await, 1_000).await;
    }
}

#[tokio::test]
async fn who_is_refused_reads_why() {
    if !is_installed() {
        return;
    }
    let echo = service::tcp_echo().await;
    let gateway = Gateway::start("auth.token = \"right\"\nallowPorts = [{ single = 6000 }]").await;
    for (words, why, status) in [
        (
            "tcp",
            "token in login doesn't match token from configuration",
            255,
        ),
        ("tcp --token right -r 6001", "port not allowed", 255),
        ("ftp", "invalid proxy type: ftp", 255),
        ("tcp --help", "--remote-port PORT", 0),
    ] {
        let (said, ended) = gateway.refused(echo.addr(), words).await;
        assert!(said.contains(why), "{words}: {said}");
        assert_eq!(ended, Some(status), "{words}: {said}");
    }
}
