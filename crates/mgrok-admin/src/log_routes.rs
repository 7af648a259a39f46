//! The log of the program at its admin port, which is the same on both ends: its level, and what is written.

use std::sync::Arc;
use std::time::UNIX_EPOCH;

use axum::http::Method;
use futures_util::stream::{Stream, StreamExt as _, iter, unfold};
use mgrok_log::{LogControl, LogFeed, LogLine};
use serde::{Deserialize, Serialize};
use tracing::{Level, info};

use crate::answer::{Answer, Refusal};
use crate::events::{EventStream, ServerEvent};
use crate::extract::{Caller, JsonBody};
use crate::routes::Routes;

/// All levels, the most important last.
const LEVELS: [(&str, Level); 5] = [
    ("trace", Level::TRACE),
    ("debug", Level::DEBUG),
    ("info", Level::INFO),
    ("warn", Level::WARN),
    ("error", Level::ERROR),
];

/// A level on the wire.
#[derive(Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct LevelBody {
    level: String,
}

/// A line on the wire.
#[derive(Serialize)]
struct LineRow<'a> {
    /// In Unix seconds, with a fraction.
    time: f64,
    level: &'static str,
    message: &'a str,
}

/// Some lines are not there.
#[derive(Serialize)]
struct Reset {
    missed: u64,
}

/// `routes` with those of the log that `control` is of. The latest lines are kept from now on.
#[must_use]
pub fn with_log(routes: Routes, control: &LogControl) -> Routes {
    control.keep_lines();
    let it = control.clone();
    let level = async move || Answer::data(&LevelBody::of(&it));
    let it = control.clone();
    let set_level = async move |caller: Caller, JsonBody(wanted): JsonBody<LevelBody>| {
        let found = LEVELS.iter().find(|(word, _)| *word == wanted.level);
        let Some((word, level)) = found else {
            return Err(Refusal::bad_request(
                "level must be one of trace, debug, info, warn, error",
            ));
        };
        let say = || info!("set the level of the log to {word}, asked for by {caller}");
        // While such a line is written, before or after.
        let is_quieter = *level < it.level();
        if is_quieter {
            say();
        }
        it.set_level(*level);
        if !is_quieter {
            say();
        }
        Answer::data(&LevelBody::of(&it))
    };
    let it = control.clone();
    let tail = async move |stream: EventStream| stream.answer(lines(it.follow()));
    routes
        .with(Method::GET, "/api/v2/log/level", level)
        .with(Method::PUT, "/api/v2/log/level", set_level)
        .with(Method::GET, "/api/v2/log", tail)
}

impl LevelBody {
    fn of(control: &LogControl) -> Self {
        let level = control.level();
        let found = LEVELS.iter().find(|(_, it)| *it == level);
        Self {
            level: found.map_or("", |(word, _)| word).to_owned(),
        }
    }
}

fn lines(mut feed: LogFeed) -> impl Stream<Item = ServerEvent> + Send + 'static {
    let recent = iter(std::mem::take(&mut feed.recent)).map(|it| line(&it));
    let next = unfold(feed, async |mut feed| {
        let event = match feed.next().await? {
            Ok(next) => line(&next),
            Err(missed) => ServerEvent::new("reset", &Reset { missed }),
        };
        Some((event, feed))
    });
    recent.chain(next)
}

fn line(line: &Arc<LogLine>) -> ServerEvent {
    let time = line.time.duration_since(UNIX_EPOCH).unwrap_or_default();
    ServerEvent::new(
        "line",
        &LineRow {
            time: (time.as_secs_f64() * 1_000.0).round() / 1_000.0,
            level: line.level,
            message: &line.message,
        },
    )
}
