//! What an operator asks for at the admin port and only the program can do.

use std::io;
use std::path::{Path, PathBuf};

use mgrok_admin::{
    AdminRequests, Answer, Method, ProgramLink, Query, Refusal, ReloadQuery, Request, Routes,
    StatusCode, read_body,
};
use mgrok_config::Strictness;
use tokio::task::spawn_blocking;

/// The longest configuration file that is taken; as long as one that is read.
const MAX_FILE: usize = 16 * 1024 * 1024;

/// Where requests go to the program.
#[derive(Clone, Debug)]
pub(crate) struct Operator {
    file: PathBuf,
    program: ProgramLink,
}

impl Operator {
    /// For a program that has read `file`.
    pub(crate) fn new(file: &Path) -> (Self, AdminRequests) {
        let (program, requests) = ProgramLink::new();
        let operator = Self {
            file: file.to_owned(),
            program,
        };
        (operator, requests)
    }

    /// Adds what can be asked for to `routes`.
    pub(crate) fn add_to(self, routes: Routes) -> Routes {
        let (program, stop) = (self.program.clone(), self.program.clone());
        let (read, write) = (self.clone(), self.clone());
        let routes = self.program.add_to(routes);
        routes
            .with(
                Method::GET,
                "/api/reload",
                async move |Query(query): Query<ReloadQuery>| {
                    // frp: unknown keys are passed over unless it says otherwise
                    let strictness = query.strictness().unwrap_or(Strictness::Lenient);
                    program.reload(Some(strictness)).await?;
                    Ok::<_, Refusal>(Answer::empty())
                },
            )
            .with(Method::POST, "/api/stop", async move || {
                stop.stop()?;
                Ok::<_, Refusal>(Answer::empty())
            })
            .with(Method::GET, "/api/config", async move || {
                read.read_file().await
            })
            .with(Method::PUT, "/api/config", async move |request: Request| {
                write.write_file(request).await
            })
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
}

fn failed(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, why)
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
