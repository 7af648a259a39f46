//! `mgroks doctor`: whether this host has what the server needs.

use std::path::Path;
use std::process::ExitCode;

use mgrok_config::{Loaded, ServerConfig};
use mgrok_daemon::{DoctorArguments, Program};
use mgrok_server::doctor::{CHECKS, examine};

/// Does it.
///
/// # Errors
/// It cannot even begin.
pub(crate) fn run(
    program: &Program,
    arguments: DoctorArguments,
    file: Option<&Path>,
    loaded: anyhow::Result<Loaded<ServerConfig>>,
) -> anyhow::Result<ExitCode> {
    program.doctor(
        arguments,
        file,
        loaded,
        CHECKS,
        async |config, examination| {
            // The system knows the names that users will ask for, as others do.
            examine(config, None, examination).await;
        },
    )
}
