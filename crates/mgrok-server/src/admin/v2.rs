//! frp's newer routes. What mgrok has beyond them is in `acting`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use mgrok_admin::{Answer, Caller, Column, ListQuery, Method, Path, Refusal, Routes};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::clients::{self, ClientRow};
use super::context::{AdminContext, LocalTime, ServerInfo, unix};
use super::filters::{Pairs, Params};
use super::{NO_PROXY, WHY};
use crate::directory::{Directory, ProxyInfo, ProxySettings, ProxyStatistics};

// frp: in this order, which the text of the refusal has
const KINDS: [&str; 8] = [
    "tcp", "udp", "http", "https", "tcpmux", "stcp", "xtcp", "sudp",
];

pub(super) fn add(routes: Routes, context: &AdminContext) -> Routes {
    let context = || context.clone();
    let it = context();
    let users =
        async move |list: ListQuery, pairs: Pairs| users(&it.directory, &list, &Params::new(pairs));
    let it = context();
    let info = async move || Answer::data(&SystemInfo::new(it.server_info()));
    let it = context();
    let prune = async move |caller: Caller, pairs: Pairs| {
        prune(&it.directory, &caller, &Params::new(pairs))
    };
    let it = context();
    let clients = async move |list: ListQuery, pairs: Pairs| {
        let params = Params::new(pairs);
        let online = params.online()?;
        let mut rows = clients::clients(it.directory.sessions());
        rows.retain(|it| it.is_wanted_v2(&params, online));
        list.sort(&mut rows, clients::COLUMNS)?;
        Answer::data(&list.page_of(rows))
    };
    let it = context();
    let client = async move |Path(key): Path<String>| client(&it.directory, &key);
    let it = context();
    let proxies = async move |list: ListQuery, pairs: Pairs| {
        proxies(&it.directory, &list, &Params::new(pairs))
    };
    let it = context();
    let proxy = async move |Path(name): Path<String>| {
        let found = it.directory.statistics_of(&name);
        let found = found.ok_or_else(|| Refusal::not_found(NO_PROXY))?;
        Answer::data(&ProxyRow::new(&found, &disabled(&it.directory)))
    };
    let (it, time) = (context(), LocalTime::new());
    let traffic = async move |Path(name): Path<String>| {
        let found = it.directory.statistics_of(&name);
        let found = found.ok_or_else(|| Refusal::not_found(NO_PROXY))?;
        Answer::data(&Traffic::new(&name, &found, &time))
    };
    routes
        .with(Method::GET, "/api/v2/users", users)
        .with(Method::GET, "/api/v2/system/info", info)
        .with(Method::POST, "/api/v2/system/prune", prune)
        .with(Method::GET, "/api/v2/clients", clients)
        .with(Method::GET, "/api/v2/clients/{key}", client)
        .with(Method::GET, "/api/v2/proxies", proxies)
        .with(Method::GET, "/api/v2/proxies/{name}", proxy)
        .with(Method::GET, "/api/v2/proxies/{name}/traffic", traffic)
}

#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct User {
    user: String,
    client_count: usize,
    proxy_count: usize,
}

fn users(directory: &Directory, list: &ListQuery, params: &Params) -> Result<Answer, Refusal> {
    let mut users: BTreeMap<String, User> = BTreeMap::new();
    for session in directory.sessions() {
        users
            .entry(session.client.user.clone())
            .or_default()
            .client_count += 1;
    }
    for proxy in directory.statistics() {
        users
            .entry(proxy.user.as_ref().to_owned())
            .or_default()
            .proxy_count += 1;
    }
    let search = params.search();
    let users = users
        .into_iter()
        .filter(|(user, _)| search.finds([user.as_str()]));
    let users = users.map(|(user, counts)| User { user, ..counts });
    let mut users: Vec<_> = users.collect();
    list.sort(
        &mut users,
        &[
            ("user", |a, b| a.user.cmp(&b.user)),
            ("clientCount", |a, b| a.client_count.cmp(&b.client_count)),
            ("proxyCount", |a, b| a.proxy_count.cmp(&b.proxy_count)),
        ],
    )?;
    Answer::data(&list.page_of(users))
}

// frp: these fields in this order
#[derive(Serialize)]
struct SystemInfo {
    version: &'static str,
    config: SystemConfig,
    status: SystemStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemConfig {
    bind_port: u16,
    #[serde(rename = "vhostHTTPPort")]
    vhost_http_port: u16,
    #[serde(rename = "vhostHTTPSPort")]
    vhost_https_port: u16,
    #[serde(rename = "tcpmuxHTTPConnectPort")]
    tcpmux_port: u16,
    kcp_bind_port: u16,
    quic_bind_port: u16,
    subdomain_host: String,
    max_pool_count: u32,
    max_ports_per_client: u32,
    heartbeat_timeout: i64,
    allow_ports_str: String,
    tls_force: bool,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct SystemStatus {
    total_traffic_in: u64,
    total_traffic_out: u64,
    cur_conns: usize,
    client_counts: usize,
    proxy_type_count: BTreeMap<&'static str, usize>,
}

impl SystemInfo {
    fn new(info: ServerInfo) -> Self {
        Self {
            version: info.version,
            config: SystemConfig {
                bind_port: info.bind_port,
                vhost_http_port: info.vhost_http_port,
                vhost_https_port: info.vhost_https_port,
                tcpmux_port: info.tcpmux_port,
                kcp_bind_port: info.kcp_port,
                quic_bind_port: info.quic_port,
                subdomain_host: info.subdomain_host,
                max_pool_count: info.max_pool_count,
                max_ports_per_client: info.max_ports_per_client,
                heartbeat_timeout: info.heartbeat_timeout,
                allow_ports_str: info.allow_ports,
                tls_force: info.tls_force,
            },
            status: SystemStatus {
                total_traffic_in: info.totals.today.received,
                total_traffic_out: info.totals.today.sent,
                cur_conns: info.totals.connections,
                client_counts: info.totals.clients,
                proxy_type_count: info.totals.proxies,
            },
        }
    }
}

#[derive(Serialize)]
struct Pruned {
    #[serde(rename = "type")]
    kind: &'static str,
    cleared: usize,
    /// Before that.
    total: usize,
}

fn prune(directory: &Directory, caller: &Caller, params: &Params) -> Result<Answer, Refusal> {
    const OFFLINE_PROXIES: &str = "offline_proxies";
    match params.get("type").to_ascii_lowercase().as_str() {
        "" => Err(Refusal::bad_request("type is required")),
        OFFLINE_PROXIES => {
            let (cleared, total) = directory.forget_stopped_proxies(&caller.to_string(), WHY);
            Answer::data(&Pruned {
                kind: OFFLINE_PROXIES,
                cleared,
                total,
            })
        }
        _ => Err(Refusal::bad_request("type must be one of offline_proxies")),
    }
}

#[derive(Serialize)]
struct ClientDetail {
    #[serde(flatten)]
    client: ClientRow,
    status: ClientStatus,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ClientStatus {
    phase: &'static str,
    cur_conns: usize,
    proxy_count: usize,
}

fn client(directory: &Directory, key: &str) -> Result<Answer, Refusal> {
    let client = clients::find(directory, key)?;
    let proxies = directory.statistics().into_iter();
    let own = proxies.filter(|it| *it.user == *client.user && *it.client_id == *client.client_id);
    let counts = own.fold((0, 0), |(proxies, connections), it| {
        (proxies + 1, connections + it.connections)
    });
    let (proxy_count, cur_conns) = counts;
    Answer::data(&ClientDetail {
        status: ClientStatus {
            phase: phase(client.online),
            cur_conns,
            proxy_count,
        },
        client,
    })
}

fn phase(is_online: bool) -> &'static str {
    match is_online {
        true => "online",
        false => "offline",
    }
}

fn proxies(directory: &Directory, list: &ListQuery, params: &Params) -> Result<Answer, Refusal> {
    let online = params.online()?;
    let kind = params.get("type").to_ascii_lowercase();
    if !kind.is_empty() && !KINDS.contains(&kind.as_str()) {
        let text = format!("type must be one of {}", KINDS.join(", "));
        return Err(Refusal::bad_request(text));
    }
    let search = params.search();
    let mut found = directory.statistics();
    found.retain(|it| {
        (kind.is_empty() || it.kind == kind)
            && params.lets_also_empty("user", &it.user)
            && params.lets("clientID", &it.client_id)
            && online.is_none_or(|online| online == it.running.is_some())
            && (search.finds([&*it.name, it.kind, &*it.user, &*it.client_id])
                || search.finds([phase(it.running.is_some())])
                || it.running.as_ref().is_some_and(|it| {
                    let port = it.remote_port().map(|it| it.to_string());
                    let ProxySettings {
                        custom_domains,
                        subdomain,
                        ..
                    } = &*it.settings;
                    let names = custom_domains.iter().chain([subdomain]);
                    search.finds(names.chain(&port).map(String::as_str))
                }))
    });
    found.sort_by(|a, b| (a.kind, &a.name).cmp(&(b.kind, &b.name)));
    list.sort(&mut found, PROXY_COLUMNS)?;
    let disabled = disabled(directory);
    let page = list.page_of(found.iter().collect());
    Answer::data(&page.map(|it| ProxyRow::new(it, &disabled)))
}

/// What the list of proxies can be sorted by.
const PROXY_COLUMNS: &[Column<ProxyStatistics>] = &[
    ("name", |a, b| a.name.cmp(&b.name)),
    ("type", |a, b| a.kind.cmp(b.kind)),
    ("phase", |a, b| {
        a.running.is_some().cmp(&b.running.is_some())
    }),
    ("public", |a, b| place(a).cmp(&place(b))),
    ("client", |a, b| client_of(a).cmp(&client_of(b))),
    ("curConns", |a, b| a.connections.cmp(&b.connections)),
    ("todayTrafficIn", |a, b| {
        a.today().received.cmp(&b.today().received)
    }),
    ("todayTrafficOut", |a, b| {
        a.today().sent.cmp(&b.today().sent)
    }),
];

/// Where users come to a proxy: first those with ports, in the order of these, then those with names.
fn place(proxy: &ProxyStatistics) -> (bool, Option<u16>, Option<&str>) {
    let port = proxy.running.as_ref().and_then(ProxyInfo::remote_port);
    let settings = proxy.running.as_ref().map(|it| &*it.settings);
    let name = settings.map(|it| it.custom_domains.first().unwrap_or(&it.subdomain).as_str());
    (port.is_none(), port, name)
}

fn client_of(proxy: &ProxyStatistics) -> (&str, &str) {
    (&proxy.user, &proxy.client_id)
}

fn disabled(directory: &Directory) -> HashSet<Arc<str>> {
    directory.disabled_proxies().into_iter().collect()
}

// frp: these fields in this order
#[derive(Serialize)]
struct ProxyRow<'a> {
    name: &'a str,
    user: &'a str,
    #[serde(rename = "clientID")]
    client_id: &'a str,
    spec: Spec<'a>,
    status: ProxyStatus,
}

/// Serialized as an object with the type and one block that is called so.
struct Spec<'a> {
    kind: &'static str,
    block: Block<'a>,
}

impl Serialize for Spec<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        map.serialize_entry("type", self.kind)?;
        map.serialize_entry(self.kind, &self.block)?;
        map.end()
    }
}

/// What a proxy is while it is online; empty else.
#[derive(Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Block<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    annotations: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadatas: Option<&'a BTreeMap<String, String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    transport: Option<Transport<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    load_balancer: Option<LoadBalancer<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    custom_domains: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    subdomain: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    locations: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    host_header_rewrite: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    multiplexer: &'a str,
    #[serde(rename = "routeByHTTPUser", skip_serializing_if = "str::is_empty")]
    route_by_http_user: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Transport<'a> {
    use_encryption: bool,
    use_compression: bool,
    bandwidth_limit: &'a str,
    bandwidth_limit_mode: &'static str,
}

#[derive(Serialize)]
struct LoadBalancer<'a> {
    group: &'a str,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyStatus {
    phase: &'static str,
    today_traffic_in: u64,
    today_traffic_out: u64,
    cur_conns: usize,
    last_start_at: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_close_at: Option<i64>,
    // What follows is ours.
    disabled: bool,
    connections_opened: u64,
    received: u64,
    sent: u64,
    udp_users: usize,
}

impl<'a> ProxyRow<'a> {
    fn new(proxy: &'a ProxyStatistics, disabled: &HashSet<Arc<str>>) -> Self {
        let running = proxy.running.as_ref();
        let today = proxy.today();
        Self {
            name: &proxy.name,
            user: &proxy.user,
            client_id: &proxy.client_id,
            spec: Spec {
                kind: proxy.kind,
                block: running.map(Block::new).unwrap_or_default(),
            },
            status: ProxyStatus {
                phase: phase(running.is_some()),
                today_traffic_in: today.received,
                today_traffic_out: today.sent,
                cur_conns: proxy.connections,
                last_start_at: unix(proxy.started_at),
                last_close_at: proxy.stopped_at.map(unix),
                disabled: disabled.contains(&proxy.name),
                connections_opened: running.map_or(0, |it| it.connections_opened),
                received: running.map_or(0, |it| it.received),
                sent: running.map_or(0, |it| it.sent),
                udp_users: running.map_or(0, |it| it.udp_users),
            },
        }
    }
}

impl<'a> Block<'a> {
    fn new(proxy: &'a ProxyInfo) -> Self {
        let settings = &*proxy.settings;
        let non_empty = |map: &'a BTreeMap<String, String>| Some(map).filter(|it| !it.is_empty());
        let base = Self {
            annotations: non_empty(&settings.annotations),
            metadatas: non_empty(&settings.metadatas),
            transport: Some(Transport {
                use_encryption: settings.use_encryption,
                use_compression: settings.use_compression,
                bandwidth_limit: &settings.bandwidth_limit,
                bandwidth_limit_mode: settings.bandwidth_limit_mode,
            }),
            load_balancer: Some(LoadBalancer {
                group: &settings.group,
            }),
            remote_port: proxy.remote_port(),
            ..Self::default()
        };
        let named = |base| Self {
            custom_domains: &settings.custom_domains,
            subdomain: &settings.subdomain,
            ..base
        };
        match proxy.kind {
            "http" => Self {
                locations: &settings.locations,
                host_header_rewrite: &settings.host_header_rewrite,
                ..named(base)
            },
            "https" => named(base),
            "tcpmux" => Self {
                multiplexer: &settings.multiplexer,
                route_by_http_user: &settings.route_by_http_user,
                ..named(base)
            },
            _ => base,
        }
    }
}

#[derive(Serialize)]
struct Traffic<'a> {
    name: &'a str,
    unit: &'static str,
    granularity: &'static str,
    /// The oldest first.
    history: Vec<Day>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Day {
    date: String,
    traffic_in: u64,
    traffic_out: u64,
}

impl<'a> Traffic<'a> {
    fn new(name: &'a str, proxy: &ProxyStatistics, time: &LocalTime) -> Self {
        let days = proxy.days.iter().enumerate().rev();
        let days = days.map(|(age, moved)| Day {
            date: time.day(age).to_string(),
            traffic_in: moved.received,
            traffic_out: moved.sent,
        });
        Self {
            name,
            unit: "bytes",
            granularity: "day",
            history: days.collect(),
        }
    }
}
