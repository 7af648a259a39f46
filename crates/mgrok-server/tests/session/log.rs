//! Records the log of servers on this thread.

use std::fmt;
use std::sync::{Arc, Mutex, Once};

use tokio::sync::Notify;
use tracing::field::Visit;
use tracing::subscriber::DefaultGuard;
use tracing::{Event, Level};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::{Layer, Registry};

/// The log lines since this was created: level and message.
pub(crate) struct Log {
    lines: Lines,
    _guard: DefaultGuard,
}

#[derive(Clone, Default)]
struct Lines {
    lines: Arc<Mutex<Vec<(Level, String)>>>,
    more: Arc<Notify>,
}

/// Has all places that log ask for ever where their lines go. A place that is met for the first time while another test's recorder comes
/// or goes may otherwise find nobody there, and be switched off for the test that wants it.
static ASKED_FOR_EVER: Once = Once::new();

impl Log {
    pub(crate) fn new() -> Self {
        ASKED_FOR_EVER.call_once(|| {
            // There is one already if it fails.
            let _ = tracing::subscriber::set_global_default(Registry::default());
        });
        let lines = Lines::default();
        let subscriber = Registry::default().with(lines.clone());
        Self {
            lines,
            _guard: tracing::subscriber::set_default(subscriber),
        }
    }

    /// The lines so far at `level` that contain `text`.
    pub(crate) fn find(&self, level: Level, text: &str) -> Vec<String> {
        let lines = self.lines.lines.lock().unwrap();
        let found = lines
            .iter()
            .filter(|(at, line)| *at == level && line.contains(text));
        found.map(|(_, line)| line.clone()).collect()
    }

    /// Waits for a line at `level` that contains `text`.
    pub(crate) async fn wait_for(&self, level: Level, text: &str) -> String {
        loop {
            let more = self.lines.more.notified();
            if let Some(line) = self.find(level, text).pop() {
                return line;
            }
            more.await;
        }
    }
}

impl<S: tracing::Subscriber> Layer<S> for Lines {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut message = Message(String::new());
        event.record(&mut message);
        let line = (*event.metadata().level(), message.0);
        self.lines.lock().unwrap().push(line);
        self.more.notify_waiters();
    }
}

struct Message(String);

impl Visit for Message {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        if field.name() == "message" {
            self.0 = format!("{value:?}");
        }
    }
}
