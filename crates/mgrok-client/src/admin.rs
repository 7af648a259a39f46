//! The routes of the client's admin port.

pub(crate) mod config;
mod connections;
pub(crate) mod events;
pub(crate) mod lists;
mod requests;
pub(crate) mod state;
mod store;

use std::collections::BTreeMap;

use mgrok_admin::{Answer, Dashboard, Method, Routes};
use mgrok_config::{Plugin, ProxyConfig, StoredKind};
use serde::Serialize;

use self::config::ConfigFile;
use self::lists::{Lists, STORE, local_addr};
use crate::operator::Operator;
use crate::progress::ProgressWatch;
use crate::proxies::Table;
use crate::status::ProxyStatus;

use self::events::Watched;
use self::state::Told;

/// One proxy in the answer to `/api/status`.
// frp: these fields in this order, all of them always (client/http)
#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    status: String,
    err: &'a str,
    local_addr: String,
    plugin: &'static str,
    remote_addr: &'a str,
    /// Where its configuration is kept, unless it is in the file.
    #[serde(skip_serializing_if = "Option::is_none")]
    source: Option<&'static str>,
}

/// Everything that can be asked for. What only the program can do, with the file that it has read, is there if it does that.
pub(crate) fn routes(
    lists: Lists,
    progress: ProgressWatch,
    program: Option<(Operator, ConfigFile)>,
) -> Routes {
    let status = lists.clone();
    let routes = Routes::default()
        .dashboard(Dashboard::Client)
        .with(Method::GET, "/api/status", async move || {
            let tables: Vec<_> = status.tables.iter().map(|it| it.borrow()).collect();
            let store = status.store.now();
            let is_stored = |name: &str| {
                let store = store.as_ref();
                store.is_some_and(|it| it.counts(StoredKind::Proxy, name))
            };
            Answer::json(&rows(tables.iter().map(|it| &**it), is_stored))
        })
        .ready_when(move || progress.ready());
    let routes = store::add_to(routes, &lists.store);
    let routes = lists.add_to(routes);
    match program {
        Some((operator, file)) => file.add_to(operator.add_to(routes)),
        None => routes,
    }
}

/// Adds to `routes` what can be asked about users and sessions.
pub(crate) fn add_watched(routes: Routes, told: Told, watched: Watched) -> Routes {
    let routes = connections::add_to(routes, &watched.users);
    let routes = requests::add_to(routes, &watched.users, watched.tables.clone());
    let routes = state::add_to(routes, told);
    events::add_to(routes, watched)
}

/// The proxies by kind and name, those of one server after those of another. They are listed from the first login on.
// frp: none while there is no session
fn rows<'a>(
    tables: impl Iterator<Item = &'a Table>,
    is_stored: impl Fn(&str) -> bool,
) -> BTreeMap<&'static str, Vec<Row<'a>>> {
    let mut rows: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for table in tables {
        for (config, status) in table.proxies() {
            let of_kind = rows.entry(config.kind.as_str()).or_default();
            let source = is_stored(&config.name).then_some(STORE);
            of_kind.push(Row {
                source,
                ..Row::new(config, status)
            });
        }
    }
    rows
}

impl<'a> Row<'a> {
    fn new(config: &'a ProxyConfig, status: &'a ProxyStatus) -> Self {
        Self {
            name: &config.name,
            kind: config.kind.as_str(),
            status: status.phase.to_string(),
            err: status.error.as_deref().unwrap_or_default(),
            local_addr: local_addr(config),
            plugin: config.plugin.as_ref().map_or("", Plugin::as_str),
            remote_addr: status.remote_addr.as_deref().unwrap_or_default(),
            source: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use mgrok_config::{Private, ProxyKind};
    use mgrok_net::resolver::Resolver;
    use mgrok_proto::auth::Secret;
    use mgrok_proto::cipher::CipherKey;
    use mgrok_proto::message::NewProxyResp;

    use super::*;
    use crate::proxies::Proxies;

    fn proxies() -> Proxies {
        let key = CipherKey::derive(&Secret::default());
        let mut proxies = Proxies::new(
            "ada".to_owned(),
            "server.example".to_owned(),
            key,
            Resolver::default(),
        );
        let tcp = |name| ProxyConfig::new(name, ProxyKind::Tcp { remote_port: 0 }, 22);
        let mut v6 = ProxyConfig::new("dns", ProxyKind::Udp { remote_port: 53 }, 53);
        v6.local_host = "::1".to_owned();
        let mut no_port = ProxyConfig::new("secret", ProxyKind::Stcp(Private::default()), 0);
        let path = "app.sock".into();
        no_port.plugin = Some(Plugin::UnixDomainSocket { path });
        proxies.apply(&[tcp("b"), tcp("c"), tcp("a"), v6, no_port], Instant::now());
        proxies
    }

    fn answer(proxies: &mut Proxies, name: &str, error: &str, remote_addr: &str) {
        let answer = NewProxyResp {
            proxy_name: format!("ada.{name}"),
            remote_addr: remote_addr.to_owned(),
            error: error.to_owned(),
        };
        proxies.handle_answer(&answer, Instant::now());
    }

    fn json(proxies: &Proxies) -> String {
        let is_stored = |name: &str| name == "b";
        serde_json::to_string(&rows(
            std::iter::once(&*proxies.watch().borrow()),
            is_stored,
        ))
        .unwrap()
    }

    #[test]
    fn every_proxy_has_a_row() {
        let mut proxies = proxies();
        let now = Instant::now();
        proxies.begin_session(now);
        while proxies.poll_send(now).is_some() {}
        answer(&mut proxies, "a", "", ":6000");
        answer(&mut proxies, "b", "port \"already\" used", "");
        answer(&mut proxies, "dns", "", ":53");
        answer(&mut proxies, "secret", "", "");
        assert_eq!(
            json(&proxies),
            concat!(
                r#"{"stcp":[{"name":"secret","type":"stcp","status":"running","err":"","local_addr":"","plugin":"unix_domain_socket","remote_addr":""}],"#,
                r#""tcp":[{"name":"a","type":"tcp","status":"running","err":"","local_addr":"127.0.0.1:22","plugin":"","remote_addr":"server.example:6000"},"#,
                r#"{"name":"b","type":"tcp","status":"start error","err":"port \"already\" used","local_addr":"127.0.0.1:22","plugin":"","remote_addr":"","source":"store"},"#,
                r#"{"name":"c","type":"tcp","status":"wait start","err":"","local_addr":"127.0.0.1:22","plugin":"","remote_addr":""}],"#,
                r#""udp":[{"name":"dns","type":"udp","status":"running","err":"","local_addr":"[::1]:53","plugin":"","remote_addr":"server.example:53"}]}"#,
            )
        );
    }

    #[test]
    fn proxies_stay_listed_while_there_is_no_session() {
        let mut proxies = proxies();
        proxies.begin_session(Instant::now());
        proxies.end_session();
        let json = json(&proxies);
        assert_eq!(json.matches(r#""status":"new""#).count(), 5, "{json}");
    }
}
