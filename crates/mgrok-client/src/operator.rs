//! What an operator asks for at the admin port and only the program can do: reading the configuration file again, and the end.

use std::io;
use std::path::{Path, PathBuf};

use mgrok_admin::{Answer, Method, Refusal, Request, Routes, StatusCode, read_body};
use mgrok_config::Strictness;
use tokio::sync::{mpsc, oneshot};
use tokio::task::spawn_blocking;

/// Requests that may wait for the program.
const MAX_QUEUED: usize = 8;

/// The longest configuration file that is taken; as long as one that is read.
const MAX_FILE: usize = 16 * 1024 * 1024;

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
    file: PathBuf,
    requests: mpsc::Sender<AdminRequest>,
}

impl Operator {
    /// For a program that has read `file`.
    pub(crate) fn new(file: &Path) -> (Self, AdminRequests) {
        let (sender, requests) = mpsc::channel(MAX_QUEUED);
        let operator = Self {
            file: file.to_owned(),
            requests: sender,
        };
        (operator, AdminRequests { requests })
    }

    /// Adds what can be asked for to `routes`.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let (reload, stop, read, write) = (self.clone(), self.clone(), self.clone(), self);
        routes
            .with(Method::GET, "/api/reload", async move |request: Request| {
                reload.reload(strictness(&request)).await
            })
            .with(Method::POST, "/api/stop", async move || stop.stop())
            .with(Method::GET, "/api/config", async move || {
                read.read_file().await
            })
            .with(Method::PUT, "/api/config", async move |request: Request| {
                write.write_file(request).await
            })
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

    async fn read_file(self) -> Result<Answer, Refusal> {
        match tokio::fs::read(&self.file).await {
            Ok(text) => Ok(Answer::text(text)),
            Err(error) => Err(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("invalid argument: {}: {error}", self.file.display()),
            )),
        }
    }

    // frp: does not look at what it says, and overwrites the file in place
    async fn write_file(self, request: Request) -> Result<Answer, Refusal> {
        let text = read_body(request, MAX_FILE).await?;
        if text.is_empty() {
            // frp: these words
            let why = "body can't be empty";
            return Err(Refusal::new(StatusCode::BAD_REQUEST, why));
        }
        let written = spawn_blocking(move || replace(&self.file, &text)).await;
        match written {
            Ok(Ok(())) => Ok(Answer::empty()),
            Ok(Err(error)) => Err(failed(format!("write config file error: {error}"))),
            Err(error) => Err(failed(error.to_string())),
        }
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
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
}

/// What a request says of unknown keys.
// frp: those are passed over unless it says otherwise
fn strictness(request: &Request) -> Strictness {
    let query = request.uri().query().unwrap_or_default();
    let mut values = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = values.find(|(name, _)| *name == "strictConfig");
    match value {
        Some((_, "1" | "t" | "T" | "true" | "TRUE" | "True")) => Strictness::Strict,
        _ => Strictness::Lenient,
    }
}

/// Puts `text` into the place of what the file has. Whoever reads it meanwhile gets one or the other.
fn replace(file: &Path, text: &[u8]) -> io::Result<()> {
    // The file may be known by a link, which stays.
    let file = match file.canonicalize() {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => file.to_owned(),
        Err(error) => return Err(error),
    };
    let directory = file.parent().filter(|it| !it.as_os_str().is_empty());
    let mut next = tempfile::NamedTempFile::new_in(directory.unwrap_or(Path::new(".")))?;
    io::Write::write_all(&mut next, text)?;
    // A new file is for its owner alone, as it may hold secrets.
    if let Ok(before) = file.metadata() {
        next.as_file().set_permissions(before.permissions())?;
    }
    next.as_file().sync_all()?;
    next.persist(&file)?;
    Ok(())
}
