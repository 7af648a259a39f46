//! `mgrokc`, the client: publishes services behind a NAT through a server.

mod nathole;

use std::path::Path;
use std::process::ExitCode;

use clap::Subcommand;
use mgrok_client::Client;
use mgrok_config::{ClientConfig, LoadError, Loaded, Strictness, load_client};
use mgrok_daemon::{Daemon, Program};
use tracing::info;

const PROGRAM: Program = Program {
    about: "The end of a reverse tunnel behind the NAT",
    // frp: ./frpc.ini, a format of the past
    default_config: Some("./client.toml"),
    name: "mgrokc",
    version: env!("CARGO_PKG_VERSION"),
};

/// What the client can do besides what both programs can.
#[derive(Debug, Subcommand)]
enum Command {
    /// Look into the ways past the server
    Nathole(nathole::Arguments),
}

fn main() -> ExitCode {
    PROGRAM.main_with(std::env::args_os(), load, run, command)
}

/// A client without a file has nothing to publish, so an empty name is a file that is not there.
fn load(file: Option<&Path>, strictness: Strictness) -> Result<Loaded<ClientConfig>, LoadError> {
    load_client(file.unwrap_or(Path::new("")), strictness)
}

fn run(config: ClientConfig, file: Option<&Path>) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    let file = file.unwrap_or(Path::new("")).display();
    // frp: scripts look for these words (client/service.go, cmd/frpc/sub/root.go)
    info!("start frpc service for config file [{file}] with aggregated configuration");
    daemon.block_on(async |running| {
        let mut client = Client::new(config)?;
        client.open_admin_port().await?;
        // The client looks for its server for as long as it takes, so whoever is started after
        // it is not to wait for that.
        running.ready();
        let ended = client.run(running.stopped()).await;
        info!("frpc service for config file [{file}] stopped");
        Ok(ended?.cut)
    })
}

fn command(command: Command, file: Option<&Path>, strictness: Strictness) -> anyhow::Result<()> {
    match command {
        Command::Nathole(arguments) => nathole::run(&arguments, || load(file, strictness)),
    }
}
