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
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::layer::{Context, Filter, Layer};
use tracing_subscriber::registry::LookupSpan;

use crate::json::Object;
use crate::limiter::{Allowance, Last, Limiter, Source, Verdict};
use crate::line::{self, Text};
use crate::queue::{Queue, Room};
use crate::settings::{Format, Settings};
use crate::tail::Tail;

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
    pub(crate) limiter: Arc<Limiter>,
    /// Asks for the time. A function, so that a test can be at any time it likes.
    pub(crate) now: fn() -> Timestamp,
    pub(crate) queue: Arc<Queue>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) tail: Arc<Tail>,
    pub(crate) zone: TimeZone,
}

impl LineLayer {
    pub(crate) fn build<S>(self) -> impl Layer<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let format = LineFormat {
            limiter: self.limiter,
            now: self.now,
            settings: Arc::clone(&self.settings),
            tail: self.tail,
            zone: self.zone,
        };
        tracing_subscriber::fmt::layer()
            .fmt_fields(PrefixFields)
            .event_format(format)
            .with_writer(QueueWriter(self.queue))
            // A line that is left out is no error.
            .log_internal_errors(false)
            .with_filter(LevelOfNow(self.settings))
    }
}

/// Lets events of the level of this moment pass, other crates' from [`OTHERS_LEVEL`] on, and of spans those that give prefixes.
///
/// The answer is the same for each event of a call site until the level changes, so that `tracing` asks once. Whoever changes the level
/// has it ask again (`rebuild_interest_cache`). Not `tracing_subscriber::reload`, whose lock is taken for each span that is made.
struct LevelOfNow(Arc<Settings>);

impl LevelOfNow {
    fn lets_pass(&self, metadata: &Metadata<'_>) -> bool {
        let is_own = metadata.target().starts_with(OWN_TARGETS);
        if metadata.is_span() {
            return is_own && *metadata.level() <= SPAN_LEVEL && PrefixKind::of(metadata).is_some();
        }
        let level = self.0.level();
        let level = if is_own {
            level
        } else {
            level.min(OTHERS_LEVEL)
        };
        *metadata.level() <= level
    }
}

impl<S> Filter<S> for LevelOfNow {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.lets_pass(metadata)
    }

    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        match self.lets_pass(metadata) {
            true => Interest::always(),
            false => Interest::never(),
        }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(LevelFilter::from_level(self.0.level()).max(SPAN_LEVEL))
    }
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

    /// What JSON calls it.
    fn json_name(self) -> &'static str {
        match self {
            Self::Hook => "reqid",
            Self::Proxy => "proxy",
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
    limiter: Arc<Limiter>,
    now: fn() -> Timestamp,
    settings: Arc<Settings>,
    tail: Arc<Tail>,
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
                self.write_line(&mut line, event, context, MESSAGE_LEN, None);
            }
        }
        // One that others cause may have been left out.
        if !line.is_empty() {
            self.tail.push(*event.metadata().level(), || {
                let room = match allowance(event.metadata()) {
                    Some(_) => SOURCED_MESSAGE_LEN,
                    None => MESSAGE_LEN,
                };
                let mut message = String::new();
                push_message(&mut message, event, context, room);
                message
            });
        }
        let written = writer.write_str(&line);
        line.shrink_to(KEPT_BUFFER);
        LINE.set(line);
        written
    }
}

impl LineFormat {
    /// Makes the line of an event, which says if it is the last one of these for a while.
    fn write_line<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &FmtContext<'_, S, PrefixFields>,
        room: usize,
        last: Option<Last>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        match self.settings.format() {
            Format::Json => self.write_object(line, event, context, room, last),
            Format::Text => self.write_text(line, event, context, room, last),
        }
        line.push('\n');
    }

    fn write_text<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &FmtContext<'_, S, PrefixFields>,
        room: usize,
        last: Option<Last>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let color = line::color(*metadata.level()).filter(|_| self.settings.is_colored());
        line.push_str(color.unwrap_or_default());
        line::push_head(line, self.zone.to_datetime((self.now)()), metadata);
        push_message(line, event, context, room);
        line.push_str(match last {
            None => "",
            Some(Last::OfKind) => "; what else comes like this is only counted for a while",
            Some(Last::OfSource) => {
                "; what else comes like this from there is only counted for a while"
            }
        });
        // frp: the reset comes after the line break and colours the start of the next line.
        if color.is_some() {
            line.push_str(line::COLOR_RESET);
        }
    }

    fn write_object<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &FmtContext<'_, S, PrefixFields>,
        room: usize,
        last: Option<Last>,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let mut object = Object::begin(line, room);
        object.time((self.now)(), &self.zone);
        object.word("level", |out| {
            out.push_str(line::level_word(*metadata.level()));
        });
        object.word("target", |out| out.push_str(metadata.target()));
        object.word("caller", |out| line::push_caller(out, metadata));
        for wanted in PrefixKind::ALL {
            with_prefix(wanted, context, |name, prefix| {
                object.text(name, format_args!("{prefix}"));
            });
        }
        let mut fields = ObjectFields {
            has_message: false,
            object,
        };
        event.record(&mut fields);
        let ObjectFields {
            has_message,
            mut object,
        } = fields;
        if !has_message {
            object.text("message", format_args!(""));
        }
        if let Some(last) = last {
            object.word("limited", |out| {
                out.push_str(match last {
                    Last::OfKind => "kind",
                    Last::OfSource => "source",
                });
            });
        }
        object.end();
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
        self.write_line(line, event, context, SOURCED_MESSAGE_LEN, last);
        if last.is_some() {
            // This happens once in a while.
            let mut message = String::new();
            push_message(&mut message, event, context, SOURCED_MESSAGE_LEN);
            self.limiter.keep_example(metadata, source, &message);
        }
    }
}

/// Appends the message of an event as text: the prefixes, the message itself, the fields.
fn push_message<S>(
    line: &mut String,
    event: &Event<'_>,
    context: &FmtContext<'_, S, PrefixFields>,
    room: usize,
) where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
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
        with_prefix(wanted, context, |_, prefix| {
            line.push('[');
            line.push_str(wanted.label());
            line.push_str(prefix);
            line.push_str("] ");
        });
    }
}

/// Gives `use_it` what the innermost span of this kind has for its lines, and the name it has in JSON, if there is one.
fn with_prefix<S>(
    wanted: PrefixKind,
    context: &FmtContext<'_, S, PrefixFields>,
    use_it: impl FnOnce(&'static str, &str),
) where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    for span in context.event_scope().into_iter().flatten() {
        if PrefixKind::of(span.metadata()) != Some(wanted) {
            continue;
        }
        let extensions = span.extensions();
        let prefix = extensions.get::<FormattedFields<PrefixFields>>();
        if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty()) {
            return use_it(wanted.json_name(), prefix);
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

/// Appends the message and the fields of an event to an object.
struct ObjectFields<'a> {
    has_message: bool,
    object: Object<'a>,
}

impl ObjectFields<'_> {
    fn plain(&mut self, field: &Field, value: impl fmt::Display) {
        // It says how the line is limited, and nothing of the event.
        if field.name() != "per_session" {
            self.object.plain_field(field.name(), value);
        }
    }
}

impl Visit for ObjectFields<'_> {
    fn record_bool(&mut self, field: &Field, value: bool) {
        self.plain(field, value);
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.plain(field, value);
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.plain(field, value);
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        match value.is_finite() {
            true => self.plain(field, value),
            // JSON has no number for it.
            false => self.record_debug(field, &value),
        }
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.record_debug(field, &Chain(value));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        match field.name() {
            "message" => {
                self.has_message = true;
                self.object.text("message", format_args!("{value:?}"));
            }
            name => self.object.text_field(name, format_args!("{value:?}")),
        }
    }
}

#[cfg(test)]
mod tests;
