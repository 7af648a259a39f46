//! Who has a port, as far as /proc tells. It tells all to root, and to others what is their own.

use std::collections::BTreeSet;
use std::fmt;
use std::fs;
use std::path::Path;

/// The most processes that are looked at.
const MAX_PROCESSES: usize = 65_536;

/// The state of a socket that listens (`TCP_LISTEN`), as /proc/net/tcp has it.
const LISTENS: &str = "0A";

/// A process that has a port.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub struct Occupant {
    /// Its number.
    pub process: u32,
    /// What it is called in the list of processes.
    pub program: String,
}

impl fmt::Display for Occupant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (process {})", self.program, self.process)
    }
}

/// Those that have `port`, of TCP or UDP, on any address. None where /proc does not tell.
///
/// Blocks for as long as it takes to read /proc.
pub fn occupants(port: u16, is_tcp: bool) -> Vec<Occupant> {
    let tables = match is_tcp {
        true => ["/proc/net/tcp", "/proc/net/tcp6"],
        false => ["/proc/net/udp", "/proc/net/udp6"],
    };
    let mut sockets = BTreeSet::new();
    for table in tables {
        let text = fs::read_to_string(table).unwrap_or_default();
        sockets.extend(sockets_at(&text, port, is_tcp));
    }
    if sockets.is_empty() {
        return Vec::new();
    }
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    let mut found = Vec::new();
    for process in processes.take(MAX_PROCESSES) {
        let path = process.path();
        let id = process.file_name().to_str().and_then(|it| it.parse().ok());
        let Some(id) = id.filter(|_| has_any(&path, &sockets)) else {
            continue;
        };
        let program = fs::read_to_string(path.join("comm")).unwrap_or_default();
        found.push(Occupant {
            process: id,
            program: program.trim_end().to_owned(),
        });
    }
    found.sort();
    found
}

/// The numbers of the sockets in `table` that are bound to `port`, as links to them have them.
fn sockets_at(table: &str, port: u16, is_tcp: bool) -> Vec<String> {
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1);
    rows.filter_map(|row| {
        let columns: Vec<_> = row.split_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let listens = !is_tcp || *state == LISTENS;
        (local.ends_with(&port) && listens).then(|| format!("socket:[{inode}]"))
    })
    .collect()
}

/// Whether a process has one of `sockets` open.
fn has_any(process: &Path, sockets: &BTreeSet<String>) -> bool {
    let files = fs::read_dir(process.join("fd"))
        .into_iter()
        .flatten()
        .flatten();
    files
        .filter_map(|it| fs::read_link(it.path()).ok())
        .any(|it| it.to_str().is_some_and(|it| sockets.contains(it)))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn rows_are_found_by_their_port() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
            \x20  0: 0100007F:1B58 00000000:0000 0A 00000000:00000000 00:00000000 00000000  0 0 4711 1 0 100 0 0 10 0\n\
            \x20  1: 0100007F:1B58 0100007F:9999 01 00000000:00000000 00:00000000 00000000  0 0 4712 1 0 100 0 0 10 0\n";
        assert_eq!(sockets_at(table, 7000, true), ["socket:[4711]"]);
        assert_eq!(sockets_at(table, 7001, true), [""; 0]);
        assert_eq!(sockets_at(table, 7000, false).len(), 2);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_is_found() {
        let tcp = TcpListener::bind("127.0.0.1:0").unwrap();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        for (port, is_tcp) in [
            (tcp.local_addr().unwrap().port(), true),
            (udp.local_addr().unwrap().port(), false),
        ] {
            let found = occupants(port, is_tcp);
            let ids: Vec<_> = found.iter().map(|it| it.process).collect();
            assert_eq!(ids, [std::process::id()]);
        }
    }
}
