//! `mgrokc reload`, `status` and `stop`: what is asked of a client that runs, at its admin port.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context as _;
use mgrok_config::{LoadOptions, Strictness, load_client};
use mgrok_daemon::{AdminArguments, AdminClient, Method, say};

use crate::status::Status;

/// Has the client that runs with `file` read it again.
///
/// # Errors
/// If the file cannot be used or names no admin port, or if the client does not answer in time or refuses.
pub(crate) fn reload(
    arguments: &AdminArguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let path = match options.strictness() {
        Strictness::Strict => "/api/reload?strictConfig=true",
        Strictness::Lenient => "/api/reload",
    };
    admin(file, options)?.ask(Method::GET, path, arguments.api_timeout)?;
    // frp: these words, which scripts look for
    say("reload success");
    Ok(ExitCode::SUCCESS)
}

/// Shows the proxies of the client that runs with `file`.
///
/// # Errors
/// As [`reload`].
pub(crate) fn status(
    arguments: &AdminArguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let admin = admin(file, options)?;
    let answer = admin.ask(Method::GET, "/api/status", arguments.api_timeout)?;
    let status: Status =
        serde_json::from_slice(&answer).context("unmarshal http response error")?;
    say(status.table().strip_suffix('\n').unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// Stops the client that runs with `file`.
///
/// # Errors
/// As [`reload`].
pub(crate) fn stop(
    arguments: &AdminArguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    admin(file, options)?.ask(Method::POST, "/api/stop", arguments.api_timeout)?;
    say("stop success");
    Ok(ExitCode::SUCCESS)
}

fn admin(file: &Path, options: LoadOptions) -> anyhow::Result<AdminClient> {
    AdminClient::new(load_client(file, options)?.config.web_server, "client")
}
