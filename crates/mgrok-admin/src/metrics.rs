//! What Prometheus and Go's profiler ask for.

use axum::http::header::{self, HeaderMap, HeaderValue};
use axum::http::{Method, StatusCode};
use mgrok_metrics::{Exposition, Format, process};
use tokio::runtime::{Handle, RuntimeMetrics};
use tokio::task::spawn_blocking;

use crate::answer::{Answer, Refusal};
use crate::routes::Routes;

/// The profiles of Go that a program in Rust does not make of itself.
const MISSING: [&str; 8] = [
    "/debug/pprof/allocs",
    "/debug/pprof/block",
    "/debug/pprof/heap",
    "/debug/pprof/mutex",
    "/debug/pprof/profile",
    "/debug/pprof/symbol",
    "/debug/pprof/threadcreate",
    "/debug/pprof/trace",
];

const NO_PROFILE: &str = "this program does not profile itself; on its host, `perf record -g -p PID -- sleep 30` and then `perf report` \
    show where its time goes, and `perf trace -p PID` what it asks of the system";

const INDEX: &str = "/debug/pprof/\n\n\
    goroutine  how many tasks there are, and the threads that run them\n\
    cmdline    the command line, without values\n\n\
    The profiles of Go's programs are not here: `perf` makes them.\n";

impl Routes {
    /// Has `/metrics` answer what `expose` writes, and what the operating system says of the process, while `is_on`. `expose` is called in
    /// a thread of its own.
    #[must_use]
    pub fn with_metrics(
        self,
        is_on: impl Fn() -> bool + Clone + Send + Sync + 'static,
        expose: impl Fn(&mut Exposition) + Clone + Send + Sync + 'static,
    ) -> Self {
        self.with(Method::GET, "/metrics", async move |headers: HeaderMap| {
            if !is_on() {
                return Err(Refusal::not_found(
                    "enablePrometheus = true in the configuration has this answered",
                ));
            }
            let accept = headers.get(header::ACCEPT);
            let accept = accept.and_then(|it| it.to_str().ok()).unwrap_or_default();
            let format = Format::accepted_by(accept);
            let text = spawn_blocking(move || {
                let mut exposition = Exposition::new(format);
                expose(&mut exposition);
                process(&mut exposition);
                exposition.finish()
            });
            let text = text.await;
            let text = text.map_err(|_| Refusal::internal("the metrics could not be written"))?;
            let content_type = HeaderValue::from_static(format.content_type());
            Ok(Answer::text(text).with_header(header::CONTENT_TYPE, content_type))
        })
    }

    /// Has the routes of Go's profiler answered, as far as there is an answer, while `is_on`.
    #[must_use]
    pub fn with_pprof(self, is_on: impl Fn() -> bool + Clone + Send + Sync + 'static) -> Self {
        let answer = move |text: fn() -> String| {
            let is_on = is_on.clone();
            async move || match is_on() {
                true => Ok(Answer::text(text())),
                false => Err(off()),
            }
        };
        let routes = self
            .with(Method::GET, "/debug/pprof/", answer(|| INDEX.to_owned()))
            .with(Method::GET, "/debug/pprof/goroutine", answer(tasks))
            .with(Method::GET, "/debug/pprof/cmdline", answer(command_line));
        MISSING.into_iter().fold(routes, |routes, path| {
            routes.with(Method::GET, path, async || -> Result<Answer, Refusal> {
                Err(Refusal::new(StatusCode::NOT_IMPLEMENTED, NO_PROFILE))
            })
        })
    }
}

fn off() -> Refusal {
    Refusal::not_found("webServer.pprofEnable = true in the configuration has this answered")
}

/// What there is in the place of goroutines.
fn tasks() -> String {
    let Counts {
        tasks,
        workers,
        queued,
    } = Counts::of(&Handle::current().metrics());
    format!(
        "goroutine profile: total {tasks}\n\ntasks {tasks}\nworkers {workers}\nqueued {queued}\n"
    )
}

/// What the runtime runs.
struct Counts {
    tasks: usize,
    workers: usize,
    /// Tasks that are ready and wait for a worker, but for those that a worker has taken.
    queued: usize,
}

impl Counts {
    fn of(metrics: &RuntimeMetrics) -> Self {
        Self {
            tasks: metrics.num_alive_tasks(),
            workers: metrics.num_workers(),
            queued: metrics.global_queue_depth(),
        }
    }
}

/// Adds how many tasks the runtime has and how many threads run them, under names that begin with `prefix`. Has to be called in the
/// runtime.
pub fn expose_runtime(exposition: &mut Exposition, prefix: &str) {
    let Counts {
        tasks,
        workers,
        queued,
    } = Counts::of(&Handle::current().metrics());
    for (name, help, value) in [
        ("tasks", "Tasks that are alive.", tasks),
        ("workers", "Threads that run tasks.", workers),
        (
            "queued_tasks",
            "Tasks that wait for a thread in the queue that all share.",
            queued,
        ),
    ] {
        exposition.gauge(&format!("{prefix}_{name}"), help, value);
    }
}

/// The command line with the names of flags alone: passwords may be among the values.
fn command_line() -> String {
    let arguments: Vec<_> = std::env::args_os()
        .map(|it| it.to_string_lossy().into_owned())
        .collect();
    shown(&arguments)
}

/// Arguments, each with an end of its own as Go writes them.
fn shown(arguments: &[String]) -> String {
    let shown = arguments.iter().enumerate().map(|(number, argument)| {
        let is_long = argument.starts_with("--");
        match argument.split_once('=') {
            _ if number == 0 => argument.clone(),
            Some((flag, _)) if is_long => format!("{flag}=***"),
            None if is_long => argument.clone(),
            // A value may follow the letter at once.
            _ if argument.starts_with('-') => argument.chars().take(2).collect(),
            _ => "***".to_owned(),
        }
    });
    shown.collect::<Vec<_>>().join("\0")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_line_is_shown_without_values() {
        let arguments =
            "mgrokc http 3000 --token=secret --token secret -tsecret -t secret -n=web --strict";
        let arguments: Vec<_> = arguments.split(' ').map(str::to_owned).collect();
        let expect = "mgrokc *** *** --token=*** --token *** -t -t *** -n --strict";
        assert_eq!(shown(&arguments), expect.replace(' ', "\0"));
    }
}
