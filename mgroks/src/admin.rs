//! `mgroks reload`, `status` and `stop`: what is asked of a server that runs, at its admin port.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use mgrok_config::{LoadOptions, Strictness};
use mgrok_daemon::{AdminArguments, AdminClient, Method, say};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::source::Source;
use crate::status::{Answer, Page, Status};

/// How many entries of a list are asked for at a time, which is as many as there are.
const PAGE_SIZE: usize = 200;

/// What a reload is answered with.
#[derive(Deserialize)]
struct Reloaded {
    changes: String,
}

/// Has the server that runs with the configuration of `source` read it again, and says what has changed.
///
/// # Errors
/// If the configuration cannot be used or names no admin port, or if the server does not answer in time or refuses.
pub(crate) fn reload(
    arguments: &AdminArguments,
    source: &Source,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let path = match options.strictness() {
        Strictness::Strict => "/api/v2/system/reload?strictConfig=true",
        Strictness::Lenient => "/api/v2/system/reload?strictConfig=false",
    };
    let answer = admin(source)?.ask(Method::POST, path, arguments.api_timeout)?;
    let reloaded: Reloaded = data(&answer)?;
    say(&format!("reload success: {}", reloaded.changes));
    Ok(ExitCode::SUCCESS)
}

/// Shows who is at the server that runs with the configuration of `source`, and what is published.
///
/// # Errors
/// As [`reload`].
pub(crate) fn status(arguments: &AdminArguments, source: &Source) -> anyhow::Result<ExitCode> {
    let admin = admin(source)?;
    let limit = arguments.api_timeout;
    let state = admin.ask(Method::GET, "/api/v2/system/state", limit)?;
    let status = Status {
        state: data(&state)?,
        clients: list(&admin, "clients", limit)?,
        proxies: list(&admin, "proxies", limit)?,
    };
    let text = status.text(SystemTime::now());
    say(text.strip_suffix('\n').unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// All entries of a list that are online, page by page. What comes or goes meanwhile may be missing, or come twice.
fn list<T: DeserializeOwned>(
    admin: &AdminClient,
    what: &str,
    limit: Duration,
) -> anyhow::Result<Vec<T>> {
    let mut entries = Vec::new();
    for number in 1.. {
        let path = format!("/api/v2/{what}?status=online&page={number}&pageSize={PAGE_SIZE}");
        let page: Page<T> = data(&admin.ask(Method::GET, &path, limit)?)?;
        let is_last = page.items.len() < PAGE_SIZE || number * PAGE_SIZE >= page.total;
        entries.extend(page.items);
        if is_last {
            break;
        }
    }
    Ok(entries)
}

fn data<T: DeserializeOwned>(answer: &[u8]) -> anyhow::Result<T> {
    let answer: Answer<T> =
        serde_json::from_slice(answer).context("the answer of the server is not understood")?;
    Ok(answer.data)
}

/// Stops the server that runs with the configuration of `source`, as a signal does.
///
/// # Errors
/// As [`reload`].
pub(crate) fn stop(arguments: &AdminArguments, source: &Source) -> anyhow::Result<ExitCode> {
    admin(source)?.ask(Method::POST, "/api/v2/system/stop", arguments.api_timeout)?;
    say("stop success");
    Ok(ExitCode::SUCCESS)
}

fn admin(source: &Source) -> anyhow::Result<AdminClient> {
    AdminClient::new(source.load(None)?.config.web_server, "server")
}
