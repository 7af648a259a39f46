//! The port itself: from a connection to an answer.

use std::io;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::header::{self, HeaderValue};
use axum::http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mgrok_config::WebServer;
use mgrok_net::conn::Conn;
use mgrok_net::tcp;
use mgrok_net::tls::{ServerTls, TlsError};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::access::{AdminAccess, NextAdminAccess};
use crate::answer::moved_to;
use crate::deadline::WriteDeadline;
use crate::guard::{Guard, RemoteAddr};
use crate::path::clean;
use crate::routes::Routes;
use crate::tls::reload_on_change;

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
/// How long a handshake of TLS may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// How long requests may take that are under way when the port is closed.
const STOP_TIME: Duration = Duration::from_secs(1);

/// Why an admin port cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Its address cannot be listened on.
    #[error(
        "cannot listen on {host}:{port}; choose another webServer.addr or webServer.port, or stop what has it"
    )]
    Bind {
        /// The address asked for.
        host: String,
        /// The port asked for.
        port: u16,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// The files of `webServer.tls` cannot be used.
    #[error("the files of webServer.tls cannot be used")]
    Tls(#[from] TlsError),
}

/// An admin port that is open but not yet served.
#[derive(Debug)]
pub struct AdminPort {
    listener: TcpListener,
    access: AdminAccess,
    more: Routes,
}

impl AdminPort {
    /// Listens where `config` says.
    ///
    /// # Errors
    /// When that is not possible, or the files of its TLS cannot be used.
    pub async fn bind(config: &WebServer) -> Result<Self, OpenError> {
        let access = NextAdminAccess::new(config)?;
        let listener = tcp::bind(&config.addr, config.port)
            .await
            .map_err(|source| OpenError::Bind {
                host: config.addr.clone(),
                port: config.port,
                source,
            })?;
        Ok(Self::new(listener, access.into()))
    }

    /// The admin port on a `listener` that is bound already.
    pub fn new(listener: TcpListener, access: AdminAccess) -> Self {
        Self {
            listener,
            access,
            more: Routes::default(),
        }
    }

    /// Answers `routes` too, for what the program knows and its end does not: its log, for example.
    pub fn add_routes(&mut self, routes: Routes) {
        self.more = routes;
    }

    /// Who is let in, which may change while the port is served.
    pub fn access(&self) -> AdminAccess {
        self.access.clone()
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
        let Self {
            listener,
            access,
            more,
        } = self;
        let site = Site::new(routes.and(more), access.clone(), stop.clone());
        let reloads = reload_on_change(|| access.tls());
        let mut reloads = pin!(reloads);
        let mut conns = JoinSet::new();
        loop {
            tokio::select! {
                (stream, from) = tcp::accept(&listener), if conns.len() < MAX_CONNS => {
                    let (site, tls, stop) = (site.clone(), access.tls(), stop.clone());
                    conns.spawn(async move {
                        match tls {
                            None => serve(stream, from, &site, &stop).await,
                            Some(tls) => serve_tls(stream.into(), from, &tls, &site, &stop).await,
                        }
                    });
                }
                // One that panicked has been reported, and is none of the others' business.
                Some(_ended) = conns.join_next() => {}
                never = &mut reloads => match never {},
                () = stop.cancelled() => break,
            }
        }
        drop(listener);
        let all_ended = async { while conns.join_next().await.is_some() {} };
        // What is late is cut by dropping it.
        let _ = timeout(STOP_TIME, all_ended).await;
    }
}

async fn serve_tls(
    conn: Conn,
    from: SocketAddr,
    tls: &ServerTls,
    site: &Site,
    stop: &CancellationToken,
) {
    let accepted = tokio::select! {
        accepted = timeout(HANDSHAKE_TIME, tls.accept(conn)) => accepted,
        () = stop.cancelled() => return,
    };
    match accepted {
        Ok(Ok(conn)) => serve(conn, from, site, stop).await,
        Ok(Err(error)) => {
            debug!(source = %from, "{from} does not get through TLS to the admin port: {error}");
        }
        Err(_elapsed) => debug!(source = %from, "{from} is too slow for TLS to the admin port"),
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

/// What the connections of one port share.
#[derive(Clone, Debug)]
struct Site(TowerToHyperService<Router>);

impl Site {
    fn new(routes: Routes, access: AdminAccess, stop: CancellationToken) -> Self {
        let guard = Arc::new(Guard::new(access.clone(), stop));
        let router = routes.into_router(access, move |request, next| {
            guard.clone().pass(request, next)
        });
        Self(TowerToHyperService::new(router))
    }

    async fn respond(&self, mut request: Request<Incoming>, from: SocketAddr) -> Response<Body> {
        let path = request.uri().path();
        // Others than paths are not written with dots.
        let clean = path.starts_with('/').then(|| clean(path));
        let mut response = match clean {
            Some(clean) if clean != path => moved_to(&match request.uri().query() {
                Some(query) => format!("{clean}?{query}"),
                None => clean,
            }),
            _ => {
                request.extensions_mut().insert(RemoteAddr(from));
                let Ok(response) = self.0.call(request).await;
                response
            }
        };
        let headers = response.headers_mut();
        for (name, value) in [
            // Nothing here is to be guessed at, framed, or told to another site.
            (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
            (header::X_FRAME_OPTIONS, "DENY"),
            (header::REFERRER_POLICY, "no-referrer"),
            (
                header::CONTENT_SECURITY_POLICY,
                "default-src 'none'; frame-ancestors 'none'",
            ),
        ] {
            if !headers.contains_key(&name) {
                headers.insert(name, HeaderValue::from_static(value));
            }
        }
        response
    }
}

#[cfg(test)]
mod tests;
