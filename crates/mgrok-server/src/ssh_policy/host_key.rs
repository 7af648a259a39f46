//! The key by which clients know an SSH gateway.

use std::fs::{self, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use aws_lc_rs::rand;
use mgrok_config::HostKeyFile;
use russh::keys::ssh_key::LineEnding;
use russh::keys::ssh_key::private::Ed25519Keypair;
use russh::keys::{Algorithm, HashAlg, PrivateKey, decode_secret_key};

/// The longest file of a key, in bytes. RSA keys of 16,384 bits have 13,000.
const MAX_LEN: u64 = 64 * 1024;

/// Why there is no host key.
#[derive(Debug, thiserror::Error)]
pub enum HostKeyError {
    /// The file cannot be read.
    #[error("cannot read {}; let the user who runs this program read it, or mend the path", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// What is in the file is no key that can be used.
    #[error("{} has no private key that can be used; make one with `ssh-keygen -t ed25519 -N '' -f FILE`", .path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: russh::keys::Error,
    },
    /// A key was made, and cannot be kept.
    #[error("cannot write {}; name a file that can be written", .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
}

/// Reads the key that `file` names, or makes it.
///
/// Blocks for as long as it takes to read or write a small file.
pub(super) fn load(file: &HostKeyFile) -> Result<PrivateKey, HostKeyError> {
    match (read(file)?, file) {
        (Some(key), _) => Ok(key),
        (None, HostKeyFile::Given(path) | HostKeyFile::Kept(path)) => make(path),
    }
}

/// Reads the key that `file` names; `None` if it has yet to be made.
pub(super) fn read(file: &HostKeyFile) -> Result<Option<PrivateKey>, HostKeyError> {
    match file {
        HostKeyFile::Given(path) => read_file(path).map(Some),
        // frp: a file without anything in it is filled too (pkg/ssh/gateway.go#NewGateway)
        HostKeyFile::Kept(path) => match fs::metadata(path) {
            Ok(metadata) if metadata.len() > 0 => read_file(path).map(Some),
            Ok(_) | Err(_) => Ok(None),
        },
    }
}

/// How OpenSSH shows the key to those who connect for the first time.
pub(super) fn fingerprint(key: &PrivateKey) -> String {
    key.fingerprint(HashAlg::Sha256).to_string()
}

/// Whether signing with it tells time.
pub(super) fn is_rsa(key: &PrivateKey) -> bool {
    matches!(key.algorithm(), Algorithm::Rsa { .. })
}

fn read_file(path: &Path) -> Result<PrivateKey, HostKeyError> {
    let read = || {
        let mut text = String::new();
        let file = fs::File::open(path)?;
        file.take(MAX_LEN).read_to_string(&mut text)?;
        Ok(text)
    };
    let path = || path.to_owned();
    let text = read().map_err(|source| HostKeyError::Read {
        path: path(),
        source,
    })?;
    decode_secret_key(&text, None).map_err(|source| HostKeyError::NoKey {
        path: path(),
        source,
    })
}

/// Makes an Ed25519 key, and keeps it for the next start.
fn make(path: &Path) -> Result<PrivateKey, HostKeyError> {
    let failed = |source| HostKeyError::Write {
        path: path.to_owned(),
        source,
    };
    let mut seed = [0; 32];
    let filled =
        rand::fill(&mut seed).map_err(|_| io::Error::other("the system has no random bytes"));
    filled.map_err(failed)?;
    let key = PrivateKey::from(Ed25519Keypair::from_seed(&seed));
    let text = key.to_openssh(LineEnding::LF).map_err(io::Error::other);
    let text = text.map_err(failed)?;
    // Whoever stops in between leaves a file that is not taken for a key.
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let write = || {
        let mut options = OpenOptions::new();
        let options = options.write(true).create(true).truncate(true).mode(0o600);
        let mut file = options.open(&beside)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(failed)?;
    Ok(key)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A key of RSA as frp's server writes it at its first start.
    const RSA: &str = include_str!("testdata/rsa_host_key.pem");

    fn kept(path: &Path) -> HostKeyFile {
        HostKeyFile::Kept(path.to_owned())
    }

    #[test]
    fn a_key_that_was_made_is_kept_for_its_owner_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let made = load(&kept(&path)).unwrap();
        assert_eq!(made.algorithm(), Algorithm::Ed25519);
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        for file in [kept(&path), HostKeyFile::Given(path.clone())] {
            let again = load(&file).unwrap();
            assert_eq!(fingerprint(&again), fingerprint(&made));
        }
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_key_of_frps_server_stays_in_use() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(".autogen_ssh_key");
        fs::write(&path, RSA).unwrap();
        let key = load(&kept(&path)).unwrap();
        assert!(is_rsa(&key));
        assert_eq!(fs::read_to_string(&path).unwrap(), RSA);
    }

    #[test]
    fn a_file_that_is_no_key_is_named_and_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let missing = load(&HostKeyFile::Given(path.clone())).unwrap_err();
        assert!(missing.to_string().contains("cannot read"), "{missing}");
        fs::write(&path, "ssh-ed25519 AAAA").unwrap();
        let error = load(&kept(&path)).unwrap_err();
        assert!(error.to_string().contains("no private key"), "{error}");
        let nowhere = kept(&path.join("below"));
        let error = load(&nowhere).unwrap_err();
        assert!(error.to_string().contains("cannot write"), "{error}");
    }
}
