//! Who runs when, and what becomes of what came out.

use std::{
    io::{ErrorKind, Result},
    panic::{AssertUnwindSafe, catch_unwind},
    process::Command,
    thread,
    time::Instant,
};

use mgrok_lab::report::{Figure, Report, machine};

use crate::{
    hold::{self, Held},
    link::Path,
    mode::Mode,
    options::{Keeping, Options, title},
    product::Product,
    services::Published,
    targets,
    tunnel::{Setup, Tunnel},
};

/// The kinds of loads, in the order of the report.
const SECTIONS: [&str; 11] = [
    "Bulk",
    "Latency",
    "Requests",
    "New connections",
    "Datagrams",
    "HTTP",
    "Distance",
    "Fairness",
    "Stalled users",
    "Starts",
    "Memory",
];

/// A run: what was asked for, who takes part, and what has come out.
pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) products: Vec<Product>,
    report: Report,
    start: Instant,
}

impl Run {
    /// A run of nothing yet, but for what an earlier one has left to be added to.
    pub(crate) fn new(options: Options) -> Self {
        let mut products = Product::available();
        products.retain(|product| !options.without.contains(&product.name().to_owned()));
        let mut report = match options.keeping {
            Keeping::Nothing => Report::default(),
            Keeping::Others | Keeping::All => match Report::read(&options.directory) {
                Ok(report) => report,
                Err(error) if error.kind() == ErrorKind::NotFound => Report::default(),
                Err(error) => panic!("{}: {error}", options.directory.display()),
            },
        };
        report.set_peers(products.iter().map(|product| product.peer()).collect());
        report.set_sections(&SECTIONS);
        let args: Vec<_> = std::env::args()
            .skip(1)
            .filter(|arg| arg != "--bench")
            .map(|arg| {
                if arg.contains(' ') {
                    format!("'{arg}'")
                } else {
                    arg
                }
            })
            .collect();
        report.begin_part(format!(
            "{}, commit {}: `cargo bench --bench sidebyside -- {}`, {} rounds of {:?}; load average at the start {}",
            said("date", &["-u", "+%Y-%m-%d %H:%M UTC"]),
            said("git", &["-C", env!("CARGO_MANIFEST_DIR"), "rev-parse", "--short", "HEAD"]),
            args.join(" "),
            options.rounds,
            options.window,
            machine::load_average(),
        ));
        Self {
            options,
            products,
            report,
            start: Instant::now(),
        }
    }

    /// How pairs are set up.
    pub(crate) fn setup(&self, mode: Mode, path: Option<Path>) -> Setup {
        Setup {
            mode,
            pool: self.options.pool,
            path,
        }
    }

    /// Whether this load is asked for, and not there yet.
    pub(crate) fn is_asked(&self, load: &str, mode: Mode) -> bool {
        let is_there = || {
            self.options.keeping == Keeping::All
                && self.report.has(&title(load, mode), self.options.rounds)
        };
        self.options.wants(load, mode) && !is_there()
    }

    /// Starts pairs of these products for loads of these names; none of those that do not speak so, or do not start.
    pub(crate) fn tunnels(
        &mut self,
        who: &[Product],
        setup: Setup,
        services: &Published,
        loads: &[String],
    ) -> Vec<Tunnel> {
        if !loads.iter().any(|load| self.is_asked(load, setup.mode)) {
            return Vec::new();
        }
        let mut tunnels = Vec::new();
        for product in self.among(who, setup.mode) {
            match Tunnel::start(product, setup, services) {
                Ok(tunnel) => tunnels.push(tunnel),
                Err(error) => {
                    let (name, mode) = (product.name(), setup.mode.name());
                    self.note("", format!("{name} did not start ({mode}): {error}"));
                }
            }
        }
        tunnels
    }

    /// Those of the products that are here and can be connected so.
    pub(crate) fn among(&self, who: &[Product], mode: Mode) -> Vec<Product> {
        let mut products = self.products.clone();
        products.retain(|product| who.contains(product) && product.speaks(mode));
        products
    }

    /// Lets those who are there do a load, in turns.
    pub(crate) fn run(
        &mut self,
        section: &str,
        mode: Mode,
        load: &str,
        tunnels: &[Tunnel],
        measure: impl Fn(&Tunnel) -> Vec<Figure>,
    ) {
        let who: Vec<_> = tunnels.iter().map(|tunnel| tunnel.product).collect();
        self.run_all(section, mode, load, &who, |product| {
            let tunnel = tunnels.iter().find(|tunnel| tunnel.product == product);
            Ok(tunnel.map(&measure).unwrap_or_default())
        });
    }

    /// The same for a load that starts its own pairs, of all these products.
    pub(crate) fn run_all(
        &mut self,
        section: &str,
        mode: Mode,
        load: &str,
        who: &[Product],
        measure: impl Fn(Product) -> Result<Vec<Figure>>,
    ) {
        if who.is_empty() || !self.is_asked(load, mode) {
            return;
        }
        let title = title(load, mode);
        self.report.forget(&title);
        // Who fails once is not asked again: it may take long each time.
        let mut who = who.to_vec();
        for round in 0..self.options.rounds {
            eprintln!("{title}: round {} of {}", round + 1, self.options.rounds);
            // Each begins a round once, so that what the one before leaves behind does not always meet the same.
            let mut turns = who.clone();
            turns.rotate_left(round % who.len().max(1));
            for product in turns {
                let name = product.name();
                match caught(|| measure(product)) {
                    Ok(figures) => self.report.add(section, &title, name, figures),
                    Err(why) => {
                        who.retain(|it| *it != product);
                        let round = round + 1;
                        let note = format!("{name} failed at {title} in round {round}: {why}");
                        self.note(&title, note);
                    }
                }
            }
        }
        self.done(&title);
    }

    /// Measures several loads at once whose figures do not depend on what the processor does otherwise. `loads` are name, mode, and who
    /// does it; `measure` is told which of them it is.
    pub(crate) fn run_at_once<L: Copy + Sync>(
        &mut self,
        section: &str,
        loads: &[(L, String, Mode, Vec<Product>)],
        measure: impl Fn(L, Product) -> Result<Held> + Sync,
    ) {
        let (mut jobs, mut titles) = (Vec::new(), Vec::new());
        for (load, name, mode, who) in loads {
            if self.is_asked(name, *mode) {
                let title = title(name, *mode);
                self.report.forget(&title);
                jobs.extend(who.iter().map(|product| (*load, title.clone(), *product)));
                titles.push(title);
            }
        }
        for round in 0..self.options.rounds {
            if jobs.is_empty() {
                break;
            }
            eprintln!("{section}: round {} of {}", round + 1, self.options.rounds);
            let measure = &measure;
            let outcomes: Vec<_> = thread::scope(|scope| {
                let threads: Vec<_> = jobs
                    .iter()
                    .map(|(load, _, product)| scope.spawn(|| caught(|| measure(*load, *product))))
                    .collect();
                threads.into_iter().map(|it| it.join().unwrap()).collect()
            });
            let mut outcomes = outcomes.into_iter();
            jobs.retain(|(_, title, product)| {
                let name = product.name();
                match outcomes.next() {
                    Some(Ok(held)) => {
                        self.report.add(section, title, name, held.figures);
                        self.report
                            .add_course(section, title, hold::COURSE, name, held.course);
                        true
                    }
                    Some(Err(why)) => {
                        let round = round + 1;
                        let note = format!("{name} failed at {title} in round {round}: {why}");
                        eprintln!("{note}");
                        self.report.note(title, note);
                        false
                    }
                    None => false,
                }
            });
        }
        for title in titles {
            self.done(&title);
        }
    }

    /// Prints what came out, and keeps it.
    fn done(&self, title: &str) {
        println!("{}", self.report.table_of(title));
        self.write();
    }

    fn note(&mut self, load: &str, note: String) {
        eprintln!("{note}");
        self.report.note(load, note);
    }

    fn write(&self) {
        let written = self.report.write(
            &self.options.directory,
            "mgrok beside its peers",
            &machine::describe(),
            &targets::all(&self.options),
        );
        if let Err(error) = written {
            panic!("{}: {error}", self.options.directory.display());
        }
    }

    /// Says where the report is, where mgrok is behind, and who stood still.
    pub(crate) fn end(mut self) {
        self.report.tell_of_part(&format!(
            ", at the end {}, its own included; it took {} min",
            machine::load_average(),
            self.start.elapsed().as_secs().div_ceil(60),
        ));
        self.write();
        let behind = self.report.behind();
        println!("Where a peer does better than mgrok: {}", behind.len());
        for line in behind {
            println!("- {line}");
        }
        for line in self.report.standstills() {
            println!("Stood still: {line}");
        }
        println!(
            "The report: {}",
            self.options.directory.join("report.md").display()
        );
    }
}

/// What came out, or why nothing did: a load panics when a user of it fails.
fn caught<T>(measure: impl FnOnce() -> Result<T>) -> std::result::Result<T, String> {
    match catch_unwind(AssertUnwindSafe(measure)) {
        Ok(Ok(measured)) => Ok(measured),
        Ok(Err(error)) => Err(error.to_string()),
        Err(panic) => Err(panic
            .downcast_ref::<String>()
            .map_or("a panic", String::as_str)
            .to_owned()),
    }
}

/// What a program prints; a question mark if it fails.
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).output();
    match output {
        Ok(output) if output.status.success() => {
            String::from_utf8_lossy(&output.stdout).trim().to_owned()
        }
        _ => "?".to_owned(),
    }
}
