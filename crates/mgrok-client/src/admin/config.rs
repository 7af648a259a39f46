//! The routes for the configuration file: read it, replace it, check a text that might become it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use mgrok_admin::{Answer, Caller, Method, Query, Refusal, Request, Routes, is_true, read_body};
use mgrok_config::{LoadError, LoadOptions, Mistake, load_client_as};
use serde::{Deserialize, Serialize};
use tokio::task::spawn_blocking;
use tracing::info;

use crate::replace_file::replace_file;
use crate::version::{Condition, Version};

/// The longest configuration file that is taken; as long as one that is read.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// The configuration file. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct ConfigFile {
    path: PathBuf,
    options: LoadOptions,
    /// Held by whoever replaces the file, so that of two at once one sees what the other has done.
    writing: Arc<Mutex<()>>,
}

/// The query of a replacement.
#[derive(Debug, Deserialize)]
struct Replacement {
    #[serde(default)]
    validate: Option<String>,
}

/// What is wrong with a text.
#[derive(Debug, Default, Serialize)]
struct Checked {
    errors: Vec<Wrong>,
    warnings: Vec<String>,
}

/// One thing that is wrong.
#[derive(Debug, Serialize)]
struct Wrong {
    /// The file, which may be one that the text includes, or its store.
    file: String,
    line: Option<usize>,
    column: Option<usize>,
    key: String,
    message: String,
}

impl ConfigFile {
    /// The file at `path`, which the client was started with, and loads with these options.
    pub(crate) fn new(path: &Path, options: LoadOptions) -> Self {
        Self {
            path: path.to_owned(),
            options,
            writing: Arc::default(),
        }
    }

    /// Adds what can be asked for to `routes`.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let (read, write, check) = (self.clone(), self.clone(), self);
        routes
            .with(Method::GET, "/api/config", async move || read.read().await)
            .with(
                Method::PUT,
                "/api/config",
                async move |Query(query): Query<Replacement>, caller: Caller, request: Request| {
                    write.replace(&query, &caller, request).await
                },
            )
            .with(
                Method::POST,
                "/api/v2/config/check",
                async move |request: Request| check.check(request).await,
            )
    }

    async fn read(self) -> Result<Answer, Refusal> {
        match tokio::fs::read(&self.path).await {
            Ok(text) => {
                let version = Version::of(&text);
                Ok(version.add_to(Answer::text(text)))
            }
            Err(error) => {
                let path = self.path.display();
                Err(invalid(format!("{path}: {error}")))
            }
        }
    }

    // frp: does not look at what it says, and overwrites the file in place
    async fn replace(
        self,
        query: &Replacement,
        caller: &Caller,
        request: Request,
    ) -> Result<Answer, Refusal> {
        let condition = Condition::of(request.headers());
        let text = text_of(request).await?;
        if text.is_empty() {
            // frp: these words
            return Err(Refusal::bad_request("body can't be empty"));
        }
        let validates = query.validate.as_deref().is_none_or(is_true);
        let replaced = blocking(move || self.replace_now(&text, &condition, validates));
        let version = replaced.await?;
        info!(source = %caller.from, "the configuration file was replaced by {caller}");
        Ok(version.add_to(Answer::empty()))
    }

    /// Replaces the file, and returns its version. Blocks.
    fn replace_now(
        &self,
        text: &str,
        condition: &Condition,
        validates: bool,
    ) -> Result<Version, Refusal> {
        if validates {
            let loaded = load_client_as(&self.path, text, self.options);
            loaded.map_err(|error| invalid(error.to_string()))?;
        }
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let before = fs::read(&self.path).ok();
        condition.check(before.map(|it| Version::of(&it)).as_ref())?;
        match replace_file(&self.path, text.as_bytes()) {
            Ok(()) => Ok(Version::of(text.as_bytes())),
            Err(why) => Err(Refusal::internal(format!("write config file error: {why}"))),
        }
    }

    async fn check(self, request: Request) -> Result<Answer, Refusal> {
        let text = text_of(request).await?;
        let checked = blocking(move || {
            // A look runs no programs.
            let options = self.options.without_sources();
            match load_client_as(&self.path, &text, options) {
                Ok(loaded) => Ok(Checked {
                    errors: Vec::new(),
                    warnings: loaded.warnings,
                }),
                Err(LoadError::Mistakes(mistakes)) => Ok(Checked {
                    errors: mistakes.iter().map(Wrong::of).collect(),
                    warnings: Vec::new(),
                }),
                Err(error) => Err(Refusal::internal(error.to_string())),
            }
        });
        Answer::data(&checked.await?)
    }
}

impl Wrong {
    fn of(mistake: &Mistake) -> Self {
        // The key is told by itself.
        let told = Mistake {
            key: String::new(),
            ..mistake.clone()
        };
        Self {
            file: mistake.origin.clone(),
            line: mistake.position.map(|it| it.line),
            column: mistake.position.map(|it| it.column),
            key: mistake.key.clone(),
            message: told.without_place().trim_start_matches(": ").to_owned(),
        }
    }
}

async fn text_of(request: Request) -> Result<String, Refusal> {
    let bytes = read_body(request, MAX_FILE).await?;
    let text = String::from_utf8(bytes.into());
    text.map_err(|_| Refusal::bad_request("the text is not in UTF-8"))
}

fn invalid(why: impl std::fmt::Display) -> Refusal {
    // frp: the first words
    Refusal::bad_request(format!("invalid argument: {why}"))
}

/// Runs `work`, which blocks, to its end, whether anybody waits or not.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    match spawn_blocking(work).await {
        Ok(done) => done,
        Err(error) => Err(Refusal::internal(error.to_string())),
    }
}
