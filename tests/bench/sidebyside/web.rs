//! HTTP through the shared port: requests per second and latency as `wrk` sees them, with one domain and with many, and the
//! throughput of a download.
//!
//! nginx is the service. rathole and bore know no HTTP and sit this out.

use std::{
    fmt::Write as _,
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
    sync::Arc,
    thread,
    time::Duration,
};

use mgrok_lab::{Proxy, report::Figure};
use tempfile::TempDir;

use crate::{bulk, nginx, product::Product, services::discard, tunnel::Tunnel};

/// Connections that wrk keeps busy.
const USERS: usize = 64;

/// How many domains one proxy has: all of its names travel in one message of at most 10,240 bytes.
const DOMAINS_PER_PROXY: usize = 100;

/// Domains that requests name in turn: those of one proxy, so that its connections serve as in the
/// comparison.
const ASKED_DOMAINS: usize = DOMAINS_PER_PROXY;

/// Requests for the file that are sent ahead: more than a window can take.
const AHEAD: usize = 500;

/// When an answer does not come.
const TIMEOUT: Duration = Duration::from_secs(10);

/// What is published by HTTP, and under how many names.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Web {
    /// The service, or the shared port of a server.
    pub(crate) addr: SocketAddr,
    domains: usize,
}

/// One thing to measure.
#[derive(Clone, Copy)]
pub(crate) enum Work {
    /// Requests for a small page on connections that are kept.
    Kept,
    /// Requests for a small page, each on a connection of its own.
    Closed,
    /// One download after the other.
    Download,
}

impl Web {
    pub(crate) fn new(addr: SocketAddr) -> Self {
        Self { addr, domains: 1 }
    }

    /// The same elsewhere.
    pub(crate) fn at(self, addr: SocketAddr) -> Self {
        Self { addr, ..self }
    }

    /// The same under so many names.
    pub(crate) fn with_domains(self, domains: usize) -> Self {
        Self { domains, ..self }
    }

    /// Its names.
    pub(crate) fn domains(self) -> impl Iterator<Item = String> {
        (0..self.domains).map(domain)
    }

    /// The proxies that publish it.
    pub(crate) fn proxies(self) -> Vec<Proxy> {
        (0..self.domains)
            .step_by(DOMAINS_PER_PROXY)
            .map(|first| {
                let end = self.domains.min(first + DOMAINS_PER_PROXY);
                let names: Vec<_> = (first..end).map(domain).collect();
                Proxy::new("http", format!("web{first}"), self.addr)
                    .with(&format!("customDomains = {names:?}"))
            })
            .collect()
    }

    /// Has the page once; the connection is still open.
    pub(crate) fn once(self) -> io::Result<TcpStream> {
        once(self.addr, &domain(0))
    }

    /// Whether all proxies are there.
    pub(crate) fn is_up(self) -> bool {
        (0..self.domains)
            .step_by(DOMAINS_PER_PROXY)
            .all(|first| once(self.addr, &domain(first)).is_ok())
    }
}

fn domain(number: usize) -> String {
    format!("d{number}.bench.test")
}

fn request(path: &str, host: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

fn once(to: SocketAddr, host: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.write_all(request(nginx::PAGE, host).as_bytes())?;
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    let is_whole = |answer: &[u8]| {
        let head = answer.windows(4).position(|it| it == b"\r\n\r\n");
        head.is_some_and(|head| answer.len() >= head + 4 + nginx::PAGE_SIZE)
    };
    while !is_whole(&answer) {
        match stream.read(&mut buffer)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            len => answer.extend_from_slice(&buffer[..len]),
        }
        if !answer.starts_with(b"HTTP/1.1 200 ") {
            return Err(io::Error::other("not the page"));
        }
    }
    Ok(stream)
}

impl Work {
    /// What is done with one domain, and with many.
    pub(crate) const ONE: [Self; 3] = [Self::Kept, Self::Closed, Self::Download];
    pub(crate) const MANY: [Self; 2] = [Self::Kept, Self::Closed];

    pub(crate) fn name(self, domains: usize) -> String {
        let work = match self {
            Self::Kept => format!("http kept x{USERS}"),
            Self::Closed => format!("http closed x{USERS}"),
            Self::Download => "http down x1".to_owned(),
        };
        match domains {
            1 => work,
            many => format!("{work}, {many} domains"),
        }
    }
}

/// Does the work through a tunnel; nothing where there is no HTTP.
pub(crate) fn measure(work: Work, tunnel: &Tunnel, window: Duration) -> Vec<Figure> {
    let Some(web) = tunnel.public.web else {
        return Vec::new();
    };
    match work {
        Work::Kept => requests(tunnel, web, "", window),
        Work::Closed => requests(tunnel, web, "Connection: close", window),
        Work::Download => download(tunnel, web, window),
    }
}

/// Whether wrk is installed.
pub(crate) fn wrk_is_here() -> bool {
    Command::new("wrk").arg("-v").output().is_ok()
}

/// Has wrk request the page.
fn requests(tunnel: &Tunnel, web: Web, header: &str, window: Duration) -> Vec<Figure> {
    let directory = TempDir::new().unwrap();
    let script = directory.path().join("requests.lua");
    fs::write(&script, lua(web, header)).unwrap();
    let before = tunnel.cpu();
    let output = Command::new("wrk")
        .args(["--threads", "1", "--connections", &USERS.to_string()])
        .args(["--duration", &format!("{}s", window.as_secs().max(1))])
        .arg("--script")
        .arg(&script)
        .arg(format!("http://{}{}", web.addr, nginx::PAGE))
        .output()
        .unwrap();
    let cpu = tunnel.cpu() - before;
    let output = String::from_utf8_lossy(&output.stdout);
    let seen = output.lines().find_map(|line| line.strip_prefix("seen "));
    let numbers: Vec<f64> = seen
        .unwrap_or_else(|| panic!("wrk said: {output}"))
        .split_whitespace()
        .map(|number| number.parse().unwrap())
        .collect();
    let [requests, micros, p50, p99, failed] = numbers[..] else {
        panic!("wrk said: {output}")
    };
    let mut figures = vec![
        Figure::more("requests/s", requests / (micros / 1e6), 0),
        Figure::less("p50 ms", p50 / 1e3, 2),
        Figure::less("p99 ms", p99 / 1e3, 2),
    ];
    if tunnel.product != Product::Direct {
        let each = cpu.as_secs_f64() * 1e6 / requests;
        figures.push(Figure::less("cpu µs each", each, 1));
    }
    figures.push(Figure::neutral("failed", failed, 0));
    figures
}

/// wrk's script: names domains in turn, and prints what came out in one line.
fn lua(web: Web, header: &str) -> String {
    let asked = web.domains.min(ASKED_DOMAINS);
    let mut script = String::from("local all = {}\n");
    for index in 0..asked {
        let host = domain(index);
        let more = match header {
            "" => String::new(),
            header => format!("{header}\\r\\n"),
        };
        let _ = writeln!(
            script,
            "all[{}] = 'GET {} HTTP/1.1\\r\\nHost: {host}\\r\\n{more}\\r\\n'",
            index + 1,
            nginx::PAGE,
        );
    }
    script
        + "local at = 0
function request()
  at = at % #all + 1
  return all[at]
end
function done(summary, latency, requests)
  local e = summary.errors
  print(string.format('seen %d %d %d %d %d', summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
"
}

/// Downloads the file again and again on one connection.
fn download(tunnel: &Tunnel, web: Web, window: Duration) -> Vec<Figure> {
    let received = Arc::default();
    let mut stream = TcpStream::connect(web.addr).unwrap();
    let user = (stream.try_clone().unwrap(), Arc::clone(&received));
    let all = request(nginx::FILE, &domain(0)).repeat(AHEAD);
    let writer = thread::spawn(move || {
        // Cut off when there was enough.
        let _ = stream.write_all(all.as_bytes());
        stream
    });
    let stream = user.0.try_clone().unwrap();
    let reader = thread::spawn(move || discard(&user.0, &user.1));
    let figures = bulk::watch(
        tunnel,
        &received,
        bulk::Users(vec![(stream, reader)]),
        window,
        Duration::ZERO,
    );
    drop(writer.join());
    figures
}
