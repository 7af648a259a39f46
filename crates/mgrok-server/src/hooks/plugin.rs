//! One plugin, and the conversation with it.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode, Uri};
use mgrok_config::{HttpPlugin, PluginScheme};
use mgrok_http::{
    Body, Connect, ConnectError, Connecting, ForwardError, Rules, Upstream, UpstreamOptions, User,
};
use mgrok_net::conn::Conn;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{self, DialOptions};
use mgrok_net::tls::{ClientTls, ClientTlsOptions, TlsError};
use mgrok_proto::RunId;
use mgrok_proto::hook::{self, Answer, AnswerError, Content, Op};
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How long one plugin may take for one answer, with all that comes before it. As long as frp's clients wait for the
/// answer to their login.
// frp: as long as it likes
pub(super) const CALL_TIMEOUT: Duration = Duration::from_secs(10);

/// How many questions about one operation may be with one plugin at once, so that a rush does not become one of connections.
/// Beyond it they wait, within [`CALL_TIMEOUT`], and nobody waits for another operation: strangers can log in as often as they
/// like, users come in crowds, and a client that leaves closes all its proxies at once.
const fn max_calls(op: Op) -> usize {
    match op {
        Op::NewUserConn => 64,
        Op::CloseProxy | Op::Login | Op::NewProxy | Op::NewWorkConn | Op::Ping => 32,
    }
}

/// The longest answer, in bytes. The longest message has half of it.
const MAX_ANSWER: usize = 128 * 1024;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-frp-reqid");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("mgrok/", env!("CARGO_PKG_VERSION")));

/// One plugin.
#[derive(Debug)]
pub(super) struct Plugin {
    name: String,
    ops: Vec<Wanted>,
    host: HeaderValue,
    connect: Arc<ToPlugin>,
    upstream: Upstream,
}

/// Something that a plugin wants to know of.
#[derive(Debug)]
struct Wanted {
    op: Op,
    /// Where to ask.
    uri: Uri,
    turns: Semaphore,
}

/// Why a plugin cannot be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum SetupError {
    #[error("[{0}] is not the host of a URL")]
    Host(String),
    #[error("[{0}] is not the path of a URL")]
    Path(String),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// Why a plugin gave no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum CallError {
    #[error("its answer cannot be understood")]
    Answer(#[from] AnswerError),
    #[error("its answer did not arrive")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("cannot connect to it")]
    Connect(#[source] ConnectError),
    #[error("it gave no answer")]
    Exchange(#[source] ForwardError),
    #[error("it sends elsewhere, with status {0}; redirects are not followed")]
    Redirect(StatusCode),
    #[error("its answer has status {0}")]
    Status(StatusCode),
    #[error("it did not answer within {} s", CALL_TIMEOUT.as_secs())]
    Timeout,
    #[error("its answer has more than {MAX_ANSWER} bytes")]
    TooLong,
    #[error("nobody asks it about this")]
    Unwanted,
}

impl Plugin {
    pub(super) fn new(plugin: &HttpPlugin) -> Result<Self, SetupError> {
        let HttpPlugin {
            name,
            ops,
            scheme,
            host,
            port,
            path,
        } = plugin;
        let wanted = |op: &Op| {
            Ok(Wanted {
                op: *op,
                uri: uri(path, *op)?,
                turns: Semaphore::new(max_calls(*op)),
            })
        };
        let ops: Result<_, SetupError> = ops.iter().map(wanted).collect();
        let tls = match scheme {
            PluginScheme::Http => None,
            PluginScheme::Https { verify: true } => Some(ClientTls::trusting_system(host)?),
            PluginScheme::Https { verify: false } => Some(ClientTls::new(ClientTlsOptions {
                server_name: host.clone(),
                ..ClientTlsOptions::default()
            })?),
        };
        let connect = Arc::new(ToPlugin {
            host: host.clone(),
            port: *port,
            // Its own: a name that cannot be looked up holds up no other plugin.
            resolver: Resolver::default(),
            tls,
        });
        Ok(Self {
            name: name.clone(),
            ops: ops?,
            host: host_header(host, *port, *scheme)?,
            connect: connect.clone(),
            // The whole call has a limit, and nothing is passed on from anybody else.
            upstream: Upstream::new(
                connect,
                UpstreamOptions {
                    rules: Rules::default(),
                    ..UpstreamOptions::default()
                },
            ),
        })
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn wants(&self, op: Op) -> bool {
        self.ops.iter().any(|it| it.op == op)
    }

    /// Connects to it, and asks nothing.
    pub(super) async fn reach(&self) -> Result<(), CallError> {
        let connected = self.connect.dial().await;
        connected.map(drop).map_err(CallError::Connect)
    }

    /// Asks about `content`, under the id of what happens.
    pub(super) async fn call<C: Content>(
        &self,
        content: &C,
        id: &RunId,
    ) -> Result<Answer<C>, CallError> {
        timeout(CALL_TIMEOUT, self.exchange(content, id))
            .await
            .unwrap_or(Err(CallError::Timeout))
    }

    async fn exchange<C: Content>(&self, content: &C, id: &RunId) -> Result<Answer<C>, CallError> {
        let wanted = self.ops.iter().find(|it| it.op == C::OP);
        let wanted = wanted.ok_or(CallError::Unwanted)?;
        // Never closed, so that there is always a turn to come.
        let _turn = wanted.turns.acquire().await;
        let request = self.request(content, wanted.uri.clone(), id);
        // Nobody's but our own.
        let user = User::new(SocketAddr::from(([0; 4], 0)));
        let response = self.upstream.forward(request, &user).await;
        let response = response.map_err(|error| match error {
            ForwardError::Connect(source) => CallError::Connect(source),
            other => CallError::Exchange(other),
        })?;
        match response.status() {
            StatusCode::OK => {}
            status if status.is_redirection() => return Err(CallError::Redirect(status)),
            status => return Err(CallError::Status(status)),
        }
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body.await.map_err(|error| {
            if error.is::<LengthLimitError>() {
                CallError::TooLong
            } else {
                CallError::Body(error)
            }
        })?;
        Ok(C::answer(&body.to_bytes())?)
    }

    fn request(&self, content: &impl Content, uri: Uri, id: &RunId) -> Request<Body> {
        let body = content.request();
        let len = body.len();
        let mut request = Request::new(Body::full(body));
        *request.method_mut() = Method::POST;
        *request.uri_mut() = uri;
        let headers = request.headers_mut();
        headers.insert(header::HOST, self.host.clone());
        headers.insert(header::USER_AGENT, USER_AGENT);
        headers.insert(header::CONTENT_TYPE, JSON);
        headers.insert(header::CONTENT_LENGTH, len.into());
        // Hex digits always make a value.
        if let Ok(id) = HeaderValue::from_str(id.as_str()) {
            headers.insert(REQUEST_ID, id);
        }
        request
    }
}

fn uri(path: &str, op: Op) -> Result<Uri, SetupError> {
    // frp: the query in this order (pkg/plugin/server/http.go#Handle)
    let uri = format!("{path}?op={}&version={}", op.name(), hook::VERSION);
    Uri::try_from(uri).map_err(|_| SetupError::Path(path.to_owned()))
}

fn host_header(host: &str, port: u16, scheme: PluginScheme) -> Result<HeaderValue, SetupError> {
    let mut text = if host.contains(':') {
        format!("[{host}]")
    } else {
        host.to_owned()
    };
    if port != scheme.default_port() {
        text.push_str(&format!(":{port}"));
    }
    HeaderValue::try_from(text).map_err(|_| SetupError::Host(host.to_owned()))
}

/// Connects to a plugin. The caller sets the deadline for all of it.
struct ToPlugin {
    host: String,
    port: u16,
    resolver: Resolver,
    tls: Option<ClientTls>,
}

impl ToPlugin {
    async fn dial(&self) -> Result<Conn, ConnectError> {
        let options = DialOptions {
            timeout: CALL_TIMEOUT,
            keepalive: None,
            local_ip: None,
            resolver: self.resolver.clone(),
        };
        let conn = Conn::from(tcp::dial(&self.host, self.port, &options).await?);
        match &self.tls {
            Some(tls) => Ok(tls.connect(conn).await?),
            None => Ok(conn),
        }
    }
}

/// Without what it holds.
impl fmt::Debug for ToPlugin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ToPlugin").finish_non_exhaustive()
    }
}

impl Connect for ToPlugin {
    fn connect<'a>(&'a self, _user: &'a User) -> Connecting<'a> {
        Box::pin(self.dial())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_header_names_a_port_that_is_not_the_schemes() {
        let header = |host, port, scheme| host_header(host, port, scheme).unwrap();
        let https = PluginScheme::Https { verify: false };
        assert_eq!(header("a.test", 80, PluginScheme::Http), "a.test");
        assert_eq!(header("a.test", 443, PluginScheme::Http), "a.test:443");
        assert_eq!(header("::1", 443, https), "[::1]");
        assert_eq!(header("::1", 9000, https), "[::1]:9000");
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_has_its_time() {
        let silent = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let plugin = Plugin::new(&HttpPlugin {
            name: "silent".to_owned(),
            ops: vec![Op::Login],
            scheme: PluginScheme::Http,
            host: "127.0.0.1".to_owned(),
            port: silent.local_addr().unwrap().port(),
            path: "/".to_owned(),
        });
        let began = tokio::time::Instant::now();
        let answer = plugin
            .unwrap()
            .call(&hook::LoginContent::default(), &RunId::random())
            .await;
        assert!(answer.is_err(), "{answer:?}");
        let took = began.elapsed();
        assert!(took >= CALL_TIMEOUT, "{took:?}");
        assert!(took <= CALL_TIMEOUT + Duration::from_millis(10), "{took:?}");
    }

    #[test]
    fn the_query_says_what_it_is_about() {
        let uri = uri("/handler", Op::NewUserConn).unwrap();
        assert_eq!(uri, "/handler?op=NewUserConn&version=0.1.0");
    }
}
