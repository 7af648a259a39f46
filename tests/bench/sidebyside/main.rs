//! mgrok beside its peers: the same work, in the same run, on the same machine, taking turns.
//!
//! `cargo bench --bench sidebyside -- --help` says the options.
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
mod targets;
mod tunnel;
mod usage;
mod web;

use std::time::Duration;

use bulk::Bulk;
use link::Path;
use mode::Mode;
use options::Options;
use product::Product::{self, Bore, Direct, Frp, Haproxy, HaproxyTwice, Mgrok, Nfrp, Rathole};
use run::Run;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use services::{Published, Services};

/// Files that a server of 10,000 users has open, who each have two sockets there, and more.
const OPEN_FILES: u64 = 65_536;

/// Paths over which bulk is measured; over some of them by eight connections too, and with small requests beside it.
const PATHS: [(Path, bool); 4] = [
    (path(20, None), true),
    (path(100, None), true),
    (path(200, None), false),
    (path(100, Some(1.0)), false),
];

/// The path over which fairness is.
const SHORT_PATH: Path = path(20, None);

const fn path(rtt: u32, rate: Option<f64>) -> Path {
    Path { rtt, rate }
}

/// Who carries streams in a mode. A run with everybody everywhere would take hours: nobody is where nobody compares him.
fn who_streams(mode: Mode) -> &'static [Product] {
    match mode {
        Mode::Plain => &[Mgrok, Frp, Rathole, Bore, HaproxyTwice, Haproxy, Direct],
        // rathole is as it is in plain mode, but takes turns with these, who are compared with it.
        Mode::Default => &[Mgrok, Frp, Rathole, Nfrp, HaproxyTwice],
        Mode::Quic | Mode::Kcp => &[Mgrok, Frp],
    }
}

/// Who carries datagrams in a mode.
fn who_datagrams(mode: Mode) -> &'static [Product] {
    match mode {
        Mode::Default => &[Mgrok, Frp, Rathole, Nfrp, Direct],
        _ => &[Mgrok, Frp, Direct],
    }
}

const WHO_HTTP: [Product; 5] = [Mgrok, Frp, Nfrp, HaproxyTwice, Direct];
const WHO_DISTANCE: [Product; 3] = [Mgrok, Frp, Direct];
/// Those that multiplex, where all loads share one link.
const WHO_SHARES: [Product; 2] = [Mgrok, Frp];
const WHO_STARTS: [Product; 5] = [Mgrok, Frp, Rathole, Bore, Nfrp];
/// bore's client ends with its connection.
const WHO_RECOVERS: [Product; 4] = [Mgrok, Frp, Rathole, Nfrp];

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    match args.peek().map(String::as_str) {
        Some(hold::SERVE) => return hold::serve(),
        Some(hold::USERS) => return hold::users(args.skip(1)),
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
    }
    http(&mut run, &services);
    distance(&mut run, &services);
    fairness(&mut run, &services);
    stalled(&mut run);
    for mode in Mode::TCP {
        restarts(&mut run, mode, &services);
    }
    memory(&mut run, &services);
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

/// Bytes and latency; over TCP new connections too.
fn streams(run: &mut Run, mode: Mode, services: &Published) {
    let window = run.options.window;
    let mut loads: Vec<_> = bulk::all().map(Bulk::name).collect();
    loads.push(pingpong::ALONE.to_owned());
    if mode.is_tcp() {
        loads.extend([pingpong::AT_ONCE, connects::NAME].map(str::to_owned));
    }
    let setup = run.setup(mode, None);
    let tunnels = run.tunnels(who_streams(mode), setup, &services.only_streams(), &loads);
    for work in bulk::all() {
        run.run("Bulk", mode, &work.name(), &tunnels, |tunnel| {
            bulk::measure(work, tunnel, window, Duration::ZERO)
        });
    }
    run.run("Latency", mode, pingpong::ALONE, &tunnels, |tunnel| {
        pingpong::measure(tunnel, window)
    });
    if !mode.is_tcp() {
        return;
    }
    run.run("Requests", mode, pingpong::AT_ONCE, &tunnels, |tunnel| {
        pingpong::measure_many(tunnel, window)
    });
    let load = connects::NAME;
    run.run("New connections", mode, load, &tunnels, |tunnel| {
        connects::measure(tunnel, window)
    });
}

fn datagrams(run: &mut Run, mode: Mode, services: &Published) {
    let window = run.options.window;
    let alone = datagrams::ALONE.to_owned();
    let loads: Vec<_> = datagrams::all()
        .map(datagrams::Datagrams::name)
        .chain([alone])
        .collect();
    let services = Published {
        udp: services.udp,
        ..services.only_streams()
    };
    let setup = run.setup(mode, None);
    let tunnels = run.tunnels(who_datagrams(mode), setup, &services, &loads);
    for work in datagrams::all() {
        run.run("Datagrams", mode, &work.name(), &tunnels, |tunnel| {
            datagrams::measure(work, tunnel, window)
        });
    }
    run.run("Datagrams", mode, datagrams::ALONE, &tunnels, |tunnel| {
        datagrams::measure_alone(tunnel, window)
    });
}

/// With one domain and with many, with the defaults.
fn http(run: &mut Run, services: &Published) {
    let Some(web) = services.web else { return };
    let window = run.options.window;
    let (mode, many) = (Mode::Default, run.options.domains);
    for (domains, works) in [(1, &web::Work::ONE[..]), (many, &web::Work::MANY[..])] {
        let loads: Vec<_> = works.iter().map(|work| work.name(domains)).collect();
        let services = Published {
            web: Some(web.with_domains(domains)),
            ..services.only_streams()
        };
        let tunnels = run.tunnels(&WHO_HTTP, run.setup(mode, None), &services, &loads);
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
    let mode = Mode::Default;
    for (path, is_for_all) in PATHS {
        let round_trip = path.round_trip();
        let name = |load: &str| path.name_of(load);
        let works: Vec<_> = bulk::all()
            .filter(|work| is_for_all || work.connections == 1)
            .collect();
        let beside = name(pingpong::BESIDE);
        let mut loads: Vec<_> = works.iter().map(|work| name(&work.name())).collect();
        if is_for_all {
            loads.push(beside.clone());
        }
        let setup = run.setup(mode, Some(path));
        let tunnels = run.tunnels(&WHO_DISTANCE, setup, &services.only_streams(), &loads);
        for work in works {
            let load = name(&work.name());
            run.run("Distance", mode, &load, &tunnels, |tunnel| {
                if tunnel.product == Direct && work.connections > 1 {
                    // The limit of the relay is seen with one.
                    return Vec::new();
                }
                bulk::measure(work, tunnel, window, round_trip)
            });
        }
        if is_for_all {
            run.run("Distance", mode, &beside, &tunnels, |tunnel| {
                if tunnel.product == Direct {
                    // Its connections share nothing.
                    return Vec::new();
                }
                pingpong::measure_beside(tunnel, window, round_trip)
            });
        }
    }
}

/// Who gets what, with the defaults.
fn fairness(run: &mut Run, services: &Published) {
    let window = run.options.window;
    let mode = Mode::Default;
    for path in [None, Some(SHORT_PATH)] {
        let round_trip = path.map_or(Duration::ZERO, Path::round_trip);
        let directions = [true, false].map(|up| {
            let name = fairness::name(up);
            (up, path.map_or(name.clone(), |path| path.name_of(&name)))
        });
        let loads = directions.each_ref().map(|(_, name)| name.clone());
        let setup = run.setup(mode, path);
        let tunnels = run.tunnels(&WHO_SHARES, setup, &services.only_streams(), &loads);
        for (up, name) in directions {
            run.run("Fairness", mode, &name, &tunnels, |tunnel| {
                fairness::measure(up, tunnel, window, round_trip)
            });
        }
    }
}

/// One who reads beside many who do not, with the defaults.
fn stalled(run: &mut Run) {
    let (setup, window) = (run.setup(Mode::Default, None), run.options.window);
    let count = run.options.stalled;
    let who = run.among(&WHO_SHARES, setup.mode);
    let load = stalled::name(count);
    run.run_all("Stalled users", setup.mode, &load, &who, |product| {
        stalled::measure(product, setup, count, window)
    });
}

fn restarts(run: &mut Run, mode: Mode, services: &Published) {
    let services = services.only_streams();
    let setup = run.setup(mode, None);
    let who = run.among(&WHO_STARTS, mode);
    run.run_all("Starts", mode, restart::START, &who, |product| {
        restart::measure_start(product, setup, &services)
    });
    let setup = run.setup(mode, Some(Path::default()));
    let load = restart::RECOVER;
    let tunnels = run.tunnels(&WHO_RECOVERS, setup, &services, &[load.to_owned()]);
    run.run("Starts", mode, load, &tunnels, restart::measure_recovery);
}

/// Of pairs that have done nothing before.
fn memory(run: &mut Run, services: &Published) {
    let (many, few) = (run.options.hold, run.options.hold_few());
    let load = |mode, connections, web| hold::Load {
        setup: run.setup(mode, None),
        connections,
        web,
    };
    let mut loads: Vec<(_, &[Product])> = vec![
        (
            load(Mode::Plain, few, None),
            &[Mgrok, Frp, Rathole, HaproxyTwice],
        ),
        (
            load(Mode::Default, many, None),
            &[Mgrok, Frp, Nfrp, HaproxyTwice],
        ),
    ];
    if services.web.is_some() {
        loads.push((
            load(Mode::Default, few, services.web),
            &[Mgrok, Frp, HaproxyTwice],
        ));
    }
    let loads: Vec<_> = loads
        .into_iter()
        .map(|(load, who)| {
            let mode = load.setup.mode;
            (load, load.name(), mode, run.among(who, mode))
        })
        .collect();
    run.run_at_once("Memory", &loads, hold::measure);
}
