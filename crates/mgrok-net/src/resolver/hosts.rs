//! The system's hosts file: names that need no DNS query.

use std::collections::HashMap;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

use super::literal;

/// The longest file that is read, in bytes. Long ones are block lists, with a line for each of some 100,000 names.
const MAX_LEN: u64 = 16 * 1024 * 1024;
/// How many names are cached until the file changes. The file is searched for any further name each time.
const MAX_NAMES: usize = 1024;

/// A hosts file. A change takes effect with the next lookup.
#[derive(Debug)]
pub(super) struct Hosts {
    path: PathBuf,
    cached: Mutex<Cached>,
}

/// The entries of the names that were looked up. Caching the whole file could take much memory for the few names that
/// are used.
#[derive(Debug, Default)]
struct Cached {
    version: Option<Version>,
    by_name: HashMap<String, Vec<SocketAddr>>,
}

/// Identifies a version of the file: as long as it is the same, the file has not changed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Version {
    modified: SystemTime,
    len: u64,
}

/// Where the system keeps the file.
pub(super) fn default_path() -> PathBuf {
    if cfg!(windows) {
        let system = std::env::var_os("SystemRoot").unwrap_or_else(|| "C:\\Windows".into());
        PathBuf::from(system).join("System32\\drivers\\etc\\hosts")
    } else {
        PathBuf::from("/etc/hosts")
    }
}

impl Hosts {
    pub(super) fn new(path: PathBuf) -> Self {
        Self {
            path,
            cached: Mutex::default(),
        }
    }

    /// The addresses of a name, IPv6 first, each with port 0. Empty if the file does not have the name, or cannot be
    /// read.
    pub(super) fn find(&self, name: &str) -> Vec<SocketAddr> {
        let Some(version) = self.version() else {
            return Vec::new();
        };
        let mut cached = self.cached.lock().unwrap_or_else(PoisonError::into_inner);
        if cached.version != Some(version) {
            cached.version = Some(version);
            cached.by_name.clear();
        }
        if let Some(addrs) = cached.by_name.get(name) {
            return addrs.clone();
        }
        let text = fs::read(&self.path).unwrap_or_default();
        let addrs = addrs(&String::from_utf8_lossy(&text), name);
        if cached.by_name.len() < MAX_NAMES {
            cached.by_name.insert(name.to_owned(), addrs.clone());
        }
        addrs
    }

    /// `None` if there is no usable file.
    fn version(&self) -> Option<Version> {
        let metadata = fs::metadata(&self.path).ok()?;
        let version = Version {
            modified: metadata.modified().ok()?,
            len: metadata.len(),
        };
        (metadata.is_file() && version.len <= MAX_LEN).then_some(version)
    }
}

/// The addresses of a name in the text of a hosts file (hosts(5)).
fn addrs(text: &str, name: &str) -> Vec<SocketAddr> {
    let mut addrs = Vec::new();
    for line in text.lines() {
        let line = line.split_once('#').map_or(line, |(line, _comment)| line);
        let mut fields = line.split_ascii_whitespace();
        let Some(addr) = fields.next() else {
            continue;
        };
        let has_name = fields.any(|it| {
            it.strip_suffix('.')
                .unwrap_or(it)
                .eq_ignore_ascii_case(name)
        });
        if has_name
            && let Some(Ok(addr)) = literal(addr, 0)
            && !addrs.contains(&addr)
        {
            addrs.push(addr);
        }
    }
    // The order of the system and Go: the IPv6 loopback address before the IPv4 one.
    addrs.sort_by_key(SocketAddr::is_ipv4);
    addrs
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "\
# comment
127.0.0.1\tlocalhost box.lan box # 192.0.2.9 commented
::1 localhost
192.0.2.1 Shop.Example shop
192.0.2.2 shop.example
fe80::1%1 near
no-address shop
192.0.2.3
";

    #[track_caller]
    fn check(name: &str, expect: &[&str]) {
        let found: Vec<_> = addrs(FILE, name).iter().map(|it| it.to_string()).collect();
        assert_eq!(found, expect, "{name}");
    }

    #[test]
    fn names_are_found_as_hosts_files_have_them() {
        check("localhost", &["[::1]:0", "127.0.0.1:0"]);
        check("BOX", &["127.0.0.1:0"]);
        check("shop.example", &["192.0.2.1:0", "192.0.2.2:0"]);
        check("near", &["[fe80::1%1]:0"]);
        check("commented", &[]);
        check("192.0.2.9", &[]);
        check("192.0.2.3", &[]);
        check("example", &[]);
    }

    #[test]
    fn a_change_of_the_file_counts_at_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hosts = Hosts::new(file.path().to_owned());
        assert_eq!(hosts.find("shop"), []);
        for addr in ["192.0.2.1", "192.0.2.200", "192.0.2.10"] {
            fs::write(file.path(), format!("{addr} shop\n")).unwrap();
            let expect = [SocketAddr::new(addr.parse().unwrap(), 0)];
            assert_eq!(hosts.find("shop"), expect);
            assert_eq!(hosts.find("shop"), expect, "as remembered");
        }
        drop(file);
        assert_eq!(hosts.find("shop"), [], "no file");
    }

    #[test]
    fn the_cache_is_bounded() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let hosts = Hosts::new(file.path().to_owned());
        for number in 0..2 * MAX_NAMES {
            hosts.find(&number.to_string());
        }
        assert_eq!(hosts.cached.lock().unwrap().by_name.len(), MAX_NAMES);
    }
}
