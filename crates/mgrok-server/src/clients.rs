//! Which clients are here, and which have been: what the admin port tells of them.

use std::collections::HashMap;
use std::future::ready;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use mgrok_admin::{Answer, Method, Routes};
use mgrok_proto::message::Login;
use mgrok_proto::{RunId, WireVersion};
use serde::Serialize;

/// How many clients are remembered that are not here. The one that left first is forgotten first.
const MAX_OFFLINE: usize = 10_000;

/// The clients of one server. Clones share them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Clients {
    known: Arc<Mutex<HashMap<String, Row>>>,
}

/// A client that is here until this is dropped.
#[derive(Debug)]
pub(crate) struct Presence {
    clients: Clients,
    key: String,
    /// Tells it from a later one of the same client.
    run_id: String,
    connected_at: SystemTime,
}

/// One client in the answer to `/api/clients`.
// frp: these fields in this order (INTERFACES 6.2)
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
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
    #[serde(skip)]
    since: SystemTime,
}

/// What is asked for, as the query of a request says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Filter {
    user: String,
    client_id: String,
    run_id: String,
    online: Option<bool>,
}

impl Clients {
    /// Takes note that a client has logged in. Its last presence, if it was that of another session, does not count any more.
    pub(crate) fn arrive(
        &self,
        login: &Login,
        run_id: &RunId,
        wire: WireVersion,
        ip: IpAddr,
    ) -> Presence {
        let now = SystemTime::now();
        let key = match (login.user.as_str(), login.client_id.as_str()) {
            (_, "") => run_id.as_str().to_owned(),
            ("", client_id) => client_id.to_owned(),
            (user, client_id) => format!("{user}.{client_id}"),
        };
        let mut known = self.known();
        let first = known.get(&key).map(|it| it.first_connected_at);
        let row = Row {
            key: key.clone(),
            user: login.user.clone(),
            client_id: login.client_id.clone(),
            run_id: run_id.as_str().to_owned(),
            version: login.version.clone(),
            wire_protocol: match wire {
                WireVersion::V1 => "v1",
                WireVersion::V2 => "v2",
            },
            hostname: login.hostname.clone(),
            client_ip: ip.to_canonical().to_string(),
            first_connected_at: first.unwrap_or_else(|| seconds(now)),
            last_connected_at: seconds(now),
            disconnected_at: None,
            online: true,
            since: now,
        };
        known.insert(key.clone(), row);
        drop(known);
        Presence {
            clients: self.clone(),
            key,
            run_id: run_id.as_str().to_owned(),
            connected_at: now,
        }
    }

    /// What can be asked for.
    pub(crate) fn routes(&self) -> Routes {
        let clients = self.clone();
        Routes::default().with(Method::GET, "/api/clients", move |request| {
            let filter = Filter::parse(request.uri().query().unwrap_or_default());
            ready(Answer::json(&clients.list(&filter)))
        })
    }

    /// Those that `filter` lets through, in frp's order.
    fn list(&self, filter: &Filter) -> Vec<Row> {
        let known = self.known();
        let chosen = known.values().filter(|it| filter.lets_through(it));
        let mut rows: Vec<_> = chosen.cloned().collect();
        drop(known);
        rows.sort_by(|a, b| (&a.user, &a.client_id, &a.key).cmp(&(&b.user, &b.client_id, &b.key)));
        rows
    }

    fn known(&self) -> MutexGuard<'_, HashMap<String, Row>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        let mut known = self.clients.known();
        let Some(row) = known.get_mut(&self.key) else {
            return;
        };
        if row.run_id != self.run_id || row.since != self.connected_at {
            return;
        }
        // frp: who has no name of its own is gone for good
        if row.client_id.is_empty() {
            known.remove(&self.key);
            return;
        }
        row.online = false;
        row.run_id.clear();
        row.disconnected_at = Some(seconds(SystemTime::now()));
        forget_oldest(&mut known);
    }
}

fn forget_oldest(known: &mut HashMap<String, Row>) {
    let offline = known.values().filter(|it| !it.online);
    if offline.clone().count() > MAX_OFFLINE
        && let Some(oldest) = offline.min_by_key(|it| it.disconnected_at)
    {
        let key = oldest.key.clone();
        known.remove(&key);
    }
}

fn seconds(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

impl Filter {
    fn parse(query: &str) -> Self {
        let mut filter = Self::default();
        for pair in query.split('&') {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decode(value);
            match key {
                "user" => filter.user = value,
                "clientId" => filter.client_id = value,
                "runId" => filter.run_id = value,
                // frp: any other word is all of them
                "status" => {
                    filter.online = match value.to_ascii_lowercase().as_str() {
                        "online" => Some(true),
                        "offline" => Some(false),
                        _ => None,
                    };
                }
                _ => {}
            }
        }
        filter
    }

    fn lets_through(&self, row: &Row) -> bool {
        let is = |wanted: &str, value: &str| wanted.is_empty() || wanted == value;
        is(&self.user, &row.user)
            && is(&self.client_id, &row.client_id)
            && is(&self.run_id, &row.run_id)
            && self.online.is_none_or(|online| online == row.online)
    }
}

/// A value of a query, in which `+` is a space and `%` and two hex digits are a byte; what is not is left as it is.
fn decode(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        rest = tail;
        bytes.push(match (first, tail) {
            (b'+', _) => b' ',
            (b'%', [high, low, ..]) => {
                let digit = |byte: &u8| char::from(*byte).to_digit(16);
                match (digit(high), digit(low)) {
                    (Some(high), Some(low)) => {
                        rest = &tail[2..];
                        // Two hex digits are a byte.
                        (high * 16 + low) as u8
                    }
                    _ => b'%',
                }
            }
            (other, _) => *other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn login(user: &str, client_id: &str) -> Login {
        Login {
            user: user.to_owned(),
            client_id: client_id.to_owned(),
            version: "0.70.1".to_owned(),
            hostname: "laptop".to_owned(),
            ..Login::default()
        }
    }

    fn arrive(clients: &Clients, user: &str, client_id: &str, run_id: &str) -> Presence {
        let ip = Ipv4Addr::LOCALHOST.into();
        clients.arrive(
            &login(user, client_id),
            &RunId::from(run_id),
            WireVersion::V2,
            ip,
        )
    }

    fn keys(clients: &Clients, query: &str) -> Vec<String> {
        let rows = clients.list(&Filter::parse(query));
        rows.into_iter().map(|it| it.key).collect()
    }

    #[test]
    fn who_is_here_is_told_as_frp_does() {
        let clients = Clients::default();
        let _presence = arrive(&clients, "ada", "laptop", "0011");
        let rows = clients.list(&Filter::default());
        let at = rows[0].first_connected_at;
        assert_eq!(
            serde_json::to_string(&rows).unwrap(),
            format!(
                concat!(
                    r#"[{{"key":"ada.laptop","user":"ada","clientID":"laptop","runID":"0011","version":"0.70.1","wireProtocol":"v2","#,
                    r#""hostname":"laptop","clientIP":"127.0.0.1","firstConnectedAt":{at},"lastConnectedAt":{at},"online":true}}]"#
                ),
                at = at
            )
        );
    }

    #[test]
    fn who_has_a_name_is_remembered_and_nobody_else() {
        let clients = Clients::default();
        let named = arrive(&clients, "", "laptop", "0011");
        let nameless = arrive(&clients, "", "", "0022");
        assert_eq!(keys(&clients, ""), ["0022", "laptop"]);
        drop((named, nameless));
        assert_eq!(keys(&clients, "status=online"), [""; 0]);
        let rows = clients.list(&Filter::parse("status=Offline"));
        assert_eq!(rows[0].key, "laptop");
        assert!(rows[0].run_id.is_empty() && rows[0].disconnected_at.is_some());
    }

    #[test]
    fn the_end_of_an_older_session_does_not_end_the_younger() {
        let clients = Clients::default();
        let older = arrive(&clients, "", "laptop", "0011");
        let younger = arrive(&clients, "", "laptop", "0011");
        drop(older);
        assert_eq!(keys(&clients, "status=online"), ["laptop"]);
        drop(younger);
        assert_eq!(keys(&clients, "status=online"), [""; 0]);
    }

    #[test]
    fn they_can_be_asked_for_by_what_they_are() {
        let clients = Clients::default();
        let _all = [
            arrive(&clients, "ada", "laptop", "1"),
            arrive(&clients, "a b", "laptop", "2"),
            arrive(&clients, "", "desk", "3"),
        ];
        assert_eq!(keys(&clients, ""), ["desk", "a b.laptop", "ada.laptop"]);
        assert_eq!(keys(&clients, "clientId=laptop&user=ada"), ["ada.laptop"]);
        assert_eq!(keys(&clients, "user=a+b"), ["a b.laptop"]);
        assert_eq!(keys(&clients, "user=a%20b"), ["a b.laptop"]);
        assert_eq!(keys(&clients, "runId=3"), ["desk"]);
        assert_eq!(keys(&clients, "status=weird"), keys(&clients, ""));
    }

    #[test]
    fn odd_escapes_are_left_as_they_are() {
        for (text, expect) in [
            ("%", "%"),
            ("%zz", "%zz"),
            ("a%4", "a%4"),
            ("%ff", "\u{fffd}"),
        ] {
            assert_eq!(decode(text), expect);
        }
    }
}
