//! From a file to a checked configuration: the only ways in.

use std::collections::BTreeSet;
use std::io;
use std::path::Path;

use crate::check;
use crate::client::ClientConfig;
use crate::config_files::ConfigFiles;
use crate::environment::Environment;
use crate::file::{self, ReadError};
use crate::includes::include;
use crate::io_reason::io_reason;
use crate::mistake::Mistakes;
use crate::options::LoadOptions;
use crate::report::Report;
use crate::section::Section;
use crate::server::ServerConfig;
use crate::settings::Settings;
use crate::source::{self, Entry, Role};
use crate::store::StoreContext;
use crate::stored::StoreText;

/// A configuration, and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// Where it was read.
    pub files: ConfigFiles,
    /// One sentence each, in the order of the text, with their position in it.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text was read, but is wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The file is not written in UTF-8.
    #[error("read {path}: {what}; save the file as UTF-8")]
    Encoding {
        /// The file's name.
        path: String,
        /// What it is instead.
        what: String,
    },
    /// The file cannot be opened.
    // frp: these words; the reason is part of them
    #[error("open {path}: {reason}", reason = io_reason(.error))]
    Open {
        /// The file's name.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("read {path}: {reason}", reason = io_reason(.error))]
    Read {
        /// The file's name.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
}

impl LoadError {
    fn of_file(name: &str, error: ReadError) -> Self {
        let path = name.to_owned();
        match error {
            ReadError::Encoding(what) => Self::Encoding { path, what },
            ReadError::Open(error) => Self::Open { path, error },
            ReadError::Read(error) => Self::Read { path, error },
        }
    }
}

/// Reads the server's configuration from a file, which may be a template, and looks whether the files that it names are there.
pub fn load_server(
    path: &Path,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ServerConfig>, LoadError> {
    let text = read(path)?;
    let environment = Environment::of_process();
    let loading = Loading::new(Role::Server, options.into()).reading_files();
    let loading = loading.beginning_with(path);
    let origin = path.to_string_lossy();
    loading.text(&text, &origin, &environment).server()
}

/// Reads the client's configuration from a file, which may be a template, and from the process's environment what it may say, and looks
/// whether the files that it names are there.
pub fn load_client(
    path: &Path,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ClientConfig>, LoadError> {
    load_client_as(path, &read(path)?, options)
}

/// As [`load_client`], but with `text` in place of what the file says.
pub fn load_client_as(
    path: &Path,
    text: &str,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ClientConfig>, LoadError> {
    let environment = Environment::of_process();
    let loading = Loading::new(Role::Client, options.into()).reading_files();
    let loading = loading.beginning_with(path);
    let loading = loading.text(text, &path.to_string_lossy(), &environment);
    let loading = loading.including(path, &environment).storing(path);
    loading.client(&environment)
}

/// Makes the server's configuration of settings, and looks whether the files that they name are there.
pub fn load_server_from_settings(
    settings: &Settings,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ServerConfig>, LoadError> {
    let loading = Loading::new(Role::Server, options.into()).reading_files();
    loading.settings(settings).server()
}

/// Makes the client's configuration of settings and of what the process's environment may say, and looks whether the files that they
/// name are there.
pub fn load_client_from_settings(
    settings: &Settings,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ClientConfig>, LoadError> {
    let loading = Loading::new(Role::Client, options.into()).reading_files();
    let loading = loading.settings(settings);
    loading.client(&Environment::of_process())
}

/// Makes a client's configuration of settings and of nothing else: neither files nor the process's environment are looked at.
pub(crate) fn load_client_from_settings_alone(
    settings: &Settings,
) -> Result<Loaded<ClientConfig>, LoadError> {
    let loading = Loading::new(Role::Client, LoadOptions::default()).settings(settings);
    loading.client(&Environment::default())
}

/// Reads the server's configuration from a text and nothing else; `origin` is what messages call it.
pub fn load_server_from_str(
    text: &str,
    origin: &str,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ServerConfig>, LoadError> {
    load_server_in(&Environment::default(), text, origin, options)
}

/// Reads the client's configuration from a text and nothing else; `origin` is what messages call it.
pub fn load_client_from_str(
    text: &str,
    origin: &str,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ClientConfig>, LoadError> {
    load_client_in(&Environment::default(), text, origin, options)
}

/// As [`load_server_from_str`], in an environment.
pub fn load_server_in(
    environment: &Environment,
    text: &str,
    origin: &str,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ServerConfig>, LoadError> {
    let loading = Loading::new(Role::Server, options.into());
    loading.text(text, origin, environment).server()
}

/// As [`load_client_from_str`], in an environment.
pub fn load_client_in(
    environment: &Environment,
    text: &str,
    origin: &str,
    options: impl Into<LoadOptions>,
) -> Result<Loaded<ClientConfig>, LoadError> {
    let loading = Loading::new(Role::Client, options.into());
    loading.text(text, origin, environment).client(environment)
}

/// The dotted keys, without the indices of lists, that the server's file is asked for if it holds `text`. A key of a list, or of a type of
/// something, is asked for where the text has such a thing.
pub(crate) fn keys_of_server(text: &str) -> BTreeSet<String> {
    let loading = Loading::new(Role::Server, LoadOptions::default()).noting_keys();
    let loading = loading.text(text, "", &Environment::default());
    check::server(Section::root(&loading.root, &loading.report));
    loading.report.into_keys()
}

/// As [`keys_of_server`], for the client.
pub(crate) fn keys_of_client(text: &str) -> BTreeSet<String> {
    let environment = Environment::default();
    let loading = Loading::new(Role::Client, LoadOptions::default()).noting_keys();
    let loading = loading.text(text, "", &environment);
    let root = Section::root(&loading.root, &loading.report);
    check::client(root, &environment, &BTreeSet::new());
    loading.report.into_keys()
}

/// A configuration on its way from its sources to checked values.
struct Loading {
    role: Role,
    report: Report,
    /// The tree, and its position.
    root: (Vec<Entry>, usize),
    /// What stands in included files besides proxies and visitors.
    ignored: Vec<Entry>,
    /// The store, if the configuration names one and is in a file.
    stored: Option<StoreText>,
}

impl Loading {
    fn new(role: Role, options: LoadOptions) -> Self {
        Self {
            role,
            report: Report::new(options),
            root: (Vec::new(), 0),
            ignored: Vec::new(),
            stored: None,
        }
    }

    fn reading_files(self) -> Self {
        Self {
            report: self.report.reading_files(),
            ..self
        }
    }

    fn beginning_with(self, path: &Path) -> Self {
        self.report.note_main(path);
        self
    }

    fn text(mut self, text: &str, origin: &str, environment: &Environment) -> Self {
        let text = source::Text {
            text,
            origin,
            role: self.role,
            included: None,
            is_old: false,
        };
        self.root = source::read(&mut self.report, text, &environment.variables);
        self
    }

    fn noting_keys(self) -> Self {
        Self {
            report: self.report.noting_keys(),
            ..self
        }
    }

    /// Adds what the file at `path`, which was read by now, includes.
    fn including(mut self, path: &Path, environment: &Environment) -> Self {
        let variables = &environment.variables;
        self.ignored = include(&mut self.report, &mut self.root.0, path, variables);
        self
    }

    /// Adds the store that the file at `path`, which was read by now, names.
    fn storing(mut self, path: &Path) -> Self {
        self.stored = StoreText::read(&mut self.report, &self.root.0, path);
        match self.stored {
            // They tell what an entry may have.
            Some(_) => self.noting_keys(),
            None => self,
        }
    }

    fn settings(mut self, settings: &Settings) -> Self {
        self.root = source::read_settings(&mut self.report, settings);
        self
    }

    fn server(self) -> Result<Loaded<ServerConfig>, LoadError> {
        let section = Section::root(&self.root, &self.report);
        let config = check::server(section);
        let files = self.report.take_files();
        let warnings = self.report.finish()?;
        Ok(Loaded {
            config,
            files,
            warnings,
        })
    }

    fn client(self, environment: &Environment) -> Result<Loaded<ClientConfig>, LoadError> {
        let Self {
            report,
            root,
            ignored,
            stored,
            ..
        } = self;
        let names = stored.as_ref().map(StoreText::names).unwrap_or_default();
        let section = Section::root(&root, &report);
        let (mut config, start) = check::client(section, environment, &names);
        if let Some(stored) = stored {
            let context = StoreContext {
                auth: config.auth.clone(),
                options: report.options(),
                proxies: std::mem::take(&mut config.proxies),
                start,
                visitors: std::mem::take(&mut config.visitors),
                web_server: config.web_server.clone(),
            };
            let store = stored.check(&report, context);
            config.proxies = store.proxies().to_vec();
            config.visitors = store.visitors().to_vec();
            config.store = Some(store);
        }
        report.judge_ignored(&ignored);
        let files = report.take_files();
        let warnings = report.finish()?;
        Ok(Loaded {
            config,
            files,
            warnings,
        })
    }
}

fn read(path: &Path) -> Result<String, LoadError> {
    let name = path.to_string_lossy();
    file::read(path).map_err(|error| LoadError::of_file(&name, error))
}
