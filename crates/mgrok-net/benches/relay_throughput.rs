//! Measures how fast the relay moves bytes between two sockets, and how much CPU time that takes.
//!
//! Compares three methods to relay in one run, in turns: the relay copying, the relay splicing, and
//! `tokio::io::copy_bidirectional`. The relay runs in a thread of its own, and the CPU time of that thread is the
//! figure that counts; throughput is also limited by the threads that produce and consume the bytes.
//!
//! `cargo bench -p mgrok-net --bench relay_throughput -- [GiB per run] [rounds]`

use std::io::{self, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;

use bytes::Bytes;
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::relay::{HalfClose, Traffic, relay};

const GIB: u64 = 1024 * 1024 * 1024;

#[derive(Clone, Copy, Debug)]
enum Method {
    Splice,
    Copy,
    Tokio,
}

/// A connection that hides its socket from the relay, so that the relay has to copy.
struct Opaque(Conn);

impl ByteStream for Opaque {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.0.poll_recv(cx)
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        self.0.poll_send(cx, chunk)
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ByteStream::poll_flush(&mut self.0, cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.poll_close(cx)
    }
}

#[derive(Clone, Copy)]
struct Measured {
    gib_per_s: f64,
    cpu_s_per_gib: f64,
}

fn main() -> io::Result<()> {
    let mut args = std::env::args().skip(1).filter(|it| it != "--bench");
    let mut number = |default: u64| {
        args.next()
            .and_then(|arg| arg.parse().ok())
            .unwrap_or(default)
    };
    let (gib, rounds) = (number(4), number(3));

    let methods = [Method::Splice, Method::Copy, Method::Tokio];
    let mut measured = methods.map(|_| Vec::new());
    for _ in 0..rounds {
        for (method, results) in methods.iter().zip(&mut measured) {
            results.push(measure(*method, gib)?);
        }
    }

    let medians = measured.map(|results| Measured {
        gib_per_s: median(results.iter().map(|it| it.gib_per_s)),
        cpu_s_per_gib: median(results.iter().map(|it| it.cpu_s_per_gib)),
    });
    let base = medians[2];
    out(format_args!(
        "{rounds} rounds of {gib} GiB, medians; factors against tokio"
    ));
    for (method, it) in methods.iter().zip(medians) {
        let name = match method {
            Method::Splice => "relay, splicing",
            Method::Copy => "relay, copying",
            Method::Tokio => "copy_bidirectional",
        };
        out(format_args!(
            "{name:20} {:5.2} GiB/s ({:4.2}x)   {:5.3} CPU s/GiB ({:4.2}x)",
            it.gib_per_s,
            it.gib_per_s / base.gib_per_s,
            it.cpu_s_per_gib,
            it.cpu_s_per_gib / base.cpu_s_per_gib,
        ));
    }
    Ok(())
}

fn measure(method: Method, gib: u64) -> io::Result<Measured> {
    let (mut source, user) = pair()?;
    let (work, mut sink) = pair()?;
    let started = Instant::now();
    let feeder = thread::spawn(move || -> io::Result<()> {
        let block = vec![0x5a; 256 * 1024];
        for _ in 0..gib * GIB / block.len() as u64 {
            source.write_all(&block)?;
        }
        source.shutdown(Shutdown::Write)?;
        source.read_to_end(&mut Vec::new())?;
        Ok(())
    });
    let swallower = thread::spawn(move || -> io::Result<u64> {
        let mut block = vec![0; 256 * 1024];
        let mut total = 0;
        loop {
            match sink.read(&mut block)? {
                0 => return Ok(total),
                read => total += read as u64,
            }
        }
    });
    let relayer = thread::spawn(move || -> io::Result<f64> {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(run(method, user, work))?;
        thread_cpu_seconds()
    });
    let total = join(swallower)?;
    let elapsed = started.elapsed().as_secs_f64();
    join(feeder)?;
    let cpu = join(relayer)?;
    assert_eq!(total, gib * GIB, "bytes were lost");
    Ok(Measured {
        gib_per_s: gib as f64 / elapsed,
        cpu_s_per_gib: cpu / gib as f64,
    })
}

async fn run(method: Method, user: TcpStream, work: TcpStream) -> io::Result<()> {
    user.set_nonblocking(true)?;
    work.set_nonblocking(true)?;
    let mut user = tokio::net::TcpStream::from_std(user)?;
    let mut work = tokio::net::TcpStream::from_std(work)?;
    let traffic = Traffic::default();
    match method {
        Method::Splice => {
            relay(user.into(), work.into(), HalfClose::Carried, &traffic).await;
        }
        Method::Copy => {
            let user = Conn::layered(Box::new(Opaque(user.into())));
            let work = Conn::layered(Box::new(Opaque(work.into())));
            relay(user, work, HalfClose::Carried, &traffic).await;
        }
        Method::Tokio => {
            tokio::io::copy_bidirectional(&mut user, &mut work).await?;
        }
    }
    Ok(())
}

/// Both ends of a new connection.
fn pair() -> io::Result<(TcpStream, TcpStream)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let near = TcpStream::connect(listener.local_addr()?)?;
    let (far, _) = listener.accept()?;
    Ok((near, far))
}

/// The CPU time that the calling thread has used so far, in user space and in the kernel.
fn thread_cpu_seconds() -> io::Result<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos: f64 = stat
        .split(' ')
        .next()
        .and_then(|field| field.parse().ok())
        .ok_or(io::ErrorKind::InvalidData)?;
    Ok(nanos / 1e9)
}

fn join<T>(thread: thread::JoinHandle<io::Result<T>>) -> io::Result<T> {
    thread
        .join()
        .map_err(|_| io::Error::other("a thread panicked"))?
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<_> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[expect(clippy::print_stdout, reason = "this is what the program is for")]
fn out(line: std::fmt::Arguments<'_>) {
    println!("{line}");
}
