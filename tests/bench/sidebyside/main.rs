//! mgrok beside its peers: the same work, in the same run, on the same machine, taking turns.
//!
//! ```text
//! FRPS_BIN=… FRPC_BIN=… RATHOLE_BIN=… BORE_BIN=… NFRP_SERVER_BIN=… NFRP_CLIENT_BIN=… \
//!     cargo bench --bench sidebyside -- [options] [word…]
//!
//!   --rounds N     how often each product does each load (5)
//!   --seconds S    how long one measurement takes (2)
//!   --hold N       how many connections are held (2000)
//!   --stalled N    how many users do not read beside one who does (1000)
//!   --domains N    how many domains the HTTP loads publish beside one (100)
//!   --pool N       how many connections are kept ready in plain mode (5)
//!   --without NAME leave a product out, even if it is there
//!   --out DIR      where the report goes (sidebyside in cargo's target directory)
//!   word           only loads whose title has all of these words: bulk, 'ping-pong, tls+mux', http, hold, '100 ms', …
//! ```
//!
//! mgrok's programs are built in the bench's profile unless `MGROKS_BIN` and `MGROKC_BIN` name others. A product whose programs are not
//! named is left out; HAProxy, nginx and wrk are used if they are installed. `docs/benchmarks.md` says what each load does.
//!
//! The load generator shares the machine with what it measures; the column `direct` is what it reaches without a tunnel, and so how
//! little of a figure is its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a bench prints its results, and a panic is how it fails"
)]

mod bulk;
mod connects;
mod datagrams;
mod fairness;
mod hold;
mod link;
mod mode;
mod nginx;
mod options;
mod pingpong;
mod product;
mod restart;
mod run;
mod services;
mod stalled;
mod tunnel;
mod usage;
mod web;

use std::time::Duration;

use bulk::Bulk;
use link::Path;
use mode::Mode;
use options::Options;
use run::Run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use services::{Published, Services};

/// Files that a server of 10,000 users has open, who each have two sockets there, and more.
const OPEN_FILES: u64 = 65_536;

/// Paths over which bulk is measured.
const PATHS: [Path; 4] = [
    path(20, None),
    path(100, None),
    path(200, None),
    path(100, Some(1.0)),
];

/// Paths over which latency and fairness are.
const SHORTER_PATHS: [Path; 2] = [path(20, None), path(100, None)];

const fn path(rtt: u32, rate: Option<f64>) -> Path {
    Path { rtt, rate }
}

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    match args.peek().map(String::as_str) {
        Some(hold::SERVE) => return hold::serve(),
        Some(stalled::INSIDE) => return stalled::inside(args.skip(1)),
        _ => {}
    }
    let mut run = Run::new(Options::parse(args));
    raise_limit();
    let services = Services::start();
    let services = services.published();
    for mode in Mode::ALL {
        streams(&mut run, mode, &services);
    }
    for mode in Mode::TCP {
        datagrams(&mut run, mode, &services);
        http(&mut run, mode, &services);
    }
    distance(&mut run, &services);
    fairness(&mut run, &services);
    stalled(&mut run);
    for mode in Mode::TCP {
        restarts(&mut run, mode, &services);
    }
    // Memory is measured on pairs that have done nothing before.
    for web in [None].into_iter().chain(services.web.map(Some)) {
        for mode in Mode::TCP {
            memory(&mut run, mode, web);
        }
    }
    run.end();
}

/// This process and those that it starts may open so many files, if the system lets them.
fn raise_limit() {
    let now = getrlimit(Resource::Nofile);
    let most = now.maximum.map_or(OPEN_FILES, |most| most.max(OPEN_FILES));
    let wanted = |maximum| Rlimit {
        current: Some(OPEN_FILES.min(maximum)),
        maximum: Some(maximum),
    };
    if setrlimit(Resource::Nofile, wanted(most)).is_err() {
        let _ = setrlimit(Resource::Nofile, wanted(now.maximum.unwrap_or(OPEN_FILES)));
    }
}

/// Bytes, latency and new connections.
fn streams(run: &mut Run, mode: Mode, services: &Published) {
    let window = run.options.window;
    let others = [pingpong::ALONE, pingpong::AT_ONCE, connects::NAME].map(str::to_owned);
    let loads: Vec<_> = bulk::all().map(Bulk::name).chain(others).collect();
    let mut services = services.clone();
    services.web = None;
    let tunnels = run.tunnels(run.setup(mode, None), &services, &loads);
    for work in bulk::all() {
        run.run("Bulk", mode, &work.name(), &tunnels, |tunnel| {
            bulk::measure(work, tunnel, window, Duration::ZERO)
        });
    }
    run.run("Latency", mode, pingpong::ALONE, &tunnels, |tunnel| {
        pingpong::measure(tunnel, window)
    });
    run.run("Requests", mode, pingpong::AT_ONCE, &tunnels, |tunnel| {
        pingpong::measure_many(tunnel, window)
    });
    run.run(
        "New connections",
        mode,
        connects::NAME,
        &tunnels,
        |tunnel| connects::measure(tunnel, window),
    );
}

fn datagrams(run: &mut Run, mode: Mode, services: &Published) {
    let window = run.options.window;
    let alone = datagrams::ALONE.to_owned();
    let loads: Vec<_> = datagrams::all()
        .map(datagrams::Datagrams::name)
        .chain([alone])
        .collect();
    let mut services = services.clone();
    services.web = None;
    let tunnels = run.tunnels(run.setup(mode, None), &services, &loads);
    for work in datagrams::all() {
        run.run("Datagrams", mode, &work.name(), &tunnels, |tunnel| {
            datagrams::measure(work, tunnel, window)
        });
    }
    run.run("Datagrams", mode, datagrams::ALONE, &tunnels, |tunnel| {
        datagrams::measure_alone(tunnel, window)
    });
}

/// With one domain and with many.
fn http(run: &mut Run, mode: Mode, services: &Published) {
    let Some(web) = services.web else { return };
    let window = run.options.window;
    let many = run.options.domains;
    for (domains, works) in [(1, &web::Work::ONE[..]), (many, &web::Work::MANY[..])] {
        let loads: Vec<_> = works.iter().map(|work| work.name(domains)).collect();
        let mut services = services.clone();
        services.web = Some(web.with_domains(domains));
        let tunnels = run.tunnels(run.setup(mode, None), &services, &loads);
        for (work, name) in works.iter().zip(&loads) {
            run.run("HTTP", mode, name, &tunnels, |tunnel| {
                web::measure(*work, tunnel, window)
            });
        }
    }
}

/// Bytes and latency over long paths, with the defaults.
fn distance(run: &mut Run, services: &Published) {
    let window = run.options.window;
    let mut services = services.clone();
    services.web = None;
    let mode = Mode::Default;
    for path in PATHS {
        let round_trip = path.round_trip();
        let name = |load: String| format!("{load} over {}", path.name());
        let is_latency = SHORTER_PATHS.contains(&path);
        let beside = name(pingpong::BESIDE.to_owned());
        let mut loads: Vec<_> = bulk::all().map(|work| name(work.name())).collect();
        if is_latency {
            loads.push(beside.clone());
        }
        let tunnels = run.tunnels(run.setup(mode, Some(path)), &services, &loads);
        for work in bulk::all() {
            run.run("Distance", mode, &name(work.name()), &tunnels, |tunnel| {
                bulk::measure(work, tunnel, window, round_trip)
            });
        }
        if is_latency {
            run.run("Distance", mode, &beside, &tunnels, |tunnel| {
                pingpong::measure_beside(tunnel, window, round_trip)
            });
        }
    }
}

/// Who gets what, with the defaults.
fn fairness(run: &mut Run, services: &Published) {
    let window = run.options.window;
    let mut services = services.clone();
    services.web = None;
    let mode = Mode::Default;
    for path in [None, Some(SHORTER_PATHS[0])] {
        let round_trip = path.map_or(Duration::ZERO, Path::round_trip);
        let over = path.map_or(String::new(), |path| format!(" over {}", path.name()));
        let directions = [true, false].map(|up| (up, fairness::name(up) + &over));
        let loads = directions.each_ref().map(|(_, name)| name.clone());
        let tunnels = run.tunnels(run.setup(mode, path), &services, &loads);
        for (up, name) in directions {
            run.run("Fairness", mode, &name, &tunnels, |tunnel| {
                fairness::measure(up, tunnel, window, round_trip)
            });
        }
    }
}

/// One who reads beside many who do not, with the defaults.
fn stalled(run: &mut Run) {
    let products = run.products.clone();
    let (setup, window) = (run.setup(Mode::Default, None), run.options.window);
    let count = run.options.stalled;
    let load = stalled::name(count);
    run.run_all("Stalled users", setup.mode, &load, |_, _, who| {
        stalled::measure(products[who], setup, count, window)
    });
}

fn restarts(run: &mut Run, mode: Mode, services: &Published) {
    let products = run.products.clone();
    let setup = run.setup(mode, None);
    run.run_all("Starts", mode, restart::START, |_, _, who| {
        restart::measure_start(products[who], setup, services)
    });
    let mut services = services.clone();
    services.web = None;
    let setup = run.setup(mode, Some(Path::default()));
    let tunnels = run.tunnels(setup, &services, &[restart::RECOVER.to_owned()]);
    run.run(
        "Starts",
        mode,
        restart::RECOVER,
        &tunnels,
        restart::measure_recovery,
    );
}

fn memory(run: &mut Run, mode: Mode, web: Option<web::Web>) {
    let products = run.products.clone();
    let (setup, hold) = (run.setup(mode, None), run.options.hold);
    let name = hold::name(hold, web);
    run.run_all("Memory", mode, &name, |report, title, who| {
        let held = hold::measure(products[who], setup, hold, web)?;
        if !held.course.is_empty() {
            report.add_course("Memory", title, hold::COURSE, who, held.course);
        }
        Ok(held.figures)
    });
}
