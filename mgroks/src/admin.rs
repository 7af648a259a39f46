//! `mgroks reload` and `stop`: what is asked of a server that runs, at its admin port.

use std::process::ExitCode;

use anyhow::Context as _;
use mgrok_config::{LoadOptions, Strictness};
use mgrok_daemon::{AdminArguments, AdminClient, Method, say};
use serde::Deserialize;

use crate::source::Source;

/// What a reload is answered with.
#[derive(Deserialize)]
struct Answer {
    data: Reloaded,
}

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
    let answer: Answer =
        serde_json::from_slice(&answer).context("the answer of the server is not understood")?;
    say(&format!("reload success: {}", answer.data.changes));
    Ok(ExitCode::SUCCESS)
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
