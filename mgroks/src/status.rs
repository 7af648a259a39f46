//! What `mgroks status` prints: who is here, and what is published.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mgrok_daemon::terminal::{columns, shown, size, time};
use serde::Deserialize;

/// The kinds of proxies, in the order in which they are listed.
const KINDS: [&str; 8] = [
    "tcp", "udp", "tcpmux", "http", "https", "stcp", "sudp", "xtcp",
];

/// An answer of `/api/v2`.
#[derive(Debug, Deserialize)]
pub(crate) struct Answer<T> {
    pub(crate) data: T,
}

/// One page of a list.
#[derive(Debug, Deserialize)]
pub(crate) struct Page<T> {
    pub(crate) total: usize,
    pub(crate) items: Vec<T>,
}

/// The answer to `/api/v2/system/state`.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct State {
    version: String,
    started_at: u64,
    draining: bool,
    clients: usize,
    proxies: usize,
    connections: usize,
    received: u64,
    sent: u64,
}

/// A client.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Client {
    user: String,
    #[serde(rename = "clientID")]
    client_id: String,
    #[serde(default)]
    version: String,
    wire_protocol: String,
    hostname: String,
    #[serde(rename = "clientIP")]
    client_ip: String,
    last_connected_at: u64,
}

/// A proxy.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Proxy {
    name: String,
    #[serde(rename = "clientID")]
    client_id: String,
    spec: Spec,
    status: ProxyStatus,
}

#[derive(Debug, Deserialize)]
struct Spec {
    #[serde(rename = "type")]
    kind: String,
    /// What is called as the type.
    #[serde(flatten)]
    by_kind: BTreeMap<String, Settings>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Settings {
    remote_port: Option<u16>,
    custom_domains: Vec<String>,
    subdomain: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ProxyStatus {
    cur_conns: usize,
    udp_users: usize,
    disabled: bool,
    received: u64,
    sent: u64,
    last_start_at: u64,
}

/// All of it.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) state: State,
    pub(crate) clients: Vec<Client>,
    pub(crate) proxies: Vec<Proxy>,
}

impl Status {
    /// It as text, at this time.
    pub(crate) fn text(&self, now: SystemTime) -> String {
        let state = &self.state;
        let age = |since: u64| time(age(now, since));
        let mut text = format!(
            "mgroks {}, up {}: {}, {}, {}; {} in, {} out\n",
            shown(&state.version),
            age(state.started_at),
            count(state.clients, "client"),
            count(state.proxies, "proxy"),
            count(state.connections, "user connection"),
            size(state.received),
            size(state.sent),
        );
        if state.draining {
            text.push_str("It is drained: no new clients and no new users are let in.\n");
        }
        if !self.clients.is_empty() {
            let header = [
                "User", "Client", "Host", "Address", "Version", "Wire", "Online",
            ];
            let rows = self.clients.iter().map(|it| {
                [
                    shown(&it.user),
                    shown(&it.client_id),
                    shown(&it.hostname),
                    shown(&it.client_ip),
                    shown(&it.version),
                    shown(&it.wire_protocol),
                    age(it.last_connected_at),
                ]
            });
            add_table(&mut text, "CLIENTS", header, rows);
        }
        for kind in KINDS {
            let of_kind = self.proxies.iter().filter(|it| it.spec.kind == kind);
            let rows = of_kind.map(|it| {
                let status = &it.status;
                [
                    shown(&it.name),
                    it.phase().to_owned(),
                    shown(&it.public()),
                    shown(&it.client_id),
                    (status.cur_conns + status.udp_users).to_string(),
                    size(status.received),
                    size(status.sent),
                    age(status.last_start_at),
                ]
            });
            let rows: Vec<_> = rows.collect();
            if !rows.is_empty() {
                let header = [
                    "Name", "Status", "Public", "Client", "Users", "In", "Out", "Up",
                ];
                add_table(&mut text, &kind.to_uppercase(), header, rows.into_iter());
            }
        }
        text
    }
}

impl Proxy {
    fn phase(&self) -> &'static str {
        match self.status.disabled {
            true => "disabled",
            false => "running",
        }
    }

    /// Where users reach it, as far as the server says it.
    fn public(&self) -> String {
        let Some(settings) = self.spec.by_kind.get(&self.spec.kind) else {
            return String::new();
        };
        let port = settings.remote_port.map(|port| format!(":{port}"));
        let subdomain = Some(&settings.subdomain).filter(|it| !it.is_empty());
        let names = settings.custom_domains.iter().chain(subdomain).cloned();
        port.into_iter().chain(names).collect::<Vec<_>>().join(",")
    }
}

fn add_table<const N: usize>(
    text: &mut String,
    title: &str,
    header: [&str; N],
    rows: impl Iterator<Item = [String; N]>,
) {
    let rows: Vec<_> = [header.map(str::to_owned)]
        .into_iter()
        .chain(rows)
        .collect();
    text.push('\n');
    text.push_str(title);
    text.push('\n');
    text.push_str(&columns(&rows));
}

fn count(count: usize, what: &str) -> String {
    let plural = what.strip_suffix('y').map(|it| format!("{it}ies"));
    match count {
        1 => format!("1 {what}"),
        _ => format!("{count} {}", plural.unwrap_or_else(|| format!("{what}s"))),
    }
}

/// How long ago something was that has this time in seconds since 1970.
fn age(now: SystemTime, since: u64) -> Duration {
    let since = UNIX_EPOCH.checked_add(Duration::from_secs(since));
    let age = since.and_then(|since| now.duration_since(since).ok());
    Duration::from_secs(age.unwrap_or_default().as_secs())
}

#[cfg(test)]
mod tests {
    use serde_json::{from_value, json};

    use super::*;

    #[test]
    fn clients_and_proxies_by_type_are_listed() {
        let proxy = |name: &str, kind: &str, block: serde_json::Value, disabled: bool| {
            let status = json!({"phase": "online", "curConns": 2, "udpUsers": 0, "disabled": disabled, "received": 10, "sent": 2000, "lastStartAt": 940});
            let mut spec = json!({"type": kind});
            spec[kind] = block;
            from_value(json!({"name": name, "user": "ann", "clientID": "c1", "spec": spec, "status": status})).unwrap()
        };
        let status = Status {
            state: from_value(json!({"program": "mgroks", "version": "0.1.0", "startedAt": 925, "draining": true, "clients": 1, "proxies": 2,
                "connections": 4, "disabledProxies": ["web"], "received": 20, "sent": 4000}))
            .unwrap(),
            clients: vec![from_value(json!({"key": "k", "user": "ann", "clientID": "c1", "runID": "r", "wireProtocol": "v2", "version": "0.1.0",
                "hostname": "h\u{1b}[2J", "clientIP": "192.0.2.7", "lastConnectedAt": 940, "online": true}))
            .unwrap()],
            proxies: vec![
                proxy("web", "http", json!({"customDomains": ["a.test", "b.test"], "subdomain": "c", "locations": ["/"]}), true),
                proxy("ssh", "tcp", json!({"remotePort": 6000, "transport": {"useEncryption": false}}), false),
            ],
        };
        let text = status.text(UNIX_EPOCH + Duration::from_secs(1000));
        assert_eq!(
            text,
            "mgroks 0.1.0, up 1m15s: 1 client, 2 proxies, 4 user connections; 20 B in, 4.0 KB out\n\
             It is drained: no new clients and no new users are let in.\n\n\
             CLIENTS\n\
             User  Client  Host        Address    Version  Wire  Online  \n\
             ann   c1      h\\u{1b}[2J  192.0.2.7  0.1.0    v2    1m00s   \n\n\
             TCP\n\
             Name  Status   Public  Client  Users  In    Out     Up     \n\
             ssh   running  :6000   c1      2      10 B  2.0 KB  1m00s  \n\n\
             HTTP\n\
             Name  Status    Public           Client  Users  In    Out     Up     \n\
             web   disabled  a.test,b.test,c  c1      2      10 B  2.0 KB  1m00s  \n"
        );
        let idle = Status::default().text(UNIX_EPOCH);
        assert_eq!(
            idle,
            "mgroks , up 0ms: 0 clients, 0 proxies, 0 user connections; 0 B in, 0 B out\n"
        );
    }
}
