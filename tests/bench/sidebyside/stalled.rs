//! One user who reads beside many who do not.
//!
//! A kernel keeps up to 10 MiB for somebody who does not read, at each of the sockets on his way, and has a limit for all sockets
//! together: a thousand such users would use that up, and the figure would be the kernel's. So this runs in a network namespace with
//! small buffers, in a process of its own.
//!
//! Packets there are as large as on most networks. With those of loopback, 64 KiB, which is as much as the windows that such buffers
//! allow, one reader alone had anything from 0.9 to 8.4 Gbit/s through mgrok, and with these 6.1 to 8.3. What waits for what was not traced.

use std::{
    env,
    io::{Error, Result},
    net::TcpStream,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use mgrok_lab::{Role, binary, report::Figure};

use crate::{
    bulk,
    fairness::User,
    mode::Mode,
    product::Product,
    services::Published,
    tunnel::{Setup, Tunnel},
};

/// The argument that says to this program that it is in its namespace.
pub(crate) const INSIDE: &str = "inside-namespace";

/// What the kernel keeps for a socket in either direction: least, at first, at most.
const BUFFERS: &str = "4096 65536 131072";

/// The largest packet of an Ethernet.
const MTU: u32 = 1_500;

/// As long as it takes to fill what is kept for users who do not read.
const FILL: Duration = Duration::from_secs(2);

const MIB: f64 = 1024.0 * 1024.0;

pub(crate) fn name(stalled: usize) -> String {
    format!("{stalled} stalled beside 1")
}

/// Measures a pair of its own.
///
/// # Errors
/// When there can be no namespace, or the measurement in it failed.
pub(crate) fn measure(
    product: Product,
    setup: Setup,
    stalled: usize,
    window: Duration,
) -> Result<Vec<Figure>> {
    let script = format!(
        "ip link set lo mtu {MTU} up && for it in r w; do echo {BUFFERS} > /proc/sys/net/ipv4/tcp_${{it}}mem || exit; done && exec \"$@\""
    );
    let mut command = Command::new("unshare");
    if !rustix::process::geteuid().is_root() {
        command.arg("--map-root-user");
    }
    command
        .args(["--net", "--", "sh", "-c", &script, "sh"])
        .arg(env::current_exe()?)
        .args([INSIDE, product.name(), setup.mode.name()])
        .args([setup.pool, stalled].map(|number| number.to_string()))
        .arg(window.as_secs_f64().to_string());
    for (variable, role) in [("MGROKS_BIN", Role::Server), ("MGROKC_BIN", Role::Client)] {
        // Cargo and its registry are out of reach in there, and other programs may be named as seen from here.
        command.env(variable, binary(role).canonicalize()?);
    }
    let output = command.output()?;
    let said = String::from_utf8_lossy(&output.stdout);
    let numbers: Vec<f64> = said
        .split_whitespace()
        .filter_map(|number| number.parse().ok())
        .collect();
    let [alone, beside, before, full, held] = numbers[..] else {
        let why = String::from_utf8_lossy(&output.stderr);
        let last = why.lines().rev().find(|line| !line.trim().is_empty());
        return Err(Error::other(format!(
            "in a network namespace: {}",
            last.unwrap_or("nothing was said")
        )));
    };
    let mut figures = vec![
        Figure::more("beside, of alone", beside / alone, 2),
        Figure::more("Gbit/s alone", alone, 2),
        Figure::more("Gbit/s beside", beside, 2),
    ];
    if product != Product::Direct {
        figures.push(Figure::less("MiB, pair", full / MIB, 0));
        figures.push(Figure::neutral("MiB before, pair", before / MIB, 0));
    }
    figures.push(Figure::neutral("stalled", held, 0));
    Ok(figures)
}

/// Runs in the namespace, and prints what came out: Gbit/s alone and beside, bytes of memory before and then, how many were stalled.
pub(crate) fn inside(mut args: impl Iterator<Item = String>) {
    let mut next = || args.next().expect("the outer process says all");
    let product = Product::named(&next()).unwrap();
    let setup = Setup {
        mode: Mode::named(&next()).unwrap(),
        pool: next().parse().unwrap(),
        path: None,
    };
    let stalled: usize = next().parse().unwrap();
    let window = Duration::from_secs_f64(next().parse().unwrap());
    let tunnel = Tunnel::start(product, setup, &Published::streams()).unwrap();
    let memory = || tunnel.memory().iter().fold(0.0, |all, one| all + one);
    let alone = reader(&tunnel, window);
    let before = memory();
    let held: Vec<TcpStream> = (0..stalled)
        .map_while(|_| TcpStream::connect(tunnel.public.source).ok())
        .collect();
    thread::sleep(FILL);
    let beside = reader(&tunnel, window);
    let full = memory();
    println!("{alone} {beside} {before} {full} {}", held.len());
}

/// Gbit/s of one who reads.
fn reader(tunnel: &Tunnel, window: Duration) -> f64 {
    let user = User::start(false, tunnel);
    bulk::warm_up(Duration::ZERO);
    let (start, before) = (Instant::now(), user.bytes());
    thread::sleep(window);
    let bytes = (user.bytes() - before) as f64;
    let elapsed = start.elapsed().as_secs_f64();
    bytes * 8e-9 / elapsed
}
