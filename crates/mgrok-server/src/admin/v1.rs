//! frp's older routes.

use std::collections::BTreeMap;

use mgrok_admin::{Answer, Caller, Method, Path, Refusal, Routes};
use serde::Serialize;

use super::clients::{self, ClientRow};
use super::context::{AdminContext, LocalTime, ServerInfo};
use super::filters::{Pairs, Params};
use super::{NO_PROXY, WHY};
use crate::directory::{ProxyInfo, ProxySettings, ProxyStatistics};

pub(super) fn add(routes: Routes, context: &AdminContext) -> Routes {
    let context = || context.clone();
    let time = LocalTime::new();
    let time = || time.clone();
    let it = context();
    let server_info = async move || Answer::json(&ServerInfoRow::new(it.server_info()));
    let (it, at) = (context(), time());
    let by_type = async move |Path(kind): Path<String>| {
        let mut found = it.directory.statistics();
        found.retain(|it| it.kind == kind);
        found.sort_by(|a, b| a.name.cmp(&b.name));
        let proxies = found.iter().map(|it| ProxyRow::new(it, &at)).collect();
        Answer::json(&ProxyRows { proxies })
    };
    let (it, at) = (context(), time());
    let by_type_and_name = async move |Path((kind, name)): Path<(String, String)>| {
        let found = it
            .directory
            .statistics_of(&name)
            .filter(|it| it.kind == kind);
        let found = found.ok_or_else(|| Refusal::not_found(NO_PROXY))?;
        Answer::json(&ProxyRow::new(&found, &at))
    };
    let (it, at) = (context(), time());
    let by_name = async move |Path(name): Path<String>| {
        let found = it.directory.statistics_of(&name);
        let found = found.ok_or_else(|| Refusal::not_found(NO_PROXY))?;
        Answer::json(&ProxyRow::new(&found, &at))
    };
    let it = context();
    let traffic = async move |Path(name): Path<String>| {
        let found = it.directory.statistics_of(&name);
        let found = found.ok_or_else(|| Refusal::not_found(NO_PROXY))?;
        Answer::json(&Traffic {
            name: &name,
            traffic_in: found.days.map(|it| it.received),
            traffic_out: found.days.map(|it| it.sent),
        })
    };
    let it = context();
    let clients = async move |pairs: Pairs| {
        let params = Params::new(pairs);
        let mut rows = clients::clients(it.directory.sessions());
        rows.retain(|it: &ClientRow| it.is_wanted_v1(&params));
        Answer::json(&rows)
    };
    let it = context();
    let client =
        async move |Path(key): Path<String>| Answer::json(&clients::find(&it.directory, &key)?);
    let it = context();
    let forget = async move |caller: Caller, pairs: Pairs| {
        if Params::new(pairs).get("status") != "offline" {
            return Err(Refusal::bad_request("status only support offline"));
        }
        it.directory
            .forget_stopped_proxies(&caller.to_string(), WHY);
        Answer::json(&Done {
            code: 200,
            message: "success",
        })
    };
    routes
        .with(Method::GET, "/api/serverinfo", server_info)
        .with(Method::GET, "/api/proxy/{type}", by_type)
        .with(Method::GET, "/api/proxy/{type}/{name}", by_type_and_name)
        .with(Method::GET, "/api/proxies/{name}", by_name)
        .with(Method::GET, "/api/traffic/{name}", traffic)
        .with(Method::GET, "/api/clients", clients)
        .with(Method::GET, "/api/clients/{key}", client)
        .with(Method::DELETE, "/api/proxies", forget)
}

/// What frp says of an action that went well.
#[derive(Serialize)]
struct Done {
    #[serde(rename = "Code")]
    code: u16,
    #[serde(rename = "Msg")]
    message: &'static str,
}

// frp: these fields in this order
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ServerInfoRow {
    version: &'static str,
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
    #[serde(skip_serializing_if = "String::is_empty")]
    allow_ports_str: String,
    #[serde(skip_serializing_if = "is_false")]
    tls_force: bool,
    total_traffic_in: u64,
    total_traffic_out: u64,
    cur_conns: usize,
    client_counts: usize,
    proxy_type_count: BTreeMap<&'static str, usize>,
}

impl ServerInfoRow {
    fn new(info: ServerInfo) -> Self {
        let totals = info.totals;
        Self {
            version: info.version,
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
            total_traffic_in: totals.today.received,
            total_traffic_out: totals.today.sent,
            cur_conns: totals.connections,
            client_counts: totals.clients,
            proxy_type_count: totals.proxies,
        }
    }
}

#[derive(Serialize)]
struct ProxyRows<'a> {
    proxies: Vec<ProxyRow<'a>>,
}

// frp: these fields in this order
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ProxyRow<'a> {
    name: &'a str,
    /// What it is while it is online.
    conf: Option<Conf<'a>>,
    #[serde(skip_serializing_if = "str::is_empty")]
    user: &'a str,
    #[serde(rename = "clientID", skip_serializing_if = "str::is_empty")]
    client_id: &'a str,
    today_traffic_in: u64,
    today_traffic_out: u64,
    cur_conns: usize,
    last_start_time: String,
    last_close_time: String,
    status: &'static str,
}

impl<'a> ProxyRow<'a> {
    fn new(proxy: &'a ProxyStatistics, time: &LocalTime) -> Self {
        let today = proxy.today();
        Self {
            name: &proxy.name,
            conf: proxy.running.as_ref().map(Conf::new),
            user: &proxy.user,
            client_id: &proxy.client_id,
            today_traffic_in: today.received,
            today_traffic_out: today.sent,
            cur_conns: proxy.connections,
            last_start_time: time.show(proxy.started_at),
            last_close_time: proxy.stopped_at.map(|it| time.show(it)).unwrap_or_default(),
            status: match proxy.running {
                Some(_) => "online",
                None => "offline",
            },
        }
    }
}

/// The configuration of a proxy, as far as its client has told it. The members that a server cannot know are here as frp has them.
// frp: these fields in this order, but for groupKey, which is a secret
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Conf<'a> {
    name: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    annotations: &'a BTreeMap<String, String>,
    transport: ConfTransport<'a>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    metadatas: &'a BTreeMap<String, String>,
    load_balancer: LoadBalancer<'a>,
    health_check: HealthCheck,
    #[serde(rename = "localIP")]
    local_ip: &'static str,
    plugin: (),
    #[serde(skip_serializing_if = "Option::is_none")]
    remote_port: Option<u16>,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    custom_domains: &'a [String],
    #[serde(skip_serializing_if = "str::is_empty")]
    subdomain: &'a str,
    /// `null` if there are none.
    #[serde(skip_serializing_if = "Option::is_none")]
    locations: Option<Option<&'a [String]>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    host_header_rewrite: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    multiplexer: Option<&'a str>,
    #[serde(rename = "routeByHTTPUser", skip_serializing_if = "Option::is_none")]
    route_by_http_user: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConfTransport<'a> {
    #[serde(skip_serializing_if = "is_false")]
    use_encryption: bool,
    #[serde(skip_serializing_if = "is_false")]
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
struct HealthCheck {
    #[serde(rename = "type")]
    kind: &'static str,
    interval_seconds: u32,
}

impl<'a> Conf<'a> {
    fn new(proxy: &'a ProxyInfo) -> Self {
        let ProxySettings {
            annotations,
            metadatas,
            use_encryption,
            use_compression,
            bandwidth_limit,
            bandwidth_limit_mode,
            group,
            custom_domains,
            subdomain,
            locations,
            host_header_rewrite,
            multiplexer,
            route_by_http_user,
        } = &*proxy.settings;
        let has_names = matches!(proxy.kind, "http" | "https" | "tcpmux");
        let is_http = proxy.kind == "http";
        let is_tcpmux = proxy.kind == "tcpmux";
        Self {
            name: &proxy.name,
            kind: proxy.kind,
            annotations,
            transport: ConfTransport {
                use_encryption: *use_encryption,
                use_compression: *use_compression,
                bandwidth_limit,
                bandwidth_limit_mode,
            },
            metadatas,
            load_balancer: LoadBalancer { group },
            health_check: HealthCheck {
                kind: "",
                interval_seconds: 0,
            },
            local_ip: "127.0.0.1",
            plugin: (),
            remote_port: proxy.remote_port(),
            custom_domains: if has_names { custom_domains } else { &[] },
            subdomain: if has_names { subdomain } else { "" },
            locations: is_http.then(|| Some(locations.as_slice()).filter(|it| !it.is_empty())),
            host_header_rewrite: is_http.then_some(host_header_rewrite),
            multiplexer: is_tcpmux.then_some(multiplexer),
            route_by_http_user: is_tcpmux.then_some(route_by_http_user),
        }
    }
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Traffic<'a, const DAYS: usize> {
    name: &'a str,
    #[serde(serialize_with = "as_list")]
    traffic_in: [u64; DAYS],
    #[serde(serialize_with = "as_list")]
    traffic_out: [u64; DAYS],
}

fn as_list<S: serde::Serializer>(numbers: &[u64], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(numbers)
}

// It is called by serde, which passes a reference.
fn is_false(value: &bool) -> bool {
    !value
}
