//! From HTTP or HTTPS to a website with or without TLS.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;

use hyper::body::Body as _;
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use mgrok_config::{HttpsFront, Inspect, LocalAddr, Website};
use mgrok_http::{
    Body, Connect, Connecting, ForwardError, Forwarded, Handler, Meter, RequestTarget, Rules,
    Upstream, UpstreamOptions, User, host_name,
};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use mgrok_net::tls::{ClientTls, ClientTlsOptions};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{Span, debug, warn};

use super::answers::empty;
use super::error::PluginError;
use super::front::Front;
use super::handshake::in_time;
use crate::exchange::{Exchange, REPLAY_TIME, Replay};
use crate::inspector::Entry;
use crate::local::Local;
use crate::users::{ProxyUsers, UserRow};

/// What users may choose to speak over TLS.
const HTTP2_OR_1: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// The same without HTTP/2.
const HTTP1: [&[u8]; 1] = [b"http/1.1"];

/// What a bridge leads from and to.
pub(super) struct BridgeOptions<'a> {
    /// How users speak HTTPS; `None` if they speak HTTP.
    pub(super) front: Option<&'a HttpsFront>,
    pub(super) website: &'a Website,
    pub(super) website_has_tls: bool,
    pub(super) forwarded: Forwarded,
    pub(super) tap: Option<Tap>,
}

/// Has requests looked on one by one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tap {
    /// What the inspector keeps of them; `None`: nothing.
    pub(crate) inspect: Option<Arc<Inspect>>,
}

/// Hands requests on to a website.
#[derive(Debug)]
pub(crate) struct Bridge {
    front: Option<Front>,
    has_http2: bool,
    /// `None` if nobody wants to know of single requests.
    tap: Option<Tap>,
    upstream: Upstream,
}

/// The website, to be connected.
#[derive(Debug)]
struct ToWebsite {
    addr: LocalAddr,
    resolver: Resolver,
    tls: Option<ClientTls>,
}

/// Answers the requests of one user connection.
struct Requests {
    bridge: Arc<Bridge>,
    /// The row of the connection.
    row: Arc<UserRow>,
    /// By which name the user called us in TLS.
    server_name: Option<String>,
    /// Requests of HTTP/2 are answered in tasks of their own.
    span: Span,
}

impl Bridge {
    /// Makes the bridge. Reads the files of its certificate.
    pub(super) fn new(
        options: &BridgeOptions<'_>,
        resolver: &Resolver,
    ) -> Result<Self, PluginError> {
        let website = options.website;
        let front = match options.front {
            None => None,
            Some(front) => {
                let protocols = if front.enable_http2 {
                    &HTTP2_OR_1[..]
                } else {
                    &HTTP1
                };
                Some(Front::new(&front.certificate, protocols)?)
            }
        };
        let tls = if options.website_has_tls {
            // frp: any certificate will do (pkg/plugin/client/http2https.go)
            Some(ClientTls::new(ClientTlsOptions {
                server_name: website.local_addr.host.clone(),
                ..ClientTlsOptions::default()
            })?)
        } else {
            None
        };
        let to_website = ToWebsite {
            addr: website.local_addr.clone(),
            resolver: resolver.clone(),
            tls,
        };
        let rules = rules(website, options.forwarded)?;
        let upstream = UpstreamOptions {
            rules,
            ..UpstreamOptions::default()
        };
        Ok(Self {
            front,
            has_http2: options.front.is_none_or(|front| front.enable_http2),
            tap: options.tap.clone(),
            upstream: Upstream::new(Arc::new(to_website), upstream),
        })
    }

    /// Whether requests are told one by one, so that the connection need not be.
    pub(crate) fn tells_requests(&self) -> bool {
        self.tap.is_some()
    }

    /// Serves a connection of `user`, whose row is `row`, until it ends. After `stop`, only requests that are under way are finished.
    pub(crate) async fn serve(
        self: &Arc<Self>,
        conn: Conn,
        user: User,
        row: Arc<UserRow>,
        stop: &CancellationToken,
    ) {
        let conn = match &self.front {
            None => conn,
            Some(front) => match front.accept(conn).await {
                Ok(conn) => conn,
                Err(e) => {
                    return debug!(
                        per_session = true,
                        "a user does not get through TLS: {}",
                        Chain(&e)
                    );
                }
            },
        };
        let requests = Requests {
            bridge: self.clone(),
            row,
            server_name: conn.server_name().map(|name| host_name(name).into_owned()),
            span: Span::current(),
        };
        mgrok_http::serve(conn, user, Arc::new(requests), stop).await;
    }

    /// Sends `request`, which repeats the entry `of`, as one of a user of `users` would be sent, and reads the answer. Returns the entry that
    /// it becomes; `None` if requests are not inspected, or the answer takes too long.
    pub(crate) async fn replay(
        &self,
        request: Request<Body>,
        users: &Arc<ProxyUsers>,
        of: u64,
    ) -> Option<Arc<Entry>> {
        let inspect = self.tap.as_ref()?.inspect.as_ref()?;
        let (waits, entry) = oneshot::channel();
        let exchange = Exchange::replay(&request, users, inspect, Replay { of, waits });
        let read = async {
            let user = User::unknown();
            match self.forward(request, &user, exchange.clone()).await {
                Ok(response) => {
                    exchange.answered(&response);
                    let mut body = response.into_body();
                    while let Some(Ok(_)) = poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
                    }
                }
                Err(error) => exchange.failed(Chain(&error).to_string()),
            }
        };
        if timeout(REPLAY_TIME, read).await.is_err() {
            exchange.failed(format!("no whole answer came within {REPLAY_TIME:?}"));
        }
        drop(exchange);
        // Whatever passes the last bytes of the request lets go soon.
        timeout(REPLAY_TIME, entry).await.ok()?.ok()
    }

    async fn forward(
        &self,
        request: Request<Body>,
        user: &User,
        meter: Arc<dyn Meter>,
    ) -> Result<Response<Body>, ForwardError> {
        let place = self.upstream.reserve(request.method(), user).await?;
        let forwarded = self.upstream.forward_on(place, request, user, Some(meter));
        forwarded.await
    }
}

impl Connect for ToWebsite {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        Box::pin(async move {
            let conn = Local::from(&self.addr).connect(&self.resolver).await?;
            match &self.tls {
                None => Ok(conn),
                Some(tls) => Ok(in_time(tls.connect(conn)).await?),
            }
        })
    }
}

impl Handler for Requests {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let Some(tap) = &self.bridge.tap else {
            return self.answer(request, user, self.row.clone(), |_| {}).await;
        };
        let exchange = Exchange::new(&request, &self.row, tap.inspect.as_ref());
        let meter = exchange.clone();
        let failed = |error: &ForwardError| exchange.failed(Chain(error).to_string());
        let response = self.answer(request, user, meter, failed).await;
        exchange.answered(&response);
        response
    }
}

impl Requests {
    async fn answer(
        &self,
        mut request: Request<Body>,
        user: &User,
        meter: Arc<dyn Meter>,
        failed: impl FnOnce(&ForwardError) + Send,
    ) -> Response<Body> {
        // Users can speak it without having asked first.
        if request.version() == Version::HTTP_2 && !self.bridge.has_http2 {
            return empty(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
        }
        // frp: the same (pkg/plugin/client/https2http.go). A browser that meets one address under many names then makes
        // another connection, which leads to the right proxy.
        if let Some(name) = &self.server_name
            && RequestTarget::of(&request).host != *name
        {
            return empty(StatusCode::MISDIRECTED_REQUEST);
        }
        ask_for_path(&mut request);
        match self.bridge.forward(request, user, meter).await {
            Ok(response) => response,
            Err(error) => {
                failed(&error);
                self.failed(&error)
            }
        }
    }

    /// The answer to a request that got none from the website.
    fn failed(&self, error: &ForwardError) -> Response<Body> {
        let _proxy = self.span.enter();
        match error {
            ForwardError::RequestBody(_) => {
                debug!(
                    per_session = true,
                    "do http proxy request error: {}",
                    Chain(error)
                );
                empty(StatusCode::BAD_REQUEST)
            }
            ForwardError::Backend(_)
            | ForwardError::Closed(_)
            | ForwardError::Connect(_)
            | ForwardError::Response(_)
            | ForwardError::Timeout(_) => {
                warn!(
                    source = "local website",
                    "do http proxy request error: {}",
                    Chain(error)
                );
                empty(StatusCode::BAD_GATEWAY)
            }
        }
    }
}

/// A request whose target is a whole URL becomes one for the path: its scheme need not be the website's.
fn ask_for_path(request: &mut Request<Body>) {
    if request.uri().scheme().is_none() || request.method() == Method::CONNECT {
        return;
    }
    let uri = std::mem::take(request.uri_mut()).into_parts();
    if let Some(path) = uri.path_and_query {
        *request.uri_mut() = Uri::from(path);
    }
    if let Some(authority) = uri.authority
        && let Ok(host) = HeaderValue::from_str(authority.as_str())
    {
        request.headers_mut().entry(header::HOST).or_insert(host);
    }
}

fn rules(website: &Website, forwarded: Forwarded) -> Result<Rules, PluginError> {
    let value = |name: &str, text: &str| {
        HeaderValue::try_from(text).map_err(|_| PluginError::Header(name.to_owned()))
    };
    let header = |(name, text): (&String, &String)| {
        let parsed =
            HeaderName::try_from(name).map_err(|_| PluginError::Header(name.to_owned()))?;
        Ok((parsed, value(name, text)?))
    };
    let host = match website.host_header_rewrite.as_str() {
        "" => None,
        host => Some(value("Host", host)?),
    };
    let request_headers: Result<_, PluginError> =
        website.request_headers.iter().map(header).collect();
    Ok(Rules {
        forwarded,
        host,
        request_headers: request_headers?,
        response_headers: Vec::new(),
    })
}
