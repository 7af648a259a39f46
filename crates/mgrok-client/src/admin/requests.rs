//! The routes of the request inspector.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Uri};
use mgrok_admin::{
    Answer, Caller, ListQuery, Method, Path, Query, Refusal, Request as AdminRequest, Routes,
    StatusCode, read_body,
};
use mgrok_http::Body;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tracing::info;

use crate::inspector::{Detail, Entry, Filter, Summary, har};
use crate::plugin::Plugin;
use crate::proxies::Table;
use crate::proxy::Proxy;
use crate::users::Users;

/// The longest body that says what to repeat in another way, in bytes.
const MAX_EDITS: usize = 24 << 20;

/// Headers that a request which is repeated gets anew, or that mean nothing in it.
const OWN_HEADERS: [HeaderName; 4] = [
    header::CONNECTION,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// What is to be different in a request that is repeated.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
struct Edits {
    method: Option<String>,
    /// With the query.
    path: Option<String>,
    headers: Option<Vec<(String, String)>>,
    body: Option<String>,
    /// `utf8` or `base64`.
    body_encoding: Option<String>,
}

/// Whose requests are to be forgotten.
#[derive(Debug, Default, Deserialize)]
struct OfProxy {
    proxy: Option<String>,
}

#[derive(Serialize)]
struct Forgotten {
    forgotten: usize,
}

/// Adds the routes to `routes`.
pub(super) fn add_to(routes: Routes, users: &Users, tables: Vec<watch::Receiver<Table>>) -> Routes {
    let inspector = users.inspector();
    let (listed, one, repeated, forgotten, archived) = (
        inspector.clone(),
        inspector.clone(),
        inspector.clone(),
        inspector.clone(),
        inspector.clone(),
    );
    routes
        .with(
            Method::GET,
            "/api/v2/requests",
            async move |Query(filter): Query<Filter>, list: ListQuery| {
                let entries = listed.list(&filter);
                // Their numbers do not move any more, so that they can be sorted.
                let mut rows: Vec<_> = entries.iter().map(|it| Summary::of(it)).collect();
                list.sort(&mut rows, &Summary::columns())?;
                Answer::data(&list.page_of(rows))
            },
        )
        .with(
            Method::DELETE,
            "/api/v2/requests",
            async move |Query(of): Query<OfProxy>, caller: Caller| {
                let proxy = of.proxy.as_deref().filter(|it| !it.is_empty());
                let forgotten = forgotten.forget_all(proxy);
                info!("{caller} has had {forgotten} inspected requests forgotten");
                Answer::data(&Forgotten { forgotten })
            },
        )
        .with(
            Method::GET,
            "/api/v2/requests/{id}",
            async move |Path(id): Path<u64>| {
                let entry = one.get(id).ok_or_else(|| no_entry(id))?;
                Answer::data(&Detail::of(&entry))
            },
        )
        .with(
            Method::POST,
            "/api/v2/requests/{id}/replay",
            async move |Path(id): Path<u64>, caller: Caller, request: AdminRequest| {
                let entry = repeated.get(id).ok_or_else(|| no_entry(id))?;
                let edits = read_body(request, MAX_EDITS).await?;
                let edits = match edits.is_empty() {
                    true => Edits::default(),
                    false => serde_json::from_slice(&edits).map_err(|error| {
                        Refusal::bad_request(format!("parse JSON error: {error}"))
                    })?,
                };
                let proxy = proxy(&tables, &entry.proxy)?;
                let request = edits.apply_to(&entry)?;
                info!("{caller} repeats the inspected request {id}");
                let repetition = replay(&proxy, request, id).await?;
                Answer::data(&Detail::of(&repetition))
            },
        )
        .with(
            Method::GET,
            "/api/v2/requests.har",
            async move |Query(filter): Query<Filter>| {
                let entries = archived.list(&filter);
                let name = r#"attachment; filename="requests.har""#;
                let archive = Answer::json(&har(entries.iter().rev().map(|it| &**it)))?;
                let name = HeaderValue::from_static(name);
                Ok::<_, Refusal>(archive.with_header(header::CONTENT_DISPOSITION, name))
            },
        )
}

fn no_entry(id: u64) -> Refusal {
    Refusal::not_found(format!("the request {id} is not kept, or not any more"))
}

/// The proxy `name` as it is now.
fn proxy(tables: &[watch::Receiver<Table>], name: &str) -> Result<Arc<Proxy>, Refusal> {
    let found = tables.iter().find_map(|it| it.borrow().get(name).cloned());
    found.ok_or_else(|| conflict(format!("there is no proxy [{name}] any more")))
}

async fn replay(proxy: &Proxy, request: Request<Body>, of: u64) -> Result<Arc<Entry>, Refusal> {
    let Some(Plugin::Bridge(bridge)) = proxy.plugin() else {
        let name = &proxy.config().name;
        return Err(conflict(format!("the proxy [{name}] is not inspected now")));
    };
    let repetition = bridge.replay(request, proxy.users(), of).await;
    repetition.ok_or_else(|| {
        let why = "the proxy is not inspected now, or the service did not answer in time";
        Refusal::new(StatusCode::GATEWAY_TIMEOUT, why)
    })
}

fn conflict(why: impl Into<String>) -> Refusal {
    Refusal::new(StatusCode::CONFLICT, why)
}

impl Edits {
    /// The request of `entry` with what is different. Values that are not kept are left out.
    fn apply_to(self, entry: &Entry) -> Result<Request<Body>, Refusal> {
        let bad = |what: &str, text: &str| {
            Refusal::bad_request(format!("{text:?} cannot be the {what} of a request"))
        };
        let method = self.method.as_deref().unwrap_or(&entry.method);
        let parsed = Method::from_bytes(method.as_bytes());
        let parsed = parsed.map_err(|_| bad("method", method))?;
        if parsed == Method::CONNECT || entry.progress.is_websocket.get().is_some() {
            let why = "what changes the protocol of its connection cannot be repeated";
            return Err(Refusal::bad_request(why));
        }
        let path = match (self.path, &entry.query) {
            (Some(path), _) => path,
            (None, Some(query)) => format!("{}?{query}", entry.path),
            (None, None) => entry.path.to_string(),
        };
        let uri = Uri::try_from(path.as_str()).ok();
        let uri = uri.filter(|it| it.scheme().is_none() && path.starts_with('/'));
        let uri = uri.ok_or_else(|| bad("path", &path))?;
        let body = match (self.body, self.body_encoding.as_deref()) {
            (Some(body), None | Some("utf8")) => body.into_bytes(),
            (Some(body), Some("base64")) => STANDARD
                .decode(&body)
                .map_err(|error| Refusal::bad_request(format!("body: {error}")))?,
            (Some(_), Some(other)) => {
                let why = format!("bodyEncoding is \"utf8\" or \"base64\", not {other:?}");
                return Err(Refusal::bad_request(why));
            }
            (None, _) if entry.request.is_truncated => {
                let why = "only the beginning of the body was kept: give the whole, or raise inspect.bodyLimit";
                return Err(conflict(why));
            }
            (None, _) => entry.request.body.clone(),
        };
        let mut request = Request::new(match body.is_empty() {
            true => Body::empty(),
            false => Body::full(body),
        });
        *request.method_mut() = parsed;
        *request.uri_mut() = uri;
        let kept = entry.request.headers.iter().filter_map(|it| {
            let value = it.value.as_deref()?;
            Some((it.name.to_string(), value.to_vec()))
        });
        let headers: Vec<_> = match self.headers {
            Some(headers) => headers
                .into_iter()
                .map(|(name, value)| (name, value.into_bytes()))
                // As it is shown, and not a value.
                .filter(|(_, value)| value != b"***")
                .collect(),
            None => kept.collect(),
        };
        for (name, value) in headers {
            let parsed = HeaderName::try_from(&name).map_err(|_| bad("header", &name))?;
            let value = HeaderValue::from_bytes(&value).map_err(|_| bad("header", &name))?;
            if !OWN_HEADERS.contains(&parsed) {
                request.headers_mut().append(parsed, value);
            }
        }
        Ok(request)
    }
}
