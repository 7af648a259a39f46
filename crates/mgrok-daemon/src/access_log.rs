//! The access log: a line for each connection and each HTTP request of a user that is over.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::AccessLog as Config;
use mgrok_log::{Record, Records};
use mgrok_net::access_log::{Access, AccessLog, AccessSink};
use tokio::task::spawn_blocking;

use crate::log_options::record_options;

/// The access log of this program, which a reload may turn on, change or turn off.
#[derive(Debug)]
pub struct AccessLogKeeper {
    log: AccessLog,
    /// How the one is written that is on.
    current: Option<(Config, Records)>,
}

impl AccessLogKeeper {
    /// Has what `log` notes written as `config` wants it.
    ///
    /// # Errors
    /// There can be no thread that writes it.
    pub fn start(log: AccessLog, config: Option<&Config>) -> anyhow::Result<Self> {
        let mut keeper = Self { log, current: None };
        let next = keeper.prepare(config)?;
        keeper.apply(next);
        Ok(keeper)
    }

    /// What `config` wants, ready to be applied. Nothing has changed yet.
    ///
    /// # Errors
    /// There can be no thread that writes it.
    pub fn prepare(&self, config: Option<&Config>) -> anyhow::Result<NextAccessLog> {
        let Some(config) = config else {
            return Ok(NextAccessLog(None));
        };
        let records = match &self.current {
            Some((before, records)) if before.to == config.to => records.clone(),
            Some(_) | None => Records::start(record_options(config))?,
        };
        Ok(NextAccessLog(Some((config.clone(), records))))
    }

    /// Writes as was prepared from now on.
    pub fn apply(&mut self, NextAccessLog(next): NextAccessLog) {
        if let Some((config, records)) = &next {
            records.change(&record_options(config));
        }
        let sink = next.as_ref().map(|(_, records)| {
            let sink: Arc<dyn AccessSink> = Arc::new(Sink(records.clone()));
            sink
        });
        self.log.set_sink(sink);
        let before = std::mem::replace(&mut self.current, next);
        // The last lines are waited for, on a thread where that holds up nobody.
        drop(spawn_blocking(|| drop(before)));
    }
}

/// An access log that is ready to be written.
#[derive(Debug)]
pub struct NextAccessLog(Option<(Config, Records)>);

#[derive(Debug)]
struct Sink(Records);

impl AccessSink for Sink {
    fn note(&self, access: &Access<'_>) {
        self.0.write(|record| fill(record, access));
    }
}

/// Gives a record its values. Their names stay the same from version to version.
fn fill(record: &mut Record<'_>, access: &Access<'_>) {
    let Access {
        from,
        proxy,
        host,
        request,
        since: _,
        duration,
        sent,
        received,
        end,
        reason,
    } = access;
    if !from.ip().is_unspecified() {
        record.address("from", from);
    }
    if let Some(proxy) = proxy {
        record.text("proxy", proxy.name);
        record.text("kind", proxy.kind);
        record.text("run_id", proxy.run_id);
    }
    record.text("host", host);
    if let Some(request) = request {
        record.text("method", request.method);
        record.text("path", request.path);
        if let Some(status) = request.status {
            record.number("status", status);
        }
    }
    record.number("sent", sent);
    record.number("received", received);
    record.number("seconds", Seconds(*duration));
    record.text("ended", end.as_str());
    record.text("reason", reason);
}

/// Seconds with their thousandths.
struct Seconds(Duration);

impl fmt::Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:03}", self.0.as_secs(), self.0.subsec_millis())
    }
}
