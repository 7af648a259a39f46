//! The routes that tell of the proxies and visitors there are: page by page, and one with its whole configuration.

use mgrok_admin::{Answer, Column, ListQuery, Method, Path, Query, Refusal, Routes};
use mgrok_config::{Plugin, ProxyConfig, ProxyKind, StoredKind, VisitorConfig};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::proxies::Table;
use crate::status::{ProxyPhase, ProxyStatus};
use crate::store::StoreHandle;
use crate::users::Users;
use crate::visitor;

/// What rows say of stored entries.
pub(super) const STORE: &str = "store";

/// What the routes tell of. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Lists {
    pub(crate) tables: Vec<watch::Receiver<Table>>,
    /// The visitors that there are to be, and their listeners.
    pub(crate) visitors: watch::Receiver<Vec<VisitorConfig>>,
    pub(crate) listeners: watch::Receiver<visitor::Table>,
    pub(crate) store: StoreHandle,
    pub(crate) users: Users,
}

/// Which rows are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    /// The whole name.
    name: String,
    /// A part of the name, in any case.
    q: String,
    #[serde(rename = "type")]
    kind: String,
    source: String,
    status: String,
}

/// One proxy.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyRow {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    status: String,
    error: String,
    local_addr: String,
    remote_addr: String,
    plugin: &'static str,
    connections: u64,
    received: u64,
    sent: u64,
    inspect: bool,
}

/// One visitor.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct VisitorRow {
    name: String,
    #[serde(rename = "type")]
    kind: &'static str,
    source: &'static str,
    server_name: String,
    bind_addr: String,
    status: String,
    error: String,
    connections: usize,
}

/// What the list of proxies can be sorted by.
const PROXY_COLUMNS: &[Column<ProxyRow>] = &[
    ("name", |a, b| a.name.cmp(&b.name)),
    ("type", |a, b| a.kind.cmp(b.kind)),
    ("source", |a, b| a.source.cmp(b.source)),
    ("status", |a, b| a.status.cmp(&b.status)),
    ("remoteAddr", |a, b| a.remote_addr.cmp(&b.remote_addr)),
    ("localAddr", |a, b| {
        (a.plugin, &a.local_addr).cmp(&(b.plugin, &b.local_addr))
    }),
    ("connections", |a, b| a.connections.cmp(&b.connections)),
    ("received", |a, b| a.received.cmp(&b.received)),
    ("sent", |a, b| a.sent.cmp(&b.sent)),
];

/// What the list of visitors can be sorted by.
const VISITOR_COLUMNS: &[Column<VisitorRow>] = &[
    ("name", |a, b| a.name.cmp(&b.name)),
    ("type", |a, b| a.kind.cmp(b.kind)),
    ("source", |a, b| a.source.cmp(b.source)),
    ("status", |a, b| a.status.cmp(&b.status)),
    ("bindAddr", |a, b| a.bind_addr.cmp(&b.bind_addr)),
    ("serverName", |a, b| a.server_name.cmp(&b.server_name)),
    ("connections", |a, b| a.connections.cmp(&b.connections)),
];

impl Lists {
    /// Adds what can be asked for to `routes`.
    pub(super) fn add_to(self, routes: Routes) -> Routes {
        let (proxies, visitors, proxy, visitor) = (self.clone(), self.clone(), self.clone(), self);
        routes
            .with(
                Method::GET,
                "/api/v2/proxies",
                async move |Query(filter): Query<Filter>, list: ListQuery| {
                    let mut rows = proxies.proxies(&filter);
                    list.sort(&mut rows, PROXY_COLUMNS)?;
                    Answer::data(&list.page_of(rows))
                },
            )
            .with(
                Method::GET,
                "/api/v2/visitors",
                async move |Query(filter): Query<Filter>, list: ListQuery| {
                    let mut rows = visitors.visitors(&filter);
                    list.sort(&mut rows, VISITOR_COLUMNS)?;
                    Answer::data(&list.page_of(rows))
                },
            )
            .with(
                Method::GET,
                "/api/proxy/{name}/config",
                async move |Path(name): Path<String>| proxy.proxy(&name),
            )
            .with(
                Method::GET,
                "/api/visitor/{name}/config",
                async move |Path(name): Path<String>| visitor.visitor(&name),
            )
    }

    /// The rows of proxies, in the order of their names.
    fn proxies(&self, filter: &Filter) -> Vec<ProxyRow> {
        let mut rows = Vec::new();
        for table in &self.tables {
            let table = table.borrow();
            let of_server = table
                .proxies()
                .map(|(config, status)| self.proxy_row(config, status));
            rows.extend(
                of_server.filter(|row| {
                    filter.lets_through(&row.name, row.kind, row.source, &row.status)
                }),
            );
        }
        // Those of several servers one after the other.
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows
    }

    fn proxy_row(&self, config: &ProxyConfig, status: &ProxyStatus) -> ProxyRow {
        let totals = self.users.totals_of(&config.name);
        ProxyRow {
            name: config.name.clone(),
            kind: config.kind.as_str(),
            source: self.source(StoredKind::Proxy, &config.name),
            status: status.phase.to_string(),
            error: status.error.clone().unwrap_or_default(),
            local_addr: local_addr(config),
            remote_addr: status.remote_addr.clone().unwrap_or_default(),
            plugin: config.plugin.as_ref().map_or("", Plugin::as_str),
            connections: totals.live as u64,
            received: totals.received,
            sent: totals.sent,
            inspect: matches!(&config.kind, ProxyKind::Http(http) if http.inspect.is_some()),
        }
    }

    fn visitors(&self, filter: &Filter) -> Vec<VisitorRow> {
        let visitors = self.visitors.borrow();
        let mut rows: Vec<VisitorRow> = visitors
            .iter()
            .map(|config| self.visitor_row(config))
            .filter(|row| filter.lets_through(&row.name, row.kind, row.source, &row.status))
            .collect();
        rows.sort_by(|one, other| one.name.cmp(&other.name));
        rows
    }

    fn visitor_row(&self, config: &VisitorConfig) -> VisitorRow {
        let (phase, error) = match (
            config.bind_port,
            self.listeners.borrow().phase(&config.name),
        ) {
            (Some(_), phase) | (None, phase @ (ProxyPhase::StartError, _)) => phase,
            // It waits for nothing.
            (None, _) => (ProxyPhase::Running, String::new()),
        };
        let bind_addr = match (
            self.listeners.borrow().listener(&config.name),
            config.bind_port,
        ) {
            (Some(listener), _) => listener.to_string(),
            (None, Some(port)) => host_port(&config.bind_addr, port),
            (None, None) => String::new(),
        };
        VisitorRow {
            name: config.name.clone(),
            kind: config.kind.as_str(),
            source: self.source(StoredKind::Visitor, &config.name),
            server_name: config.server_name.clone(),
            bind_addr,
            status: phase.to_string(),
            error,
            connections: self.listeners.borrow().users(&config.name),
        }
    }

    /// The whole configuration of one that runs, or else of one that is stored.
    // frp: these words
    fn proxy(&self, name: &str) -> Result<Answer, Refusal> {
        let running = self.tables.iter().find_map(|table| {
            let table = table.borrow();
            let mut all = table.proxies();
            let found = all.find(|(config, _)| config.name == name);
            found.map(|(config, _)| config.definition())
        });
        self.tell(StoredKind::Proxy, name, running)
    }

    fn visitor(&self, name: &str) -> Result<Answer, Refusal> {
        let visitors = self.visitors.borrow();
        let running = visitors.iter().find(|config| config.name == name);
        let running = running.map(VisitorConfig::definition);
        self.tell(StoredKind::Visitor, name, running)
    }

    fn tell(
        &self,
        kind: StoredKind,
        name: &str,
        running: Option<serde_json::Value>,
    ) -> Result<Answer, Refusal> {
        let stored = || {
            let store = self.store.now()?;
            store.entry(kind, name).map(|it| it.definition(kind))
        };
        match running.or_else(stored) {
            Some(definition) => Answer::json(&definition),
            None => Err(Refusal::not_found(format!("{kind} {name:?} not found"))),
        }
    }

    fn source(&self, kind: StoredKind, name: &str) -> &'static str {
        match self.store.now() {
            Some(store) if store.counts(kind, name) => STORE,
            Some(_) | None => "config",
        }
    }
}

impl Filter {
    fn lets_through(&self, name: &str, kind: &str, source: &str, status: &str) -> bool {
        let is = |wanted: &str, it: &str| wanted.is_empty() || wanted == it;
        let has = |part: &str| name.to_lowercase().contains(&part.to_lowercase());
        is(&self.name, name)
            && has(&self.q)
            && is(&self.kind, kind)
            && is(&self.source, source)
            && is(&self.status, status)
    }
}

/// Where the local service is; empty if it has no port.
pub(super) fn local_addr(config: &ProxyConfig) -> String {
    match config.local_port {
        0 => String::new(),
        port => host_port(&config.local_host, port),
    }
}

fn host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}
