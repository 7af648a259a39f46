//! tcpmux: the service is named by an HTTP `CONNECT` request, and what follows is between it and the user.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hyper::header::HeaderValue;
use mgrok_http::{Credentials, host_name};
use mgrok_net::access_log::{AccessLog, AccessRequest};
use mgrok_net::conn::Conn;
use mgrok_proto::auth::Secret;
use tokio::time::timeout;
use tracing::{debug, info};

use super::pages::Page;
use crate::accept::UserService;
use crate::backend::{self, Backend, PeerAddrs};
use crate::backend_set::BackendSet;
use crate::directory::ProxyEntry;
use crate::metrics::{Metrics, UserRefusal};
use crate::per_source::PerSource;
use crate::policy::CurrentPolicy;
use crate::routes::Routes;

/// How long a user may take for the request.
// frp: the same (server/service.go#vhostReadWriteTimeout)
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// How long a user may take to take an answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest request, in bytes.
const MAX_REQUEST: usize = 16 * 1024;

/// The most headers of a request.
const MAX_HEADERS: usize = 64;

/// How often a user may ask on one connection. Clients ask without a password first, to see what is wanted.
const MAX_TRIES: usize = 5;

/// How long a user may take to have done with the last answer: a connection that is closed with unread bytes is reset, and the
/// answer may be lost.
const FAREWELL_TIMEOUT: Duration = Duration::from_secs(2);

// frp: these words (pkg/util/tcpmux/httpconnect.go, pkg/util/http/http.go#OkResponse), but it closes the connection without a word.
const OK: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
const UNAUTHORIZED: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"Restricted\"\r\nContent-Length: 0\r\n\r\n";
const UNAUTHORIZED_CLOSE: &[u8] = b"HTTP/1.1 407 Proxy Authentication Required\r\n\
    Proxy-Authenticate: Basic realm=\"Restricted\"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

const FORBIDDEN: &[u8] =
    b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const TOO_MANY: &[u8] =
    b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The tcpmux port.
#[derive(Debug)]
pub(crate) struct TcpMuxVhost {
    /// For users who have not said whom they want.
    pub(crate) unnamed: PerSource,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) routes: Routes<Arc<TcpMuxRoute>>,
    pub(crate) access_log: AccessLog,
    pub(crate) policy: CurrentPolicy,
}

/// Where a request may lead.
#[derive(Debug)]
pub(crate) struct TcpMuxRoute {
    pub(crate) backends: Arc<BackendSet<Backend>>,
    /// With an empty password too, anybody may pass.
    pub(crate) user: String,
    pub(crate) password: Secret,
}

/// What a request says.
#[derive(Debug, Default)]
struct Connect {
    /// In lower case, without the port.
    host: String,
    credentials: Option<Credentials>,
    /// How long the request is.
    len: usize,
    /// Another request may follow.
    keeps: bool,
}

#[derive(Debug, thiserror::Error)]
enum RequestError {
    #[error("the connection ended inside the request")]
    Closed,
    #[error("the connection failed")]
    Io(#[from] std::io::Error),
    #[error("it is not a CONNECT request")]
    Method,
    #[error("it is not an HTTP request: {0}")]
    Syntax(#[from] httparse::Error),
    #[error("it is longer than {MAX_REQUEST} bytes")]
    TooLong,
}

impl RequestError {
    /// Whether something came that is no request. Who comes and leaves, as balancers do that look, is not worth a line.
    fn is_about_what_came(&self) -> bool {
        match self {
            Self::Closed | Self::Io(_) => false,
            Self::Method | Self::Syntax(_) | Self::TooLong => true,
        }
    }
}

impl UserService for Arc<TcpMuxVhost> {
    async fn serve(self, user: Conn, addrs: PeerAddrs) {
        let from = addrs.from;
        // Boxed, because it is over when the bytes begin to move.
        let asked = Box::pin(self.ask(user, from)).await;
        let Some((mut user, route, connect, mut bytes)) = asked else {
            return;
        };
        info!(source = %from, "get a user connection [{from}]");
        // With passthrough, the local service answers the request.
        if !self.policy.now().config.vhost.tcpmux_passthrough {
            // What came along with the request is the service's.
            bytes = bytes.split_off(connect.len);
            answer(&mut user, Bytes::from_static(OK)).await;
        }
        user.unread(bytes);
        let backends = route.backends.in_turn(from.ip());
        backend::serve(user, addrs, &connect.host, backends).await;
    }
}

impl TcpMuxVhost {
    /// Reads requests until one leads to a service. Returns that, the request, and all that was read.
    async fn ask(
        &self,
        mut user: Conn,
        from: SocketAddr,
    ) -> Option<(Conn, Arc<TcpMuxRoute>, Connect, Bytes)> {
        for tries in 1.. {
            let request = read(&mut user);
            let request = self.unnamed.work(from.ip(), REQUEST_TIMEOUT, request);
            let (connect, bytes) = match request.await {
                Ok(Ok(request)) => request,
                // frp: no answer either.
                Ok(Err(error)) => {
                    if error.is_about_what_came() {
                        let reason = error.to_string();
                        self.access_log.note_stranger(from, "", None, &reason);
                    }
                    debug!(source = %from, "tcpmux connection of {from} closed: {error}");
                    break;
                }
                Err(error) => {
                    debug!(source = %from, "tcpmux connection of {from} closed without a request: {error}");
                    break;
                }
            };
            let Some(route) = self.routes.find(&connect.host, b"", connect.user()) else {
                self.metrics.users_refused.of(UserRefusal::NoRoute).inc();
                debug!(source = %from,
                    "tcpmux connection of {from}: no proxy for [{}]",
                    connect.host
                );
                self.note_refusal(from, None, &connect, 404, "no proxy has this name");
                let page = self.policy.now().config.vhost.not_found_page.clone();
                let page = Page::not_found(page).text().await;
                refuse(user, not_found(&page)).await;
                break;
            };
            if let Err((proxy, denied)) = backend::check_source(&route.backends, from.ip()) {
                debug!(source = %from, "tcpmux connection of {from} to [{}]: {denied}", connect.host);
                let (answer, code) = match denied.is_ban() {
                    true => (TOO_MANY, 429),
                    false => (FORBIDDEN, 403),
                };
                self.metrics.users_refused.of(denied.refusal()).inc();
                let reason = denied.to_string();
                self.note_refusal(from, Some(&proxy), &connect, code, &reason);
                refuse(user, Bytes::from_static(answer)).await;
                break;
            }
            let is_admitted = route.admits(&connect);
            if route.is_protected() && connect.credentials.is_some() {
                backend::note_password(&route.backends, from.ip(), is_admitted);
            }
            if is_admitted {
                return Some((user, route, connect, bytes));
            }
            debug!(source = %from,
                "tcpmux connection of {from}: wrong user or password for [{}]",
                connect.host
            );
            if tries == MAX_TRIES || !connect.keeps {
                self.note_refusal(from, None, &connect, 407, "wrong user or password");
                refuse(user, Bytes::from_static(UNAUTHORIZED_CLOSE)).await;
                break;
            }
            user.unread(bytes.slice(connect.len..));
            answer(&mut user, Bytes::from_static(UNAUTHORIZED)).await;
        }
        None
    }

    /// Notes a request that has led nowhere, because of `proxy` if that turned it away.
    fn note_refusal(
        &self,
        from: SocketAddr,
        proxy: Option<&ProxyEntry>,
        connect: &Connect,
        status: u16,
        reason: &str,
    ) {
        let request = AccessRequest {
            method: "CONNECT",
            path: "",
            status: Some(status),
        };
        let log = &self.access_log;
        let proxy = proxy.map(ProxyEntry::as_accessed);
        log.note_refused(from, proxy, &connect.host, Some(request), reason);
    }
}

impl TcpMuxRoute {
    fn is_protected(&self) -> bool {
        !(self.user.is_empty() && self.password.is_empty())
    }

    fn admits(&self, connect: &Connect) -> bool {
        let given = connect.credentials.as_ref();
        !self.is_protected()
            || given.is_some_and(|it| it.match_with(&self.user, self.password.expose()))
    }
}

impl Connect {
    fn user(&self) -> &str {
        self.credentials.as_ref().map_or("", |it| &it.user)
    }
}

/// Reads the request; the second is all that was read.
async fn read(user: &mut Conn) -> Result<(Connect, Bytes), RequestError> {
    let mut seen = BytesMut::new();
    loop {
        let chunk = user.recv().await?;
        if chunk.is_empty() {
            return Err(RequestError::Closed);
        }
        seen.extend_from_slice(&chunk);
        if let Some(connect) = parse(&seen)? {
            return Ok((connect, seen.freeze()));
        }
        if seen.len() > MAX_REQUEST {
            return Err(RequestError::TooLong);
        }
    }
}

/// `None`: the request is not complete.
fn parse(seen: &[u8]) -> Result<Option<Connect>, RequestError> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(seen)?;
    if request.method.is_some_and(|method| method != "CONNECT") {
        return Err(RequestError::Method);
    }
    let httparse::Status::Complete(len) = status else {
        return Ok(None);
    };
    let authorization = request
        .headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("Proxy-Authorization"))
        .and_then(|header| HeaderValue::from_bytes(header.value).ok());
    Ok(Some(Connect {
        host: host_name(request.path.unwrap_or_default()).into_owned(),
        credentials: authorization.as_ref().and_then(Credentials::parse),
        len,
        keeps: keeps(&request),
    }))
}

/// Whether another request may follow on the connection (RFC 9112, 9.3).
fn keeps(request: &httparse::Request<'_, '_>) -> bool {
    let is = |header: &httparse::Header<'_>, name| header.name.eq_ignore_ascii_case(name);
    let says = |wanted: &[u8]| {
        let connections = request.headers.iter().filter(|it| {
            // Of the second, which no standard has, old clients make use.
            is(it, "Connection") || is(it, "Proxy-Connection")
        });
        let mut options = connections.flat_map(|it| it.value.split(|&byte| byte == b','));
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(wanted))
    };
    // A body would be taken for the next request.
    let has_body = request.headers.iter().any(|it| {
        is(it, "Transfer-Encoding") || (is(it, "Content-Length") && it.value.trim_ascii() != b"0")
    });
    !has_body
        && match request.version {
            Some(1) => !says(b"close"),
            // Our answer would have to say so.
            _ => false,
        }
}

/// Answers and ends the connection.
async fn refuse(mut user: Conn, last: Bytes) {
    answer(&mut user, last).await;
    let farewell = async {
        user.close().await?;
        while !user.recv().await?.is_empty() {}
        std::io::Result::Ok(())
    };
    // Who is gone has no use for a farewell.
    let _ = timeout(FAREWELL_TIMEOUT, farewell).await;
}

async fn answer(user: &mut Conn, answer: Bytes) {
    // Who does not take it is found out by whoever uses the connection next.
    let _ = timeout(ANSWER_TIMEOUT, user.send(answer)).await;
}

fn not_found(page: &[u8]) -> Bytes {
    let mut answer = BytesMut::from(
        format!(
            "HTTP/1.1 404 Not Found\r\nServer: mgrok/{}\r\nContent-Type: text/html\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n",
            env!("CARGO_PKG_VERSION"),
            page.len()
        )
        .as_str(),
    );
    answer.extend_from_slice(page);
    answer.freeze()
}

#[cfg(test)]
mod tests {
    use mgrok_config::Strategy;

    use super::*;

    #[track_caller]
    fn check(request: &str, expect: (&str, &str, &str)) {
        let connect = parse(request.as_bytes()).unwrap().unwrap();
        let password = connect.credentials.as_ref().map(|it| it.password.as_str());
        let got = (
            connect.host.as_str(),
            connect.user(),
            password.unwrap_or_default(),
        );
        assert_eq!(got, expect, "{request}");
        assert_eq!(connect.len, request.find("\r\n\r\n").unwrap() + 4);
    }

    #[test]
    fn requests() {
        let plain = "CONNECT Ssh.Test.:22 HTTP/1.1\r\nHost: other\r\n\r\nSSH-2.0";
        check(plain, ("ssh.test", "", ""));
        check("CONNECT ssh.test HTTP/1.1\r\n\r\n", ("ssh.test", "", ""));
        check("CONNECT [::1]:22 HTTP/1.1\r\n\r\n", ("::1", "", ""));
        check("CONNECT [::1] HTTP/1.1\r\n\r\n", ("::1", "", ""));
        // ann:a:b
        let known = "CONNECT a:1 HTTP/1.1\r\nproxy-authorization: basic YW5uOmE6Yg==\r\n\r\n";
        check(known, ("a", "ann", "a:b"));
        let odd = "CONNECT a:1 HTTP/1.1\r\nProxy-Authorization: Bearer YW5uOmE6Yg==\r\n\r\n";
        check(odd, ("a", "", ""));
    }

    #[test]
    fn what_is_no_request_is_refused_as_soon_as_it_shows() {
        assert!(matches!(parse(b"GET / HTT"), Err(RequestError::Method)));
        assert!(matches!(
            parse(b"\x16\x03\x01"),
            Err(RequestError::Syntax(_))
        ));
        assert!(matches!(parse(b"CONNECT a:1 HTTP/1.1\r\nHost"), Ok(None)));
        assert!(matches!(parse(b"CONN"), Ok(None)));
    }

    #[track_caller]
    fn check_keeps(version: &str, headers: &str, expect: bool) {
        let request = format!("CONNECT a:1 {version}\r\n{headers}\r\n");
        let connect = parse(request.as_bytes()).unwrap().unwrap();
        assert_eq!(connect.keeps, expect, "{request}");
    }

    #[test]
    fn a_request_says_whether_another_may_follow() {
        check_keeps("HTTP/1.1", "", true);
        check_keeps("HTTP/1.1", "Proxy-Connection: Keep-Alive\r\n", true);
        check_keeps("HTTP/1.1", "Connection: x, Close\r\n", false);
        check_keeps("HTTP/1.1", "proxy-connection: close\r\n", false);
        check_keeps("HTTP/1.1", "Content-Length: 0\r\n", true);
        check_keeps("HTTP/1.1", "Content-Length: 1\r\n", false);
        check_keeps("HTTP/1.1", "Transfer-Encoding: chunked\r\n", false);
        check_keeps("HTTP/1.0", "", false);
        check_keeps("HTTP/1.0", "Proxy-Connection: keep-alive\r\n", false);
    }

    #[test]
    fn a_password_alone_is_enforced_too() {
        let route = |user: &str, password: &str| TcpMuxRoute {
            backends: Arc::new(BackendSet::new(Strategy::default())),
            user: user.to_owned(),
            password: Secret::new(password),
        };
        let connect = |user: &str, password: &str| Connect {
            credentials: Some(Credentials {
                user: user.to_owned(),
                password: password.to_owned(),
            }),
            ..Connect::default()
        };
        assert!(route("", "").admits(&connect("any", "body")));
        assert!(route("", "p").admits(&connect("", "p")));
        assert!(!route("", "p").admits(&connect("", "")));
        assert!(!route("u", "p").admits(&connect("u", "q")));
        assert!(!route("u", "").admits(&connect("v", "")));
        assert!(route("u", "p").admits(&connect("u", "p")));
    }
}
