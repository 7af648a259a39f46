//! What mgrok is to reach, most of it as multiples of its peers.

use mgrok_lab::report::target::{
    Bound::{self, AtLeast, AtMost},
    Target, Value,
    Whose::{self, Best, Peer},
};

use crate::{
    bulk::{self, Bulk},
    connects, datagrams, hold,
    link::Path,
    mode::Mode::{self, Default, Kcp, Plain, Quic},
    options::{Options, title},
    pingpong, stalled,
    web::Work,
};

const RATE: &str = "Gbit/s";
const CPU: &str = "cpu s/GB";

const FRP: Whose = Peer("frp");
const RATHOLE: Whose = Peer("rathole");
const HAPROXY: Whose = Peer("haproxy-2");

/// Over which mgrok is to be ahead of frp.
const PATHS: [Path; 2] = [path(20, None), path(100, None)];

const fn path(rtt: u32, rate: Option<f64>) -> Path {
    Path { rtt, rate }
}

/// All of them.
pub(crate) fn all(options: &Options) -> Vec<Target> {
    let mut all = List(Vec::new());
    for work in bulk::all() {
        bulk(&mut all, work);
    }
    latency(&mut all);
    memory(&mut all, options);
    for work in datagrams::all().filter(datagrams::Datagrams::is_small) {
        let load = value(&work.name(), Default, "round trips/s");
        all.ratio(&load, RATHOLE, AtLeast(4.0));
    }
    let alone = value(datagrams::ALONE, Default, "p50 µs");
    all.ratio(&alone, RATHOLE, AtMost(1.1));
    for domains in [1, options.domains] {
        for (work, least) in [(Work::Kept, 6.0), (Work::Closed, 4.0)] {
            let load = |what| value(&work.name(domains), Default, what);
            all.ratio(&load("requests/s"), FRP, AtLeast(least));
            all.ratio(&load("p99 ms"), FRP, AtMost(0.3));
        }
    }
    distance(&mut all);
    let stalled = |what| value(&stalled::name(options.stalled), Default, what);
    all.alone(stalled("beside, of alone"), AtLeast(0.95));
    all.alone(stalled("MiB, pair"), AtMost(150.0));
    all.0
}

fn bulk(all: &mut List, work: Bulk) {
    let load = |mode, what| value(&work.name(), mode, what);
    all.ratio(&load(Plain, RATE), Best(RATE), AtLeast(1.6));
    all.ratio(&load(Plain, CPU), Best(RATE), AtMost(0.4));
    all.ratio(&load(Default, RATE), FRP, AtLeast(3.0));
    all.ratio(&load(Default, CPU), FRP, AtMost(1.0 / 3.0));
    all.ratio(&load(Default, RATE), HAPROXY, AtLeast(1.5));
    all.ratio(&load(Default, CPU), HAPROXY, AtMost(0.6));
    all.ratio(&load(Quic, RATE), FRP, AtLeast(3.0));
    if work.connections > 1 {
        let one = Bulk {
            connections: 1,
            ..work
        };
        let theirs = (Peer("mgrok"), value(&one.name(), Quic, RATE));
        all.compared(load(Quic, RATE), theirs, AtLeast(1.0));
    }
    all.ratio(&load(Kcp, RATE), FRP, AtLeast(2.0));
    all.ratio(&load(Kcp, CPU), FRP, AtMost(0.5));
}

fn latency(all: &mut List) {
    let alone = |mode, what| value(pingpong::ALONE, mode, what);
    all.ratio(&alone(Default, "p50 µs"), RATHOLE, AtMost(1.15));
    all.ratio(&alone(Default, "p99 µs"), RATHOLE, AtMost(1.3));
    all.ratio(&alone(Kcp, "p50 µs"), FRP, AtMost(0.2));
    let at_once = value(pingpong::AT_ONCE, Default, "requests/s");
    all.ratio(&at_once, FRP, AtLeast(3.5));
    all.ratio(&at_once, RATHOLE, AtLeast(1.3));
    for (mode, least) in [(Default, 1.6), (Plain, 1.3)] {
        let load = value(connects::NAME, mode, "connects/s");
        all.ratio(&load, RATHOLE, AtLeast(least));
    }
}

fn memory(all: &mut List, options: &Options) {
    let load = |mode, connections, what| {
        let name = hold::name(connections, None);
        value(&name, mode, what)
    };
    let (many, few) = (options.hold, options.hold_few());
    all.alone(load(Default, many, "KiB per connection, pair"), AtMost(6.0));
    let fresh = "MiB fresh, pair";
    let theirs = (RATHOLE, load(Plain, few, fresh));
    all.compared(load(Default, many, fresh), theirs, AtMost(0.8));
}

fn distance(all: &mut List) {
    for path in PATHS {
        for work in bulk::all() {
            let load = value(&path.name_of(&work.name()), Default, RATE);
            let least = if work.connections == 1 { 3.0 } else { 2.0 };
            all.ratio(&load, FRP, AtLeast(least));
        }
        for what in pingpong::BESIDE_OF_IDLE {
            let load = value(&path.name_of(pingpong::BESIDE), Default, what);
            all.alone(load, AtMost(1.2));
        }
    }
    for work in bulk::all().filter(|work| work.connections == 1) {
        let narrow = path(100, Some(1.0));
        let load = value(&narrow.name_of(&work.name()), Default, RATE);
        all.alone(load, AtLeast(0.9));
    }
}

struct List(Vec<Target>);

impl List {
    /// Of somebody else's figure of the same load.
    fn ratio(&mut self, ours: &Value, whose: Whose, bound: Bound) {
        self.compared(ours.clone(), (whose, ours.clone()), bound);
    }

    fn compared(&mut self, ours: Value, theirs: (Whose, Value), bound: Bound) {
        self.0.push(Target {
            ours,
            theirs: Some(theirs),
            bound,
        });
    }

    fn alone(&mut self, ours: Value, bound: Bound) {
        self.0.push(Target {
            ours,
            theirs: None,
            bound,
        });
    }
}

fn value(load: &str, mode: Mode, what: &'static str) -> Value {
    Value {
        load: title(load, mode),
        what,
    }
}
