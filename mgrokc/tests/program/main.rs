//! The client's binary as an operator meets it: arguments, exit codes, streams, signals.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod admin;
mod directory;
mod doctor;
mod health;
mod init;
mod nathole;
mod one_off;
mod quick;
mod reload;
mod store;
// One package's tests cannot use another's without a crate for it, which this is not worth.
#[path = "../../../mgroks/tests/program/generated.rs"]
mod generated;
#[path = "../../../mgroks/tests/program/process.rs"]
mod process;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use mgrok_config::{Strictness, load_server_from_str};
use mgrok_server::Server;
use process::{Process, greeted_user, run};
use rustix::process::Signal;
use tempfile::TempDir;

const EXE: &str = env!("CARGO_BIN_EXE_mgrokc");

/// Writes `client.toml` into a directory of its own.
fn config(text: &str) -> TempDir {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("client.toml"), text).unwrap();
    directory
}

/// A client that is started where its file is, and so need not be told of it.
fn client_in(directory: &Path) -> Command {
    let mut command = Command::new(EXE);
    command.current_dir(directory);
    command
}

/// A port that no other test is given, of this process or of another.
fn free_port() -> u16 {
    mgrok_lab::ports::free()
}

#[test]
fn verify_reads_the_default_file() {
    let pin = "ab".repeat(32);
    let directory = config(&format!(
        "auth.token = \"secret\"\ntransport.tls.pinnedSha256 = \"{pin}\"\n"
    ));
    let (code, text) = Process::start(client_in(directory.path()).arg("verify")).ended();
    assert_eq!(
        text,
        "mgrokc: the configuration file ./client.toml syntax is ok"
    );
    assert_eq!(code, Some(0));
}

#[test]
fn a_client_that_trusts_everybody_says_which_line_to_add() {
    let directory = config("serverPort = 7000\n");
    let (code, text) = Process::start(client_in(directory.path()).arg("verify")).ended();
    let lines: Vec<_> = text.lines().collect();
    let [token, pin, ok] = lines.as_slice() else {
        panic!("{text}");
    };
    assert!(
        token.starts_with("WARNING: ") && token.contains("auth.token = "),
        "{text}"
    );
    assert!(pin.contains("transport.tls.pinnedSha256 = "), "{text}");
    assert!(
        pin.contains("transport.tls.trustSystemRoots = true"),
        "{text}"
    );
    assert!(ok.ends_with(" syntax is ok"), "{text}");
    assert_eq!(code, Some(0));
}

#[test]
fn verify_names_the_mistakes_of_a_bad_file() {
    let directory = config("serverPort = 70000\n");
    let file = directory.path().join("client.toml");
    let ended = run(EXE, ["verify".as_ref(), "-c".as_ref(), file.as_os_str()]);
    assert!(ended.stdout.contains("serverPort"), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn a_missing_file_says_what_to_do() {
    let directory = TempDir::new().unwrap();
    for arguments in [&[][..], &["verify"], &["status"]] {
        let mut client = client_in(directory.path());
        let (code, text) = Process::start(client.args(arguments)).ended();
        for part in ["./client.toml", "mgrokc http 3000 --server", "mgrokc init"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(code, Some(1));
    }

    let ended = run(EXE, ["verify", "-c", ""]);
    assert_eq!(
        ended.stdout,
        "mgrokc: the configuration file is not specified\n"
    );
    assert_eq!(ended.code, Some(0));
}

#[test]
fn version_and_wrong_arguments() {
    let ended = run(EXE, ["-v"]);
    assert!(ended.stdout.starts_with("mgrokc "), "{ended:?}");
    assert_eq!(ended.code, Some(0));
    for arguments in [
        ["tpc", "22"],
        ["tcp", "--local-port=many"],
        ["tcp", "nowhere"],
    ] {
        let ended = run(EXE, arguments);
        assert!(ended.stderr.contains("error: "), "{ended:?}");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    }
}

#[test]
fn a_first_login_that_fails_ends_the_program() {
    let port = free_port();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {port}\n"
    ));
    let (code, text) = Process::start(&mut client_in(directory.path())).ended();
    let first = text.lines().next().unwrap();
    assert!(
        first.ends_with(
            "start frpc service for config file [./client.toml] with aggregated configuration"
        ),
        "{text}"
    );
    let last = text.lines().last().unwrap();
    assert!(last.starts_with("login to the server failed: "), "{text}");
    assert!(
        last.ends_with("With loginFailExit enabled, no additional retries will be attempted"),
        "{text}"
    );
    assert_eq!(code, Some(1), "{text}");
}

#[test]
fn a_client_that_looks_for_its_server_can_be_stopped() {
    let port = free_port();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {port}\nloginFailExit = false\n"
    ));
    let mut client = Process::start(&mut client_in(directory.path()));
    client.wait_for("] connect to server error: ");
    client.signal(Signal::TERM);
    let (code, text) = client.ended();
    assert!(
        text.contains("frpc service for config file [./client.toml] stopped"),
        "{text}"
    );
    assert_eq!(code, Some(0), "{text}");
}

/// A client with a user who stays, through a server in this process.
fn client_with_a_user(settings: &str) -> (Process, TcpStream) {
    let service = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let local_port = service.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            // A user who has left is not greeted.
            let _ = stream.write_all(b"!");
            kept.push(stream);
        }
    });
    let server_port = start_server();
    let remote_port = free_port();
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {server_port}\n{settings}\n\
         [[proxies]]\nname = \"greet\"\ntype = \"tcp\"\nlocalPort = {local_port}\n\
         remotePort = {remote_port}\n"
    ));
    let mut client = Process::start(&mut client_in(directory.path()));
    client.wait_for("] [greet] start proxy success");
    let user = greeted_user(SocketAddr::from((Ipv4Addr::LOCALHOST, remote_port)));
    (client, user)
}

/// A server in a thread that ends with the test, at a port that is returned.
fn start_server() -> u16 {
    start_server_at(0)
}

/// The same, at this port unless it is 0.
fn start_server_at(port: u16) -> u16 {
    start_server_with(port, "")
}

/// The same, with more settings.
fn start_server_with(port: u16, settings: &str) -> u16 {
    let text = format!("proxyBindAddr = \"127.0.0.1\"\n{settings}");
    let config = load_server_from_str(&text, "the test", Strictness::Strict);
    let config = config.unwrap().config;
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
            let server = Server::from_listener(config, listener.unwrap())
                .await
                .unwrap();
            tell.send(server.local_addr().unwrap().port()).unwrap();
            server.run(std::future::pending()).await;
        });
    });
    told.recv().unwrap()
}

#[test]
fn users_who_stay_are_cut_after_the_grace_period() {
    let (client, _user) = client_with_a_user("gracePeriod = 1");
    let started = Instant::now();
    client.signal(Signal::TERM);
    let (code, text) = client.ended();
    assert!(started.elapsed() >= Duration::from_secs(1), "{text}");
    assert!(text.contains("1 user connections were cut"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_second_signal_ends_at_once() {
    let (mut client, _user) = client_with_a_user("gracePeriod = 3600");
    client.signal(Signal::INT);
    client.wait_for("SIGINT: stopping");
    client.signal(Signal::TERM);
    let (code, text) = client.ended();
    assert!(text.contains("SIGTERM: ending at once"), "{text}");
    assert_eq!(code, Some(143), "{text}");
}

/// Asks an admin port; gives the status line and the body.
fn ask(port: u16, path: &str) -> Option<(String, String)> {
    let mut conn = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    conn.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    conn.read_to_string(&mut text).unwrap();
    let (head, body) = text.split_once("\r\n\r\n")?;
    Some((head.lines().next()?.to_owned(), body.to_owned()))
}

#[test]
fn a_client_is_ready_when_it_has_logged_in() {
    let (server_port, admin_port) = (free_port(), free_port());
    let directory = config(&format!(
        "serverAddr = \"127.0.0.1\"\nserverPort = {server_port}\nloginFailExit = false\nwebServer.port = {admin_port}\n\
         [[proxies]]\nname = \"web\"\ntype = \"tcp\"\nlocalPort = 80\n"
    ));
    let socket = directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(process::LIMIT)).unwrap();
    let told = || {
        let mut datagram = [0; 256];
        let len = manager.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    };
    let client = Process::start(client_in(directory.path()).env("NOTIFY_SOCKET", &socket));
    let first = told();
    assert!(first.starts_with("EXTEND_TIMEOUT_USEC="), "{first}");
    let mut status = first;
    while !status.contains("\nSTATUS=reconnecting in ") {
        assert_ne!(status, "READY=1", "there is no server yet");
        status = told();
    }
    let (status, body) = ask(admin_port, "/readyz").unwrap();
    assert_eq!(status, "HTTP/1.1 503 Service Unavailable");
    assert!(body.contains("not logged in to a server: "), "{body}");
    assert_eq!(ask(admin_port, "/healthz").unwrap().0, "HTTP/1.1 200 OK");

    start_server_at(server_port);
    let connected = format!("STATUS=connected to 127.0.0.1:{server_port} with 1 proxy");
    let mut missing = vec!["READY=1", &connected];
    while !missing.is_empty() {
        let news = told();
        missing.retain(|it| !news.ends_with(it));
    }
    let deadline = Instant::now() + process::LIMIT;
    while ask(admin_port, "/readyz").unwrap().0 != "HTTP/1.1 200 OK" {
        assert!(Instant::now() < deadline);
        thread::sleep(Duration::from_millis(20));
    }
    client.signal(Signal::TERM);
    while told() != "STOPPING=1" {}
    assert_eq!(client.ended().0, Some(0));
}
