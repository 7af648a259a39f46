//! What is attacked: a server with two clients, of which one logged in where everybody could listen.

use std::{
    env,
    fs::{self, File},
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::{Proxy, Role, binary, client_toml, ports, server_toml};
use tempfile::TempDir;

use crate::usage;

const PATIENCE: Duration = Duration::from_secs(30);

/// How many bytes of a recorded login are kept.
const RECORDED: usize = 16 << 10;

/// A running server, its clients, and where to reach what.
pub(crate) struct Target {
    pub(crate) control: SocketAddr,
    pub(crate) kcp: SocketAddr,
    pub(crate) quic: SocketAddr,
    pub(crate) http: SocketAddr,
    /// A TCP echo service, published by the client that behaves.
    pub(crate) echo: SocketAddr,
    /// A UDP echo service.
    pub(crate) udp: SocketAddr,
    /// What the other client said first, without TLS, on each of its connections.
    pub(crate) recorded: Arc<Mutex<Vec<Vec<u8>>>>,
    frp: bool,
    local: SocketAddr,
    processes: Mutex<Vec<Child>>,
    directory: TempDir,
}

impl Target {
    pub(crate) fn start(frp: bool) -> Self {
        let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
        let control = at(ports::free());
        let (local, local_udp) = (tcp_echo(), udp_echo());
        let echo = Proxy::tcp("echo", local);
        let udp = Proxy::udp("udp", local_udp);
        let recorded_echo = Proxy::tcp("recorded", local);
        let target = Self {
            control,
            kcp: at(ports::free()),
            quic: at(ports::free()),
            http: at(ports::free()),
            echo: echo.public(),
            udp: udp.public(),
            recorded: Arc::default(),
            frp,
            local,
            processes: Mutex::default(),
            directory: TempDir::new().unwrap(),
        };
        let settings = format!(
            "kcpBindPort = {}\nquicBindPort = {}\nvhostHTTPPort = {}\nauth.token = \"secret\"\nlog.to = \"{}\"\n",
            target.kcp.port(),
            target.quic.port(),
            target.http.port(),
            target.log().display(),
        );
        let server = server_toml(control, &settings);
        target.launch(Role::Server, "server", &server);
        wait("the server listens", || TcpStream::connect(control).is_ok());
        let web = Proxy::tcp("web", local);
        let web = Proxy {
            kind: "http",
            ..web
        }
        .with("customDomains = [\"web.test\"]");
        let client = client_toml(control, "auth.token = \"secret\"", &[echo, udp, web], &[]);
        target.launch(Role::Client, "client", &client);
        wait("the echo service is published", || echoes(target.echo));
        let tap = record(control, target.recorded.clone());
        let settings = "auth.token = \"secret\"\ntransport.tls.enable = false\ntransport.wireProtocol = \"v1\"";
        let public = recorded_echo.public();
        let client = client_toml(tap, settings, &[recorded_echo], &[]);
        target.launch(Role::Client, "recorded", &client);
        wait("the recorded client is in", || echoes(public));
        target
    }

    fn log(&self) -> PathBuf {
        self.directory.path().join("server.log")
    }

    fn launch(&self, role: Role, name: &str, toml: &str) {
        let file = self.directory.path().join(format!("{name}.toml"));
        fs::write(&file, toml).unwrap();
        let output = File::create(self.directory.path().join(format!("{name}.out"))).unwrap();
        let program = match (self.frp, role) {
            (false, role) => binary(role),
            (true, Role::Server) => env::var_os("FRPS_BIN").unwrap().into(),
            (true, Role::Client) => env::var_os("FRPC_BIN").unwrap().into(),
        };
        let child = Command::new(program)
            .arg("-c")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(output.try_clone().unwrap())
            .stderr(output)
            .spawn()
            .unwrap();
        self.processes.lock().unwrap().push(child);
    }

    /// How long somebody new takes from the start of its program until its service is reached by users; `None` for too long.
    pub(crate) fn newcomer(&self, transport: &str) -> Option<Duration> {
        let server = match transport {
            "kcp" => self.kcp,
            "quic" => self.quic,
            _ => self.control,
        };
        // Under a name of its own: the one before may not yet be missed.
        let proxy = Proxy::tcp(
            format!("newcomer-{transport}-{:x}", fastrand::u32(..)),
            self.local,
        );
        let public = proxy.public();
        let settings = format!(
            "auth.token = \"secret\"\nloginFailExit = false\ntransport.protocol = \"{transport}\""
        );
        let begun = Instant::now();
        self.launch(
            Role::Client,
            "newcomer",
            &client_toml(server, &settings, &[proxy], &[]),
        );
        let mut took = None;
        while took.is_none() && begun.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(10));
            took = echoes(public).then(|| begun.elapsed());
        }
        let newcomer = self.processes.lock().unwrap().pop();
        if let Some(mut newcomer) = newcomer {
            let _ = newcomer.kill();
            let _ = newcomer.wait();
        }
        took
    }

    fn server_id(&self) -> u32 {
        self.processes.lock().unwrap()[0].id()
    }

    /// In bytes.
    pub(crate) fn server_memory(&self) -> f64 {
        usage::memory(self.server_id()) as f64
    }

    pub(crate) fn server_cpu(&self) -> Duration {
        usage::cpu(self.server_id())
    }

    /// How much the server has logged, in bytes.
    pub(crate) fn log_len(&self) -> u64 {
        fs::metadata(self.log()).map_or(0, |it| it.len())
    }

    /// # Panics
    /// When one of the programs has ended.
    pub(crate) fn assert_alive(&self) {
        for process in &mut *self.processes.lock().unwrap() {
            assert!(process.try_wait().unwrap().is_none(), "a program has ended");
        }
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        for process in self.processes.get_mut().unwrap() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn wait(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !done() {
        assert!(Instant::now() < deadline, "{what}: not within {PATIENCE:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// Whether a byte comes back from there.
fn echoes(addr: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(addr) else {
        return false;
    };
    let _ = stream.set_read_timeout(Some(Duration::from_secs(2)));
    stream.write_all(b"?").is_ok() && stream.read_exact(&mut [0]).is_ok()
}

fn tcp_echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = stream.set_nodelay(true);
            thread::Builder::new()
                .stack_size(64 << 10)
                .spawn(move || {
                    let mut buffer = [0; 4096];
                    let (mut from, mut to) = (&stream, &stream);
                    while let Ok(len @ 1..) = from.read(&mut buffer)
                        && to.write_all(&buffer[..len]).is_ok()
                    {}
                })
                .unwrap();
        }
    });
    addr
}

fn udp_echo() -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut buffer = [0; 2048];
        while let Ok((len, from)) = socket.recv_from(&mut buffer) {
            let _ = socket.send_to(&buffer[..len], from);
        }
    });
    addr
}

/// Forwards connections to `server`, and keeps what each of them says first.
fn record(server: SocketAddr, recorded: Arc<Mutex<Vec<Vec<u8>>>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let Ok(far) = TcpStream::connect(server) else {
                continue;
            };
            let (back_from, back_to) = (far.try_clone().unwrap(), near.try_clone().unwrap());
            thread::spawn(move || copy(&back_from, &back_to, |_| {}));
            let recorded = recorded.clone();
            let index = {
                let mut recorded = recorded.lock().unwrap();
                recorded.push(Vec::new());
                recorded.len() - 1
            };
            thread::spawn(move || {
                copy(&near, &far, |bytes| {
                    let mut recorded = recorded.lock().unwrap();
                    let room = RECORDED - recorded[index].len();
                    recorded[index].extend_from_slice(&bytes[..bytes.len().min(room)]);
                });
            });
        }
    });
    addr
}

fn copy(mut from: &TcpStream, mut to: &TcpStream, mut seen: impl FnMut(&[u8])) {
    let mut buffer = [0; 16 << 10];
    while let Ok(len @ 1..) = from.read(&mut buffer) {
        seen(&buffer[..len]);
        if to.write_all(&buffer[..len]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Write);
}
