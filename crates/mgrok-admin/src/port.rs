//! The port itself: from a connection to an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use hyper::body::Incoming;
use hyper::header;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use mgrok_config::WebServer;
use mgrok_http::{Body, Credentials, ask_for_credentials};
use mgrok_net::tcp;
use mgrok_proto::auth::Secret;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::answer::{bare, moved_to, not_found, readiness, wrong_method};
use crate::deadline::WriteDeadline;
use crate::path::clean;
use crate::routes::{Found, Page, Routes};

/// The most connections at a time. The next ones wait to be accepted: more than an operator with a
/// browser, a few programs and a balancer needs, and few enough to cost nothing.
const MAX_CONNS: usize = 256;
/// How long the head of a request may take to arrive, and so how long a connection may be idle; how
/// long answering may take; and how long the answer may take to leave.
// frp: 60 s to read, 60 s to write (pkg/util/http)
const TIME_LIMIT: Duration = Duration::from_secs(60);
/// The longest head of a request, in bytes, and what is read ahead. Users get a 431 beyond it, or
/// beyond 100 headers. Browsers send the cookies of every other service on the same host along.
const MAX_HEAD: usize = 16 * 1024;
/// How long the answer to wrong credentials is delayed, against guessing.
// frp: the same
const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_millis(200);
/// How long requests may take that are under way when the port is closed.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Why an admin port cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {host}:{port}; choose another webServer.addr or webServer.port, or stop what has it"
)]
pub struct BindError {
    /// The address asked for.
    pub host: String,
    /// The port asked for.
    pub port: u16,
    /// What the operating system said.
    #[source]
    pub source: io::Error,
}

/// An admin port that is open but not yet served.
#[derive(Debug)]
pub struct AdminPort {
    listener: TcpListener,
    login: AdminLogin,
}

/// What one has to know to be let in to an admin port; with both empty, nothing. It may change while the port is served. Clones are
/// the same.
#[derive(Clone, Debug)]
pub struct AdminLogin(Arc<RwLock<(String, Secret)>>);

impl AdminLogin {
    /// What `config` asks for.
    pub fn new(config: &WebServer) -> Self {
        Self(Arc::new(RwLock::new((
            config.user.clone(),
            config.password.clone(),
        ))))
    }

    /// From now on what `config` asks for.
    pub fn replace(&self, config: &WebServer) {
        let mut login = self.0.write().unwrap_or_else(PoisonError::into_inner);
        *login = (config.user.clone(), config.password.clone());
    }

    /// Whether a request with these `headers` is let in.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let login = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let (user, password) = &*login;
        if user.is_empty() && password.is_empty() {
            return true;
        }
        headers
            .get(header::AUTHORIZATION)
            .and_then(Credentials::parse)
            .is_some_and(|it| it.match_with(user, password.expose()))
    }
}

/// What the connections of one port share.
struct Site {
    login: AdminLogin,
    routes: Routes,
}

impl AdminPort {
    /// Listens where `config` says.
    ///
    /// # Errors
    /// When that is not possible.
    pub async fn bind(config: &WebServer) -> Result<Self, BindError> {
        let listener = tcp::bind(&config.addr, config.port)
            .await
            .map_err(|source| BindError {
                host: config.addr.clone(),
                port: config.port,
                source,
            })?;
        Ok(Self::new(listener, AdminLogin::new(config)))
    }

    /// The admin port on a `listener` that is bound already.
    pub fn new(listener: TcpListener, login: AdminLogin) -> Self {
        Self { listener, login }
    }

    /// Where it is.
    ///
    /// # Errors
    /// When the operating system does not say.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Answers requests until `stop` is cancelled, and then those that are under way, within a
    /// second. Dropping the future cuts them at once.
    pub async fn run(self, routes: Routes, stop: CancellationToken) {
        let Self { listener, login } = self;
        let site = Arc::new(Site { login, routes });
        let mut conns = JoinSet::new();
        loop {
            tokio::select! {
                (stream, from) = tcp::accept(&listener), if conns.len() < MAX_CONNS => {
                    let (site, stop) = (site.clone(), stop.clone());
                    conns.spawn(async move { serve(stream, from, &site, &stop).await });
                }
                // One that panicked has been reported, and is none of the others' business.
                Some(_ended) = conns.join_next() => {}
                () = stop.cancelled() => break,
            }
        }
        drop(listener);
        let all_ended = async { while conns.join_next().await.is_some() {} };
        // What is late is cut by dropping it.
        let _ = timeout(STOP_TIME, all_ended).await;
    }
}

/// Serves one connection to its end. After `stop`, a request that is under way is still answered.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    from: SocketAddr,
    site: &Site,
    stop: &CancellationToken,
) {
    // An answer that takes too long is none: the connection ends.
    let service = service_fn(|request| timeout(TIME_LIMIT, site.respond(request, from)));
    let conn = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(TIME_LIMIT)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_HEAD)
        .serve_connection(
            TokioIo::new(WriteDeadline::new(stream, TIME_LIMIT)),
            service,
        );
    let mut conn = pin!(conn);
    let ended = tokio::select! {
        ended = conn.as_mut() => ended,
        () = stop.cancelled() => {
            conn.as_mut().graceful_shutdown();
            conn.await
        }
    };
    if let Err(error) = ended {
        debug!(source = %from, "a connection of {from} to the admin port ended: {error}");
    }
}

/// Whether a browser says that a page of another site has made it ask, which may know no password and yet have one sent along
/// (<https://www.w3.org/TR/fetch-metadata/>). Programs that are no browsers do not say, and are let in.
// frp: lets any page that the operator looks at stop a client
fn is_of_another_site(headers: &HeaderMap) -> bool {
    let site = headers.get("sec-fetch-site");
    site.is_some_and(|site| site == "cross-site" || site == "same-site")
}

impl Site {
    async fn respond(&self, request: Request<Incoming>, from: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        // Others than paths are not written with dots.
        if path.starts_with('/') {
            let clean = clean(path);
            if clean != path {
                let query = request.uri().query();
                return moved_to(&match query {
                    Some(query) => format!("{clean}?{query}"),
                    None => clean,
                });
            }
        }
        let page = match self.routes.find(request.method(), path) {
            Found::Health => return bare(StatusCode::OK),
            Found::Ready(ready) => return readiness(ready),
            Found::Page(page) => page,
            Found::Unknown => return not_found(),
            Found::WrongMethod(allowed) => return wrong_method(&allowed),
        };
        if is_of_another_site(request.headers()) {
            debug!(
                per_session = true,
                "a page of another site asked for [{path}]"
            );
            return bare(StatusCode::FORBIDDEN);
        }
        if !self.login.lets_in(request.headers()) {
            if request.headers().contains_key(header::AUTHORIZATION) {
                warn!(source = %from, "admin port: wrong user or password, from {from}");
            }
            sleep(WRONG_CREDENTIALS_DELAY).await;
            return ask_for_credentials(false);
        }
        // frp: these words, which scripts look for (pkg/util/http). It says them of requests that only look as well, with which monitors
        // would fill the log.
        let path = path.to_owned();
        let is_look = request.method().is_safe();
        match is_look {
            true => debug!(source = %from, "http request: [{path}]"),
            false => info!(source = %from, "http request: [{path}]"),
        }
        let response = match page {
            Page::Home => moved_to("/static/"),
            Page::Route(responder) => match responder(request).await {
                Ok(answer) => answer.into_response(),
                Err(refusal) => {
                    warn!(source = %from, "http response [{path}]: error: {refusal}");
                    refusal.to_response()
                }
            },
            // There is no dashboard.
            Page::Static => not_found(),
        };
        let code = response.status().as_u16();
        match is_look {
            true => debug!(source = %from, "http response [{path}]: code [{code}]"),
            false => info!(source = %from, "http response [{path}]: code [{code}]"),
        }
        response
    }
}

#[cfg(test)]
mod tests;
