//! Measures the multiplexer against plain TCP in the same run, over loopback, both ends in this
//! process on two worker threads.
//!
//! The cases take turns several times, so that whatever else the machine does hits all of them;
//! medians are printed. Processor time says more than throughput on a machine that is not idle.
//!
//! `cargo bench -p mgrok-mux --bench throughput -- [rounds] [milliseconds per case]`

#![allow(clippy::print_stdout, reason = "the program's purpose")]

use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mgrok_mux::{Acceptor, Config, Opener, Stream, session};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

const GIB: f64 = (1u64 << 30) as f64;

/// What carries the streams.
#[derive(Clone, Copy, PartialEq)]
enum Carrier {
    /// A mux session, moving owned slices, as the relay does.
    Mux,
    /// A mux session, through `AsyncRead` and `AsyncWrite`.
    MuxCopying,
    /// One TCP connection per stream.
    Tcp,
}

struct Measured {
    gib_per_s: f64,
    cpu_s_per_gib: f64,
}

const CARRIERS: [(&str, Carrier); 3] = [
    ("plain TCP", Carrier::Tcp),
    ("mux, slices", Carrier::Mux),
    ("mux, copying", Carrier::MuxCopying),
];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|it| it != "--bench");
    let rounds: usize = args.next().map_or(Ok(9), |text| text.parse())?;
    let time = Duration::from_millis(args.next().map_or(Ok(500), |text| text.parse())?);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(async {
        for (streams, write) in [(1, 64 * 1024), (64, 16 * 1024)] {
            println!("{streams} streams, writes of {} KiB", write / 1024);
            let mut speeds = [const { Vec::new() }; CARRIERS.len()];
            let mut costs = speeds.clone();
            for _ in 0..rounds {
                for (at, (_, carrier)) in CARRIERS.into_iter().enumerate() {
                    let got = bulk(carrier, streams, write, time).await?;
                    speeds[at].push(got.gib_per_s);
                    costs[at].push(got.cpu_s_per_gib);
                }
            }
            print("GiB/s", speeds);
            print("CPU s/GiB", costs);
        }
        println!("ping-pong of 64 bytes");
        let mut times = [const { Vec::new() }; CARRIERS.len()];
        for _ in 0..rounds {
            for (at, (_, carrier)) in CARRIERS.into_iter().enumerate().take(2) {
                times[at].push(ping_pong(carrier, time).await?.as_secs_f64() * 1e6);
            }
        }
        print("us", times);
        Ok(())
    })
}

/// Prints medians, and their ratio to the first.
fn print(unit: &str, cases: [Vec<f64>; CARRIERS.len()]) {
    let mut plain = None;
    for ((name, _), mut values) in CARRIERS.into_iter().zip(cases) {
        values.sort_by(f64::total_cmp);
        let Some(&median) = values.get(values.len() / 2) else {
            continue;
        };
        let plain = *plain.get_or_insert(median);
        println!(
            "  {name:14} {median:7.2} {unit:10} {:5.2} of plain TCP",
            median / plain
        );
    }
}

async fn bulk(carrier: Carrier, streams: usize, write: usize, time: Duration) -> Result<Measured> {
    let received = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    let link = Link::new(carrier).await?;
    for _ in 0..streams {
        let (out, into) = link.stream().await?;
        let count = Arc::clone(&received);
        match (out, into) {
            (Pipe::Mux(out), Pipe::Mux(into)) if carrier == Carrier::Mux => {
                tasks.spawn(send_slices(out, write));
                tasks.spawn(receive_slices(into, count));
            }
            (Pipe::Mux(out), Pipe::Mux(into)) => {
                tasks.spawn(send_copying(out, write));
                tasks.spawn(receive_copying(into, count));
            }
            (Pipe::Tcp(out), Pipe::Tcp(into)) => {
                tasks.spawn(send_copying(out, write));
                tasks.spawn(receive_copying(into, count));
            }
            _ => return Err("two kinds of pipe".into()),
        }
    }
    tokio::time::sleep(time / 4).await;
    let (start, cpu, bytes) = (
        Instant::now(),
        cpu_time()?,
        received.load(Ordering::Relaxed),
    );
    tokio::time::sleep(time).await;
    let gib = (received.load(Ordering::Relaxed) - bytes) as f64 / GIB;
    let measured = Measured {
        gib_per_s: gib / start.elapsed().as_secs_f64(),
        cpu_s_per_gib: (cpu_time()? - cpu).as_secs_f64() / gib,
    };
    tasks.shutdown().await;
    Ok(measured)
}

async fn ping_pong(carrier: Carrier, time: Duration) -> Result<Duration> {
    async fn echo(mut pipe: impl AsyncReadExt + AsyncWriteExt + Unpin) -> std::io::Result<()> {
        let mut buffer = [0; 64];
        loop {
            pipe.read_exact(&mut buffer).await?;
            pipe.write_all(&buffer).await?;
        }
    }
    async fn ask(
        mut pipe: impl AsyncReadExt + AsyncWriteExt + Unpin,
        time: Duration,
    ) -> std::io::Result<Duration> {
        let mut buffer = [0; 64];
        let (start, mut rounds) = (Instant::now(), 0);
        while start.elapsed() < time {
            pipe.write_all(&buffer).await?;
            pipe.read_exact(&mut buffer).await?;
            rounds += 1;
        }
        Ok(start.elapsed() / rounds)
    }
    let link = Link::new(carrier).await?;
    let (echoing, asking) = match link.stream().await? {
        (Pipe::Mux(out), Pipe::Mux(into)) => {
            (tokio::spawn(echo(into)), tokio::spawn(ask(out, time)))
        }
        (Pipe::Tcp(out), Pipe::Tcp(into)) => {
            (tokio::spawn(echo(into)), tokio::spawn(ask(out, time)))
        }
        _ => return Err("two kinds of pipe".into()),
    };
    let round_trip = asking.await??;
    echoing.abort();
    Ok(round_trip)
}

/// Two ends in one process.
struct Link {
    listener: TcpListener,
    mux: Option<(Opener, tokio::sync::Mutex<Acceptor>)>,
    _drivers: JoinSet<()>,
}

enum Pipe {
    Mux(Stream),
    Tcp(TcpStream),
}

impl Link {
    async fn new(carrier: Carrier) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let mut drivers = JoinSet::new();
        let mut mux = None;
        if carrier != Carrier::Tcp {
            let (out, into) = connect(&listener).await?;
            let (opener, _, driver) = session(out, Config::client());
            drivers.spawn(async { drop(driver.await) });
            let (_, acceptor, driver) = session(into, Config::server());
            drivers.spawn(async { drop(driver.await) });
            mux = Some((opener, tokio::sync::Mutex::new(acceptor)));
        }
        Ok(Self {
            listener,
            mux,
            _drivers: drivers,
        })
    }

    async fn stream(&self) -> Result<(Pipe, Pipe)> {
        let Some((opener, acceptor)) = &self.mux else {
            let (out, into) = connect(&self.listener).await?;
            return Ok((Pipe::Tcp(out), Pipe::Tcp(into)));
        };
        let out = opener.open().await?;
        let into = acceptor
            .lock()
            .await
            .accept()
            .await
            .ok_or("the session ended")?;
        Ok((Pipe::Mux(out), Pipe::Mux(into)))
    }
}

async fn connect(listener: &TcpListener) -> Result<(TcpStream, TcpStream)> {
    let addr = listener.local_addr()?;
    let (out, into) = tokio::try_join!(TcpStream::connect(addr), listener.accept())?;
    out.set_nodelay(true)?;
    into.0.set_nodelay(true)?;
    Ok((out, into.0))
}

async fn send_slices(mut stream: Stream, write: usize) -> std::io::Result<()> {
    let chunk = Bytes::from(vec![1; write]);
    loop {
        let mut left = chunk.clone();
        poll_fn(|cx| stream.poll_send(cx, &mut left)).await?;
    }
}

async fn receive_slices(mut stream: Stream, count: Arc<AtomicU64>) -> std::io::Result<()> {
    loop {
        let chunk = poll_fn(|cx| stream.poll_recv(cx)).await?;
        if chunk.is_empty() {
            return Ok(());
        }
        count.fetch_add(chunk.len() as u64, Ordering::Relaxed);
    }
}

async fn send_copying(mut out: impl AsyncWriteExt + Unpin, write: usize) -> std::io::Result<()> {
    let chunk = vec![1; write];
    loop {
        out.write_all(&chunk).await?;
    }
}

async fn receive_copying(
    mut into: impl AsyncReadExt + Unpin,
    count: Arc<AtomicU64>,
) -> std::io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        let length = into.read(&mut buffer).await?;
        if length == 0 {
            return Ok(());
        }
        count.fetch_add(length as u64, Ordering::Relaxed);
    }
}

/// Processor time of this process so far, in steps of 10 ms.
fn cpu_time() -> Result<Duration> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after_name = stat.rsplit(')').next().ok_or("no process name")?;
    let mut fields = after_name.split_whitespace().skip(11);
    let mut ticks = 0;
    for _ in 0..2 {
        ticks += fields.next().ok_or("no processor time")?.parse::<u64>()?;
    }
    Ok(Duration::from_millis(ticks * 10))
}
