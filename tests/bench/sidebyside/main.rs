//! mgrok beside its peers: the same work, in the same run, on the same machine, taking turns.
//!
//! ```text
//! FRPS_BIN=… FRPC_BIN=… RATHOLE_BIN=… cargo bench --bench sidebyside -- [options] [workload…]
//!
//!   --rounds N     how often each product does each workload (3)
//!   --seconds S    how long one measurement takes (2)
//!   --hold N       how many idle connections are held (2000)
//!   --without NAME leave a product out, even if it is there
//!   workload       only workloads whose name contains this: bulk, udp, connects, ping-pong, kcp, http, hold, idle, …
//! ```
//!
//! mgrok's programs are built in the bench's profile unless `MGROKS_BIN` and `MGROKC_BIN` name
//! others. A product whose programs are not named is left out.
//!
//! Every figure is the median over the rounds. The load generator shares the machine with what
//! it measures; the row `direct` is what it reaches without a tunnel, and so how little of a
//! figure is its own. rathole has no multiplexing, and its TLS wants a key file in a format of
//! its own, so it runs over plain TCP in both modes. The http workloads need nginx and wrk.

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
mod hold;
mod nginx;
mod options;
mod pingpong;
mod product;
mod report;
mod services;
mod usage;
mod web;

use options::Options;
use product::{Mode, Product, Tunnel};
use report::{Figure, Report};
use services::{Published, Services};
use web::Web;

fn main() {
    let mut args = std::env::args().skip(1).peekable();
    if args.peek().is_some_and(|arg| arg == hold::SERVE) {
        hold::serve();
        return;
    }
    let options = Options::parse(args);
    let mut products = Product::available();
    products.retain(|product| !options.without.contains(&product.name().to_owned()));
    let services = Services::start();
    let mut report = Report::new(&products);
    for mode in Mode::ALL {
        let tunnels: Vec<Tunnel> = products
            .iter()
            .map(|product| Tunnel::start(*product, mode, &services.published()))
            .collect();
        for work in bulk::all() {
            options.run(&mut report, mode, &work.name(), &tunnels, |tunnel| {
                bulk::measure(work, tunnel, options.window)
            });
        }
        for work in datagrams::all() {
            options.run(&mut report, mode, &work.name(), &tunnels, |tunnel| {
                datagrams::measure(work, tunnel, options.window)
            });
        }
        options.run(&mut report, mode, connects::NAME, &tunnels, |tunnel| {
            connects::measure(tunnel, options.window)
        });
        options.run(&mut report, mode, pingpong::NAME, &tunnels, |tunnel| {
            pingpong::measure(tunnel, options.window)
        });
        if services.published().web.is_none() {
            continue;
        }
        for work in web::Work::ALL {
            options.run(&mut report, mode, &work.name(), &tunnels, |tunnel| {
                web::measure(work, tunnel, options.window)
            });
        }
        let name = web::many_domains_name();
        if options.wants(&name, mode) {
            let tunnels = many_domains(&products, mode, tunnels, &services.published());
            options.run(&mut report, mode, &name, &tunnels, |(one, many)| {
                web::measure_many_domains(one, many, options.window)
            });
        }
    }
    over_kcp(&options, &mut report, &products, &services.published());
    // Memory is measured on pairs that have done nothing before.
    let web = services.published().web;
    for web in [None].into_iter().chain(web.map(Some)) {
        for mode in Mode::ALL {
            let name = hold::name(options.hold, web);
            options.run(&mut report, mode, &name, &products, |product| {
                hold::measure(*product, mode, options.hold, web)
            });
        }
    }
    report.print();
}

/// What the transport changes: bytes, latency and new connections, for those who can go it.
fn over_kcp(options: &Options, report: &mut Report, products: &[Product], services: &Published) {
    let works: Vec<_> = bulk::all().collect();
    let names = works.iter().map(|work| work.name());
    let mut all = names.chain([connects::NAME, pingpong::NAME].map(str::to_owned));
    if !all.any(|name| options.wants(&name, Mode::Kcp)) {
        return;
    }
    let start = |product: &Product| {
        let speaks = product.speaks(Mode::Kcp);
        speaks.then(|| Tunnel::start(*product, Mode::Kcp, services))
    };
    let tunnels: Vec<Option<Tunnel>> = products.iter().map(start).collect();
    let mut run = |name: &str, measure: &dyn Fn(&Tunnel) -> Vec<Figure>| {
        options.run(report, Mode::Kcp, name, &tunnels, |tunnel| {
            tunnel.as_ref().map(measure).unwrap_or_default()
        });
    };
    for work in works {
        run(&work.name(), &|tunnel| {
            bulk::measure(work, tunnel, options.window)
        });
    }
    run(connects::NAME, &|tunnel| {
        connects::measure(tunnel, options.window)
    });
    run(pingpong::NAME, &|tunnel| {
        pingpong::measure(tunnel, options.window)
    });
}

/// Each tunnel with a second one of its kind, which publishes the web under very many domains.
fn many_domains(
    products: &[Product],
    mode: Mode,
    tunnels: Vec<Tunnel>,
    services: &Published,
) -> Vec<(Tunnel, Tunnel)> {
    let mut services = services.clone();
    services.web = services.web.map(Web::with_many_domains);
    let many = products
        .iter()
        .map(|product| Tunnel::start(*product, mode, &services));
    tunnels.into_iter().zip(many).collect()
}
