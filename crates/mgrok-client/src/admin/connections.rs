//! The routes of the live connections of users.

use std::time::UNIX_EPOCH;

use mgrok_admin::{Answer, Caller, Column, ListQuery, Method, Path, Query, Refusal, Routes};
use mgrok_net::connections::ConnectionInfo;
use serde::{Deserialize, Serialize};
use tracing::info;

use crate::users::Users;

/// Which rows are wanted.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Filter {
    proxy: String,
    /// A part of the proxy's name or of the address.
    q: String,
}

/// A live connection.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    id: u64,
    proxy: String,
    #[serde(rename = "type")]
    kind: &'static str,
    remote_addr: String,
    since: u64,
    received: u64,
    sent: u64,
}

/// Adds the routes to `routes`.
pub(super) fn add_to(routes: Routes, users: &Users) -> Routes {
    let (listed, closed) = (users.clone(), users.clone());
    routes
        .with(
            Method::GET,
            "/api/v2/connections",
            async move |Query(filter): Query<Filter>, list: ListQuery| {
                let mut found = find(&listed, &filter);
                list.sort(&mut found, COLUMNS)?;
                Answer::data(&list.page_of(found).map(Row::from))
            },
        )
        .with(
            Method::DELETE,
            "/api/v2/connections/{id}",
            async move |Path(id): Path<u64>, caller: Caller| {
                if !closed.close_connection(id) {
                    return Err(Refusal::not_found(format!("there is no connection {id}")));
                }
                info!("{caller} has closed the user connection {id}");
                Answer::data(&())
            },
        )
}

/// A connection, with the type of its proxy.
type Found = (&'static str, ConnectionInfo);

/// What the list can be sorted by.
const COLUMNS: &[Column<Found>] = &[
    ("remoteAddr", |(_, a), (_, b)| a.from.cmp(&b.from)),
    ("proxy", |(_, a), (_, b)| a.proxy.cmp(&b.proxy)),
    ("type", |(a, _), (b, _)| a.cmp(b)),
    ("since", |(_, a), (_, b)| a.since.cmp(&b.since)),
    ("received", |(_, a), (_, b)| a.received.cmp(&b.received)),
    ("sent", |(_, a), (_, b)| a.sent.cmp(&b.sent)),
];

/// The connections that `filter` lets through, the newest first.
fn find(users: &Users, filter: &Filter) -> Vec<Found> {
    let q = filter.q.to_lowercase();
    let mut found = users.connections();
    found.retain(|(_, it)| {
        (filter.proxy.is_empty() || *it.proxy == *filter.proxy)
            && (it.proxy.to_lowercase().contains(&q) || remote_addr(it).contains(&q))
    });
    found.reverse();
    found
}

impl From<Found> for Row {
    fn from((kind, info): Found) -> Self {
        let since = info.since.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            id: info.id,
            proxy: info.proxy.to_string(),
            kind,
            remote_addr: remote_addr(&info),
            since: since.as_secs(),
            received: info.received,
            sent: info.sent,
        }
    }
}

/// Where the user comes from; empty if nobody says.
pub(super) fn remote_addr(info: &ConnectionInfo) -> String {
    match info.from.ip().is_unspecified() {
        true => String::new(),
        false => info.from.to_string(),
    }
}
