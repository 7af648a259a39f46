//! What `tracing` calls: decides which events are written, and makes lines of them.
//!
//! `tracing_subscriber::fmt` calls [`LineFormat`] for each event and hands the line to [`QueueWriter`]. Its field formatter
//! keeps with each span the prefix that the span gives to its lines.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::io;
use std::mem;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::Record;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::{Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::limiter::{Allowance, Last, Limiter, Source, Verdict};
use crate::line::{self, Text};
use crate::queue::{Queue, Room};

/// What the targets of mgrok's own crates begin with.
const OWN_TARGETS: &str = "mgrok";

/// What is heard of other crates: their everyday is not the operator's.
const OTHERS_LEVEL: Level = Level::WARN;

/// The level at which prefixing spans are made. They must exist even if the log is less
/// talkative, or warnings would come without their prefixes.
const SPAN_LEVEL: LevelFilter = LevelFilter::INFO;

/// The largest line buffer that a thread keeps.
const KEPT_BUFFER: usize = 4 << 10;

/// The longest message of a line with its fields, in bytes.
const MESSAGE_LEN: usize = 4 << 10;

/// The same, for lines that somebody else can cause as often as they like.
const SOURCED_MESSAGE_LEN: usize = 1 << 10;

/// The longest prefix that a span gives to its lines, in bytes. Names in it come from clients.
const PREFIX_LEN: usize = 128;

thread_local! {
    /// The line being made. It is taken out while in use, because a value that is formatted may
    /// log something itself.
    static LINE: Cell<String> = const { Cell::new(String::new()) };
}

/// What the layer that makes lines is made of.
pub(crate) struct LineLayer {
    pub(crate) color: bool,
    pub(crate) level: Level,
    pub(crate) limiter: Arc<Limiter>,
    /// Asks for the time. A function, so that a test can be at any time it likes.
    pub(crate) now: fn() -> Timestamp,
    pub(crate) queue: Arc<Queue>,
    pub(crate) zone: TimeZone,
}

impl LineLayer {
    pub(crate) fn build<S>(self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let format = LineFormat {
            color: self.color,
            limiter: self.limiter,
            now: self.now,
            zone: self.zone,
        };
        tracing_subscriber::fmt::layer()
            .fmt_fields(PrefixFields)
            .event_format(format)
            .with_writer(QueueWriter(self.queue))
            // A line that is left out is no error.
            .log_internal_errors(false)
            .with_filter(filter(self.level))
    }
}

/// Lets events of `level` pass, other crates' from [`OTHERS_LEVEL`] on, and of spans those that give prefixes. The answer is
/// the same for each event of a call site, so that `tracing` asks once.
fn filter<S>(level: Level) -> impl Filter<S> {
    let targets = Targets::new()
        .with_target(OWN_TARGETS, level)
        .with_default(level.min(OTHERS_LEVEL));
    let events = filter_fn(|metadata| metadata.is_event()).with_max_level_hint(LevelFilter::TRACE);
    let prefixing = filter_fn(|metadata| {
        metadata.is_span()
            && metadata.target().starts_with(OWN_TARGETS)
            && PrefixKind::of(metadata).is_some()
    });
    targets
        .and(events)
        .or(prefixing.with_max_level_hint(SPAN_LEVEL))
}

/// Hands lines to the queue.
struct QueueWriter(Arc<Queue>);

/// The part of the queue that the lines of one event may take.
struct RoomWriter<'a> {
    queue: &'a Queue,
    room: Room,
}

impl<'a> MakeWriter<'a> for QueueWriter {
    type Writer = RoomWriter<'a>;

    fn make_writer(&'a self) -> RoomWriter<'a> {
        RoomWriter {
            queue: &self.0,
            room: Room::All,
        }
    }

    fn make_writer_for(&'a self, metadata: &Metadata<'_>) -> RoomWriter<'a> {
        RoomWriter {
            queue: &self.0,
            room: match allowance(metadata) {
                Some(_) => Room::ForSources,
                None => Room::All,
            },
        }
    }
}

impl io::Write for RoomWriter<'_> {
    /// Takes a whole line, as formatters write them.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let text = str::from_utf8(line).map_err(io::Error::other)?;
        self.queue.push(text, self.room);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Which prefix the lines inside a span get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PrefixKind {
    Hook,
    Proxy,
    Session,
}

impl PrefixKind {
    /// In the order in which a line has them.
    const ALL: [Self; 3] = [Self::Session, Self::Proxy, Self::Hook];

    fn of(span: &Metadata<'_>) -> Option<Self> {
        match span.name() {
            "hook" => Some(Self::Hook),
            // A client has either, and frp's lines do not tell them apart.
            "proxy" | "visitor" => Some(Self::Proxy),
            "session" => Some(Self::Session),
            _ => None,
        }
    }

    /// The field that holds the prefix.
    fn field(self) -> &'static str {
        match self {
            Self::Hook => "reqid",
            Self::Proxy => "name",
            Self::Session => "run_id",
        }
    }

    /// What stands in front of it.
    // frp: the same (pkg/plugin/server/manager.go)
    fn label(self) -> &'static str {
        match self {
            Self::Hook => "reqid: ",
            Self::Proxy | Self::Session => "",
        }
    }
}

/// Keeps of a span's fields the prefix alone, escaped and cut. It is empty until the field has a value: a client learns its
/// run id after its session began.
struct PrefixFields;

impl<'writer> FormatFields<'writer> for PrefixFields {
    fn format_fields<R: RecordFields>(
        &self,
        mut writer: Writer<'writer>,
        fields: R,
    ) -> fmt::Result {
        let mut prefix = Prefix::default();
        fields.record(&mut prefix);
        writer.write_str(&prefix.0)
    }

    fn add_fields(
        &self,
        current: &'writer mut FormattedFields<Self>,
        fields: &Record<'_>,
    ) -> fmt::Result {
        let mut prefix = Prefix(mem::take(&mut current.fields));
        fields.record(&mut prefix);
        current.fields = prefix.0;
        Ok(())
    }
}

/// The text between the brackets.
#[derive(Default)]
struct Prefix(String);

impl Visit for Prefix {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // A span that gives prefixes has one of these fields.
        if PrefixKind::ALL
            .iter()
            .any(|kind| kind.field() == field.name())
        {
            self.0.clear();
            let mut text = Text::new(&mut self.0, PREFIX_LEN);
            // Writing to a string does not fail.
            let _ = write!(text, "{value:?}");
            text.end();
        }
    }
}

/// Makes the line of an event.
struct LineFormat {
    color: bool,
    limiter: Arc<Limiter>,
    now: fn() -> Timestamp,
    zone: TimeZone,
}

impl<S> FormatEvent<S, PrefixFields> for LineFormat
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, PrefixFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut line = LINE.take();
        line.clear();
        match allowance(event.metadata()) {
            Some(allowance) => self.write_sourced(&mut line, event, context, allowance),
            None => {
                self.write_line(&mut line, event, context, MESSAGE_LEN, "");
            }
        }
        let written = writer.write_str(&line);
        line.shrink_to(KEPT_BUFFER);
        LINE.set(line);
        written
    }
}

impl LineFormat {
    /// Makes the line of an event, with `remark` at the end of its message. Returns where the message begins.
    fn write_line<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &FmtContext<'_, S, PrefixFields>,
        room: usize,
        remark: &str,
    ) -> usize
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let color = line::color(*metadata.level()).filter(|_| self.color);
        line.push_str(color.unwrap_or_default());
        line::push_head(line, self.zone.to_datetime((self.now)()), metadata);

        let message_start = line.len();
        push_prefixes(line, context);
        let mut fields = String::new();
        let mut message = Message {
            empty: true,
            fields: Text::new(&mut fields, room),
            line: Text::new(line, room),
        };
        event.record(&mut message);
        let Message {
            empty,
            fields: fields_text,
            line: mut text,
        } = message;
        fields_text.end();
        // Each field brings the space that parts it from what stands before it. Writing to a string does not fail.
        let _ = text.write_str(if empty { fields.trim_start() } else { &fields });
        text.end();
        line.push_str(remark);

        // frp: the reset comes after the line break and colours the start of the next line.
        if color.is_some() {
            line.push_str(line::COLOR_RESET);
        }
        line.push('\n');
        message_start
    }

    /// The same for an event that somebody else can cause as often as they like. Leaves `line` empty if the event is left out.
    fn write_sourced<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &FmtContext<'_, S, PrefixFields>,
        allowance: Allowance,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let mut named = SourceField(None);
        event.record(&mut named);
        let source = named.0.unwrap_or_else(|| session_around(context));
        let now = Instant::now();
        let last = match self.limiter.judge(metadata, source, allowance, now) {
            Verdict::LeaveOut => return,
            Verdict::Write => None,
            Verdict::WriteLast(last) => Some(last),
        };
        let remark = match last {
            None => "",
            Some(Last::OfKind) => "; what else comes like this is only counted for a while",
            Some(Last::OfSource) => {
                "; what else comes like this from there is only counted for a while"
            }
        };
        let start = self.write_line(line, event, context, SOURCED_MESSAGE_LEN, remark);
        if last.is_some() {
            let message = line[start..].trim_end_matches(['\n']);
            let message = message.strip_suffix(line::COLOR_RESET).unwrap_or(message);
            let message = message.strip_suffix(remark).unwrap_or(message);
            self.limiter.keep_example(metadata, source, message);
        }
    }
}

/// Whose allowance the event takes, if somebody else can cause it as often as they like.
fn allowance(metadata: &Metadata<'_>) -> Option<Allowance> {
    let mut names = metadata.fields().iter();
    names.find_map(|field| Allowance::of_field(field.name()))
}

/// Appends the prefixes of the innermost spans around the event: the session first, however the
/// spans are nested.
fn push_prefixes<S>(line: &mut String, context: &FmtContext<'_, S, PrefixFields>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    for wanted in PrefixKind::ALL {
        for span in context.event_scope().into_iter().flatten() {
            if PrefixKind::of(span.metadata()) != Some(wanted) {
                continue;
            }
            let extensions = span.extensions();
            let prefix = extensions.get::<FormattedFields<PrefixFields>>();
            if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
                line.push('[');
                line.push_str(wanted.label());
                line.push_str(prefix);
                line.push_str("] ");
                break;
            }
        }
    }
}

/// Who has caused an event that names nobody: the session around it.
fn session_around<S>(context: &FmtContext<'_, S, PrefixFields>) -> Source
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    for span in context.event_scope().into_iter().flatten() {
        if PrefixKind::of(span.metadata()) == Some(PrefixKind::Session)
            && let Some(prefix) = span.extensions().get::<FormattedFields<PrefixFields>>()
        {
            return Source::new(format_args!("{}", prefix.fields));
        }
    }
    Source::new(format_args!(""))
}

/// Finds whom an event names as its cause.
struct SourceField(Option<Source>);

impl Visit for SourceField {
    fn record_bool(&mut self, _: &Field, _: bool) {}

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if Allowance::of_field(field.name()).is_some() {
            self.0 = Some(Source::new(format_args!("{value:?}")));
        }
    }
}

/// Collects the message and the fields of an event.
struct Message<'fields, 'line> {
    /// There was no message.
    empty: bool,
    fields: Text<'fields>,
    line: Text<'line>,
}

/// An error with everything that caused it. Of its own, because this crate imports none of the others, which print errors by
/// `mgrok_net::error_chain`.
struct Chain<'a>(&'a dyn Error);

impl fmt::Debug for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}

impl Visit for Message<'_, '_> {
    /// Text that is more than a word is quoted, so that one sees where it ends.
    fn record_str(&mut self, field: &Field, value: &str) {
        let is_word = |it: char| !it.is_whitespace() && !matches!(it, '"' | '=');
        if field.name() == "message" || (!value.is_empty() && value.chars().all(is_word)) {
            self.record_debug(field, &format_args!("{value}"));
        } else {
            self.record_debug(field, &value);
        }
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &Chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Writing to a string does not fail.
        let _ = match field.name() {
            "message" => {
                self.empty = false;
                write!(self.line, "{value:?}")
            }
            // The message says it as it should be read.
            name if Allowance::of_field(name).is_some() => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}

#[cfg(test)]
mod tests;
