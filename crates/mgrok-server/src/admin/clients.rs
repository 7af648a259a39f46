//! Clients, as the routes of both versions show them.

use std::net::IpAddr;

use mgrok_admin::{Column, Refusal};
use serde::Serialize;

use super::context::unix;
use super::filters::Params;
use crate::directory::{Directory, SessionInfo};

/// One client.
// frp: these fields in this order (INTERFACES 6.2)
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ClientRow {
    pub(super) key: String,
    pub(super) user: String,
    /// Its own name, or its run id.
    #[serde(rename = "clientID")]
    pub(super) client_id: String,
    /// Empty once it has left.
    #[serde(rename = "runID")]
    run_id: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    version: String,
    wire_protocol: &'static str,
    hostname: String,
    #[serde(rename = "clientIP")]
    client_ip: String,
    first_connected_at: i64,
    last_connected_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<i64>,
    /// How many connections its session has. Ours.
    #[serde(skip_serializing_if = "is_usual")]
    links: usize,
    pub(super) online: bool,
}

/// What a list of them can be sorted by.
pub(super) const COLUMNS: &[Column<ClientRow>] = &[
    ("key", |a, b| a.key.cmp(&b.key)),
    ("online", |a, b| a.online.cmp(&b.online)),
    ("hostname", |a, b| a.hostname.cmp(&b.hostname)),
    ("clientIP", |a, b| address(a).cmp(&address(b))),
    ("version", |a, b| a.version.cmp(&b.version)),
    ("since", |a, b| a.since().cmp(&b.since())),
];

/// Whether there are so many connections as with frp.
fn is_usual(links: &usize) -> bool {
    *links <= 1
}

fn address(row: &ClientRow) -> Option<IpAddr> {
    row.client_ip.parse().ok()
}

impl From<SessionInfo> for ClientRow {
    fn from(session: SessionInfo) -> Self {
        let client = &*session.client;
        Self {
            key: session.key(),
            user: client.user.clone(),
            client_id: session.client_id().to_owned(),
            run_id: session
                .run_id
                .as_ref()
                .map_or("", |it| it.as_str())
                .to_owned(),
            version: client.version.clone(),
            wire_protocol: client.wire_protocol,
            hostname: client.hostname.clone(),
            client_ip: client.addr.ip().to_canonical().to_string(),
            first_connected_at: unix(session.first_connected_at),
            last_connected_at: unix(session.last_connected_at),
            disconnected_at: session.disconnected_at.map(unix),
            links: session.links,
            online: session.is_online(),
        }
    }
}

/// All clients, in frp's order.
pub(super) fn clients(sessions: Vec<SessionInfo>) -> Vec<ClientRow> {
    let mut rows: Vec<_> = sessions.into_iter().map(ClientRow::from).collect();
    rows.sort_by(|a, b| (&a.user, &a.client_id, &a.key).cmp(&(&b.user, &b.client_id, &b.key)));
    rows
}

/// The client that is called `key`.
pub(super) fn find(directory: &Directory, key: &str) -> Result<ClientRow, Refusal> {
    let mut sessions = directory.sessions().into_iter();
    let found = sessions.find(|it| it.key() == key).map(ClientRow::from);
    found.ok_or_else(|| not_found(key))
}

// frp: these words
pub(super) fn not_found(key: &str) -> Refusal {
    Refusal::not_found(format!("client {key} not found"))
}

impl ClientRow {
    /// Since when it is online, or is not.
    fn since(&self) -> i64 {
        let left_at = self.disconnected_at.filter(|_| !self.online);
        left_at.unwrap_or(self.last_connected_at)
    }

    /// Whether the routes of version 1 show it.
    pub(super) fn is_wanted_v1(&self, params: &Params) -> bool {
        params.lets("user", &self.user)
            && params.lets("clientId", &self.client_id)
            && params.lets("runId", &self.run_id)
            // frp: any other word is all of them
            && match params.get("status").to_ascii_lowercase().as_str() {
                "online" => self.online,
                "offline" => !self.online,
                _ => true,
            }
    }

    /// Whether the routes of version 2 show it, of which `online` is asked for.
    pub(super) fn is_wanted_v2(&self, params: &Params, online: Option<bool>) -> bool {
        params.lets_also_empty("user", &self.user)
            && params.lets("clientID", &self.client_id)
            && params.lets("runID", &self.run_id)
            && online.is_none_or(|it| it == self.online)
            && params.search().finds([
                self.key.as_str(),
                &self.user,
                &self.client_id,
                &self.run_id,
                &self.version,
                self.wire_protocol,
                &self.hostname,
                &self.client_ip,
            ])
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, UNIX_EPOCH};

    use mgrok_admin::Query;
    use mgrok_proto::RunId;

    use super::*;
    use crate::directory::ClientInfo;

    fn session(user: &str, client_id: &str, run_id: &str) -> SessionInfo {
        SessionInfo {
            client: Arc::new(ClientInfo {
                user: user.to_owned(),
                client_id: client_id.to_owned(),
                version: "0.70.1".to_owned(),
                wire_protocol: "v2",
                hostname: "laptop".to_owned(),
                os: String::new(),
                arch: String::new(),
                addr: "[::ffff:127.0.0.1]:7".parse().unwrap(),
            }),
            run_id: (!run_id.is_empty()).then(|| RunId::from(run_id)),
            first_connected_at: UNIX_EPOCH + Duration::from_secs(7),
            last_connected_at: UNIX_EPOCH + Duration::from_secs(8),
            disconnected_at: None,
            links: 1,
        }
    }

    fn params(query: &str) -> Params {
        let pairs = url::form_urlencoded::parse(query.as_bytes()).into_owned();
        Params::new(Query(pairs.collect()))
    }

    fn keys(is_wanted: impl Fn(&ClientRow) -> bool) -> Vec<String> {
        let sessions = vec![
            session("ada", "laptop", "1"),
            session("a b", "laptop", "2"),
            session("", "desk", "3"),
            session("%zz", "", "5"),
            session("", "gone", ""),
        ];
        let rows = clients(sessions).into_iter().filter(is_wanted);
        rows.map(|it| it.key).collect()
    }

    #[track_caller]
    fn check_v1(query: &str, expect: &[&str]) {
        assert_eq!(
            keys(|it| it.is_wanted_v1(&params(query))),
            expect,
            "{query}"
        );
    }

    #[track_caller]
    fn check_v2(query: &str, expect: &[&str]) {
        let params = params(query);
        let online = params.online().unwrap();
        assert_eq!(
            keys(|it| it.is_wanted_v2(&params, online)),
            expect,
            "{query}"
        );
    }

    const ALL: &[&str] = &["desk", "gone", "%zz.5", "a b.laptop", "ada.laptop"];

    #[test]
    fn who_is_here_is_told_as_frp_does() {
        let rows = clients(vec![session("ada", "laptop", "0011")]);
        assert_eq!(
            serde_json::to_string(&rows).unwrap(),
            concat!(
                r#"[{"key":"ada.laptop","user":"ada","clientID":"laptop","runID":"0011","version":"0.70.1","wireProtocol":"v2","#,
                r#""hostname":"laptop","clientIP":"127.0.0.1","firstConnectedAt":7,"lastConnectedAt":8,"online":true}]"#
            )
        );
    }

    #[test]
    fn they_can_be_asked_for_by_what_they_are() {
        check_v1("", ALL);
        check_v1("clientId=laptop&user=ada", &["ada.laptop"]);
        check_v1("user=a+b", &["a b.laptop"]);
        check_v1("user=%zz", &["%zz.5"]);
        check_v1("clientId=5", &["%zz.5"]);
        check_v1("runId=3", &["desk"]);
        check_v1("status=Offline", &["gone"]);
        check_v1("status=weird&user=", ALL);
        check_v2("", ALL);
        check_v2("user=", &["desk", "gone"]);
        check_v2("status=Offline", &["gone"]);
        check_v2("runID=2", &["a b.laptop"]);
        check_v2("q=LAPTOP&clientID=laptop", &["a b.laptop", "ada.laptop"]);
        check_v2("q=ada", &["ada.laptop"]);
    }
}
