//! HTTP services to publish, and users who ask them.
//!
//! Users write requests as text, so that a test decides every byte and may send what no HTTP library would.

mod user;

use std::{
    convert::Infallible,
    fmt::Write as _,
    net::SocketAddr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Either, Full, channel::Channel};
use hyper::{
    HeaderMap, Request, Response,
    body::Incoming,
    header::{self, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::broadcast};

pub use self::user::{Answer, User, ask, get, get_by_http2};
use crate::service::{self, Service};

/// How many events a user of `/events` may be behind.
const EVENTS: usize = 16;

/// An HTTP service that says which one it is (in the header `x-service`), and answers with the request that it got.
///
/// Some paths do otherwise:
/// - `/events` sends what [`Web::send_event`] is called with, each piece at once,
/// - `/never` is never answered,
/// - `/trailers` answers with the trailer `x-sum: 7` behind the rest.
pub struct Web {
    service: Service,
    state: Arc<State>,
}

struct State {
    name: HeaderValue,
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
    events: broadcast::Sender<Bytes>,
}

type Body = Either<Full<Bytes>, Channel<Bytes>>;

impl Web {
    /// Starts a service of this name.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn start(name: &'static str) -> Self {
        let state = Arc::new(State {
            name: HeaderValue::from_static(name),
            connections: AtomicUsize::new(0),
            requests: Mutex::default(),
            events: broadcast::Sender::new(EVENTS),
        });
        let shared = state.clone();
        let service = service::tcp(move |stream| serve(stream, shared.clone())).await;
        Self { service, state }
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.service.addr()
    }

    /// How many connections there have been.
    pub fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    /// The requests there have been, each as the answer to it showed it.
    ///
    /// # Panics
    /// Never in practice: only when another test panicked in here.
    pub fn requests(&self) -> Vec<String> {
        self.state.requests.lock().unwrap().clone()
    }

    /// Sends a piece of body to all users of `/events`, and says how many there are.
    pub fn send_event(&self, event: &'static str) -> usize {
        // Fails when there is nobody.
        self.state.events.send(event.into()).unwrap_or(0)
    }
}

async fn serve(stream: TcpStream, state: Arc<State>) {
    state.connections.fetch_add(1, Ordering::SeqCst);
    let _ = stream.set_nodelay(true);
    let service = service_fn(async |request| Ok::<_, Infallible>(answer(request, &state).await));
    // It may end as it likes.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn answer(request: Request<Incoming>, state: &State) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let shown = show(request).await;
    state.requests.lock().unwrap().push(shown.clone());
    let mut response = match path.as_str() {
        "/events" => events(state.events.subscribe()),
        "/never" => std::future::pending().await,
        "/trailers" => trailers(shown.into()),
        _ => Response::new(Either::Left(shown.into())),
    };
    let headers = response.headers_mut();
    headers.insert("x-service", state.name.clone());
    headers.insert("x-overwritten", HeaderValue::from_static("by the service"));
    response
}

/// A request as text: its first line, its headers, and after an empty line its body, with the trailers behind it.
async fn show(request: Request<Incoming>) -> String {
    let (head, body) = request.into_parts();
    let mut text = format!("{} {} {:?}\n", head.method, head.uri, head.version);
    show_headers(&head.headers, &mut text);
    text.push('\n');
    match body.collect().await {
        Ok(body) => {
            let trailers = body.trailers().cloned();
            text += &String::from_utf8_lossy(&body.to_bytes());
            if let Some(trailers) = trailers {
                text.push('\n');
                show_headers(&trailers, &mut text);
            }
        }
        Err(_) => text += "(the body did not arrive)",
    }
    text
}

fn show_headers(headers: &HeaderMap, text: &mut String) {
    for (name, value) in headers {
        let _ = writeln!(
            text,
            "{name}: {}",
            String::from_utf8_lossy(value.as_bytes())
        );
    }
}

fn events(mut events: broadcast::Receiver<Bytes>) -> Response<Body> {
    let (mut sender, body) = Channel::new(1);
    tokio::spawn(async move {
        while let Ok(event) = events.recv().await {
            if sender.send_data(event).await.is_err() {
                return;
            }
        }
    });
    let mut response = Response::new(Either::Right(body));
    let kind = HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response
}

fn trailers(text: Bytes) -> Response<Body> {
    let (mut sender, body) = Channel::new(2);
    tokio::spawn(async move {
        let trailers = HeaderMap::from_iter([(
            header::HeaderName::from_static("x-sum"),
            HeaderValue::from_static("7"),
        )]);
        if sender.send_data(text).await.is_ok() {
            let _ = sender.send_trailers(trailers).await;
        }
    });
    let mut response = Response::new(Either::Right(body));
    let announced = HeaderValue::from_static("x-sum");
    response.headers_mut().insert(header::TRAILER, announced);
    response
}
