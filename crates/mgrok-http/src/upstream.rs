//! Forwarding to one backend.

use std::error::Error;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{self, HeaderMap, HeaderValue};
use hyper::upgrade::{self, OnUpgrade};
use hyper::{Method, Request, Response, StatusCode, Uri, Version};
use mgrok_net::conn::Conn;
use mgrok_net::relay::HalfClose;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::body::Body;
use crate::connection_auth;
use crate::pool::{AnswerLimits, Lease, Pool};
use crate::raw_target::RawTarget;
use crate::rules::{KEEP_ALIVE, Rules, tokens};
use crate::switch::Switch;
use crate::user::User;

/// How much sooner than a backend an idle connection is given up: a request may take so long to arrive there.
const UNDER_WAY: Duration = Duration::from_secs(1);

/// Why there is no connection to a backend.
pub type ConnectError = Box<dyn Error + Send + Sync>;

/// The future of [`Connect::connect`].
pub type Connecting<'a> = Pin<Box<dyn Future<Output = Result<Conn, ConnectError>> + Send + 'a>>;

/// Connects to a backend.
pub trait Connect: Send + Sync {
    /// Opens a connection for a request of `user`. Requests of others may follow on it.
    ///
    /// The future is dropped if the user leaves. How long it may take is its own matter.
    fn connect<'a>(&'a self, user: &'a User) -> Connecting<'a>;
}

/// One backend, and the connections to it that are kept for further requests.
///
/// Requests travel as HTTP/1.1. There are as many connections as there are requests under way; about
/// five idle ones are kept for a minute. Dropping the upstream closes the idle ones.
pub struct Upstream {
    connect: Arc<dyn Connect>,
    options: UpstreamOptions,
    half_close: HalfClose,
    idle_timeout: Option<Duration>,
    pool: Arc<Pool>,
}

/// A connection to a backend that is kept for one request. Dropping it cuts the connection.
#[derive(Debug)]
#[must_use = "the connection is cut when this is dropped"]
pub struct Place(Lease);

/// How requests are forwarded to a backend.
#[derive(Clone, Debug, Default)]
pub struct UpstreamOptions {
    /// How long answers may be; a longer one is a failure of the backend.
    pub answer_limits: AnswerLimits,
    /// How long a backend may take to begin its answer, from when it has the whole request; `None`
    /// for as long as it likes.
    pub response_timeout: Option<Duration>,
    /// What is changed in headers.
    pub rules: Rules,
}

/// Why a request got no answer from the backend.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The connection to the backend ended before an answer came, or what came is not HTTP.
    #[error("the backend gave no answer")]
    Backend(#[source] hyper::Error),
    /// The backend closed a new connection without a word. That may mean that there is no backend: frp's client cannot say so in
    /// any other way.
    #[error("the backend closed the connection without a word")]
    Closed(#[source] hyper::Error),
    /// There is no connection to the backend.
    #[error("cannot connect to the backend")]
    Connect(#[source] ConnectError),
    /// The body of the request ended too early, or is malformed: the user left or is at fault.
    #[error("the body of the request did not arrive")]
    RequestBody(#[source] hyper::Error),
    /// The backend's answer cannot be passed on.
    #[error("the backend's answer cannot be passed on: {0}")]
    Response(&'static str),
    /// The backend has the request and did not begin its answer in time.
    #[error("the backend did not begin its answer within {0:?}")]
    Timeout(Duration),
}

/// What is to be done with the answer to a request.
enum Kind {
    /// CONNECT: a success makes the connection raw.
    Connect(OnUpgrade),
    Ordinary,
    /// A 101 makes the connection raw.
    Upgrade(HeaderValue, OnUpgrade),
}

/// What is sent a second time.
enum Again {
    /// Nothing was sent the first time.
    Whole(Box<Request<Body>>),
    /// It has no body, and this is its head as it was sent.
    Head(Bytes),
}

impl Upstream {
    /// A backend that `connect` reaches.
    pub fn new(connect: Arc<dyn Connect>, options: UpstreamOptions) -> Self {
        let pool = Arc::new(Pool::new(options.answer_limits));
        Self {
            connect,
            options,
            half_close: HalfClose::EndsBoth,
            idle_timeout: None,
            pool,
        }
    }

    /// The same, where this is what the end of one direction means for the other once raw bytes follow; otherwise it ends
    /// both.
    pub fn with_half_close(self, half_close: HalfClose) -> Self {
        Self { half_close, ..self }
    }

    /// The same, where nothing may move for so long once raw bytes follow; otherwise that may last for ever.
    pub fn with_idle_timeout(self, idle_timeout: Option<Duration>) -> Self {
        Self {
            idle_timeout,
            ..self
        }
    }

    /// Sends the request of a user to the backend, and returns the answer when its head has arrived.
    ///
    /// Dropping the future, or the body of the answer, cuts the connection to the backend. An answer
    /// that changes the protocol works if it is returned to [`serve`](crate::serve), which then
    /// copies raw bytes.
    ///
    /// CONNECT goes to the backend as it came, on a connection of its own and without any
    /// [`Rules`]; the answer comes from the backend too, and after a success raw bytes follow.
    ///
    /// A request is sent a second time if a connection that was idle before turns out to be dead and
    /// nothing of the request was sent, or it has no body and its method is idempotent.
    ///
    /// A connection on which NTLM or Negotiate is spoken is kept for further requests of `user` alone.
    pub async fn forward(
        &self,
        request: Request<Body>,
        user: &User,
    ) -> Result<Response<Body>, ForwardError> {
        let place = self.reserve(request.method(), user).await?;
        self.forward_on(place, request, user).await
    }

    /// Finds a connection for a request of this method before the request is given away, so that it can go to another
    /// backend if there is none.
    pub async fn reserve(&self, method: &Method, user: &User) -> Result<Place, ForwardError> {
        // The request of CONNECT is the first bytes of what is raw from then on.
        let idle = match *method {
            Method::CONNECT => None,
            _ => match user.take_own(&self.pool) {
                Some(own) => Some(own),
                None => self.pool.take().await,
            },
        };
        let lease = match idle {
            Some(lease) => lease,
            None => self.connect(user).await?,
        };
        Ok(Place(lease))
    }

    /// Whether there is an idle connection that `user` has logged in with.
    pub fn knows(&self, user: &User) -> bool {
        user.has_own(&self.pool)
    }

    /// As [`forward`](Self::forward), on a connection that was [reserved](Self::reserve) for a request of this method.
    pub async fn forward_on(
        &self,
        Place(mut lease): Place,
        mut request: Request<Body>,
        user: &User,
    ) -> Result<Response<Body>, ForwardError> {
        let on_upgrade = upgrade::on(&mut request);
        let (mut head, mut body) = request.into_parts();
        let kind = if head.method == Method::CONNECT {
            Kind::Connect(on_upgrade)
        } else {
            let has_body = !body.is_end_stream();
            match self
                .options
                .rules
                .apply_to_request(&mut head, has_body, user)
            {
                Some(protocol) => Kind::Upgrade(protocol, on_upgrade),
                None => Kind::Ordinary,
            }
        };
        let target = head.extensions.remove::<RawTarget>();
        let passed_on = self.options.response_timeout.and_then(|_| body.watch());
        let request = Request::from_parts(head, body);
        let response = self
            .answer(self.exchange(&mut lease, request, target, user), passed_on)
            .await?;
        if connection_auth::is_in_answer(response.headers()) {
            user.own(&mut lease);
        }
        if response.version() == Version::HTTP_10 {
            // hyper would send the next request as HTTP/1.0, and without its body if that is chunked.
            lease.note_idle_time(Duration::ZERO);
        } else if let Some(time) = idle_time(response.headers()) {
            lease.note_idle_time(time);
        }
        self.pass_on(response, lease, kind)
    }

    async fn connect(&self, user: &User) -> Result<Lease, ForwardError> {
        let conn = self.connect.connect(user).await;
        let conn = conn.map_err(ForwardError::Connect)?;
        self.pool.add(conn).await.map_err(ForwardError::Backend)
    }

    /// Sends a request, a second time on a new connection if the first was dead.
    async fn exchange(
        &self,
        lease: &mut Lease,
        request: Request<Body>,
        target: Option<RawTarget>,
        user: &User,
    ) -> Result<Response<Incoming>, ForwardError> {
        let method = request.method().clone();
        let logs_in = connection_auth::is_in_request(request.headers());
        if logs_in {
            user.own(lease);
        }
        let is_kept = lease.is_reused && is_repeatable(&request);
        if is_kept {
            lease.keep_head();
        }
        if let Some(target) = &target {
            lease.set_target(target.clone());
        }
        let (error, unsent) = match lease.send(request).await {
            Ok(response) => return Ok(response),
            Err(failed) => failed,
        };
        let again = match unsent {
            Some(request) if lease.is_reused => Some(Again::Whole(Box::new(request))),
            None if is_kept && is_about_connection(&error) => lease.take_head().map(Again::Head),
            Some(_) | None => None,
        };
        let Some(again) = again else {
            return Err(failure(lease, error));
        };
        *lease = self.connect(user).await?;
        if logs_in {
            user.own(lease);
        }
        let sent = match again {
            Again::Whole(request) => {
                if let Some(target) = target {
                    lease.set_target(target);
                }
                lease.send(*request).await.map_err(|(error, _unsent)| error)
            }
            Again::Head(head) => lease.send_again(method, head).await,
        };
        sent.map_err(|error| failure(lease, error))
    }

    /// Waits for an answer, for as long as the backend may take.
    async fn answer(
        &self,
        exchange: impl Future<Output = Result<Response<Incoming>, ForwardError>>,
        passed_on: Option<oneshot::Receiver<()>>,
    ) -> Result<Response<Incoming>, ForwardError> {
        let Some(limit) = self.options.response_timeout else {
            return exchange.await;
        };
        let mut exchange = pin!(exchange);
        if let Some(passed_on) = passed_on {
            tokio::select! {
                biased;
                answer = &mut exchange => return answer,
                _dropped = passed_on => {}
            }
        }
        timeout(limit, exchange)
            .await
            .unwrap_or(Err(ForwardError::Timeout(limit)))
    }

    fn pass_on(
        &self,
        mut response: Response<Incoming>,
        lease: Lease,
        kind: Kind,
    ) -> Result<Response<Body>, ForwardError> {
        *response.version_mut() = Version::HTTP_11;
        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS;
        let headers = response.headers_mut();
        if !is_plainly_encoded(headers) {
            return Err(ForwardError::Response("its transfer encoding is not known"));
        }
        if headers.contains_key(header::TRANSFER_ENCODING) {
            headers.remove(header::CONTENT_LENGTH);
        }
        match kind {
            Kind::Connect(user) if response.status().is_success() => {
                // Neither means anything here (RFC 9110, 9.3.6), and some send them.
                let headers = response.headers_mut();
                headers.remove(header::CONTENT_LENGTH);
                headers.remove(header::TRANSFER_ENCODING);
                return Ok(self.switch(response, lease, user));
            }
            Kind::Connect(_) if !is_switch => {
                return Ok(response.map(|body| Body::leased(body, lease)));
            }
            Kind::Upgrade(wanted, user) if is_switch => {
                // Some leave out which it is.
                let got = response.headers_mut().remove(header::UPGRADE);
                let got = got.unwrap_or_else(|| wanted.clone());
                if !is_same(&got, &wanted) {
                    return Err(ForwardError::Response("it changes to another protocol"));
                }
                let headers = response.headers_mut();
                self.options
                    .rules
                    .apply_to_response(headers, false, Some(got));
                return Ok(self.switch(response, lease, user));
            }
            Kind::Connect(_) | Kind::Ordinary if is_switch => {
                return Err(ForwardError::Response("it changes the protocol unasked"));
            }
            Kind::Connect(_) | Kind::Ordinary | Kind::Upgrade(..) => {}
        }
        let has_body = !response.body().is_end_stream();
        let headers = response.headers_mut();
        self.options
            .rules
            .apply_to_response(headers, has_body, None);
        Ok(response.map(|body| Body::leased(body, lease)))
    }

    /// Ends HTTP on both connections: [`serve`](crate::serve) finds the switch in the answer.
    fn switch(
        &self,
        response: Response<Incoming>,
        lease: Lease,
        user: OnUpgrade,
    ) -> Response<Body> {
        let switch = Switch::new(user, lease.hand_over(), self.half_close, self.idle_timeout);
        let mut response = response.map(|_nothing| Body::empty());
        response.extensions_mut().insert(switch);
        response
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("options", &self.options)
            .field("pool", &self.pool)
            .finish_non_exhaustive()
    }
}

fn is_same(got: &HeaderValue, wanted: &HeaderValue) -> bool {
    got.as_bytes().eq_ignore_ascii_case(wanted.as_bytes())
}

fn is_plainly_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::TRANSFER_ENCODING).iter();
    encodings.next().is_none_or(|first| {
        first.as_bytes().eq_ignore_ascii_case(b"chunked") && encodings.next().is_none()
    })
}

/// Whether a request may be sent twice though the backend may have acted on it (RFC 9110, 9.2.2).
fn is_repeatable(request: &Request<Body>) -> bool {
    let is_idempotent = matches!(
        *request.method(),
        Method::DELETE | Method::GET | Method::HEAD | Method::OPTIONS | Method::PUT | Method::TRACE
    );
    is_idempotent && request.body().is_end_stream()
}

/// How long a backend keeps an idle connection, if it says so, less what a request may be under way.
fn idle_time(headers: &HeaderMap) -> Option<Duration> {
    let said = headers.get_all(KEEP_ALIVE).iter().flat_map(tokens);
    let timeouts = said.filter_map(|parameter| {
        let parameter = std::str::from_utf8(parameter).ok()?;
        let (name, value) = parameter.split_once('=')?;
        let is_timeout = name.trim().eq_ignore_ascii_case("timeout");
        is_timeout.then(|| value.trim().trim_matches('"').parse().ok())?
    });
    let seconds = Duration::from_secs(timeouts.min()?);
    Some(seconds.saturating_sub(UNDER_WAY.min(seconds / 2)))
}

/// The same request again, if it may be sent twice though a backend may have acted on it: it is idempotent and has no body.
pub fn repetition(request: &Request<Body>) -> Option<Request<Body>> {
    if !is_repeatable(request) {
        return None;
    }
    let mut copy = Request::new(Body::empty());
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = Uri::clone(request.uri());
    *copy.headers_mut() = request.headers().clone();
    *copy.extensions_mut() = request.extensions().clone();
    Some(copy)
}

/// Whether the connection failed rather than what came on it.
fn is_about_connection(error: &hyper::Error) -> bool {
    !error.is_parse() && !error.is_user()
}

fn failure(lease: &Lease, error: hyper::Error) -> ForwardError {
    if error.is_user() {
        ForwardError::RequestBody(error)
    } else if !lease.is_reused && !lease.has_spoken() && is_about_connection(&error) {
        ForwardError::Closed(error)
    } else {
        ForwardError::Backend(error)
    }
}

#[cfg(test)]
mod tests;
