//! `mgroks`, the server: a public host through which services behind a NAT are reached.

mod state;

use std::path::Path;
use std::process::ExitCode;

use mgrok_config::{
    LoadError, Loaded, ServerConfig, Strictness, load_server, load_server_from_str,
};
use mgrok_daemon::{Daemon, Program};
use mgrok_server::Server;
use tracing::{info, warn};

const PROGRAM: Program = Program {
    about: "The public end of a reverse tunnel",
    default_config: None,
    name: "mgroks",
    version: env!("CARGO_PKG_VERSION"),
};

fn main() -> ExitCode {
    PROGRAM.main(std::env::args_os(), load, run)
}

/// Without a file every setting has its default.
fn load(file: Option<&Path>, strictness: Strictness) -> Result<Loaded<ServerConfig>, LoadError> {
    match file {
        Some(file) => load_server(file, strictness),
        None => load_server_from_str("", "the defaults", strictness),
    }
}

fn run(
    mut config: ServerConfig,
    file: Option<&Path>,
    _strictness: Strictness,
) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    // frp: scripts look for these words (cmd/frps/root.go#runServer)
    match file {
        Some(file) => info!("frps uses config file: {}", file.display()),
        None => info!("frps uses command line arguments for config"),
    }
    info!("{}", PROGRAM.describe());
    let auth = &config.transport.tls.trusted_ca;
    if config.auth.token.is_empty() && auth.is_none() && config.http_plugins.is_empty() {
        warn!(
            "auth.token is not set, so that whoever reaches the control port may publish services here"
        );
    }
    state::keep(&mut config);
    daemon.block_on(async |running| {
        let server = Server::bind(config).await?;
        running.ready();
        Ok(server.run(running.stopped()).await.cut)
    })
}
