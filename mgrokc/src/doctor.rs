//! `mgrokc doctor`: which layer fails between this host, the server, the local services and their users.

use std::path::Path;
use std::process::ExitCode;

use mgrok_client::doctor::{CHECKS, examine};
use mgrok_config::{ClientConfig, Loaded};
use mgrok_daemon::{DoctorArguments, Program};

/// Does it.
///
/// # Errors
/// It cannot even begin.
pub(crate) fn run(
    program: &Program,
    arguments: DoctorArguments,
    file: Option<&Path>,
    loaded: anyhow::Result<Loaded<ClientConfig>>,
) -> anyhow::Result<ExitCode> {
    program.doctor(
        arguments,
        file,
        loaded,
        CHECKS,
        async |config, examination| {
            examine(config, examination).await;
        },
    )
}
