//! What `tracing` calls: decides which events are written, and makes lines of them.

use std::cell::Cell;
use std::error::Error;
use std::fmt::{self, Write as _};
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::span::{Attributes, Id, Record};
use tracing::subscriber::Interest;
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
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

/// Turns events into lines of the log.
pub(crate) struct LineLayer {
    pub(crate) color: bool,
    pub(crate) level: Level,
    pub(crate) limiter: Arc<Limiter>,
    /// Asks for the time. A function, so that a test can be at any time it likes.
    pub(crate) now: fn() -> Timestamp,
    pub(crate) queue: Arc<Queue>,
    pub(crate) zone: TimeZone,
}

/// Which prefix the lines inside a span get.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum PrefixKind {
    Hook,
    Proxy,
    Session,
}

impl PrefixKind {
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

/// The prefix that a span stands for, stored with it. Empty until the field has a value: a
/// client learns its run id after its session began.
struct Prefix {
    kind: PrefixKind,
    text: String,
}

impl LineLayer {
    /// Decided once per call site and remembered by `tracing`.
    fn wants(&self, metadata: &Metadata<'_>) -> bool {
        let own = metadata.target().starts_with(OWN_TARGETS);
        if metadata.is_span() {
            return own && PrefixKind::of(metadata).is_some();
        }
        let level = if own {
            self.level
        } else {
            self.level.min(OTHERS_LEVEL)
        };
        *metadata.level() <= level
    }

    /// Makes the line of an event, with `remark` at the end of its message. Returns where the message begins.
    fn write_line<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &Context<'_, S>,
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
        push_prefixes(line, event, context);
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

    fn write_sourced<S>(
        &self,
        line: &mut String,
        event: &Event<'_>,
        context: &Context<'_, S>,
        allowance: Allowance,
    ) where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let metadata = event.metadata();
        let mut named = SourceField(None);
        event.record(&mut named);
        let source = named.0.unwrap_or_else(|| session_around(event, context));
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
        self.queue.push(line, Room::ForSources);
    }
}

impl<S> Layer<S> for LineLayer
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.wants(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.wants(metadata)
    }

    /// What is above this costs one load and a comparison where it would be logged.
    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(SPAN_LEVEL.max(LevelFilter::from_level(self.level)))
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        let (Some(kind), Some(span)) = (PrefixKind::of(attributes.metadata()), context.span(id))
        else {
            return;
        };
        let mut prefix = Prefix {
            kind,
            text: String::new(),
        };
        attributes.record(&mut prefix);
        span.extensions_mut().insert(prefix);
    }

    fn on_record(&self, id: &Id, values: &Record<'_>, context: Context<'_, S>) {
        let Some(span) = context.span(id) else {
            return;
        };
        if let Some(prefix) = span.extensions_mut().get_mut::<Prefix>() {
            values.record(prefix);
        }
    }

    fn on_event(&self, event: &Event<'_>, context: Context<'_, S>) {
        let mut line = LINE.take();
        line.clear();
        let mut names = event.metadata().fields().iter();
        match names.find_map(|it| Allowance::of_field(it.name())) {
            Some(allowance) => self.write_sourced(&mut line, event, &context, allowance),
            None => {
                self.write_line(&mut line, event, &context, MESSAGE_LEN, "");
                self.queue.push(&line, Room::All);
            }
        }
        line.shrink_to(KEPT_BUFFER);
        LINE.set(line);
    }
}

/// Appends the prefixes of the innermost spans around the event: the session first, however the
/// spans are nested.
fn push_prefixes<S>(line: &mut String, event: &Event<'_>, context: &Context<'_, S>)
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    for wanted in [PrefixKind::Session, PrefixKind::Proxy, PrefixKind::Hook] {
        for span in context.event_scope(event).into_iter().flatten() {
            let extensions = span.extensions();
            let prefix = extensions.get::<Prefix>();
            if let Some(prefix) = prefix.filter(|it| it.kind == wanted && !it.text.is_empty()) {
                line.push('[');
                line.push_str(wanted.label());
                line.push_str(&prefix.text);
                line.push_str("] ");
                break;
            }
        }
    }
}

impl Visit for Prefix {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == self.kind.field() {
            self.text.clear();
            let mut text = Text::new(&mut self.text, PREFIX_LEN);
            // Writing to a string does not fail.
            let _ = write!(text, "{value:?}");
            text.end();
        }
    }
}

/// Who has caused an event that names nobody: the session around it.
fn session_around<S>(event: &Event<'_>, context: &Context<'_, S>) -> Source
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    for span in context.event_scope(event).into_iter().flatten() {
        if let Some(prefix) = span.extensions().get::<Prefix>()
            && prefix.kind == PrefixKind::Session
        {
            return Source::new(format_args!("{}", prefix.text));
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
