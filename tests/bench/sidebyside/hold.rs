//! The memory of a fresh pair, of connections that are held after one exchange, and of what stays when they have gone.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
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

/// The argument that makes this program a service: the sockets of the service then do not count
/// against the limit of open files of the process that holds the users' sockets.
pub(crate) const SERVE: &str = "serve-echo";

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
            course: course.join().unwrap(),
        })
    })
}

fn hold(tunnel: &Tunnel, connections: usize) -> Vec<Figure> {
    thread::sleep(SETTLE);
    let fresh = tunnel.memory();
    let held: Vec<TcpStream> = (0..connections)
        .map_while(|_| {
            let held = match tunnel.public.web {
                Some(web) => web.once(),
                None => connects::once(tunnel.public.echo),
            };
            held.ok()
        })
        .collect();
    thread::sleep(SETTLE);
    let full = tunnel.memory();
    let count = held.len() as f64;
    drop(held);
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

/// An echo service in a process of its own.
struct EchoProcess {
    child: Child,
    addr: SocketAddr,
}

impl EchoProcess {
    fn start() -> Self {
        let mut child = Command::new(env::current_exe().unwrap())
            .arg(SERVE)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let output = child.stdout.take().unwrap();
        BufReader::new(output).read_line(&mut line).unwrap();
        let addr = line.trim().parse().unwrap();
        Self { child, addr }
    }
}

impl Drop for EchoProcess {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
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
