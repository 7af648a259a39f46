//! The table that `mgrokc status` prints.

use std::collections::BTreeMap;

use mgrok_daemon::terminal::columns;
use serde::Deserialize;

/// The kinds of proxies in the order in which they are listed.
// frp: the same (cmd/frpc/sub/proxy.go)
const KINDS: [&str; 8] = [
    "tcp", "udp", "tcpmux", "http", "https", "stcp", "sudp", "xtcp",
];

const HEADER: [&str; 6] = [
    "Name",
    "Status",
    "LocalAddr",
    "Plugin",
    "RemoteAddr",
    "Error",
];

/// The answer to `/api/status`.
#[derive(Debug, Deserialize)]
#[serde(transparent)]
pub(crate) struct Status(BTreeMap<String, Vec<Proxy>>);

#[derive(Debug, Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Proxy {
    name: String,
    status: String,
    local_addr: String,
    plugin: String,
    remote_addr: String,
    err: String,
}

impl Status {
    /// The table, byte for byte as frpc prints it.
    pub(crate) fn table(&self) -> String {
        let mut text = "Proxy Status...\n\n".to_owned();
        for kind in KINDS {
            let Some(proxies) = self.0.get(kind).filter(|it| !it.is_empty()) else {
                continue;
            };
            let rows = proxies.iter().flat_map(Proxy::rows);
            let rows: Vec<_> = [HEADER.map(str::to_owned)]
                .into_iter()
                .chain(rows)
                .collect();
            text.push_str(&kind.to_uppercase());
            text.push('\n');
            text.push_str(&columns(&rows));
            text.push('\n');
        }
        text
    }
}

impl Proxy {
    /// One row, or more if a cell has line breaks.
    fn rows(&self) -> Vec<[String; HEADER.len()]> {
        let cells = [
            &self.name,
            &self.status,
            &self.local_addr,
            &self.plugin,
            &self.remote_addr,
            &self.err,
        ];
        let lines = cells.iter().map(|it| it.matches('\n').count()).max();
        let lines = 0..=lines.unwrap_or_default();
        let row = |line| cells.map(|cell| shown(cell.split('\n').nth(line).unwrap_or_default()));
        lines.map(row).collect()
    }
}

/// Without what a terminal would obey.
fn shown(cell: &str) -> String {
    cell.chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_frpc() {
        let json = r#"{"udp":[{"name":"dns","type":"udp","status":"start error","err":"port already used","local_addr":"127.0.0.1:53","plugin":"","remote_addr":""}],
            "tcp":[{"name":"a","type":"tcp","status":"running","err":"","local_addr":"127.0.0.1:22","plugin":"","remote_addr":"server.example:6000"},
            {"name":"unix","type":"tcp","status":"wait start","err":"","local_addr":"","plugin":"unix_domain_socket","remote_addr":""}]}"#;
        let status: Status = serde_json::from_str(json).unwrap();
        let expect = "Proxy Status...\n\nTCP\n\
            Name  Status      LocalAddr     Plugin              RemoteAddr           Error  \n\
            a     running     127.0.0.1:22                      server.example:6000         \n\
            unix  wait start                unix_domain_socket                              \n\nUDP\n\
            Name  Status       LocalAddr     Plugin  RemoteAddr  Error              \n\
            dns   start error  127.0.0.1:53                      port already used  \n\n";
        assert_eq!(status.table(), expect);
        let none: Status = serde_json::from_str("{}").unwrap();
        assert_eq!(none.table(), "Proxy Status...\n\n");
    }
}
