//! A peer that runs in the test's process, on a runtime of its own.
//!
//! Dropping the runtime drops every task, so that all sockets close without a goodbye: for the
//! other side that is the same as a killed process.

mod capture;

use mgrok_client::Client;
use mgrok_config::{Strictness, load_client_from_str, load_server_from_str};
use mgrok_net::error_chain::Chain;
use mgrok_server::Server;
use tokio::{
    runtime::{Builder, Runtime},
    sync::{oneshot, watch},
};
use tracing::Dispatch;

use super::Ended;
use crate::{Role, log::Log};

/// How many threads a peer has.
const THREADS: usize = 2;

pub(super) struct Inside {
    /// `None` only while being dropped.
    runtime: Option<Runtime>,
    stop: Option<oneshot::Sender<()>>,
    ended: watch::Receiver<Option<Ended>>,
}

impl Inside {
    pub(super) fn start(role: Role, toml: &str, log: &Log) -> Self {
        let capture = capture::into(log);
        let runtime = Builder::new_multi_thread()
            .worker_threads(THREADS)
            .enable_all()
            .on_thread_start(move || lasts_as_long_as_the_thread(&capture))
            .build()
            .unwrap();
        let (stop, stopped) = oneshot::channel();
        let (report, ended) = watch::channel(None);
        let (toml, log) = (toml.to_owned(), log.clone());
        runtime.spawn(async move {
            let stopped = async {
                // A dropped sender asks for nothing.
                if stopped.await.is_err() {
                    std::future::pending().await
                }
            };
            let ran = match role {
                Role::Server => server(&toml, stopped).await,
                Role::Client => client(&toml, stopped).await,
            };
            if let Err(error) = &ran {
                log.push(Chain(error.as_ref()).to_string());
            }
            report.send_replace(Some(if ran.is_ok() {
                Ended::Well
            } else {
                Ended::Badly
            }));
        });
        Self {
            runtime: Some(runtime),
            stop: Some(stop),
            ended,
        }
    }

    pub(super) async fn stop(&mut self) -> Ended {
        if let Some(stop) = self.stop.take() {
            // Fails when it has ended already.
            let _ = stop.send(());
        }
        self.ended().await
    }

    /// Waits for the end. Cancel-safe.
    pub(super) async fn ended(&mut self) -> Ended {
        let ended = self.ended.wait_for(Option::is_some).await;
        // The sender is gone without a word when the task panicked.
        ended.map_or(Ended::Badly, |ended| ended.unwrap_or(Ended::Badly))
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

type Error = Box<dyn std::error::Error + Send + Sync>;

async fn server(toml: &str, stopped: impl Future<Output = ()>) -> Result<(), Error> {
    let config = load_server_from_str(toml, "the test's settings", Strictness::Strict)?.config;
    let server = Server::bind(config).await?;
    server.run(stopped).await;
    Ok(())
}

async fn client(toml: &str, stopped: impl Future<Output = ()>) -> Result<(), Error> {
    let config = load_client_from_str(toml, "the test's settings", Strictness::Strict)?.config;
    Client::new(config)?.run(stopped).await?;
    Ok(())
}

fn lasts_as_long_as_the_thread(capture: &Dispatch) {
    std::mem::forget(tracing::dispatcher::set_default(capture));
}
