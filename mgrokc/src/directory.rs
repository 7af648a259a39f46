//! `mgrokc --config-dir`: one client for each file of a directory, in one process.

use std::convert::Infallible;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, bail};
use mgrok_client::Client;
use mgrok_config::{LoadOptions, load_client};
use mgrok_daemon::{AdminRequest, AdminRequests, Daemon, answer_reload, say, say_warnings};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::PROGRAM;
use crate::run::{Reload, introduce, keep_access_log};

/// Runs them all, each until it is stopped or cannot go on.
///
/// # Errors
/// If no client starts.
pub(crate) fn run(directory: &Path, options: LoadOptions) -> anyhow::Result<ExitCode> {
    let shown = directory.display();
    let mut files = Vec::new();
    list(directory, &mut files).with_context(|| format!("cannot read {shown}"))?;
    let mut clients = Vec::new();
    for file in files {
        match load_client(&file, options) {
            Ok(loaded) => {
                say_warnings(&loaded.warnings);
                clients.push((file, loaded.config));
            }
            Err(error) => report(&file, &error.into(), say),
        }
    }
    let Some((_, first)) = clients.first() else {
        bail!("no client starts: there is no file in {shown} that can be used");
    };
    // One process has one log.
    // frp: the last file's counts
    let log = first.log.clone();
    let daemon = Daemon::start(PROGRAM.name, &log)?;
    info!("{}", PROGRAM.describe());
    for (file, _) in clients.iter().filter(|(_, it)| it.log != log) {
        let file = file.display();
        warn!("log.* of [{file}] does nothing: all clients share the log of the first file");
    }
    daemon.block_on(async |running| {
        let stopping = CancellationToken::new();
        let mut started = JoinSet::new();
        let mut reloads = Vec::new();
        let count = clients.len();
        for (file, config) in clients {
            let shown = file.display();
            info!("start frpc service for config file [{shown}] with aggregated configuration");
            introduce(&config);
            let access_log = config.access_log.clone();
            let client = Client::new(config).map_err(anyhow::Error::from);
            let client = client.and_then(|client| {
                let access_log = keep_access_log(&client, access_log.as_ref())?;
                Ok((client, access_log))
            });
            match client {
                Ok((client, access_log)) => {
                    let reload = Reload {
                        path: file,
                        options,
                        reloader: client.reloader(),
                        access_log,
                        log: None,
                        requests: None,
                    };
                    started.spawn(run_one(client, reload.clone(), stopping.clone()));
                    reloads.push(reload);
                }
                Err(error) => report(&file, &error, |line| error!("{line}")),
            }
        }
        let reload = running
            .reloads()
            .run(None, async |_| reload_all(&reloads).await);
        let stopped = running.stopped();
        tokio::pin!(reload, stopped);
        let (mut cut, mut failed) = (0, count - started.len());
        loop {
            tokio::select! {
                ended = started.join_next() => match ended {
                    None => break,
                    Some(Ok(Ok(left))) => cut += left,
                    Some(_) => failed += 1,
                },
                () = &mut stopped, if !stopping.is_cancelled() => stopping.cancel(),
                never = &mut reload => match never {},
            }
        }
        if failed == count {
            bail!("no client is left");
        }
        Ok(cut)
    })
}

/// Has each client read its file again. One that cannot keeps what it has.
async fn reload_all(reloads: &[Reload]) -> anyhow::Result<String> {
    let mut changes = Vec::new();
    let mut failures = Vec::new();
    for reload in reloads {
        let file = reload.path.display();
        match reload.run(None).await {
            Ok(changed) => changes.push(format!("[{file}] {changed}")),
            Err(error) => failures.push(format!("[{file}] {error:#}")),
        }
    }
    match failures.is_empty() {
        true => Ok(changes.join("; ")),
        false => bail!("{}", failures.join("\n")),
    }
}

/// Runs one client. What ends it is logged.
async fn run_one(
    mut client: Client,
    reload: Reload,
    stopping: CancellationToken,
) -> Result<usize, ()> {
    let run = async {
        client.open_admin_port().await?;
        let requests = client.admin_requests(&reload.path, reload.options);
        // A stop that the admin port is asked for ends this client alone.
        let alone = stopping.child_token();
        let requests = serve_requests(requests, &reload, &alone);
        tokio::select! {
            ended = client.run(alone.clone().cancelled_owned()) => anyhow::Ok(ended?.cut),
            never = requests => match never {},
        }
    };
    let ended = run.await;
    let file = reload.path.display();
    info!("frpc service for config file [{file}] stopped");
    ended.map_err(|error| report(&reload.path, &error, |line| error!("{line}")))
}

/// Does what is asked for at the admin port of one client.
async fn serve_requests(
    mut requests: AdminRequests,
    reload: &Reload,
    stopping: &CancellationToken,
) -> Infallible {
    loop {
        match requests.next().await {
            AdminRequest::Stop => {
                info!("stopping, as the admin port was told to");
                stopping.cancel();
            }
            AdminRequest::Reload { strictness, answer } => {
                answer_reload(answer, reload.run(strictness).await);
            }
        }
    }
}

fn report(file: &Path, error: &anyhow::Error, say: impl Fn(&str)) {
    let file = file.display();
    // frp: the first words, and no reason
    say(&format!(
        "frpc service error for config file [{file}]: {error:#}"
    ));
}

/// Adds the files of `directory` and below, in the order of their names. Hidden ones, which mounts of Kubernetes have, do not count.
fn list(directory: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    let entries: io::Result<Vec<_>> = fs::read_dir(directory)?.collect();
    let mut entries = entries?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        let path = entry.path();
        // Directories are not followed through links, which may lead in circles.
        if entry.file_type()?.is_dir() {
            list(&path, files)?;
        } else if path.is_file() {
            files.push(path);
        }
    }
    Ok(())
}
