//! What Prometheus reads: its own text format, or that of OpenMetrics.

use std::fmt::{self, Display, Formatter, Write};

use crate::counter::CounterBy;
use crate::histogram::Histogram;
use crate::label::Label;

/// In which of the two formats to write. They differ in little.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Format {
    /// OpenMetrics 1.0.0.
    OpenMetrics,
    /// The text format of Prometheus, which everybody reads.
    Text,
}

/// What a family's values are.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    /// They only grow, from the start of the program on.
    Counter,
    /// They go up and down.
    Gauge,
    /// Counted durations.
    Histogram,
}

/// The value of a sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Value {
    /// A number that may have a fraction.
    Float(f64),
    /// A whole number.
    Int(i64),
    /// A count.
    UInt(u64),
}

/// All that is told in answer to one request.
#[derive(Debug)]
pub struct Exposition {
    format: Format,
    text: String,
}

/// The samples of one name.
#[derive(Debug)]
pub struct Family<'a> {
    name: &'a str,
    text: &'a mut String,
}

impl Format {
    /// The format that fits an `Accept` header, which may be empty.
    pub fn accepted_by(accept: &str) -> Self {
        let mut best = (Self::Text, 0);
        for range in accept.split(',') {
            let mut parts = range.split(';').map(str::trim);
            let format = match parts.next() {
                Some("application/openmetrics-text") => Self::OpenMetrics,
                Some("text/plain" | "text/*" | "*/*") => Self::Text,
                _ => continue,
            };
            let mut weight = 1000;
            for part in parts {
                match part.split_once('=') {
                    Some(("q", q)) => weight = thousandths(q),
                    // 0.0.1 was a draft.
                    Some(("version", "0.0.1")) if format == Self::OpenMetrics => weight = 0,
                    _ => {}
                }
            }
            if weight > best.1 {
                best = (format, weight);
            }
        }
        best.0
    }

    /// What the text is, as `Content-Type` has it.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
            Self::Text => "text/plain; version=0.0.4; charset=utf-8",
        }
    }
}

/// A weight between 0 and 1 in thousandths; 0 if it is none.
fn thousandths(weight: &str) -> u32 {
    match weight.parse::<f64>() {
        Ok(weight) if (0.0..=1.0).contains(&weight) => (weight * 1000.0) as u32,
        _ => 0,
    }
}

impl Exposition {
    /// Nothing yet.
    pub fn new(format: Format) -> Self {
        Self {
            format,
            text: String::new(),
        }
    }

    /// Begins the family `name`, which no other family has. `help` is a sentence.
    ///
    /// The name of a counter ends with `_total`, unless somebody else has chosen it.
    pub fn family<'a>(&'a mut self, name: &'a str, kind: Kind, help: &str) -> Family<'a> {
        let (family, kind) = match (self.format, kind, name.strip_suffix("_total")) {
            (Format::OpenMetrics, Kind::Counter, Some(stem)) => (stem, "counter"),
            // There, counters have to end with it.
            (Format::OpenMetrics, Kind::Counter, None) => (name, "unknown"),
            (Format::Text, Kind::Counter, _) => (name, "counter"),
            (_, Kind::Gauge, _) => (name, "gauge"),
            (_, Kind::Histogram, _) => (name, "histogram"),
        };
        let help = Escaped(help);
        let text = &mut self.text;
        // Writing to a string cannot fail.
        let _ = write!(text, "# HELP {family} {help}\n# TYPE {family} {kind}\n");
        Family { name, text }
    }

    /// A family of one gauge without labels.
    pub fn gauge(&mut self, name: &str, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Gauge, help).sample(&[], value);
    }

    /// A family of one counter without labels.
    pub fn counter(&mut self, name: &str, help: &str, value: impl Into<Value>) {
        self.family(name, Kind::Counter, help).sample(&[], value);
    }

    /// A family of one histogram without labels.
    pub fn histogram(&mut self, name: &str, help: &str, histogram: &Histogram) {
        let mut family = self.family(name, Kind::Histogram, help);
        family.histogram(histogram);
    }

    /// A family of one counter for each value of `label`.
    pub fn counters<L: Label>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        counters: &CounterBy<L>,
    ) {
        let mut family = self.family(name, Kind::Counter, help);
        family.counters(label, counters);
    }

    /// The text.
    pub fn finish(mut self) -> String {
        if self.format == Format::OpenMetrics {
            self.text.push_str("# EOF\n");
        }
        self.text
    }
}

impl Family<'_> {
    /// Adds a sample, whose labels no other of the family has.
    pub fn sample(&mut self, labels: &[(&str, &str)], value: impl Into<Value>) {
        self.write("", labels, value.into());
    }

    /// Adds a sample for each value of `label`.
    pub fn counters<L: Label>(&mut self, label: &str, counters: &CounterBy<L>) {
        for value in L::ALL {
            let count = counters.of(*value).get();
            self.sample(&[(label, value.as_str())], count);
        }
    }

    /// Adds all samples of a histogram.
    pub fn histogram(&mut self, histogram: &Histogram) {
        let mut count = 0;
        for (bound, within) in histogram.within() {
            let bound = match bound.is_infinite() {
                true => "+Inf".to_owned(),
                false => format!("{bound:?}"),
            };
            self.write("_bucket", &[("le", &bound)], within.into());
            count = within;
        }
        self.write("_sum", &[], histogram.sum().into());
        self.write("_count", &[], count.into());
    }

    fn write(&mut self, suffix: &str, labels: &[(&str, &str)], value: Value) {
        let text = &mut *self.text;
        text.push_str(self.name);
        text.push_str(suffix);
        for (number, (label, value)) in labels.iter().enumerate() {
            let before = if number == 0 { '{' } else { ',' };
            let _ = write!(text, "{before}{label}=\"{}\"", Escaped(value));
        }
        if !labels.is_empty() {
            text.push('}');
        }
        let _ = writeln!(text, " {value}");
    }
}

/// A text between quotes, or to the end of a line.
struct Escaped<'a>(&'a str);

impl Display for Escaped<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for part in self.0.split_inclusive(['\\', '"', '\n']) {
            let mut chars = part.chars();
            match chars.next_back() {
                Some('\n') => write!(f, "{}\\n", chars.as_str())?,
                Some(special @ ('\\' | '"')) => write!(f, "{}\\{special}", chars.as_str())?,
                _ => f.write_str(part)?,
            }
        }
        Ok(())
    }
}

impl Display for Value {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(value) if value.is_nan() => f.write_str("NaN"),
            Self::Float(value) if value.is_infinite() => {
                f.write_str(if *value > 0.0 { "+Inf" } else { "-Inf" })
            }
            Self::Float(value) => value.fmt(f),
            Self::Int(value) => value.fmt(f),
            Self::UInt(value) => value.fmt(f),
        }
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<u64> for Value {
    fn from(value: u64) -> Self {
        Self::UInt(value)
    }
}

impl From<usize> for Value {
    fn from(value: usize) -> Self {
        Self::UInt(value as u64)
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::UInt(value.into())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn written(format: Format) -> String {
        let mut exposition = Exposition::new(format);
        let mut family = exposition.family("seen_total", Kind::Counter, "What \\ was seen.");
        family.sample(&[("name", "a\"b\\c\nd"), ("type", "tcp")], 7_u64);
        family.sample(&[("name", "<ü>"), ("type", "udp")], u64::MAX);
        exposition.counter("traffic_in", "Bytes.", 3_u64);
        exposition.gauge("depth", "How deep.", -0.5);
        exposition.finish()
    }

    #[test]
    fn the_text_format_is_that_of_prometheus() {
        let expect = "# HELP seen_total What \\\\ was seen.\n# TYPE seen_total counter\n\
            seen_total{name=\"a\\\"b\\\\c\\nd\",type=\"tcp\"} 7\n\
            seen_total{name=\"<ü>\",type=\"udp\"} 18446744073709551615\n\
            # HELP traffic_in Bytes.\n# TYPE traffic_in counter\ntraffic_in 3\n\
            # HELP depth How deep.\n# TYPE depth gauge\ndepth -0.5\n";
        assert_eq!(written(Format::Text), expect);
    }

    /// Its families are named without `_total`, and what has none is no counter for it.
    #[test]
    fn open_metrics_differs_in_names_and_has_an_end() {
        let text = written(Format::OpenMetrics);
        assert!(text.contains("# TYPE seen counter\nseen_total{"), "{text}");
        assert!(
            text.contains("# TYPE traffic_in unknown\ntraffic_in 3\n"),
            "{text}"
        );
        assert!(text.ends_with("depth -0.5\n# EOF\n"), "{text}");
    }

    #[test]
    fn a_histogram_has_buckets_a_sum_and_a_count() {
        let histogram = Histogram::default();
        histogram.observe(Duration::from_millis(700));
        histogram.observe(Duration::from_secs(60));
        let mut exposition = Exposition::new(Format::OpenMetrics);
        exposition.histogram("wait_seconds", "The wait.", &histogram);
        let text = exposition.finish();
        for line in [
            "# TYPE wait_seconds histogram",
            "wait_seconds_bucket{le=\"0.0005\"} 0",
            "wait_seconds_bucket{le=\"1.0\"} 1",
            "wait_seconds_bucket{le=\"+Inf\"} 2",
            "wait_seconds_sum 60.7",
            "wait_seconds_count 2",
        ] {
            assert!(text.lines().any(|it| it == line), "{line}: {text}");
        }
    }

    #[test]
    fn the_format_is_what_is_accepted_most() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,\
            application/openmetrics-text;version=0.0.1;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.2";
        for (accept, format) in [
            ("", Format::Text),
            ("*/*", Format::Text),
            ("text/html, */*;q=0.8", Format::Text),
            ("application/json", Format::Text),
            (prometheus, Format::OpenMetrics),
            ("application/openmetrics-text", Format::OpenMetrics),
            ("application/openmetrics-text;version=0.0.1", Format::Text),
            (
                "text/plain, application/openmetrics-text;q=0.5",
                Format::Text,
            ),
            ("application/openmetrics-text; q=0", Format::Text),
            ("application/openmetrics-text; q=7", Format::Text),
        ] {
            assert_eq!(Format::accepted_by(accept), format, "{accept}");
        }
    }
}
