//! The memory of a fresh pair, and of connections that do nothing.

use std::{
    env,
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    connects,
    product::{Mode, Product, Tunnel},
    report::Figure,
    services::Published,
    web::Web,
};

/// The argument that makes this program a service: the sockets of the service then do not count
/// against the limit of open files of the process that holds the users' sockets.
pub(crate) const SERVE: &str = "serve-echo";

/// Until buffers that were in use are given back, where that happens at all: after a few seconds.
const SETTLE: Duration = Duration::from_secs(5);

const KIB: f64 = 1024.0;

pub(crate) fn name(connections: usize, web: Option<Web>) -> String {
    let kind = if web.is_some() { "http " } else { "" };
    format!("{kind}idle and hold {connections}")
}

/// Holds connections of users who have had one answer: from the echo service, or from `web`.
pub(crate) fn measure(
    product: Product,
    mode: Mode,
    connections: usize,
    web: Option<Web>,
) -> Vec<Figure> {
    let knows_it = web.is_none() || product != Product::Rathole;
    if product == Product::Direct || !knows_it {
        return Vec::new();
    }
    let service = EchoProcess::start();
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 9));
    let services = Published {
        sink: nowhere,
        source: nowhere,
        echo: service.addr,
        udp: nowhere,
        sunk: Default::default(),
        web,
    };
    let tunnel = Tunnel::start(product, mode, &services);
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
    let per = |end: usize| (full[end] - fresh[end]) / KIB / held.len() as f64;
    vec![
        Figure::new("fresh server MiB", fresh[0] / KIB / KIB, 1),
        Figure::new("fresh client MiB", fresh[1] / KIB / KIB, 1),
        Figure::new("held", held.len() as f64, 0),
        Figure::new("server KiB per connection", per(0), 2),
        Figure::new("client KiB per connection", per(1), 2),
        Figure::new("pair KiB per connection", per(0) + per(1), 2),
    ]
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
