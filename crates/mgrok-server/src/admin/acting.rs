//! What mgrok has beyond frp's routes: the state of the server, live connections, and acting on all of it.

use std::cmp::Reverse;

use mgrok_admin::{Answer, Caller, Column, ListQuery, Method, Path, Refusal, Routes, StatusCode};
use serde::Serialize;

use super::clients;
use super::context::{AdminContext, unix};
use super::filters::{Pairs, Params};
use super::{NO_PROXY, WHY};
use crate::directory::{ConnectionInfo, Directory, ProxyInfo};

pub(super) fn add(routes: Routes, context: &AdminContext) -> Routes {
    let directory = || context.directory.clone();
    let it = directory();
    let state = async move || Answer::data(&State::of(&it));
    let it = directory();
    let drain = async move |caller: Caller| {
        it.drain(&caller.to_string(), WHY);
        Answer::data(&State::of(&it))
    };
    let it = directory();
    let resume = async move |caller: Caller| {
        it.resume(&caller.to_string(), WHY);
        Answer::data(&State::of(&it))
    };
    let it = directory();
    let end_client = async move |caller: Caller, Path(key): Path<String>| match it.end_client(
        &key,
        &caller.to_string(),
        WHY,
    ) {
        true => Answer::data(&Ended { key }),
        false => Err(clients::not_found(&key)),
    };
    let it = directory();
    let disable = async move |caller: Caller, Path(name): Path<String>| match it.disable_proxy(
        &name,
        &caller.to_string(),
        WHY,
    ) {
        Ok(true) => Answer::data(&Switched {
            name,
            disabled: true,
        }),
        Ok(false) => Err(Refusal::not_found(NO_PROXY)),
        Err(error) => Err(Refusal::new(StatusCode::CONFLICT, error.to_string())),
    };
    let it = directory();
    let enable = async move |caller: Caller, Path(name): Path<String>| match it.enable_proxy(
        &name,
        &caller.to_string(),
        WHY,
    ) {
        true => Answer::data(&Switched {
            name,
            disabled: false,
        }),
        false => Err(Refusal::not_found("the proxy is not disabled")),
    };
    let it = directory();
    let close_all = async move |caller: Caller, Path(name): Path<String>| {
        let closed = it.close_connections_of(&name, &caller.to_string(), WHY);
        Answer::data(&Closed { closed })
    };
    let it = directory();
    let connections =
        async move |list: ListQuery, pairs: Pairs| connections(&it, &list, &Params::new(pairs));
    let it = directory();
    let close = async move |caller: Caller, Path(id): Path<String>| {
        let number = id.parse().ok();
        match number.is_some_and(|id| it.close_connection(id, &caller.to_string(), WHY)) {
            true => Answer::data(&Closed { closed: 1 }),
            false => Err(Refusal::not_found(format!("connection {id} not found"))),
        }
    };
    routes
        .with(Method::GET, "/api/v2/system/state", state)
        .with(Method::POST, "/api/v2/system/drain", drain)
        .with(Method::DELETE, "/api/v2/system/drain", resume)
        .with(Method::DELETE, "/api/v2/clients/{key}", end_client)
        .with(Method::POST, "/api/v2/proxies/{name}/disable", disable)
        .with(Method::POST, "/api/v2/proxies/{name}/enable", enable)
        .with(
            Method::DELETE,
            "/api/v2/proxies/{name}/connections",
            close_all,
        )
        .with(Method::GET, "/api/v2/connections", connections)
        .with(Method::DELETE, "/api/v2/connections/{id}", close)
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct State {
    program: &'static str,
    version: &'static str,
    started_at: i64,
    draining: bool,
    clients: usize,
    proxies: usize,
    connections: usize,
    disabled_proxies: Vec<String>,
    received: u64,
    sent: u64,
}

impl State {
    fn of(directory: &Directory) -> Self {
        let totals = directory.totals();
        let disabled = directory.disabled_proxies();
        let mut disabled: Vec<_> = disabled.iter().map(|it| it.as_ref().to_owned()).collect();
        disabled.sort();
        Self {
            program: "mgroks",
            version: env!("CARGO_PKG_VERSION"),
            started_at: unix(directory.since()),
            draining: directory.is_draining(),
            clients: totals.clients,
            proxies: totals.proxies.values().sum(),
            connections: totals.connections,
            disabled_proxies: disabled,
            received: totals.moved.received,
            sent: totals.moved.sent,
        }
    }
}

#[derive(Serialize)]
struct Ended {
    key: String,
}

#[derive(Serialize)]
struct Switched {
    name: String,
    disabled: bool,
}

#[derive(Serialize)]
struct Closed {
    closed: usize,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ConnectionRow<'a> {
    id: u64,
    proxy: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    remote_addr: String,
    since: i64,
    received: u64,
    sent: u64,
    /// The key of the client.
    client: String,
    user: &'a str,
}

/// What the list of connections can be sorted by.
fn connection_columns<'a>() -> [Column<(&'a ProxyInfo, &'a ConnectionInfo)>; 7] {
    [
        ("remoteAddr", |(_, a), (_, b)| a.from.cmp(&b.from)),
        ("proxy", |(a, _), (b, _)| a.name.cmp(&b.name)),
        ("type", |(a, _), (b, _)| a.kind.cmp(b.kind)),
        ("client", |(a, _), (b, _)| {
            a.client_key().cmp(&b.client_key())
        }),
        // Of the same millisecond, the one with the lower number came first.
        ("since", |(_, a), (_, b)| {
            (a.since, a.id).cmp(&(b.since, b.id))
        }),
        ("received", |(_, a), (_, b)| a.received.cmp(&b.received)),
        ("sent", |(_, a), (_, b)| a.sent.cmp(&b.sent)),
    ]
}

/// The newest first, unless `list` says otherwise.
fn connections(
    directory: &Directory,
    list: &ListQuery,
    params: &Params,
) -> Result<Answer, Refusal> {
    let search = params.search();
    let by_proxy = directory.connections_by_proxy();
    let mut found = Vec::new();
    for (proxy, live) in &by_proxy {
        if !params.lets("proxy", &proxy.name) {
            continue;
        }
        let client = proxy.client_key();
        let all = search.finds([&*proxy.name, proxy.kind, &*proxy.user, client.as_str()]);
        let live = live.iter();
        let live = live.filter(|it| all || search.finds([it.from.to_string().as_str()]));
        found.extend(live.map(|it| (proxy, it)));
    }
    found.sort_by_key(|(_, it)| Reverse(it.id));
    list.sort(&mut found, &connection_columns())?;
    let shown = list.page_of(found).map(|(proxy, it)| ConnectionRow {
        id: it.id,
        proxy: &proxy.name,
        kind: proxy.kind,
        remote_addr: it.from.to_string(),
        since: unix(it.since),
        received: it.received,
        sent: it.sent,
        client: proxy.client_key(),
        user: &proxy.user,
    });
    Answer::data(&shown)
}
