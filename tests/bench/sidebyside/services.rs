//! The local services that are published: threads with blocking sockets, because nothing costs
//! less per byte and the machine is shared with what is measured; for datagrams, batches cost less.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    thread,
};

use rustix::net::RecvFlags;

use crate::{
    datagrams,
    nginx::Nginx,
    web::{self, Web},
};

/// How much is sent or received in one call.
const CHUNK: usize = 256 * 1024;

/// Everything a tunnel publishes for the workloads.
pub(crate) struct Services {
    published: Published,
    _nginx: Option<Nginx>,
}

/// Where the services are, and what they have received.
#[derive(Clone)]
pub(crate) struct Published {
    /// Receives and forgets.
    pub(crate) sink: SocketAddr,
    /// Sends until nobody listens.
    pub(crate) source: SocketAddr,
    /// Sends back single bytes.
    pub(crate) echo: SocketAddr,
    /// Sends back datagrams, where they are carried.
    pub(crate) udp: Option<SocketAddr>,
    /// How many bytes the sink has received.
    pub(crate) sunk: Arc<AtomicU64>,
    /// Answers HTTP, where that is to be measured.
    pub(crate) web: Option<Web>,
}

impl Services {
    pub(crate) fn start() -> Self {
        let nginx = start_nginx();
        let published = Published {
            udp: Some(datagrams::echo()),
            web: nginx.as_ref().map(|nginx| Web::new(nginx.addr)),
            ..Published::streams()
        };
        Self {
            published,
            _nginx: nginx,
        }
    }

    pub(crate) fn published(&self) -> Published {
        self.published.clone()
    }
}

impl Published {
    /// Those of them that are reached by TCP.
    pub(crate) fn only_streams(&self) -> Self {
        Self {
            udp: None,
            web: None,
            ..self.clone()
        }
    }

    /// Starts those that are reached by TCP.
    pub(crate) fn streams() -> Self {
        let sunk = Arc::new(AtomicU64::new(0));
        let counter = sunk.clone();
        Self {
            sink: serve(move |stream| discard(&stream, &counter)),
            source: serve(|stream| produce(stream, &AtomicU64::new(0))),
            echo: serve(echo),
            udp: None,
            sunk,
            web: None,
        }
    }
}

/// nginx, if it and wrk are installed.
fn start_nginx() -> Option<Nginx> {
    if !web::wrk_is_here() {
        eprintln!("without http: wrk is not installed");
        return None;
    }
    let nginx = Nginx::start();
    if nginx.is_none() {
        eprintln!("without http: nginx is not installed");
    }
    nginx
}

/// Serves every connection on a thread of its own, for as long as the bench runs.
fn serve(handle: impl Fn(TcpStream) + Clone + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let handle = handle.clone();
            thread::spawn(move || handle(stream));
        }
    });
    addr
}

/// Receives until the end and counts; the kernel drops the bytes without copying them.
pub(crate) fn discard(stream: &TcpStream, counter: &AtomicU64) {
    let mut nothing = vec![0; CHUNK];
    loop {
        match rustix::net::recv(stream, nothing.as_mut_slice(), RecvFlags::TRUNC) {
            Ok((_, 0)) => return,
            Ok((_, len)) => counter.fetch_add(len as u64, Ordering::Relaxed),
            Err(rustix::io::Errno::INTR) => continue,
            Err(_) => return,
        };
    }
}

/// Sends until that fails, and counts what the kernel has taken.
pub(crate) fn produce(mut stream: TcpStream, counter: &AtomicU64) {
    while let Ok(len @ 1..) = stream.write(noise()) {
        counter.fetch_add(len as u64, Ordering::Relaxed);
    }
}

/// Not zeros: a compressing or deduplicating path must not look better than it is.
fn noise() -> &'static [u8] {
    static NOISE: OnceLock<Vec<u8>> = OnceLock::new();
    NOISE.get_or_init(|| {
        let mut data = vec![0; CHUNK];
        fastrand::Rng::with_seed(1).fill(&mut data);
        data
    })
}

fn echo(mut stream: TcpStream) {
    let _ = stream.set_nodelay(true);
    let mut buffer = [0; 4096];
    while let Ok(len @ 1..) = stream.read(&mut buffer) {
        if stream.write_all(&buffer[..len]).is_err() {
            return;
        }
    }
}
