//! The `webServer` section, the same on both ends.

use std::path::PathBuf;

use mgrok_proto::auth::Secret;

/// The admin port: its address and credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebServer {
    /// The address to listen on, or a name of it, without brackets.
    pub addr: String,
    /// The port. A file cannot say 0, which switches the admin port off there; a program may, for a port that the
    /// system chooses.
    pub port: u16,
    /// The user that requests must present (Basic); with an empty password too, anybody may.
    pub user: String,
    /// That user's password.
    pub password: Secret,
    /// Whether it answers `/metrics`, which Prometheus reads.
    pub prometheus: bool,
    /// Whether it answers the routes below `/debug/pprof/`.
    pub pprof: bool,
    /// The files of its TLS; `None`: it speaks plain HTTP.
    pub tls: Option<WebServerTls>,
    /// A directory with pages that take the place of the program's own.
    pub assets_dir: Option<PathBuf>,
}

/// The files of the admin port's TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebServerTls {
    /// The certificate chain, in PEM.
    pub cert_file: PathBuf,
    /// The key of the first certificate, in PEM.
    pub key_file: PathBuf,
}

impl Default for WebServer {
    /// A port on this machine that the system chooses, for anybody there.
    fn default() -> Self {
        Self {
            // frp: the same
            addr: "127.0.0.1".to_owned(),
            port: 0,
            user: String::new(),
            password: Secret::default(),
            prometheus: false,
            pprof: false,
            tls: None,
            assets_dir: None,
        }
    }
}
