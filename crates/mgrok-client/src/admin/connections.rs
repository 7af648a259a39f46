//! The routes of the live connections of users.

use std::time::UNIX_EPOCH;

use mgrok_admin::{Answer, Caller, Method, PageQuery, Path, Query, Refusal, Routes};
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
            async move |Query(filter): Query<Filter>, Query(page): Query<PageQuery>| {
                Answer::data(&page.of(rows(&listed, &filter)))
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

fn rows(users: &Users, filter: &Filter) -> Vec<Row> {
    let q = filter.q.to_lowercase();
    let rows = users.connections().into_iter().map(|(kind, info)| Row {
        id: info.id,
        proxy: info.proxy.to_string(),
        kind,
        remote_addr: remote_addr(&info),
        since: info
            .since
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_secs(),
        received: info.received,
        sent: info.sent,
    });
    rows.filter(|row| filter.proxy.is_empty() || row.proxy == filter.proxy)
        .filter(|row| row.proxy.to_lowercase().contains(&q) || row.remote_addr.contains(&q))
        .collect()
}

/// Where the user comes from; empty if nobody says.
pub(super) fn remote_addr(info: &ConnectionInfo) -> String {
    match info.from.ip().is_unspecified() {
        true => String::new(),
        false => info.from.to_string(),
    }
}
