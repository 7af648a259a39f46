//! The server's binary as an operator meets it: arguments, exit codes, streams, signals.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

mod admin;
mod doctor;
mod flags;
mod generated;
mod health;
mod init;
mod process;

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use mgrok_client::Client;
use mgrok_config::{Strictness, load_client_from_str};
use process::{LIMIT, Process, greeted_user, run};
use rustix::process::Signal;
use tempfile::TempDir;

const EXE: &str = env!("CARGO_BIN_EXE_mgroks");

/// A configuration file in a directory of its own.
struct Config {
    directory: TempDir,
    file: PathBuf,
}

impl Config {
    fn new(text: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let file = directory.path().join("server.toml");
        std::fs::write(&file, text).unwrap();
        Self { directory, file }
    }

    /// One that listens where nobody else does.
    fn of_server(more: &str) -> Self {
        Self::new(&format!(
            "bindAddr = \"127.0.0.1\"\nbindPort = {}\n{more}",
            free_port()
        ))
    }

    fn path(&self) -> &str {
        self.file.to_str().unwrap()
    }

    fn command(&self) -> Command {
        let mut command = Command::new(EXE);
        command.arg("-c").arg(&self.file);
        command.env("STATE_DIRECTORY", self.directory.path().join("state"));
        command
    }
}

/// A port that no other test is given, of this process or of another.
fn free_port() -> u16 {
    mgrok_lab::ports::free()
}

#[test]
fn verify_accepts_a_good_file() {
    let config = Config::new("bindPort = 7000\nauth.token = \"secret\"\n");
    for args in [
        ["verify", "-c", config.path()],
        ["-c", config.path(), "verify"],
    ] {
        let ended = run(EXE, args);
        let file = config.path();
        assert_eq!(
            ended.stdout,
            format!("mgroks: the configuration file {file} syntax is ok\n")
        );
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
}

#[test]
fn verify_names_every_mistake_of_a_bad_file() {
    let config = Config::new("bindPort = 70000\nnoSuchKey = 1\n");
    let ended = run(EXE, ["verify", "-c", config.path()]);
    assert!(ended.stdout.contains("bindPort"), "{ended:?}");
    assert!(
        ended.stdout.contains("unknown field \"noSuchKey\""),
        "{ended:?}"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn unknown_keys_are_forgiven_on_request() {
    let config = Config::new("noSuchKey = 1\n");
    for flag in ["--strict-config=false", "--strict_config=0"] {
        let ended = run(EXE, ["verify", "-c", config.path(), flag]);
        assert!(ended.stdout.starts_with("WARNING: "), "{ended:?}");
        assert!(ended.stdout.ends_with(" syntax is ok\n"), "{ended:?}");
        assert_eq!(ended.code, Some(0));
    }
}

#[test]
fn verify_wants_a_file_that_is_there() {
    let ended = run(EXE, ["verify", "-c", "/nonexistent/server.toml"]);
    assert!(
        ended.stdout.contains("/nonexistent/server.toml"),
        "{ended:?}"
    );
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));

    let ended = run(EXE, ["verify"]);
    assert_eq!(
        ended.stdout,
        "mgroks: the configuration file is not specified\n"
    );
    assert_eq!(ended.code, Some(0));
}

#[test]
fn the_version_names_frps() {
    let expect = format!("mgroks {} (speaks frp 0.71.0)\n", env!("CARGO_PKG_VERSION"));
    for flag in ["-v", "--version"] {
        let ended = run(EXE, [flag]);
        assert_eq!(
            (ended.stdout.as_str(), ended.code),
            (expect.as_str(), Some(0))
        );
    }
}

#[test]
fn wrong_arguments_are_told_on_stderr() {
    for args in [
        ["--no-such-flag"],
        ["no-such-command"],
        ["--bind-port=many"],
    ] {
        let ended = run(EXE, args);
        assert!(ended.stderr.contains("error: "), "{ended:?}");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    }
}

#[test]
fn a_bad_file_ends_a_start_on_stdout() {
    let config = Config::new("bindPort = \"x\"\n");
    let ended = run(EXE, ["-c", config.path()]);
    assert!(ended.stdout.contains("bindPort"), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn a_taken_port_ends_a_start_on_stdout() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = taken.local_addr().unwrap().port();
    let config = Config::new(&format!("bindAddr = \"127.0.0.1\"\nbindPort = {port}\n"));
    let ended = run(EXE, ["-c", config.path()]);
    let last = ended.stdout.lines().last().unwrap();
    assert!(last.contains(&format!("127.0.0.1:{port}")), "{ended:?}");
    assert!(last.contains("in use"), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));
}

#[test]
fn both_stop_signals_stop() {
    for signal in [Signal::TERM, Signal::INT] {
        let config = Config::of_server("");
        let mut server = Process::start(&mut config.command());
        let first = server.wait_for("");
        let expect = format!(
            "[I] [mgroks/main.rs:{{}}] frps uses config file: {}",
            config.path()
        );
        let (head, tail) = expect.split_once("{}").unwrap();
        assert!(first.contains(head) && first.ends_with(tail), "{first}");
        server.wait_for("] frps started successfully");
        server.signal(signal);
        let (code, text) = server.ended();
        assert_eq!(code, Some(0), "{text}");
        assert!(text.contains("no user connections were cut"), "{text}");
    }
}

#[test]
fn the_service_manager_is_told() {
    let config = Config::of_server("");
    let socket = config.directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let told = || {
        let mut datagram = [0; 64];
        let len = manager.recv(&mut datagram).unwrap();
        String::from_utf8(datagram[..len].to_vec()).unwrap()
    };
    let server = Process::start(config.command().env("NOTIFY_SOCKET", &socket));
    assert_eq!(told(), "READY=1");
    server.signal(Signal::TERM);
    assert_eq!(told(), "STOPPING=1");
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn a_log_file_takes_the_lines() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("logs/server.log");
    let config = Config::of_server(&format!("log.to = {log:?}\n"));
    let server = Process::start(&mut config.command());
    let deadline = Instant::now() + LIMIT;
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    while !read().contains("] frps started successfully\n") {
        assert!(Instant::now() < deadline, "{}", read());
        thread::sleep(Duration::from_millis(5));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended(), (Some(0), String::new()));
    assert!(
        read().ends_with("no user connections were cut\n"),
        "{}",
        read()
    );
}

#[test]
fn the_server_may_open_as_many_files_as_it_is_allowed() {
    let config = Config::of_server("log.level = \"debug\"\n");
    let mut shell = Command::new("sh");
    let script = "ulimit -Sn 64; exec \"$@\"";
    shell.args(["-c", script, "sh", EXE, "-c", config.path()]);
    let mut server = Process::start(&mut shell);
    server.wait_for("] raised the limit of open files from=64 to=");
    server.wait_for("] frps started successfully");
    let limits = format!("/proc/{}/limits", server.pid().as_raw_nonzero());
    let limits = std::fs::read_to_string(limits).unwrap();
    let files = limits
        .lines()
        .find(|it| it.starts_with("Max open files"))
        .unwrap();
    let columns: Vec<_> = files.split_whitespace().collect();
    assert_eq!(columns[3], columns[4], "{files}");
}

/// A server with a user who stays: through a client, to a service that greets and then waits.
struct Tunnel {
    server: Process,
    config: Config,
    _user: TcpStream,
}

impl Tunnel {
    fn new(settings: &str) -> Self {
        let server_port = free_port();
        let config = Config::new(&format!(
            "bindAddr = \"127.0.0.1\"\nbindPort = {server_port}\n{settings}"
        ));
        let mut server = Process::start(&mut config.command());
        server.wait_for("] frps started successfully");
        start_client(server_port, "tcp", greeting_service());
        let line = server.wait_for("tcp proxy listen port [");
        let port = line.rsplit_once('[').unwrap().1.trim_end_matches(']');
        let user = greeted_user(SocketAddr::from((
            Ipv4Addr::LOCALHOST,
            port.parse().unwrap(),
        )));
        Self {
            server,
            config,
            _user: user,
        }
    }
}

/// A service that sends a byte and keeps the connection.
fn greeting_service() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let mut kept = Vec::new();
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            // A user who has left is not greeted.
            let _ = stream.write_all(b"!");
            kept.push(stream);
        }
    });
    port
}

/// A client in a thread that ends with the test.
fn start_client(server_port: u16, protocol: &str, local_port: u16) {
    let text = format!(
        "serverPort = {server_port}\nserverAddr = \"127.0.0.1\"\nloginFailExit = false\n\
         transport.protocol = \"{protocol}\"\n[[proxies]]\nname = \"greet\"\ntype = \"tcp\"\nlocalPort = {local_port}\n"
    );
    let config = load_client_from_str(&text, "the test", Strictness::Strict).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = Client::new(config.config).unwrap();
        let _ = runtime.block_on(client.run(std::future::pending()));
    });
}

#[test]
fn users_who_stay_are_cut_after_the_grace_period() {
    let tunnel = Tunnel::new("gracePeriod = 1\n");
    let started = Instant::now();
    tunnel.server.signal(Signal::TERM);
    let (code, text) = tunnel.server.ended();
    assert!(started.elapsed() >= Duration::from_secs(1), "{text}");
    assert!(text.contains("1 user connections were cut"), "{text}");
    assert_eq!(code, Some(0), "{text}");
}

#[test]
fn a_second_signal_ends_at_once() {
    // Longer than the test waits for the end.
    let mut tunnel = Tunnel::new("gracePeriod = 3600\n");
    tunnel.server.signal(Signal::TERM);
    tunnel.server.wait_for("SIGTERM: stopping");
    tunnel.server.signal(Signal::INT);
    let (code, text) = tunnel.server.ended();
    assert!(text.contains("SIGINT: ending at once"), "{text}");
    assert_eq!(code, Some(130), "{text}");
}

#[test]
fn a_flood_of_wrong_logins_leaves_a_short_log_in_which_other_lines_arrive() {
    const LOGINS: usize = 300;
    let config = Config::of_server("auth.token = \"right\"\ntransport.tcpMux = false\n");
    let text = std::fs::read_to_string(&config.file).unwrap();
    let port = text
        .split("bindPort = ")
        .nth(1)
        .unwrap()
        .lines()
        .next()
        .unwrap();
    let mut server = Process::start(&mut config.command());
    server.wait_for("] frps started successfully");

    // A frame of the first wire format: a type, a length and JSON.
    let login = format!(
        r#"{{"version":"0.70.1","hostname":"{}","privilege_key":"wrong"}}"#,
        "x".repeat(9_000)
    );
    let mut frame = vec![b'o'];
    frame.extend((login.len() as u64).to_be_bytes());
    frame.extend(login.bytes());
    for _ in 0..LOGINS {
        let mut stranger = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stranger.set_read_timeout(Some(LIMIT)).unwrap();
        stranger.write_all(&frame).unwrap();
        let mut answer = Vec::new();
        stranger.read_to_end(&mut answer).unwrap();
        assert!(String::from_utf8_lossy(&answer).contains("token in login"));
    }
    server.signal(Signal::TERM);
    let (_, log) = server.ended();
    assert!(log.len() < 64 << 10, "{} bytes of log", log.len());
    for (reason, most) in [("client login info", 32), ("register control error", 32)] {
        let lines = log.lines().filter(|it| it.contains(reason)).count();
        assert!((1..=most).contains(&lines), "{lines} lines of {reason}");
    }
    assert!(
        log.contains("] 270 more lines like this were left out, from 127.0.0.1: "),
        "{log}"
    );
    assert!(
        log.contains("] stopping: no new connections are taken"),
        "{log}"
    );
}

/// The fingerprint that a server prints, and what it says of keeping the certificate.
fn pinned(config: &Config, state: &std::path::Path) -> (String, String) {
    let mut server = Process::start(config.command().env("STATE_DIRECTORY", state));
    let kept = server.wait_for("kept");
    let pin = server.wait_for("transport.tls.pinnedSha256 = ");
    server.wait_for("] frps started successfully");
    let pin = pin.split('"').nth(1).unwrap().to_owned();
    (pin, kept)
}

#[test]
fn the_certificate_that_is_made_outlives_a_restart() {
    use std::os::unix::fs::PermissionsExt as _;

    let config = Config::of_server("");
    let state = config.directory.path().join("new/state");
    let (first, kept) = pinned(&config, &state);
    let file = state.join("certificate.pem");
    assert!(
        kept.contains(&format!("kept in {}", file.display())),
        "{kept}"
    );
    let (second, _) = pinned(&config, &state);
    assert_eq!(first, second);
    let mode = std::fs::metadata(&file).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_server_starts_where_no_certificate_can_be_kept() {
    let config = Config::of_server("");
    // A file is no directory, and garbage no certificate.
    let file = config.directory.path().join("file");
    std::fs::write(&file, "").unwrap();
    let (first, kept) = pinned(&config, &file);
    assert!(kept.contains("is not kept: cannot create"), "{kept}");
    std::fs::write(config.directory.path().join("certificate.pem"), "garbage").unwrap();
    let (second, kept) = pinned(&config, config.directory.path());
    assert!(
        kept.contains("is not kept: ") && kept.contains("certificate.pem"),
        "{kept}"
    );
    assert_ne!(first, second);
}

#[test]
fn sighup_reloads_the_file_or_changes_nothing() {
    let port = free_port();
    let config = Config::of_server("");
    let base = std::fs::read_to_string(&config.file).unwrap();
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps started successfully");
    let reload = |server: &mut Process, more: &str| {
        std::fs::write(&config.file, format!("{base}{more}")).unwrap();
        server.signal(Signal::HUP);
        server.wait_for("reloaded")
    };
    let line = reload(&mut server, &format!("vhostHTTPPort = {port}\n"));
    assert!(
        line.contains(&format!("opened vhostHTTPPort at 127.0.0.1:{port}")),
        "{line}"
    );
    TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    for (mistake, says) in [
        ("vhostHTTPort = 1\n", "vhostHTTPort"),
        ("[log]\nto = \"elsewhere\"\n", "log.to cannot change"),
    ] {
        let line = reload(&mut server, mistake);
        assert!(
            line.contains("nothing has changed") && line.contains(says),
            "{line}"
        );
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
    }
    let line = reload(&mut server, "");
    assert!(line.contains("closed vhostHTTPPort"), "{line}");
}

#[test]
fn a_reload_changes_level_and_format_of_the_log() {
    let config = Config::of_server("");
    let base = std::fs::read_to_string(&config.file).unwrap();
    let socket = config.directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let mut server = Process::start(config.command().env("NOTIFY_SOCKET", &socket));
    server.wait_for("frps started successfully");
    let stranger = |server: &mut Process| {
        let port = base.split("bindPort = ").nth(1).unwrap().trim();
        let mut stranger = TcpStream::connect(format!("127.0.0.1:{port}")).unwrap();
        stranger.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let from = stranger.local_addr().unwrap();
        drop(stranger);
        server.wait_for(&from.to_string())
    };
    std::fs::write(
        &config.file,
        format!("{base}[log]\nlevel = \"debug\"\nformat = \"json\"\n"),
    )
    .unwrap();
    server.signal(Signal::HUP);
    server.wait_for("] SIGHUP: reloading the configuration");
    let line = server.wait_for("\"message\":\"reloaded: ");
    assert!(line.starts_with("{\"time\":\""), "{line}");
    let line = stranger(&mut server);
    assert!(line.contains("\"level\":\"debug\""), "{line}");

    std::fs::write(&config.file, format!("{base}log.level = \"warn\"\n")).unwrap();
    server.signal(Signal::HUP);
    // At the start, and after each reload.
    let mut ready = 0;
    while ready < 3 {
        let mut datagram = [0; 64];
        let len = manager.recv(&mut datagram).unwrap();
        ready += usize::from(&datagram[..len] == b"READY=1");
    }
    server.signal(Signal::TERM);
    let (_, text) = server.ended();
    let after = text.rsplit_once("SIGHUP: reloading").unwrap().1;
    assert!(!after.contains("no user connections were cut"), "{text}");
}

#[test]
fn a_file_that_changes_is_reloaded_if_that_is_wanted() {
    let port = free_port();
    let config = Config::of_server("reloadOnChange = true\n");
    let base = std::fs::read_to_string(&config.file).unwrap();
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps started successfully");
    let replace = |more: &str| {
        let next = config.directory.path().join("next");
        std::fs::write(&next, format!("{base}{more}")).unwrap();
        std::fs::rename(&next, &config.file).unwrap();
    };
    replace(&format!("vhostHTTPPort = {port}\n"));
    server.wait_for("a configuration file has changed: reloading");
    let line = server.wait_for("reloaded: ");
    assert!(line.contains("opened vhostHTTPPort"), "{line}");
    replace("vhostHTTPPort = \"\n");
    server.wait_for("not reloaded, nothing has changed: ");
    replace("");
    let line = server.wait_for("reloaded: ");
    assert!(line.contains("closed vhostHTTPPort"), "{line}");
}

#[test]
fn a_log_file_of_limited_size_is_rotated() {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("server.log");
    let config = Config::of_server(&format!(
        "log.to = {log:?}\nlog.maxSize = \"64KB\"\nlog.maxFiles = 2\nlog.level = \"trace\"\n"
    ));
    let server = Process::start(&mut config.command());
    let rotated = || {
        let entries = std::fs::read_dir(directory.path()).unwrap();
        let names = entries.map(|it| it.unwrap().file_name().into_string().unwrap());
        names.filter(|it| it != "server.log").count()
    };
    let deadline = Instant::now() + LIMIT;
    let has_started = || {
        let text = std::fs::read_to_string(&log).unwrap_or_default();
        text.contains("frps started successfully")
    };
    while !has_started() {
        assert!(Instant::now() < deadline, "no server");
        thread::sleep(Duration::from_millis(5));
    }
    // Each reload has a few lines.
    while rotated() < 2 {
        assert!(Instant::now() < deadline, "{} rotated files", rotated());
        server.signal(Signal::HUP);
        thread::sleep(Duration::from_millis(1));
    }
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0, Some(0));
    assert!(rotated() <= 2);
    for entry in std::fs::read_dir(directory.path()).unwrap() {
        let len = entry.unwrap().metadata().unwrap().len();
        assert!(len <= 64 << 10, "{len} bytes");
    }
}

/// The server, started by a service manager that passes it `socket`.
fn with_passed_socket(config: &Config, socket: impl Into<OwnedFd>) -> Process {
    let mut shell = Command::new("sh");
    let script = "exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$@\"";
    shell.args(["-c", script, "sh", EXE, "-c", config.path()]);
    shell.env("STATE_DIRECTORY", config.directory.path().join("state"));
    Process::start_with(&mut shell, socket.into().into())
}

#[test]
fn a_socket_that_is_passed_outlives_the_server() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    let config = Config::of_server(&format!(
        "webServer.addr = \"127.0.0.1\"\nwebServer.port = {port}\n"
    ));
    let ask = || {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        stream.write_all(b"GET /healthz HTTP/1.0\r\n\r\n").unwrap();
        stream
    };
    let answer = |mut stream: TcpStream| {
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mut server = with_passed_socket(&config, listener.try_clone().unwrap());
    server.wait_for("frps started successfully");
    assert!(answer(ask()).starts_with("HTTP/1.0 200"));
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0, Some(0));
    // Nobody is there, and who comes waits.
    let waiting = ask();
    let mut server = with_passed_socket(&config, listener.try_clone().unwrap());
    server.wait_for("frps started successfully");
    assert!(answer(waiting).starts_with("HTTP/1.0 200"));
}

#[test]
fn clients_come_by_a_udp_socket_that_is_passed() {
    for (key, protocol) in [("kcpBindPort", "kcp"), ("quicBindPort", "quic")] {
        // Nobody else can have the port as long as this lives.
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = socket.local_addr().unwrap().port();
        let config = Config::of_server(&format!("{key} = {port}\n"));
        let mut server = with_passed_socket(&config, socket.try_clone().unwrap());
        server.wait_for("frps started successfully");
        start_client(port, protocol, 1);
        server.wait_for("new proxy [greet] type [tcp] success");
        drop(socket);
    }
}

#[test]
fn a_socket_that_nobody_wants_ends_the_start() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let config = Config::of_server("");
    let passed = listener.try_clone().unwrap();
    let (code, text) = with_passed_socket(&config, passed).ended();
    assert_eq!(code, Some(1), "{text}");
    let addr = listener.local_addr().unwrap();
    let expect = format!("no key of the configuration wants another TCP port at {addr}");
    assert!(text.contains(&expect), "{text}");
}

#[test]
fn the_watchdog_hears_of_the_server_as_long_as_it_runs() {
    let config = Config::of_server("");
    let socket = config.directory.path().join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(LIMIT)).unwrap();
    let hears = || {
        let mut datagram = [0; 64];
        let len = manager.recv(&mut datagram)?;
        std::io::Result::Ok(datagram[..len].starts_with(b"WATCHDOG=1"))
    };
    let mut command = config.command();
    command.env("NOTIFY_SOCKET", &socket);
    command.env("WATCHDOG_USEC", "100000");
    let server = Process::start(&mut command);
    for _ in 0..3 {
        while !hears().unwrap() {}
    }
    server.signal(Signal::STOP);
    // What was under way arrives, and nothing after that.
    manager
        .set_read_timeout(Some(Duration::from_secs(1)))
        .unwrap();
    let end = (0..100).find_map(|_| hears().err());
    assert_eq!(end.unwrap().kind(), std::io::ErrorKind::WouldBlock);
    server.signal(Signal::CONT);
}

#[test]
fn a_reload_turns_the_access_log_on_and_off() {
    let web = free_port();
    let config = Config::of_server(&format!(
        "vhostHTTPPort = {web}\nproxyBindAddr = \"127.0.0.1\"\n"
    ));
    let base = std::fs::read_to_string(&config.file).unwrap();
    let log = config.directory.path().join("access.log");
    let mut server = Process::start(&mut config.command());
    server.wait_for("frps started successfully");
    let ask = |path: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, web)).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 404"), "{answer}");
    };
    let mut reload = |more: String| {
        std::fs::write(&config.file, format!("{base}{more}")).unwrap();
        server.signal(Signal::HUP);
        server.wait_for("] reloaded: ");
    };
    ask("/before");
    reload(format!("accessLog.to = {log:?}\n"));
    ask("/text");
    reload(format!(
        "accessLog.to = {log:?}\naccessLog.format = \"json\"\n"
    ));
    ask("/json");
    reload(String::new());
    ask("/after");
    server.signal(Signal::TERM);
    assert_eq!(server.ended().0, Some(0));
    let text = std::fs::read_to_string(&log).unwrap();
    let lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.len(), 2, "{text}");
    assert!(
        lines[0].contains(" host=a.test method=GET path=/text status=404 "),
        "{text}"
    );
    assert!(
        lines[1].contains("\"path\":\"/json\",\"status\":404,"),
        "{text}"
    );
}
