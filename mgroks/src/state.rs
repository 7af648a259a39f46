//! What the server keeps from start to start, and where: the certificate that it makes when it is given none, so that clients that pin
//! it get in after a restart.

use std::{
    env,
    ffi::OsString,
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use mgrok_config::ServerConfig;
use mgrok_server::keep_certificate;
use tracing::info;

/// Where the units for systemd and the examples keep state.
const SYSTEM_DIRECTORY: &str = "/var/lib/mgroks";

/// The directory's name among those of other programs.
const NAME: &str = "mgroks";

/// The certificate and its key.
const CERTIFICATE: &str = "certificate.pem";

/// Lets `config` have a kept certificate if it names none and there is a place for one. What goes wrong is told and ends nothing.
pub(crate) fn keep(config: &mut ServerConfig) {
    let tls = &mut config.transport.tls;
    if tls.certificate.is_some() || tls.auto_gen_cert_path.is_some() {
        return;
    }
    let mut failures = Vec::new();
    for directory in directories(|name| env::var_os(name)) {
        let path = directory.join(CERTIFICATE);
        match keep_in(&directory, &path) {
            Ok(_pin) => {
                info!(
                    "the certificate that this server has made is kept in {}, so that clients may pin it",
                    path.display()
                );
                tls.auto_gen_cert_path = Some(path);
                return;
            }
            Err(error) => failures.push(format!("{error:#}")),
        }
    }
    if failures.is_empty() {
        failures.push("there is no directory for it".to_owned());
    }
    info!(
        "the certificate of this server is not kept: {}; make {SYSTEM_DIRECTORY} a directory of the user who runs this, or \
         set transport.tls.autoGenCertPath",
        failures.join("; ")
    );
}

/// The file of the kept certificate, which is made if there is none, and the fingerprint by which clients pin it.
///
/// # Errors
/// If there is no place for it, or what is there cannot be used.
pub(crate) fn certificate() -> anyhow::Result<(PathBuf, String)> {
    let mut failed = None;
    for directory in directories(|name| env::var_os(name)) {
        match certificate_in(&directory) {
            Ok(certificate) => return Ok(certificate),
            Err(error) => failed = failed.or(Some(error)),
        }
    }
    Err(failed.unwrap_or_else(|| anyhow::anyhow!("there is no directory for a certificate")))
}

/// As [`certificate`], in a directory.
pub(crate) fn certificate_in(directory: &Path) -> anyhow::Result<(PathBuf, String)> {
    let path = directory.join(CERTIFICATE);
    let pin = keep_in(directory, &path)?;
    Ok((path, pin))
}

fn keep_in(directory: &Path, path: &Path) -> anyhow::Result<String> {
    if !directory.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|error| anyhow::anyhow!("cannot create {}: {error}", directory.display()))?;
    }
    Ok(keep_certificate(path)?.to_string())
}

/// Where state may be, the best place first. `variable` is the environment.
fn directories(variable: impl Fn(&str) -> Option<OsString>) -> Vec<PathBuf> {
    // systemd.exec(5): several are parted by colons, and they are the service's own.
    if let Some(given) = variable("STATE_DIRECTORY") {
        let given = given.to_string_lossy();
        let first = given.split(':').next().unwrap_or_default();
        if !first.is_empty() {
            return vec![PathBuf::from(first)];
        }
    }
    let absolute = |path: PathBuf| path.is_absolute().then_some(path);
    let of_user = variable("XDG_STATE_HOME")
        .map(PathBuf::from)
        .and_then(absolute)
        .or_else(|| {
            let home = variable("HOME").map(PathBuf::from).and_then(absolute)?;
            // Users without a home are given the root.
            (home != Path::new("/")).then(|| home.join(".local/state"))
        });
    let system = PathBuf::from(SYSTEM_DIRECTORY);
    let system = system.is_dir().then_some(system);
    system
        .into_iter()
        .chain(of_user.map(|it| it.join(NAME)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(variables: &[(&str, &str)], expect: &[&str]) {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| OsString::from(value))
        };
        let system = Path::new(SYSTEM_DIRECTORY);
        let found: Vec<_> = directories(variable)
            .into_iter()
            .filter(|it| it != system)
            .collect();
        assert_eq!(found, expect.iter().map(PathBuf::from).collect::<Vec<_>>());
    }

    #[test]
    fn the_service_managers_directory_comes_first() {
        check(
            &[("STATE_DIRECTORY", "/a:/b"), ("HOME", "/home/ann")],
            &["/a"],
        );
    }

    #[test]
    fn users_have_their_own() {
        check(&[("HOME", "/home/ann")], &["/home/ann/.local/state/mgroks"]);
        check(
            &[("HOME", "/home/ann"), ("XDG_STATE_HOME", "/state")],
            &["/state/mgroks"],
        );
        check(
            &[("HOME", "/home/ann"), ("XDG_STATE_HOME", "state")],
            &["/home/ann/.local/state/mgroks"],
        );
        check(&[("HOME", "/")], &[]);
        check(&[], &[]);
    }
}
