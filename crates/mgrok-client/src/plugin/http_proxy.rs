//! A forward proxy: requests for whole URLs go to the website that each names, and `CONNECT` to any host.

use std::sync::{Arc, Mutex, PoisonError};

use hyper::ext::ReasonPhrase;
use hyper::header::{self, HeaderValue};
use hyper::http::uri::{Authority, Scheme};
use hyper::{Method, Request, Response, StatusCode, Uri};
use mgrok_config::PluginCredentials;
use mgrok_http::{
    Body, Connect, Connecting, Credentials, Upstream, UpstreamOptions, User, host_and_port,
    text_answer, tunnel,
};
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use tokio::time::sleep;
use tracing::debug;

use super::answers::{WRONG_PASSWORD_DELAY, empty};
use super::requests::{AnswerRequests, Requests};
use crate::local::Local;

/// The websites whose connections are kept; of one more, those of the website that was asked least recently are closed.
// frp: as many connections (Go's default transport)
const MAX_SITES: usize = 100;

const HTTP_PORT: u16 = 80;

/// Sends requests to whichever website they name.
#[derive(Debug)]
pub(crate) struct HttpProxy {
    /// `None`: anybody may come.
    credentials: Option<PluginCredentials>,
    resolver: Resolver,
    /// Those that were asked, the latest at the end.
    sites: Mutex<Vec<(Authority, Arc<Upstream>)>>,
}

/// A website, to be connected.
#[derive(Debug)]
struct ToSite {
    host: String,
    port: u16,
    resolver: Resolver,
}

impl HttpProxy {
    /// `resolver` looks up the names of websites.
    pub(super) fn new(credentials: PluginCredentials, resolver: &Resolver) -> Self {
        Self {
            credentials: Some(credentials).filter(|it| !it.is_empty()),
            resolver: resolver.clone(),
            sites: Mutex::default(),
        }
    }

    /// Whether a request may pass. Somebody with a wrong password waits for the answer.
    async fn lets_in(&self, request: &Request<Body>) -> bool {
        let Some(PluginCredentials { user, password }) = &self.credentials else {
            return true;
        };
        let shown = request.headers().get(header::PROXY_AUTHORIZATION);
        let Some(shown) = shown.and_then(Credentials::parse) else {
            return false;
        };
        let is_known = shown.match_with(user, password.expose());
        if !is_known {
            sleep(WRONG_PASSWORD_DELAY).await;
        }
        is_known
    }

    /// The website at `authority`, with the connections to it that are kept.
    fn site(&self, authority: &Authority) -> Option<Arc<Upstream>> {
        let (host, port) = host_and_port(authority.as_str(), Some(HTTP_PORT))?;
        let mut sites = self.sites.lock().unwrap_or_else(PoisonError::into_inner);
        let found = sites.iter().position(|(it, _)| it == authority);
        let site = match found {
            Some(place) => sites.remove(place),
            None => {
                let to_site = ToSite {
                    host: host.to_owned(),
                    port,
                    resolver: self.resolver.clone(),
                };
                let upstream = Upstream::new(Arc::new(to_site), UpstreamOptions::default());
                (authority.clone(), Arc::new(upstream))
            }
        };
        let upstream = site.1.clone();
        let oldest = (sites.len() >= MAX_SITES).then(|| sites.remove(0));
        sites.push(site);
        drop(sites);
        drop(oldest);
        Some(upstream)
    }
}

impl Connect for ToSite {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        let local = Local::Tcp {
            host: &self.host,
            port: self.port,
        };
        Box::pin(async move { Ok(local.connect(&self.resolver).await?) })
    }
}

impl AnswerRequests for HttpProxy {
    async fn answer(
        requests: &Requests<Self>,
        mut request: Request<Body>,
        user: &User,
    ) -> Response<Body> {
        let is_connect = request.method() == Method::CONNECT;
        if !requests.plugin.lets_in(&request).await {
            return not_let_in(is_connect);
        }
        match is_connect {
            true => requests.connect(&mut request, user).await,
            false => requests.forward(request, user).await,
        }
    }
}

impl Requests<HttpProxy> {
    async fn connect(&self, request: &mut Request<Body>, user: &User) -> Response<Body> {
        let authority = request.uri().authority().map_or("", Authority::as_str);
        let Some((host, port)) = host_and_port(authority, None) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let local = Local::Tcp { host, port };
        match local.connect(&self.plugin.resolver).await {
            Ok(service) => tunnel(request, user, service, self.row.clone()),
            Err(error) => {
                let _proxy = self.span.enter();
                debug!(
                    per_session = true,
                    "a user is not connected to {}: {}",
                    authority.escape_debug(),
                    Chain(&error)
                );
                empty(StatusCode::BAD_REQUEST)
            }
        }
    }

    async fn forward(&self, mut request: Request<Body>, user: &User) -> Response<Body> {
        let failed = |why: String| text_answer(StatusCode::INTERNAL_SERVER_ERROR, why + "\n");
        let uri = std::mem::take(request.uri_mut()).into_parts();
        // frp: the beginning of this wording. It also speaks HTTPS with a website in the user's place, for which users have CONNECT.
        if uri.scheme.as_ref() != Some(&Scheme::HTTP) {
            let scheme = uri.scheme.as_ref().map_or("", Scheme::as_str);
            return failed(format!(
                "unsupported protocol scheme \"{scheme}\": a proxy is asked for a whole URL that begins with http://, or by CONNECT"
            ));
        }
        let site = uri.authority.as_ref().and_then(|it| self.plugin.site(it));
        let (Some(site), Some(authority)) = (site, uri.authority) else {
            return empty(StatusCode::BAD_REQUEST);
        };
        let headers = request.headers_mut();
        if let Ok(host) = HeaderValue::from_str(authority.as_str()) {
            headers.insert(header::HOST, host);
        }
        // frp: the same. Who wants to change the protocol has CONNECT.
        headers.remove(header::UPGRADE);
        *request.uri_mut() = uri.path_and_query.map_or(Uri::from_static("/"), Uri::from);
        let answered = async {
            let place = site.reserve(request.method(), user).await?;
            let meter = self.row.clone();
            site.forward_on(place, request, user, Some(meter)).await
        };
        match answered.await {
            Ok(response) => response,
            Err(error) => {
                let _proxy = self.span.enter();
                debug!(
                    per_session = true,
                    "a request to {} failed: {}",
                    authority.as_str().escape_debug(),
                    Chain(&error)
                );
                failed(Chain(&error).to_string())
            }
        }
    }
}

/// Asks for a password.
// frp: these answers
fn not_let_in(is_connect: bool) -> Response<Body> {
    let mut response = empty(StatusCode::PROXY_AUTHENTICATION_REQUIRED);
    let headers = response.headers_mut();
    headers.insert(
        header::PROXY_AUTHENTICATE,
        HeaderValue::from_static("Basic"),
    );
    if is_connect {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        response
            .extensions_mut()
            .insert(ReasonPhrase::from_static(b"Not authorized"));
    }
    response
}
