//! HTTP: the service is named by host, path and user of each request.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Request, Response, StatusCode};
use mgrok_config::Vhost as VhostConfig;
use mgrok_http::{
    AnswerLimits, Body, BodyEnd, Connect, Connecting, Credentials, ForwardError, Forwarded,
    Handler, Meter, RequestTarget, Rules, UNREACHABLE, Upstream, UpstreamOptions, User,
    ask_for_credentials, repetition,
};
use mgrok_net::access_log::{AccessLog, AccessRequest};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::relay::Traffic;
use mgrok_proto::auth::Secret;
use mgrok_proto::message::NewProxy;
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use super::pages::Page;
use super::request_note::RequestNote;
use super::user_rows::UserRows;
use crate::accept::UserService;
use crate::admission::Visits;
use crate::backend::{self, Backend, PeerAddrs};
use crate::backend_set::{BackendSet, Member};
use crate::client_addr::forwarded_for;
use crate::metrics::{Metrics, StatusClass};
use crate::policy::CurrentPolicy;
use crate::routes::Routes;

/// The HTTP port.
#[derive(Debug)]
pub(crate) struct HttpVhost {
    pub(crate) routes: Routes<Arc<HttpRoute>>,
    pub(crate) policy: CurrentPolicy,
    pub(crate) access_log: AccessLog,
    pub(crate) metrics: Arc<Metrics>,
    /// Cancelled when requests under way are to be the last.
    pub(crate) stop: CancellationToken,
}

/// The requests on one connection of a user.
struct Requests {
    vhost: Arc<HttpVhost>,
    rows: UserRows,
    /// Whether a proxy is believed that says for whom it forwards them.
    is_trusted_proxy: bool,
}

/// Where a request may lead.
#[derive(Debug)]
pub(crate) struct HttpRoute {
    backends: Arc<BackendSet<HttpMember>>,
    /// With an empty password too, anybody may pass.
    user: String,
    password: Secret,
}

/// One backend, and the connections to it that are kept for further requests.
#[derive(Debug)]
pub(crate) struct HttpMember {
    backend: Backend,
    upstream: Upstream,
}

/// Why the headers that a proxy sets cannot be set.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RuleError {
    #[error("[{0}] is not the name of a header")]
    Name(String),
    #[error("[{value}] is not a value for the header [{name}]")]
    Value { name: String, value: String },
}

impl HttpRoute {
    /// A route to `backends` as `new` wants it protected.
    pub(crate) fn new(new: &NewProxy, backends: Arc<BackendSet<HttpMember>>) -> Self {
        Self {
            backends,
            user: new.http_user.clone(),
            password: new.http_pwd.clone(),
        }
    }

    fn is_protected(&self) -> bool {
        !(self.user.is_empty() && self.password.is_empty())
    }

    fn admits(&self, credentials: Option<&Credentials>) -> bool {
        !self.is_protected()
            || credentials.is_some_and(|it| it.match_with(&self.user, self.password.expose()))
    }

    /// The members that are there and let `user` come from `addr`: the one that knows it, and then the one whose turn it is.
    fn members(&self, user: &User, addr: IpAddr) -> impl Iterator<Item = Arc<HttpMember>> {
        let members = self.backends.in_turn(addr);
        let admits = move |it: &HttpMember| it.backend.admission().check(addr).is_ok();
        let mut members = members.filter(move |it| !it.backend.is_gone() && admits(it));
        let mut sorted = Vec::new();
        if user.owns_connections() {
            sorted.extend(members.by_ref());
            sorted.sort_by_key(|member: &Arc<HttpMember>| !member.upstream.knows(user));
        }
        sorted.into_iter().chain(members)
    }
}

impl AsRef<Backend> for HttpMember {
    fn as_ref(&self) -> &Backend {
        &self.backend
    }
}

impl Member for HttpMember {
    fn name(&self) -> &str {
        self.backend.name()
    }

    fn load(&self) -> Option<usize> {
        self.backend.load()
    }
}

impl HttpMember {
    pub(crate) fn new(backend: Backend, options: UpstreamOptions) -> Self {
        let connect = Arc::new(ToBackend(backend.clone()));
        let upstream = Upstream::new(connect, options)
            .with_half_close(backend.half_close())
            .with_idle_timeout(backend.user_idle_timeout());
        Self { backend, upstream }
    }
}

/// What `new` wants changed in requests and responses, and how long responses may be and take by `vhost`.
pub(crate) fn upstream_options(
    new: &NewProxy,
    vhost: &VhostConfig,
) -> Result<UpstreamOptions, RuleError> {
    let host = match new.host_header_rewrite.as_str() {
        "" => None,
        host => Some(value("Host", host)?),
    };
    Ok(UpstreamOptions {
        answer_limits: AnswerLimits {
            head: vhost.max_response_head,
            headers: vhost.max_response_headers,
        },
        response_timeout: Some(vhost.http_timeout),
        rules: Rules {
            // frp: always http (INTERFACES 12, row 23).
            forwarded: Forwarded::Append { proto: "http" },
            host,
            request_headers: headers(&new.headers)?,
            response_headers: headers(&new.response_headers)?,
        },
    })
}

fn headers(texts: &BTreeMap<String, String>) -> Result<Vec<(HeaderName, HeaderValue)>, RuleError> {
    let parse = |(name, text): (&String, &String)| {
        let header = HeaderName::try_from(name).map_err(|_| RuleError::Name(name.clone()))?;
        Ok((header, value(name, text)?))
    };
    texts.iter().map(parse).collect()
}

fn value(name: &str, text: &str) -> Result<HeaderValue, RuleError> {
    HeaderValue::try_from(text).map_err(|_| RuleError::Value {
        name: name.to_owned(),
        value: text.to_owned(),
    })
}

/// Connects a request to a backend.
struct ToBackend(Backend);

impl Connect for ToBackend {
    fn connect<'a>(&'a self, user: &'a User) -> Connecting<'a> {
        // Connections are kept for the requests of others, so that there is no address they all came to.
        let addrs = PeerAddrs::new(user.addr(), None);
        Box::pin(async move { Ok(self.0.open(Some(addrs)).await?) })
    }
}

impl UserService for Arc<HttpVhost> {
    async fn serve(self, conn: Conn, addrs: PeerAddrs) {
        let stop = self.stop.clone();
        let user = User::new(addrs.from).with_trust(addrs.is_trusted_proxy);
        let rows = UserRows::new(addrs.from);
        let closing = rows.closing();
        let requests = Arc::new(Requests {
            vhost: self,
            rows,
            is_trusted_proxy: addrs.is_trusted_proxy,
        });
        let serving = pin!(mgrok_http::serve(conn, user, requests, &stop));
        closing.until_closed(serving).await;
    }
}

impl Handler for Requests {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let vhost = &self.vhost;
        let began = Instant::now();
        let note = vhost
            .access_log
            .wants_requests()
            .then(|| RequestNote::of(&vhost.access_log, &request, user.addr()));
        let from = self.source_of(&request, user);
        let answer = vhost.answer(request, user, from, &self.rows, note.as_ref());
        let response = answer.await;
        if let Some(note) = note {
            note.answered(&response);
        }
        vhost.metrics.http_wait.observe(began.elapsed());
        let class = StatusClass::of(response.status().as_u16());
        vhost.metrics.http_requests.of(class).inc();
        response
    }

    fn refused(&self, user: &User, status: StatusCode, reason: &str) {
        // What it asked for is not told, as nobody can say what that was.
        let request = AccessRequest {
            method: "",
            path: "",
            status: Some(status.as_u16()),
        };
        let log = &self.vhost.access_log;
        log.note_stranger(user.addr(), "", Some(request), reason);
    }
}

impl Requests {
    /// Where a request comes from, of which a trusted proxy in front of this port knows more than its connection shows.
    fn source_of(&self, request: &Request<Body>, user: &User) -> IpAddr {
        let addr = user.addr().ip();
        if !self.is_trusted_proxy {
            return addr;
        }
        let policy = self.vhost.policy.now();
        forwarded_for(request.headers(), &policy.config.vhost.trusted_proxies).unwrap_or(addr)
    }
}

impl HttpVhost {
    /// The user is the one who comes from `from`, perhaps by a proxy. `note` is that of the request, if there is an access log.
    async fn answer(
        &self,
        request: Request<Body>,
        user: &User,
        from: IpAddr,
        rows: &UserRows,
        note: Option<&Arc<RequestNote>>,
    ) -> Response<Body> {
        let address = RequestTarget::of(&request);
        let route = self
            .routes
            .find(&address.host, &address.path, &address.user);
        let Some(route) = route else {
            debug!(source = %user.addr(),
                "http request of {}: no proxy for [{}]",
                user.addr(),
                address.host
            );
            if let Some(note) = note {
                note.refused(None, &"no proxy has this name");
            }
            return self.nothing_here().await;
        };
        if let Err((proxy, denied)) = backend::check_source(&route.backends, from) {
            debug!(source = %user.addr(),
                "http request of {} to [{}]: {denied}",
                user.addr(),
                address.host
            );
            self.metrics.users_refused.of(denied.refusal()).inc();
            if let Some(note) = note {
                note.refused(Some(&proxy), &denied);
            }
            let code = match denied.is_ban() {
                true => StatusCode::TOO_MANY_REQUESTS,
                false => StatusCode::FORBIDDEN,
            };
            return status(code, Body::empty());
        }
        let credentials = address.credentials.as_ref();
        let is_admitted = route.admits(credentials);
        if route.is_protected() && credentials.is_some() {
            backend::note_password(&route.backends, from, is_admitted);
        }
        if !is_admitted {
            return ask_for_credentials(address.is_proxy_style);
        }
        let mut request = request;
        let mut is_down = false;
        let mut limited = None;
        let mut members = route.members(user, from).peekable();
        while let Some(member) = members.next() {
            if member.backend.turns_away() {
                if member.backend.proxy().is_draining() {
                    return status(StatusCode::SERVICE_UNAVAILABLE, Body::empty());
                }
                is_down = true;
                continue;
            }
            let visits = match member.backend.admission().enter(from) {
                Ok(visits) => visits,
                Err(denied) => {
                    limited = Some((member, denied));
                    continue;
                }
            };
            let place = match member.upstream.reserve(request.method(), user).await {
                Ok(place) => place,
                Err(error) => {
                    warn_of(&member, &error);
                    is_down = true;
                    // Nothing of the request is lost yet, and another may serve it.
                    continue;
                }
            };
            let again = members.peek().and_then(|_| repetition(&request));
            let proxy = member.backend.proxy();
            let row = rows.of(proxy);
            let meter: Arc<dyn Meter> = match note {
                Some(note) => Arc::new(note.meter(proxy, row)),
                None => row,
            };
            let meter: Arc<dyn Meter> = match visits {
                Some(visits) => Arc::new(Counted {
                    meter,
                    _visits: visits,
                }),
                None => meter,
            };
            let forwarded = member
                .upstream
                .forward_on(place, request, user, Some(meter))
                .await;
            if let Some(again) = again
                && is_without_service(&forwarded)
            {
                debug!(
                    source = member.backend.proxy_name(),
                    "[{}] has no service, and the next of its group is asked",
                    member.backend.proxy_name()
                );
                is_down = true;
                request = again;
                continue;
            }
            return match forwarded {
                Ok(response) if is_of_client(&response) => self.unreachable().await,
                Ok(response) => response,
                Err(error) => self.failed(&member, &error).await,
            };
        }
        if let Some((member, denied)) = limited {
            debug!(source = %user.addr(), "http request of {}: {denied}", user.addr());
            self.metrics.users_refused.of(denied.refusal()).inc();
            if let Some(note) = note {
                note.refused(Some(member.backend.proxy()), &denied);
            }
            return status(StatusCode::TOO_MANY_REQUESTS, Body::empty());
        }
        if is_down {
            self.unreachable().await
        } else {
            self.nothing_here().await
        }
    }

    /// The answer to a request that got none from its backend.
    async fn failed(&self, member: &HttpMember, error: &ForwardError) -> Response<Body> {
        warn_of(member, error);
        match error {
            ForwardError::RequestBody(_) => status(StatusCode::BAD_REQUEST, Body::empty()),
            ForwardError::Timeout(_) => status(StatusCode::GATEWAY_TIMEOUT, Body::empty()),
            // frp: this is what a service looks like that a client of frp cannot connect, and its own tests want a 404 here.
            ForwardError::Closed(_) => self.nothing_here().await,
            ForwardError::Backend(_) | ForwardError::Connect(_) | ForwardError::Response(_) => {
                self.unreachable().await
            }
        }
    }

    async fn nothing_here(&self) -> Response<Body> {
        let file = self.policy.now().config.vhost.not_found_page.clone();
        page(StatusCode::NOT_FOUND, Page::not_found(file).text().await)
    }

    async fn unreachable(&self) -> Response<Body> {
        let file = self.policy.now().config.vhost.unreachable_page.clone();
        page(
            StatusCode::BAD_GATEWAY,
            Page::unreachable(file).text().await,
        )
    }
}

/// Counts a request of a source until all of its bodies are over.
#[derive(Debug)]
struct Counted {
    meter: Arc<dyn Meter>,
    _visits: Visits,
}

impl Meter for Counted {
    fn traffic(&self) -> &Traffic {
        self.meter.traffic()
    }

    fn count_sent(&self, bytes: u64) {
        self.meter.count_sent(bytes);
    }

    fn count_received(&self, bytes: u64) {
        self.meter.count_received(bytes);
    }

    fn note_end(&self, end: BodyEnd) {
        self.meter.note_end(end);
    }
}

/// Whether a client had no service for a request: mgrok's says so, and frp's closes the connection, which it also does for a moment
/// after its proxy has started.
fn is_without_service(forwarded: &Result<Response<Body>, ForwardError>) -> bool {
    match forwarded {
        Ok(response) => is_of_client(response),
        Err(error) => matches!(error, ForwardError::Closed(_)),
    }
}

/// Whether it is the client that answers, because it cannot connect its service.
fn is_of_client(response: &Response<Body>) -> bool {
    response.status() == StatusCode::BAD_GATEWAY && response.headers().contains_key(UNREACHABLE)
}

fn page(code: StatusCode, text: Bytes) -> Response<Body> {
    let mut response = status(code, Body::full(text));
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/html; charset=utf-8"),
    );
    response
}

fn warn_of(member: &HttpMember, error: &ForwardError) {
    let name = member.backend.proxy_name();
    let error_chain = Chain(error);
    match error {
        // The user's doing.
        ForwardError::RequestBody(_) => {
            debug!(
                source = name,
                "[{name}] do http proxy request error: {error_chain}"
            )
        }
        _ => warn!(
            source = name,
            "[{name}] do http proxy request error: {error_chain}"
        ),
    }
}

fn status(status: StatusCode, body: Body) -> Response<Body> {
    let mut response = Response::new(body);
    *response.status_mut() = status;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::future_size::future_size;

    /// A kept connection costs its task, most of which is hyper's.
    #[test]
    fn the_task_of_a_user_is_small() {
        let size = future_size(|(vhost, conn, addrs): (Arc<HttpVhost>, Conn, PeerAddrs)| {
            vhost.serve(conn, addrs)
        });
        assert!(size <= 1_536, "{size} bytes");
    }
}
