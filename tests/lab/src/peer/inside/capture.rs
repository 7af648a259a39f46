//! Events of a peer in this process, as lines like those of the programs.

use std::fmt::{self, Write as _};

use tracing::{
    Dispatch, Event, Level, Subscriber,
    field::{Field, Visit},
    span,
};
use tracing_subscriber::{
    Layer, Registry,
    layer::{Context, SubscriberExt as _},
    registry::LookupSpan,
};

use crate::log::Log;

/// A dispatcher that writes into `log`: level, the values of the spans in brackets, the message,
/// and fields behind it.
pub(super) fn into(log: &Log) -> Dispatch {
    Registry::default().with(Capture(log.clone())).into()
}

struct Capture(Log);

/// What a span puts in front of each line.
#[derive(Default)]
struct Prefix(String);

impl<S> Layer<S> for Capture
where
    S: Subscriber + for<'lookup> LookupSpan<'lookup>,
{
    fn enabled(&self, metadata: &tracing::Metadata<'_>, _: Context<'_, S>) -> bool {
        // Libraries are silent in the programs, too.
        *metadata.level() <= Level::DEBUG && metadata.target().starts_with("mgrok")
    }

    fn on_new_span(&self, attributes: &span::Attributes<'_>, id: &span::Id, ctx: Context<'_, S>) {
        let mut prefix = Prefix::default();
        attributes.record(&mut prefix);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(prefix);
        }
    }

    fn on_record(&self, id: &span::Id, values: &span::Record<'_>, ctx: Context<'_, S>) {
        if let Some(span) = ctx.span(id)
            && let Some(prefix) = span.extensions_mut().get_mut::<Prefix>()
        {
            values.record(prefix);
        }
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let level = event.metadata().level().as_str();
        let mut line = format!("[{}] [{}] ", &level[..1], event.metadata().target());
        if let Some(scope) = ctx.event_scope(event) {
            for span in scope.from_root() {
                if let Some(Prefix(prefix)) = span.extensions().get() {
                    line += prefix;
                }
            }
        }
        let mut text = Text::default();
        event.record(&mut text);
        self.0.push(line + &text.message + &text.fields);
    }
}

impl Visit for Prefix {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        // Only these are printed by the programs, too.
        if matches!(field.name(), "run_id" | "name") {
            let _ = write!(self.0, "[{value:?}] ");
        }
    }
}

#[derive(Default)]
struct Text {
    message: String,
    fields: String,
}

impl Visit for Text {
    fn record_str(&mut self, field: &Field, value: &str) {
        self.record_debug(field, &format_args!("{value}"));
    }

    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.message, "{value:?}"),
            // They steer the programs' log, which does not show them.
            "source" | "per_session" => Ok(()),
            name => write!(self.fields, " {name}={value:?}"),
        };
    }
}
