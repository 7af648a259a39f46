//! Serving one connection of a user: HTTP/1.0, HTTP/1.1, and HTTP/2 in clear text by prior knowledge.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::activity::Activity;
use crate::body::Body;
use crate::refusal::{self, Refusal};
use crate::switch::Switch;
use crate::user::User;
use crate::user_io::UserIo;
use crate::{MAX_BUFFER, MAX_HEAD};

/// How long the head of a request may take to arrive, and so how long a connection may be idle.
// frp: 60 s (server/service.go, ReadHeaderTimeout).
const HEAD_TIME: Duration = Duration::from_secs(60);

/// How long an HTTP/1 connection keeps what it takes to serve it, some 25 KiB, when no request comes. To
/// make that anew takes a few microseconds, so that it pays to be quick: many connections at once then
/// share the same memory.
const REST_TIME: Duration = Duration::from_millis(100);

/// What a user sends who knows that HTTP/2 is spoken (RFC 9113, 3.4).
const HTTP2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Requests at once on one HTTP/2 connection.
const HTTP2_STREAMS: u32 = 128;

/// What one HTTP/2 request may send ahead of its backend, in bytes.
const HTTP2_STREAM_WINDOW: u32 = 256 * 1024;

/// What all requests of one HTTP/2 connection may send ahead of their backends, in bytes.
const HTTP2_CONNECTION_WINDOW: u32 = 1024 * 1024;

/// What is kept of an answer that one HTTP/2 request does not read, in bytes.
const HTTP2_SEND_BUFFER: usize = 64 * 1024;

/// How long the other end of an HTTP/2 connection may leave a ping unanswered.
const HTTP2_PONG_TIME: Duration = Duration::from_secs(20);

/// Answers requests.
pub trait Handler: Send + Sync + 'static {
    /// Answers one request of `user`, which has been found to be consistent. Its target is a path or,
    /// on HTTP/1, `*`, a whole URL or that of CONNECT; the host is in the `Host` header.
    ///
    /// The future is dropped if the user leaves.
    fn handle(
        &self,
        request: Request<Body>,
        user: &User,
    ) -> impl Future<Output = Response<Body>> + Send;

    /// Takes note of a request of `user` that was answered with `status` without asking, because it is no HTTP or contradicts itself.
    fn refused(&self, _user: &User, _status: StatusCode, _reason: &str) {}
}

/// What the requests of one connection share.
struct Serving<H> {
    handler: Arc<H>,
    user: User,
    activity: Arc<Activity>,
    /// What ends HTTP on this connection.
    switch: Mutex<Option<Switch>>,
}

/// Serves a connection until it ends.
///
/// After `stop`, requests that are under way are finished, and then the connection is closed; bytes
/// of a changed protocol flow on. Dropping the future cuts the connection at once.
pub async fn serve<H: Handler>(
    mut conn: Conn,
    user: User,
    handler: Arc<H>,
    stop: &CancellationToken,
) {
    let from = user.addr();
    let Some(is_http2) = begin(is_http2(&mut conn), from, stop).await else {
        return;
    };
    let serving = Arc::new(Serving {
        handler,
        user,
        activity: Arc::default(),
        switch: Mutex::default(),
    });
    // What serves is boxed, so that a connection that waits for a request is small.
    if is_http2 {
        return Box::pin(serve_http2(conn, serving, stop)).await;
    }
    while let Some(mut idle) = Box::pin(serve_http1(conn, Arc::clone(&serving), stop)).await {
        if begin(next_request(&mut idle), from, stop).await.is_none() {
            return;
        }
        conn = idle;
    }
    let Some(switch) = serving.take_switch() else {
        return;
    };
    match Box::pin(switch.run()).await {
        Ok(end) => debug!(
            source = %from,
            %from,
            sent = end.sent,
            received = end.received,
            "raw bytes ended: {}",
            end.reason
        ),
        Err(error) => {
            debug!(source = %from, %from, "the protocol did not change: {}", Chain(&error))
        }
    }
}

/// Waits for a request to begin; `None` if there is to be none.
async fn begin<T>(
    beginning: impl Future<Output = io::Result<T>>,
    from: SocketAddr,
    stop: &CancellationToken,
) -> Option<T> {
    let begun = tokio::select! {
        begun = timeout(HEAD_TIME, beginning) => begun,
        () = stop.cancelled() => return None,
    };
    match begun {
        Ok(Ok(begun)) => return Some(begun),
        Ok(Err(error)) => debug!(source = %from, %from, "a user connection failed: {error}"),
        Err(_elapsed) => debug!(source = %from, %from, "no request came within {HEAD_TIME:?}"),
    }
    None
}

/// Waits for more bytes, or the end. The bytes stay in front of `conn`.
async fn next_request(conn: &mut Conn) -> io::Result<()> {
    let first = conn.recv().await?;
    conn.unread(first);
    Ok(())
}

/// Whether the user speaks HTTP/2. The bytes stay in front of `conn`.
async fn is_http2(conn: &mut Conn) -> io::Result<bool> {
    let first = conn.recv().await?;
    if first.is_empty()
        || !HTTP2_PREFACE.starts_with(&first[..first.len().min(HTTP2_PREFACE.len())])
    {
        conn.unread(first);
        return Ok(false);
    }
    let mut seen = BytesMut::from(&first[..]);
    while seen.len() < HTTP2_PREFACE.len() && HTTP2_PREFACE.starts_with(&seen) {
        let more = conn.recv().await?;
        if more.is_empty() {
            break;
        }
        seen.extend_from_slice(&more);
    }
    let is_http2 = seen.starts_with(HTTP2_PREFACE);
    conn.unread(seen.freeze());
    Ok(is_http2)
}

/// Serves requests until the connection ends, or rests: then it comes back.
async fn serve_http1<H: Handler>(
    conn: Conn,
    serving: Arc<Serving<H>>,
    stop: &CancellationToken,
) -> Option<Conn> {
    let activity = &serving.activity;
    let service = service_fn(|request| {
        let serving = Arc::clone(&serving);
        async move { Ok::<_, Infallible>(serving.answer(request).await) }
    });
    let mut connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIME)
        .max_header_size(MAX_HEAD)
        .max_buf_size(MAX_BUFFER)
        .preserve_header_case(true)
        .title_case_headers(true)
        .serve_connection(
            TokioIo::new(UserIo::new(
                conn,
                Arc::clone(activity),
                serving.user.half_close(),
            )),
            service,
        )
        .with_upgrades();
    let mut look = pin!(sleep_until(Instant::now() + REST_TIME));
    let answered_before = activity.answered();
    let mut answered = answered_before;
    let mut is_stopping = false;
    let ended = loop {
        let must_stop = tokio::select! {
            ended = &mut connection => break ended,
            () = stop.cancelled(), if !is_stopping => true,
            () = &mut look, if !is_stopping => false,
        };
        if must_stop {
            is_stopping = true;
            Pin::new(&mut connection).graceful_shutdown();
            continue;
        }
        let answered_now = activity.answered();
        // At least one answer: a head that arrives bit by bit does not get its time anew.
        let rests = answered_now == answered
            && answered_now != answered_before
            && activity.is_between_requests();
        if rests {
            let parts = connection.into_parts()?;
            let mut conn = Conn::from(parts.io.into_inner());
            conn.unread(parts.read_buf);
            return Some(conn);
        }
        answered = answered_now;
        look.as_mut().reset(Instant::now() + REST_TIME);
    };
    serving.log(ended);
    None
}

async fn serve_http2<H: Handler>(conn: Conn, serving: Arc<Serving<H>>, stop: &CancellationToken) {
    let service = service_fn(|request: Request<Incoming>| {
        let serving = Arc::clone(&serving);
        let in_flight = serving.activity.begin();
        async move {
            let answer = serving.answer_http2(request).await;
            Ok::<_, Infallible>(answer.map(|body| body.counted(in_flight)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(HTTP2_STREAMS)
        .initial_stream_window_size(HTTP2_STREAM_WINDOW)
        .initial_connection_window_size(HTTP2_CONNECTION_WINDOW)
        .max_send_buf_size(HTTP2_SEND_BUFFER)
        .max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX))
        .keep_alive_interval(HEAD_TIME)
        .keep_alive_timeout(HTTP2_PONG_TIME)
        .serve_connection(TokioIo::new(conn), service);
    let mut connection = pin!(connection);
    let mut look = pin!(sleep_until(Instant::now() + HEAD_TIME));
    let mut is_stopping = false;
    let ended = loop {
        tokio::select! {
            ended = connection.as_mut() => break ended,
            () = stop.cancelled(), if !is_stopping => {
                is_stopping = true;
                connection.as_mut().graceful_shutdown();
            }
            () = &mut look => {
                if !serving.activity.has_requests() {
                    if is_stopping {
                        return;
                    }
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                look.as_mut().reset(Instant::now() + HEAD_TIME);
            }
        }
    };
    serving.log(ended);
}

impl<H: Handler> Serving<H> {
    async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        let target = self.activity.note_request();
        let body = Body::from(body).counted(self.activity.begin());
        if let Err(refusal) = refusal::check(&head) {
            return self.refuse(refusal);
        }
        if let Some(target) = target.and_then(|target| target.of_path(&head.uri)) {
            head.extensions.insert(target);
        }
        let request = Request::from_parts(head, body);
        let in_flight = self.activity.begin();
        let response = self.handler.handle(request, &self.user).await;
        let mut response = response.map(|body| body.counted(in_flight));
        self.activity.note_answer();
        if let Some(switch) = response.extensions_mut().remove::<Switch>() {
            *self.switch.lock().unwrap_or_else(PoisonError::into_inner) = Some(switch);
        }
        response
    }

    /// A request that is malformed, such as one without a path or with two, never comes here and is not [noted](Handler::refused): h2 resets
    /// its stream by itself and only traces that, neither the service nor the end of the connection is told, and hyper hands no numbers of
    /// streams on by which a reset on the wire could be told from others.
    async fn answer_http2(&self, request: Request<Incoming>) -> Response<Body> {
        let (mut head, body) = request.into_parts();
        if let Err(refusal) = refusal::translate(&mut head) {
            let mut response = self.refuse(refusal);
            // It is not for one stream to close what others use.
            response.headers_mut().remove(header::CONNECTION);
            return response;
        }
        let request = Request::from_parts(head, Body::from(body));
        self.handler.handle(request, &self.user).await
    }

    fn refuse(&self, refusal: Refusal) -> Response<Body> {
        debug!(source = %self.user.addr(), from = %self.user.addr(), "request refused: {refusal}");
        let status = refusal.status();
        self.handler
            .refused(&self.user, status, &refusal.to_string());
        let mut response = Response::new(Body::empty());
        *response.status_mut() = status;
        let close = HeaderValue::from_static("close");
        response.headers_mut().insert(header::CONNECTION, close);
        response
    }

    /// Logs the end of a connection. What hyper refused ends it with the reason.
    fn log(&self, ended: Result<(), hyper::Error>) {
        if let Err(error) = ended {
            let from = self.user.addr();
            if error.is_parse() {
                // What hyper answers.
                let status = match error.is_parse_too_large() {
                    true => StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                    false => StatusCode::BAD_REQUEST,
                };
                self.handler
                    .refused(&self.user, status, &Chain(&error).to_string());
            }
            debug!(source = %from, %from, "a user connection ended: {}", Chain(&error));
        }
    }

    fn take_switch(&self) -> Option<Switch> {
        let mut switch = self.switch.lock().unwrap_or_else(PoisonError::into_inner);
        switch.take()
    }
}

#[cfg(test)]
mod tests;
