//! A plugin with answers set by the test, which records its questions.

use std::net::SocketAddr;
use std::sync::Arc;

use http_body_util::BodyExt;
use hyper::{Request, Response, StatusCode};
use mgrok_config::{HttpPlugin, PluginScheme};
use mgrok_http::{Body, Handler, User};
use mgrok_net::conn::Conn;
use mgrok_net::tls::{ServerTls, ServerTlsOptions};
use mgrok_proto::hook::Op;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::script::LIMIT;

/// The plugin's reaction to a question.
pub(super) enum Reply {
    /// An answer with status 200.
    Json(Value),
    /// An answer with another status.
    Odd(StatusCode, String),
    /// An answer once the token is cancelled, long after the question arrived.
    Late(CancellationToken, Value),
}

/// A question that the plugin was asked.
#[derive(Debug)]
pub(super) struct Question {
    pub(super) head: Request<()>,
    pub(super) body: Value,
    /// The source port of the question.
    pub(super) port: u16,
}

/// A plugin that runs until it is dropped.
pub(super) struct Plugin {
    addr: SocketAddr,
    is_https: bool,
    questions: mpsc::UnboundedReceiver<Question>,
    task: JoinHandle<()>,
}

struct Answering<F> {
    reply: F,
    questions: mpsc::UnboundedSender<Question>,
}

impl Plugin {
    pub(super) async fn start(reply: impl Fn(&Value) -> Reply + Send + Sync + 'static) -> Self {
        Self::start_with(None, reply).await
    }

    /// Uses a generated certificate.
    pub(super) async fn start_https(
        reply: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let tls = ServerTls::new(ServerTlsOptions::default()).unwrap();
        Self::start_with(Some(tls), reply).await
    }

    async fn start_with(
        tls: Option<ServerTls>,
        reply: impl Fn(&Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let (sender, questions) = mpsc::unbounded_channel();
        let handler = Arc::new(Answering {
            reply,
            questions: sender,
        });
        let is_https = tls.is_some();
        let task = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((stream, from)) = listener.accept().await {
                let (handler, tls) = (handler.clone(), tls.clone());
                connections.spawn(async move {
                    let mut conn = Conn::from(stream);
                    if let Some(tls) = tls {
                        let Ok(inner) = tls.accept(conn).await else {
                            return;
                        };
                        conn = inner;
                    }
                    let never = CancellationToken::new();
                    mgrok_http::serve(conn, User::new(from), handler, &never).await;
                });
            }
        });
        Self {
            addr,
            is_https,
            questions,
            task,
        }
    }

    /// The plugin's entry in the configuration.
    pub(super) fn entry(&self, ops: &[Op]) -> HttpPlugin {
        let scheme = if self.is_https {
            PluginScheme::Https { verify: false }
        } else {
            PluginScheme::Http
        };
        HttpPlugin {
            scheme,
            ..entry(self.addr.port(), ops)
        }
    }

    /// The next question.
    pub(super) async fn question(&mut self) -> Question {
        let question = timeout(LIMIT, self.questions.recv()).await;
        question.expect("the plugin is not asked").unwrap()
    }

    /// The number of questions since the last call.
    pub(super) fn questions(&mut self) -> usize {
        std::iter::from_fn(|| self.questions.try_recv().ok()).count()
    }
}

/// An entry for a plugin at any port.
pub(super) fn entry(port: u16, ops: &[Op]) -> HttpPlugin {
    HttpPlugin {
        name: "test".into(),
        ops: ops.to_vec(),
        scheme: PluginScheme::Http,
        host: "127.0.0.1".into(),
        port,
        path: "/handler".into(),
    }
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl<F: Fn(&Value) -> Reply + Send + Sync + 'static> Handler for Answering<F> {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        let body: Value = serde_json::from_slice(&body).unwrap();
        let reply = (self.reply)(&body);
        // Fails once the test has ended.
        let _ = self.questions.send(Question {
            head: Request::from_parts(head, ()),
            body,
            port: user.addr().port(),
        });
        let (status, text) = match reply {
            Reply::Json(json) => (StatusCode::OK, json.to_string()),
            Reply::Odd(status, text) => (status, text),
            Reply::Late(when, json) => {
                when.cancelled().await;
                (StatusCode::OK, json.to_string())
            }
        };
        let mut response = Response::new(Body::full(text));
        *response.status_mut() = status;
        response
    }
}
