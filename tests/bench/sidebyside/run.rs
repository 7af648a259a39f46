//! Who runs when, and what becomes of what came out.

use std::{
    io::Result,
    panic::{AssertUnwindSafe, catch_unwind},
};

use mgrok_lab::report::{Figure, Report, machine};

use crate::{
    link::Path,
    mode::Mode,
    options::{Options, title},
    product::Product,
    services::Published,
    tunnel::{Setup, Tunnel},
};

/// A run: what was asked for, who takes part, and what has come out.
pub(crate) struct Run {
    pub(crate) options: Options,
    pub(crate) products: Vec<Product>,
    report: Report,
    about: String,
}

impl Run {
    /// A run of nothing yet.
    pub(crate) fn new(options: Options) -> Self {
        let mut products = Product::available();
        products.retain(|product| !options.without.contains(&product.name().to_owned()));
        let report = Report::new(products.iter().map(|product| product.peer()).collect());
        let args: Vec<_> = std::env::args()
            .skip(1)
            .filter(|arg| arg != "--bench")
            .collect();
        let about = format!(
            "{}- load average at the start: {}\n- command: `cargo bench --bench sidebyside -- {}`; {} rounds of {:?}\n",
            machine::describe(),
            machine::load_average(),
            args.join(" "),
            options.rounds,
            options.window,
        );
        Self {
            options,
            products,
            report,
            about,
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

    /// Starts a pair of each product, for loads of these names; `None` for those that are not asked for, do not speak so, or do not
    /// start.
    pub(crate) fn tunnels(
        &mut self,
        setup: Setup,
        services: &Published,
        loads: &[String],
    ) -> Vec<Option<Tunnel>> {
        let is_asked = |load: &String| self.options.wants(load, setup.mode);
        if !loads.iter().any(is_asked) {
            return Vec::new();
        }
        let mut tunnels = Vec::new();
        for product in self.products.clone() {
            let started = product
                .speaks(setup.mode)
                .then(|| Tunnel::start(product, setup, services));
            tunnels.push(match started {
                None => None,
                Some(Ok(tunnel)) => Some(tunnel),
                Some(Err(error)) => {
                    self.note(format!(
                        "{} did not start ({}): {error}",
                        product.name(),
                        setup.mode.name()
                    ));
                    None
                }
            });
        }
        tunnels
    }

    /// Lets those who are there do a load, in turns.
    pub(crate) fn run(
        &mut self,
        section: &'static str,
        mode: Mode,
        load: &str,
        tunnels: &[Option<Tunnel>],
        measure: impl Fn(&Tunnel) -> Vec<Figure>,
    ) {
        if tunnels.is_empty() {
            return;
        }
        self.run_all(section, mode, load, |_, _, who| {
            Ok(tunnels[who].as_ref().map(&measure).unwrap_or_default())
        });
    }

    /// The same for a load that starts its own pairs. `measure` may add to the report what is no figure.
    pub(crate) fn run_all(
        &mut self,
        section: &'static str,
        mode: Mode,
        load: &str,
        measure: impl Fn(&mut Report, &str, usize) -> Result<Vec<Figure>>,
    ) {
        if !self.options.wants(load, mode) {
            return;
        }
        let title = title(load, mode);
        let count = self.products.len();
        // Who fails once is not asked again: it may take long each time.
        let mut has_failed = vec![false; count];
        for round in 0..self.options.rounds {
            eprintln!("{title}: round {} of {}", round + 1, self.options.rounds);
            for turn in 0..count {
                // Each begins a round once, so that what the one before leaves behind does not always meet the same.
                let who = (turn + round) % count;
                if has_failed[who] {
                    continue;
                }
                let report = &mut self.report;
                let measured =
                    catch_unwind(AssertUnwindSafe(|| measure(&mut *report, &title, who)));
                let why = match measured {
                    Ok(Ok(figures)) => {
                        self.report.add(section, &title, who, figures);
                        continue;
                    }
                    Ok(Err(error)) => error.to_string(),
                    Err(panic) => panic
                        .downcast_ref::<String>()
                        .map_or("a panic", String::as_str)
                        .to_owned(),
                };
                has_failed[who] = true;
                let name = self.products[who].name();
                self.note(format!(
                    "{name} failed at {title} in round {}: {why}",
                    round + 1
                ));
            }
        }
        println!("{}", self.report.table_of_the_last());
        self.write();
    }

    fn note(&mut self, note: String) {
        eprintln!("{note}");
        self.report.note(note);
    }

    fn write(&self) {
        let title = "mgrok beside its peers";
        let written = self
            .report
            .write(&self.options.directory, title, &self.about);
        if let Err(error) = written {
            panic!("{}: {error}", self.options.directory.display());
        }
    }

    /// Says where the report is, and where mgrok is behind.
    pub(crate) fn end(mut self) {
        self.about += &format!(
            "- load average at the end, its own load included: {}\n",
            machine::load_average()
        );
        self.write();
        let behind = self.report.behind();
        println!("Where a peer does better than mgrok: {}", behind.len());
        for line in behind {
            println!("- {line}");
        }
        println!(
            "The report: {}",
            self.options.directory.join("report.md").display()
        );
    }
}
