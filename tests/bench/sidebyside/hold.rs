//! The memory of a fresh pair, of connections that are held after one exchange, and of what stays when they have gone.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    panic::resume_unwind,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::report::Figure;

use crate::{
    connects,
    product::Product,
    services::Published,
    tunnel::{Setup, Tunnel},
    web::Web,
};

/// The arguments that make this program a service, or users: a system may let a process have no more files open than one of them has
/// sockets.
pub(crate) const SERVE: &str = "serve-echo";
pub(crate) const USERS: &str = "hold-users";

/// Until buffers that were in use are given back, where that happens at all: after a few seconds.
const SETTLE: Duration = Duration::from_secs(4);

/// How long a pair is watched after its users have gone.
const AFTER: Duration = Duration::from_secs(12);

/// How often memory is looked at.
const LOOK: Duration = Duration::from_millis(250);

const KIB: f64 = 1024.0;

/// What is plotted over time.
pub(crate) const COURSE: &str = "MiB of the pair";

/// What is held: so many connections, of echoes or of HTTP.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) setup: Setup,
    pub(crate) connections: usize,
    pub(crate) web: Option<Web>,
}

/// What was measured, and how the memory of the pair went, in seconds and MiB.
pub(crate) struct Held {
    pub(crate) figures: Vec<Figure>,
    pub(crate) course: Vec<(f64, f64)>,
}

impl Load {
    pub(crate) fn name(self) -> String {
        name(self.connections, self.web)
    }
}

pub(crate) fn name(connections: usize, web: Option<Web>) -> String {
    let kind = if web.is_some() { "http " } else { "" };
    format!("{kind}idle and hold {connections}")
}

/// Holds connections of users who have had one answer: from the echo service, or from the web.
pub(crate) fn measure(load: Load, product: Product) -> std::io::Result<Held> {
    let Load {
        setup,
        connections,
        web,
    } = load;
    let service = EchoProcess::start();
    let services = Published {
        // Nobody uses them.
        sink: service.addr,
        source: service.addr,
        echo: service.addr,
        udp: None,
        sunk: Default::default(),
        web,
    };
    let tunnel = Tunnel::start(product, setup, &services)?;
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let course = scope.spawn(|| watch(&tunnel, &is_over));
        let figures = hold(&tunnel, connections);
        is_over.store(true, Ordering::Relaxed);
        Ok(Held {
            figures,
            course: course.join().unwrap_or_else(|panic| resume_unwind(panic)),
        })
    })
}

fn hold(tunnel: &Tunnel, connections: usize) -> Vec<Figure> {
    thread::sleep(SETTLE);
    let fresh = tunnel.memory();
    let users = UserProcess::start(tunnel, connections);
    thread::sleep(SETTLE);
    let full = tunnel.memory();
    let count = users.held as f64;
    drop(users);
    thread::sleep(AFTER);
    let after: f64 = tunnel.memory().iter().sum();
    let per = |end: usize| (full[end] - fresh[end]) / KIB / count;
    let mib = |bytes: f64| bytes / KIB / KIB;
    vec![
        Figure::less("KiB per connection, pair", per(0) + per(1), 2),
        Figure::less("KiB per connection, server", per(0), 2),
        Figure::less("KiB per connection, client", per(1), 2),
        Figure::less("MiB fresh, pair", mib(fresh[0] + fresh[1]), 1),
        Figure::neutral("MiB fresh, server", mib(fresh[0]), 1),
        Figure::neutral("MiB fresh, client", mib(fresh[1]), 1),
        Figure::less("MiB when they have gone, pair", mib(after), 1),
        Figure::neutral("held", count, 0),
    ]
}

fn watch(tunnel: &Tunnel, is_over: &AtomicBool) -> Vec<(f64, f64)> {
    let (start, mut course) = (Instant::now(), Vec::new());
    while !is_over.load(Ordering::Relaxed) {
        let pair: f64 = tunnel.memory().iter().sum();
        course.push((start.elapsed().as_secs_f64(), pair / KIB / KIB));
        thread::sleep(LOOK);
    }
    course
}

/// Users in a process of their own, who stay as long as this value.
struct UserProcess {
    _process: Process,
    held: usize,
}

impl UserProcess {
    fn start(tunnel: &Tunnel, connections: usize) -> Self {
        let (to, kind) = match tunnel.public.web {
            Some(web) => (web.addr, "http"),
            None => (tunnel.public.echo, "tcp"),
        };
        let args = [to.to_string(), connections.to_string(), kind.to_owned()];
        let (process, line) = Process::start(USERS, &args);
        let held = line.parse().unwrap();
        Self {
            _process: process,
            held,
        }
    }
}

/// What [`UserProcess`] runs: connects, has an answer on each connection, says how many there are, and holds them.
pub(crate) fn users(mut args: impl Iterator<Item = String>) {
    let mut next = || args.next().expect("the outer process says all");
    let to: SocketAddr = next().parse().unwrap();
    let connections: usize = next().parse().unwrap();
    let is_http = next() == "http";
    let held: Vec<TcpStream> = (0..connections)
        .map_while(|_| {
            let held = if is_http {
                Web::new(to).once()
            } else {
                connects::once(to)
            };
            held.ok()
        })
        .collect();
    println!("{}", held.len());
    loop {
        thread::park();
    }
}

/// An echo service in a process of its own.
struct EchoProcess {
    _process: Process,
    addr: SocketAddr,
}

impl EchoProcess {
    fn start() -> Self {
        let (process, line) = Process::start(SERVE, &[]);
        Self {
            _process: process,
            addr: line.parse().unwrap(),
        }
    }
}

/// This program in another role, which ends with this value.
struct Process(Child);

impl Process {
    /// Starts it, and waits for the line that it prints.
    fn start(role: &str, args: &[String]) -> (Self, String) {
        let child = Command::new(env::current_exe().unwrap())
            .arg(role)
            .args(args)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut process = Self(child);
        let mut line = String::new();
        let output = process.0.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        (process, line.trim().to_owned())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What [`EchoProcess`] runs: thousands of connections, so tasks instead of threads.
pub(crate) fn serve() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let service = mgrok_lab::service::tcp_echo().await;
        println!("{}", service.addr());
        std::future::pending::<()>().await;
    });
}
