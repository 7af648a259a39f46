//! Counts what happens in a running program, and writes it down for Prometheus.
//!
//! There is no registry: whoever counts owns its counters, and whoever is scraped writes an [`Exposition`] from them and from whatever
//! else it knows at that moment.
//!
//! ```
//! use mgrok_metrics::{CounterBy, Exposition, Format, Kind, labels};
//!
//! labels! {
//!     /// How a login ended.
//!     pub enum Login {
//!         /// A session began.
//!         Ok = "ok",
//!         /// It was refused.
//!         Refused = "refused",
//!     }
//! }
//!
//! let logins = CounterBy::<Login>::default();
//! logins.of(Login::Ok).inc();
//! let mut exposition = Exposition::new(Format::Text);
//! let mut family = exposition.family("logins_total", Kind::Counter, "Logins by how they ended.");
//! family.counters("result", &logins);
//! assert!(exposition.finish().contains("logins_total{result=\"ok\"} 1\n"));
//! ```
//!
//! Modules are in order, lowest first.
// `prometheus-client` (0.26) writes OpenMetrics alone, and adds `_total` to every counter, where frp's `frp_server_traffic_in` has none.
// Most values here are read from tables when somebody asks, and its families would have to be filled for that first.

mod label;

mod counter;
mod histogram;

mod exposition;

mod process;

pub use counter::{Counter, CounterBy, Gauge, GaugeShare};
pub use exposition::{Exposition, Family, Format, Kind, Value};
pub use histogram::Histogram;
pub use label::Label;
pub use process::process;
