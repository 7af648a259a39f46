//! What an operator asks for at the admin port and only the program can do: reading its configuration again, and the end.

use axum::http::{Method, StatusCode};
use mgrok_config::Strictness;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tracing::info;

use crate::answer::{Answer, Refusal};
use crate::extract::{Caller, Query, is_true};
use crate::routes::Routes;

/// Requests that may wait for the program.
const MAX_QUEUED: usize = 8;

/// What the program is asked for.
#[derive(Debug)]
pub enum AdminRequest {
    /// To read its configuration again.
    Reload {
        /// What is to become of unknown keys; `None`: what the program was started with.
        strictness: Option<Strictness>,
        /// Where to say what has changed, or why nothing has.
        answer: oneshot::Sender<Result<String, ReloadFailure>>,
    },
    /// To stop, as by a signal.
    Stop,
}

/// Why a reload that was asked for did not happen.
#[derive(Debug, thiserror::Error)]
pub enum ReloadFailure {
    /// The file is wrong.
    // frp: these words
    #[error("invalid argument: {0}")]
    Invalid(String),
    /// What it says cannot be had.
    #[error("{0}")]
    NotApplied(String),
}

impl From<ReloadFailure> for Refusal {
    fn from(failure: ReloadFailure) -> Self {
        let why = failure.to_string();
        match failure {
            ReloadFailure::Invalid(_) => Self::bad_request(why),
            ReloadFailure::NotApplied(_) => Self::internal(why),
        }
    }
}

/// What operators ask the program for.
#[derive(Debug)]
pub struct AdminRequests {
    requests: mpsc::Receiver<AdminRequest>,
}

impl AdminRequests {
    /// Waits for the next one; for ever once nobody can ask any more. Cancel-safe.
    pub async fn next(&mut self) -> AdminRequest {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

/// Where requests go to the program. Clones are the same.
#[derive(Clone, Debug)]
pub struct ProgramLink {
    requests: mpsc::Sender<AdminRequest>,
}

impl ProgramLink {
    /// A link, and the program's end of it.
    pub fn new() -> (Self, AdminRequests) {
        let (sender, requests) = mpsc::channel(MAX_QUEUED);
        (Self { requests: sender }, AdminRequests { requests })
    }

    /// Has the program read its configuration again, and returns what has changed.
    ///
    /// # Errors
    /// Why nothing has.
    pub async fn reload(&self, strictness: Option<Strictness>) -> Result<String, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(AdminRequest::Reload { strictness, answer })?;
        let answer = answered.await.map_err(|_| stops())?;
        Ok(answer?)
    }

    /// Has the program stop.
    ///
    /// # Errors
    /// If it stops already, or too many requests wait.
    pub fn stop(&self) -> Result<(), Refusal> {
        self.ask(AdminRequest::Stop)
    }

    /// Adds the routes that are the same at both ends.
    #[must_use]
    pub fn add_to(self, routes: Routes) -> Routes {
        let stop = self.clone();
        routes
            .with(
                Method::POST,
                "/api/v2/system/reload",
                async move |query: Query<ReloadQuery>, caller: Caller| {
                    info!("{caller} asks for a reload");
                    let changes = self.reload(query.0.strictness()).await?;
                    Answer::data(&Reloaded { changes })
                },
            )
            .with(
                Method::POST,
                "/api/v2/system/stop",
                async move |caller: Caller| {
                    info!("{caller} asks for the end");
                    stop.stop()?;
                    Answer::data(&())
                },
            )
    }

    fn ask(&self, request: AdminRequest) -> Result<(), Refusal> {
        self.requests
            .try_send(request)
            .map_err(|error| match error {
                mpsc::error::TrySendError::Full(_) => {
                    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "too many requests wait")
                }
                mpsc::error::TrySendError::Closed(_) => stops(),
            })
    }
}

fn stops() -> Refusal {
    Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "the program stops")
}

/// What a request for a reload says of unknown keys.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ReloadQuery {
    strict_config: Option<String>,
}

impl ReloadQuery {
    /// What is to become of unknown keys; `None`: it does not say.
    pub fn strictness(&self) -> Option<Strictness> {
        let word = self.strict_config.as_deref()?;
        Some(match is_true(word) {
            true => Strictness::Strict,
            false => Strictness::Lenient,
        })
    }
}

/// What a reload is answered with.
#[derive(Serialize)]
struct Reloaded {
    changes: String,
}
