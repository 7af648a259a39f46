//! Programs that people use every day, through a tunnel, where they are installed.

use std::{
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use mgrok_lab::{Need, PATIENCE, Proxy, certs::Authority, eventually, ports, skipped, within};
use tempfile::TempDir;
use tokio::net::TcpStream;

use crate::{Shared, Tunnel, named};

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
            skipped(Need::Programs, program, "it is not installed");
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

/// nginx with the page `/page`, and `/who` to say who asks for what: on the first address in clear text, on the second,
/// if `certificate` is given, with TLS.
fn nginx(
    directory: &Path,
    [clear, secure]: [SocketAddr; 2],
    certificate: Option<&mgrok_lab::certs::Certificate>,
) -> Command {
    let dir = directory.display();
    let secure = certificate.map_or_else(String::new, |it| {
        format!(
            "listen {secure} ssl http2; ssl_certificate {}; ssl_certificate_key {};",
            it.cert.display(),
            it.key.display()
        )
    });
    let config = format!(
        "daemon off; master_process off; pid {dir}/pid; error_log {dir}/error.log; events {{}}
        http {{
            access_log off; client_max_body_size 0;
            client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; fastcgi_temp_path {dir}/fastcgi;
            uwsgi_temp_path {dir}/uwsgi; scgi_temp_path {dir}/scgi;
            server {{
                listen {clear}; {secure} root {dir};
                location = /who {{ return 200 \"$http_x_forwarded_for $http_host $request_uri\"; }}
            }}
        }}"
    );
    let file = directory.join("nginx.conf");
    std::fs::write(&file, config).unwrap();
    let mut command = Command::new("nginx");
    let error_log = directory.join("error.log");
    command
        .arg("-c")
        .arg(file)
        .arg("-e")
        .arg(error_log)
        .arg("-p")
        .arg(directory);
    command
}

/// What curl gets that takes `a.test` to be at this address, given these further arguments.
async fn curl(at: SocketAddr, more: &[&str]) -> Vec<u8> {
    let mut curl = Command::new("curl");
    curl.args(["--silent", "--show-error", "--fail", "--noproxy", "*"]);
    curl.args(["--resolve", &format!("a.test:{}:127.0.0.1", at.port())]);
    output(curl.args(more)).await
}

#[tokio::test]
async fn curl_speaks_http_in_both_versions_with_nginx() {
    if !installed(&["curl", "nginx"]) {
        return;
    }
    let files = TempDir::new().unwrap();
    let page: Vec<u8> = mgrok_lab::traffic::Pattern::new(9).take(3_000_000);
    std::fs::write(files.path().join("page"), &page).unwrap();
    let local = somewhere();
    let _nginx = Running::start(&mut nginx(files.path(), [local, somewhere()], None));
    listens(local).await;
    let more = "httpUser = \"ann\"\nhttpPassword = \"key\"\ntransport.useCompression = true";
    let proxies = [named("http", "web", local, "a.test").with(more)];
    let shared = Shared::with("vhostHTTPPort", "", &proxies).await;
    let port = shared.at.port();
    let url = |path: &str| format!("http://a.test:{port}{path}");
    for version in ["--http1.1", "--http2-prior-knowledge"] {
        let ask = [version, "--user", "ann:key"];
        let got = curl(shared.at, &[&ask[..], &[&url("/page")]].concat()).await;
        assert!(got == page, "{version}");
        let part = ["--range", "1000-1999", &url("/page")];
        let got = curl(shared.at, &[&ask[..], &part].concat()).await;
        assert!(got == page[1_000..2_000], "{version}");
        let file = format!("@{}", files.path().join("page").display());
        let upload = [
            "--data-binary",
            &file,
            "--header",
            "Expect: 100-continue",
            &url("/who?a;b"),
        ];
        let got = curl(shared.at, &[&ask[..], &upload].concat()).await;
        let expected = format!("127.0.0.1 a.test:{port} /who?a;b");
        assert_eq!(String::from_utf8_lossy(&got), expected, "{version}");
        let told = ["--write-out", "%{http_code} %{http_version}", "--output"];
        let nothing = files.path().join("nothing").display().to_string();
        let mut refused = Command::new("curl");
        refused
            .args(["--silent", "--noproxy", "*", version])
            .args(told);
        refused.args([&nothing, "--header", "Host: a.test"]);
        let got = output(refused.arg(format!("http://{}/page", shared.at))).await;
        let number = if version == "--http1.1" { "1.1" } else { "2" };
        assert_eq!(String::from_utf8_lossy(&got), format!("401 {number}"));
    }
}

#[tokio::test]
async fn curl_and_openssl_trust_an_nginx_behind_https() {
    if !installed(&["curl", "nginx", "openssl"]) {
        return;
    }
    let files = TempDir::new().unwrap();
    std::fs::write(files.path().join("page"), "a page").unwrap();
    let authority = Authority::new();
    let certificate = authority.sign("a.test");
    let [clear, secure] = [somewhere(), somewhere()];
    let mut nginx = nginx(files.path(), [clear, secure], Some(&certificate));
    let _nginx = Running::start(&mut nginx);
    listens(secure).await;
    let shared = Shared::with(
        "vhostHTTPSPort",
        "",
        &[named("https", "web", secure, "a.test")],
    )
    .await;
    let ca = authority.file().display().to_string();
    let url = format!("https://a.test:{}/page", shared.at.port());
    let version = [
        "--write-out",
        " by HTTP/%{http_version}",
        "--cacert",
        &ca,
        &url,
    ];
    let got = curl(shared.at, &version).await;
    assert_eq!(String::from_utf8_lossy(&got), "a page by HTTP/2");

    let mut openssl = Command::new("openssl");
    openssl.args(["s_client", "-verify_return_error", "-CAfile", &ca]);
    openssl.args(["-servername", "a.test", "-verify_hostname", "a.test"]);
    let got = output(openssl.arg("-connect").arg(shared.at.to_string())).await;
    let got = String::from_utf8_lossy(&got).into_owned();
    assert!(got.contains("Verify return code: 0 (ok)"), "{got}");
}

#[tokio::test]
async fn ssh_logs_in_through_tcpmux() {
    if !installed(&["ssh", "ssh-keygen", "sshd", "socat"]) {
        return;
    }
    let files = TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).display().to_string();
    for key in ["host", "user"] {
        let mut keygen = Command::new("ssh-keygen");
        output(keygen.args(["-q", "-t", "ed25519", "-N", "", "-f", &path(key)])).await;
    }
    let local = somewhere();
    let config = format!(
        "ListenAddress {local}\nHostKey {}\nAuthorizedKeysFile {}\nStrictModes no\nUsePAM no\n\
         PidFile none\nPermitRootLogin yes\n",
        path("host"),
        path("user.pub"),
    );
    std::fs::write(path("config"), config).unwrap();
    // It wants to be called by its whole path.
    let paths = std::env::var_os("PATH").unwrap_or_default();
    let sshd = std::env::split_paths(&paths)
        .map(|path| path.join("sshd"))
        .find(|path| path.exists())
        .unwrap();
    let mut check = Command::new(&sshd);
    if !check
        .args(["-t", "-f", &path("config")])
        .status()
        .unwrap()
        .success()
    {
        return skipped(Need::Programs, "sshd", "it does not run under this user");
    }
    let _sshd = Running::start(Command::new(&sshd).args(["-D", "-f", &path("config")]));
    listens(local).await;
    let more = "multiplexer = \"httpconnect\"\nhttpUser = \"ann\"\nhttpPassword = \"key\"";
    let proxies = [named("tcpmux", "ssh", local, "ssh.test").with(more)];
    let shared = Shared::with("tcpmuxHTTPConnectPort", "", &proxies).await;
    let proxy = format!(
        "ProxyCommand=socat - PROXY:127.0.0.1:%h:%p,proxyport={},proxyauth=ann:key",
        shared.at.port()
    );
    let user = output(Command::new("id").arg("-un")).await;
    let user = String::from_utf8(user).unwrap();
    let mut ssh = Command::new("ssh");
    ssh.args(["-F", "none", "-i", &path("user"), "-o", "BatchMode=yes"]);
    ssh.args([
        "-o",
        "StrictHostKeyChecking=no",
        "-o",
        "UserKnownHostsFile=/dev/null",
    ]);
    ssh.args(["-o", &proxy, &format!("{}@ssh.test", user.trim())]);
    let got = output(ssh.arg("seq 100000 | tail -n 1")).await;
    assert_eq!(got, b"100000\n");
}
