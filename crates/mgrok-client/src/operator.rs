//! What an operator asks for at the admin port and only the program can do: reading the configuration file again, and the end.

use mgrok_admin::{Answer, Method, Query, Refusal, Routes, StatusCode};
use mgrok_config::Strictness;
use serde::Deserialize;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait for the program.
const MAX_QUEUED: usize = 8;

/// What the program is asked for.
#[derive(Debug)]
pub enum AdminRequest {
    /// To read its configuration file again.
    Reload {
        /// What is to become of unknown keys.
        strictness: Strictness,
        /// Where to say how it went.
        answer: oneshot::Sender<Result<(), ReloadFailure>>,
    },
    /// To stop the client, as a signal does.
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

/// What the operator of a [`Client`](crate::Client) asks for.
#[derive(Debug)]
pub struct AdminRequests {
    requests: mpsc::Receiver<AdminRequest>,
}

impl AdminRequests {
    /// Waits for the next one; for ever once the client has ended. Cancel-safe.
    pub async fn next(&mut self) -> AdminRequest {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }
}

/// Where requests go to the program.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    requests: mpsc::Sender<AdminRequest>,
}

impl Operator {
    pub(crate) fn new() -> (Self, AdminRequests) {
        let (sender, requests) = mpsc::channel(MAX_QUEUED);
        let operator = Self { requests: sender };
        (operator, AdminRequests { requests })
    }

    /// Adds what can be asked for to `routes`.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let (reload, stop) = (self.clone(), self);
        routes
            .with(
                Method::GET,
                "/api/reload",
                async move |Query(query): Query<Reload>| reload.reload(query.strictness()).await,
            )
            .with(Method::POST, "/api/stop", async move || stop.stop())
    }

    async fn reload(self, strictness: Strictness) -> Result<Answer, Refusal> {
        let (answer, answered) = oneshot::channel();
        self.ask(AdminRequest::Reload { strictness, answer })?;
        match answered.await {
            Ok(Ok(())) => Ok(Answer::empty()),
            Ok(Err(failure @ ReloadFailure::Invalid(_))) => {
                Err(Refusal::new(StatusCode::BAD_REQUEST, failure.to_string()))
            }
            Ok(Err(failure @ ReloadFailure::NotApplied(_))) => Err(failed(failure.to_string())),
            Err(_) => Err(failed("the client stops")),
        }
    }

    fn stop(&self) -> Result<Answer, Refusal> {
        self.ask(AdminRequest::Stop)?;
        Ok(Answer::empty())
    }

    fn ask(&self, request: AdminRequest) -> Result<(), Refusal> {
        self.requests.try_send(request).map_err(|error| {
            let why = match error {
                mpsc::error::TrySendError::Full(_) => "too many requests wait",
                mpsc::error::TrySendError::Closed(_) => "the client stops",
            };
            Refusal::new(StatusCode::SERVICE_UNAVAILABLE, why)
        })
    }
}

fn failed(why: impl Into<String>) -> Refusal {
    Refusal::internal(why)
}

/// The query of a reload.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Reload {
    #[serde(default)]
    strict_config: String,
}

impl Reload {
    /// What it says of unknown keys.
    // frp: those are passed over unless it says otherwise
    fn strictness(&self) -> Strictness {
        match is_true(&self.strict_config) {
            true => Strictness::Strict,
            false => Strictness::Lenient,
        }
    }
}

/// Whether a word of a query says yes.
// frp: these words (Go's `ParseBool`)
pub(crate) fn is_true(word: &str) -> bool {
    matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True")
}
