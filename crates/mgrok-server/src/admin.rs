//! What the admin port tells. It reads snapshots of the directory and nothing else.

use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_admin::{Answer, Dashboard, Method, Query, Routes};
use serde::{Deserialize, Serialize};

use crate::directory::{Directory, SessionInfo};

/// What can be asked for.
pub(crate) fn routes(directory: Directory) -> Routes {
    let clients_asked = async move |Query(filter): Query<Filter>| {
        Answer::json(&clients(directory.sessions(), &filter))
    };
    Routes::default()
        .with(Method::GET, "/api/clients", clients_asked)
        .dashboard(Dashboard::Server)
}

/// One client in the answer to `/api/clients`.
// frp: these fields in this order (INTERFACES 6.2)
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientRow {
    key: String,
    user: String,
    #[serde(rename = "clientID")]
    client_id: String,
    /// Empty once it has left.
    #[serde(rename = "runID")]
    run_id: String,
    version: String,
    wire_protocol: &'static str,
    hostname: String,
    #[serde(rename = "clientIP")]
    client_ip: String,
    first_connected_at: u64,
    last_connected_at: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    disconnected_at: Option<u64>,
    online: bool,
}

/// What is asked for, as the query of a request says.
#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Filter {
    user: String,
    client_id: String,
    run_id: String,
    status: String,
}

/// Those that `filter` lets through, in frp's order.
fn clients(sessions: Vec<SessionInfo>, filter: &Filter) -> Vec<ClientRow> {
    let mut rows: Vec<_> = sessions
        .into_iter()
        .filter(|it| filter.lets_through(it))
        .map(ClientRow::from)
        .collect();
    rows.sort_by(|a, b| (&a.user, &a.client_id, &a.key).cmp(&(&b.user, &b.client_id, &b.key)));
    rows
}

impl From<SessionInfo> for ClientRow {
    fn from(session: SessionInfo) -> Self {
        let client = &*session.client;
        let online = session.is_online();
        let run_id = session.run_id.as_ref().map_or("", |it| it.as_str());
        Self {
            key: match (client.user.as_str(), client.client_id.as_str()) {
                (_, "") => run_id.to_owned(),
                ("", client_id) => client_id.to_owned(),
                (user, client_id) => format!("{user}.{client_id}"),
            },
            user: client.user.clone(),
            client_id: client.client_id.clone(),
            run_id: run_id.to_owned(),
            version: client.version.clone(),
            wire_protocol: client.wire_protocol,
            hostname: client.hostname.clone(),
            client_ip: client.addr.ip().to_canonical().to_string(),
            first_connected_at: seconds(session.first_connected_at),
            last_connected_at: seconds(session.last_connected_at),
            disconnected_at: session.disconnected_at.map(seconds),
            online,
        }
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Filter {
    fn lets_through(&self, session: &SessionInfo) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        let run_id = session.run_id.as_ref().map_or("", |it| it.as_str());
        is(&self.user, &session.client.user)
            && is(&self.client_id, &session.client.client_id)
            && is(&self.run_id, run_id)
            // frp: any other word is all of them
            && match self.status.to_ascii_lowercase().as_str() {
                "online" => session.is_online(),
                "offline" => !session.is_online(),
                _ => true,
            }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

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
        }
    }

    fn filter(query: &str) -> Filter {
        let uri = format!("/?{query}").parse().unwrap();
        Query::from_uri(&uri).unwrap().0
    }

    #[track_caller]
    fn check(query: &str, expect: &[&str]) {
        let sessions = vec![
            session("ada", "laptop", "1"),
            session("a b", "laptop", "2"),
            session("", "desk", "3"),
            session("%zz", "", "5"),
            session("", "gone", ""),
        ];
        let rows = clients(sessions, &filter(query));
        let keys: Vec<_> = rows.iter().map(|it| it.key.as_str()).collect();
        assert_eq!(keys, expect, "{query}");
    }

    #[test]
    fn who_is_here_is_told_as_frp_does() {
        let rows = clients(vec![session("ada", "laptop", "0011")], &filter(""));
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
        let all = &["desk", "gone", "5", "a b.laptop", "ada.laptop"];
        check("", all);
        check("clientId=laptop&user=ada", &["ada.laptop"]);
        check("user=a+b", &["a b.laptop"]);
        check("user=a%20b", &["a b.laptop"]);
        check("runId=3", &["desk"]);
        check("status=Offline", &["gone"]);
        check("status=weird", all);
    }

    #[test]
    fn odd_escapes_are_left_as_they_are() {
        check("user=%zz", &["5"]);
        for (text, expect) in [("%", "%"), ("a%4", "a%4"), ("%ff", "\u{fffd}")] {
            assert_eq!(filter(&format!("user={text}")).user, expect);
        }
    }
}
