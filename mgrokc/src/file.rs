//! The configuration file, if it is not named.

use std::path::{Path, PathBuf};

use anyhow::Context as _;

/// The files that are looked for, the first of which counts.
// frp: ./frpc.ini, which its users have replaced by ./frpc.toml
pub(crate) const DEFAULTS: [&str; 3] = ["client.toml", "frpc.toml", "frpc.ini"];

/// What to do where there is none.
const ADVICE: &str = "there is no configuration file: none is named by -c, and none of ./client.toml, ./frpc.toml and ./frpc.ini is here. \
Publish a service without one, like\n\
\x20   mgrokc http 3000 --server tunnel.example.com --token …\n\
\x20   mgrokc tcp 22 --server tunnel.example.com --token …\n\
or write one to start with:\n\
\x20   mgrokc init --server tunnel.example.com --token …";

/// The file that is `named`, or else the one that is here.
///
/// # Errors
/// What to do, if there is none.
pub(crate) fn find(named: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    let found = match named {
        // frp: an empty name is no file
        Some(named) => Some(named).filter(|it| !it.as_os_str().is_empty()),
        None => find_in(Path::new(".")),
    };
    found.context(ADVICE)
}

fn find_in(directory: &Path) -> Option<PathBuf> {
    let files = DEFAULTS.iter();
    let mut files = files.map(|name| directory.join(name));
    files.find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_file_that_is_there_counts() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path();
        assert_eq!(find_in(directory), None);
        for name in ["frpc.ini", "frpc.toml", "client.toml"] {
            std::fs::write(directory.join(name), "").unwrap();
            let found = find_in(directory).unwrap();
            assert_eq!(found.file_name().unwrap(), name);
        }
    }

    #[test]
    fn an_empty_name_is_no_file() {
        assert!(find(Some(PathBuf::new())).is_err());
        assert_eq!(find(Some("a".into())).unwrap(), Path::new("a"));
    }
}
