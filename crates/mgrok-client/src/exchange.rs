//! One request of a user with its answer, looked on while it passes, for whoever wants to know of it.
//!
//! Whatever passes bytes of the request holds it, so that the last of them tells: the access log, a program that shows requests, and, if the
//! proxy is inspected, the inspector. No byte is held back, and what is kept of a body is copied up to a limit and not beyond.

use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use hyper::{HeaderMap, Request, Response, StatusCode, Version, header};
use mgrok_config::Inspect;
use mgrok_http::{Body, BodyEnd, Direction, Meter, RequestTarget};
use mgrok_net::access_log::{Access, AccessEnd, AccessRequest, EndCell, StatusCell};
use mgrok_net::relay::{EndReason, Leg, RelayEnd, Traffic};
use tokio::sync::oneshot;

use crate::inspector::{End, Entry, FrameCounter, Header, Message, Record};
use crate::observer::{KeptRequest, UserEventKind};
use crate::users::{NOBODY, ProxyUsers, UserRow};

/// What is kept of the headers of one message, in bytes of names and values. A request's are limited to as much anyhow.
const MAX_HEADERS: usize = 64 << 10;

const FORWARDED_FOR: &str = "x-forwarded-for";

/// One request, from its head to the end of its answer.
#[derive(Debug)]
pub(crate) struct Exchange {
    users: Arc<ProxyUsers>,
    /// `None` for a request that is none of a user's.
    row: Option<Arc<UserRow>>,
    from: SocketAddr,
    since: SystemTime,
    began: Instant,
    method: Box<str>,
    /// As it was asked for: the path with its query.
    target: Box<str>,
    host: Box<str>,
    /// Decoded, without the query.
    path: Box<str>,
    traffic: Traffic,
    status: StatusCell,
    end: EndCell,
    /// Why it broke off, if it did.
    why: OnceLock<Box<str>>,
    /// What the row had moved when the protocol changed: from then on nobody else uses it.
    before_raw: OnceLock<(u64, u64)>,
    /// `None` if it is not inspected.
    recording: Option<Recording>,
}

/// What the inspector is to keep of a request.
#[derive(Debug)]
struct Recording {
    inspect: Arc<Inspect>,
    /// `None` once it is kept.
    draft: Mutex<Option<Box<Draft>>>,
    raw: Mutex<[FrameCounter; 2]>,
    is_websocket: OnceLock<()>,
    /// What is kept before the end: a connection that has changed its protocol.
    kept: OnceLock<Arc<Entry>>,
}

#[derive(Debug)]
struct Draft {
    record: Record,
    /// Bytes of bodies that the inspector has granted.
    granted: usize,
    /// Who waits for the entry.
    waits: Option<oneshot::Sender<Arc<Entry>>>,
}

/// Which entry a request repeats, and who waits for the entry that it becomes.
#[derive(Debug)]
pub(crate) struct Replay {
    pub(crate) of: u64,
    pub(crate) waits: oneshot::Sender<Arc<Entry>>,
}

impl Exchange {
    /// The exchange that `request` of the user of `row` begins.
    pub(crate) fn new(
        request: &Request<Body>,
        row: &Arc<UserRow>,
        inspect: Option<&Arc<Inspect>>,
    ) -> Arc<Self> {
        let from = user_of(request, row.from());
        let users = row.users().clone();
        Self::begin(request, users, Some(row.clone()), from, inspect, None)
    }

    /// The exchange of `request`, which repeats another.
    pub(crate) fn replay(
        request: &Request<Body>,
        users: &Arc<ProxyUsers>,
        inspect: &Arc<Inspect>,
        replay: Replay,
    ) -> Arc<Self> {
        let users = users.clone();
        Self::begin(request, users, None, NOBODY, Some(inspect), Some(replay))
    }

    fn begin(
        request: &Request<Body>,
        users: Arc<ProxyUsers>,
        row: Option<Arc<UserRow>>,
        from: SocketAddr,
        inspect: Option<&Arc<Inspect>>,
        replay: Option<Replay>,
    ) -> Arc<Self> {
        let since = SystemTime::now();
        let recording = inspect.map(|inspect| {
            let record = record_of(request, users.name(), from, since, inspect, &replay);
            let waits = replay.map(|it| it.waits);
            Recording {
                inspect: inspect.clone(),
                draft: Mutex::new(Some(Box::new(Draft {
                    record,
                    granted: 0,
                    waits,
                }))),
                raw: Mutex::default(),
                is_websocket: OnceLock::new(),
                kept: OnceLock::new(),
            }
        });
        let target = RequestTarget::of(request);
        let host = target.host.as_ref().into();
        let path = String::from_utf8_lossy(&target.path).into();
        Arc::new(Self {
            users,
            row,
            from,
            since,
            began: Instant::now(),
            method: request.method().as_str().into(),
            target: request.uri().to_string().into(),
            host,
            path,
            traffic: Traffic::default(),
            status: StatusCell::default(),
            end: EndCell::new(AccessEnd::Cut),
            why: OnceLock::new(),
            before_raw: OnceLock::new(),
            recording,
        })
    }

    /// The request has its answer, of which the body may be under way.
    pub(crate) fn answered(&self, response: &Response<Body>) {
        self.status.set(response.status().as_u16());
        let at_hand = response.body().len_at_hand();
        if let Some(len) = at_hand {
            self.traffic.sent.fetch_add(len as u64, Ordering::Relaxed);
            self.end.set(AccessEnd::Closed);
        }
        let Some(recording) = &self.recording else {
            return;
        };
        let is_switch = response.status() == StatusCode::SWITCHING_PROTOCOLS
            || (&*self.method == "CONNECT" && response.status().is_success());
        {
            let mut draft = recording.draft();
            let Some(draft) = draft.as_mut() else { return };
            let record = &mut draft.record;
            record.status = Some(response.status().as_u16());
            record.to_first_byte = Some(self.began.elapsed());
            let (headers, redact) = (response.headers(), &recording.inspect.redact);
            record.response.headers = kept_headers(headers, redact);
            if let Some(len) = at_hand {
                let size = &record.progress.response_size;
                size.fetch_add(len as u64, Ordering::Relaxed);
            }
            if is_switch && is_websocket(response.headers()) {
                let _ = recording.is_websocket.set(());
                let _ = record.progress.is_websocket.set(());
            }
        }
        if is_switch {
            // It may go on for days, and is to be seen meanwhile.
            self.keep(recording);
        }
    }

    /// There is no answer of the service, for this reason; what the user is told may follow by [`answered`](Self::answered).
    pub(crate) fn failed(&self, why: String) {
        let _ = self.why.set(why.into());
    }

    /// Hands what was recorded to the inspector.
    fn keep(&self, recording: &Recording) {
        let Some(draft) = recording.draft().take() else {
            return;
        };
        let Draft {
            record,
            granted,
            waits,
        } = *draft;
        let inspector = self.users.inspector();
        inspector.give_back(granted);
        let entry = inspector.keep(record, recording.inspect.requests);
        self.users.publish(&entry);
        if let Some(waits) = waits {
            // Who waited may have left.
            let _ = waits.send(entry.clone());
        }
        let _ = recording.kept.set(entry);
    }

    fn row_moved(&self) -> (u64, u64) {
        let traffic = match &self.row {
            Some(row) => row.traffic(),
            None => &self.traffic,
        };
        (
            traffic.sent.load(Ordering::Relaxed),
            traffic.received.load(Ordering::Relaxed),
        )
    }

    /// Adds what has followed a change of protocol, which only the row has counted.
    fn add_raw(&mut self) {
        let Some((sent_before, received_before)) = self.before_raw.get().copied() else {
            return;
        };
        if self.row.is_none() {
            return;
        }
        let (sent, received) = self.row_moved();
        *self.traffic.sent.get_mut() += sent - sent_before;
        *self.traffic.received.get_mut() += received - received_before;
    }
}

impl Meter for Exchange {
    fn traffic(&self) -> &Traffic {
        self.before_raw.get_or_init(|| self.row_moved());
        match &self.row {
            Some(row) => row.traffic(),
            None => &self.traffic,
        }
    }

    fn count_sent(&self, bytes: u64) {
        if let Some(row) = &self.row {
            row.count_sent(bytes);
        }
        self.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_received(&self, bytes: u64) {
        if let Some(row) = &self.row {
            row.count_received(bytes);
        }
        self.traffic.received.fetch_add(bytes, Ordering::Relaxed);
    }

    fn note_end(&self, end: BodyEnd) {
        self.end.set(match end {
            BodyEnd::Abandoned => AccessEnd::Cut,
            BodyEnd::Failed => AccessEnd::ServiceFailed,
            BodyEnd::Whole => AccessEnd::Closed,
        });
        match end {
            BodyEnd::Abandoned => self.failed("the user left before the answer was whole".into()),
            BodyEnd::Failed => self.failed("the service broke the answer off".into()),
            BodyEnd::Whole => {}
        }
    }

    fn note_request_end(&self, end: BodyEnd) {
        match end {
            BodyEnd::Failed => self.failed("the user broke the request off".into()),
            BodyEnd::Abandoned => self.failed("the service did not take the whole request".into()),
            BodyEnd::Whole => {}
        }
    }

    fn see_data(&self, direction: Direction, data: &[u8]) {
        let Some(recording) = &self.recording else {
            return;
        };
        let limit = recording.inspect.body_limit;
        let mut draft = recording.draft();
        let Some(draft) = draft.as_mut() else { return };
        let record = &mut draft.record;
        let (message, size) = match direction {
            Direction::Received => (&mut record.request, &record.progress.request_size),
            Direction::Sent => (&mut record.response, &record.progress.response_size),
        };
        size.fetch_add(data.len() as u64, Ordering::Relaxed);
        if message.is_truncated || data.is_empty() {
            return;
        }
        let room = (limit - message.body.len()).min(data.len());
        let granted = self.users.inspector().grant(room);
        draft.granted += granted;
        message.body.extend_from_slice(&data[..granted]);
        message.is_truncated = granted < data.len();
    }

    fn see_trailers(&self, direction: Direction, trailers: &HeaderMap) {
        let Some(recording) = &self.recording else {
            return;
        };
        let trailers = kept_headers(trailers, &recording.inspect.redact);
        if let Some(draft) = recording.draft().as_mut() {
            match direction {
                Direction::Received => draft.record.request.trailers = trailers,
                Direction::Sent => draft.record.response.trailers = trailers,
            }
        }
    }

    fn sees_raw(&self) -> bool {
        self.recording.is_some()
    }

    fn see_raw(&self, direction: Direction, bytes: &[u8]) {
        let Some(recording) = &self.recording else {
            return;
        };
        let Some(entry) = recording.kept.get() else {
            return;
        };
        let progress = &entry.progress;
        let (place, size, frames) = match direction {
            Direction::Received => (0, &progress.request_size, &progress.frames_received),
            Direction::Sent => (1, &progress.response_size, &progress.frames_sent),
        };
        size.fetch_add(bytes.len() as u64, Ordering::Relaxed);
        if recording.is_websocket.get().is_some() {
            let mut raw = recording.raw.lock().unwrap_or_else(PoisonError::into_inner);
            frames.fetch_add(raw[place].pass(bytes), Ordering::Relaxed);
        }
    }

    fn note_raw_end(&self, end: Option<&RelayEnd>) {
        let Some(end) = end else {
            self.end.set(AccessEnd::Cut);
            return self.failed("the protocol did not change".into());
        };
        // The relay's user is ours, and its work connection the local service.
        self.end.set(AccessEnd::of(end, Leg::Outside));
        if let EndReason::Failed { leg, error } = &end.reason {
            let who = match leg {
                Leg::Outside => "user",
                Leg::Tunnel => "service",
            };
            self.failed(format!("the connection to the {who} failed: {error}"));
        }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.add_raw();
        let duration = self.began.elapsed();
        let end = self.end.get();
        let error = match self.why.get() {
            Some(why) => Some(why.clone()),
            None if self.status.get().is_none() => Some("the user left before the answer".into()),
            None => None,
        };
        if let Some(recording) = &self.recording {
            let is_kept = recording.kept.get().is_some();
            let end = End { duration, error };
            if let Some(entry) = recording.kept.get() {
                let _ = entry.progress.end.set(end);
                self.users.publish(entry);
            } else if let Some(draft) = recording.draft().as_ref() {
                let _ = draft.record.progress.end.set(end);
            }
            if !is_kept {
                self.keep(recording);
            }
        }
        // What an operator repeats is nobody's request.
        if self.row.is_none() {
            return;
        }
        if let Some(observer) = self.users.observer() {
            let recording = self.recording.as_ref();
            let kept = recording.and_then(|it| it.kept.get());
            let what = UserEventKind::Request {
                method: self.method.to_string(),
                target: self.target.to_string(),
                status: self.status.get(),
                after: duration,
                kept: kept.map(KeptRequest::new).unwrap_or_default(),
            };
            let from = Some(self.from).filter(|it| !it.ip().is_unspecified());
            observer.tell(from, what);
        }
        self.users.note(&Access {
            from: self.from,
            proxy: None,
            host: &self.host,
            request: Some(AccessRequest {
                method: &self.method,
                path: &self.path,
                status: self.status.get(),
            }),
            since: self.since,
            duration,
            sent: self.traffic.sent.load(Ordering::Relaxed),
            received: self.traffic.received.load(Ordering::Relaxed),
            end,
            reason: "",
        });
    }
}

impl Recording {
    fn draft(&self) -> MutexGuard<'_, Option<Box<Draft>>> {
        self.draft.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who sends `request`, which came on a connection that the server made for the user at `first`: the server may send those of others on it, and
/// says whose they are at the end of a header.
fn user_of(request: &Request<Body>, first: SocketAddr) -> SocketAddr {
    let said = request.headers().get_all(FORWARDED_FOR).iter().next_back();
    let said = said.and_then(|it| it.to_str().ok());
    let last = said.and_then(|it| it.rsplit(',').next()).map(str::trim);
    match last.and_then(|it| it.parse::<IpAddr>().ok()) {
        Some(ip) if ip.to_canonical() != first.ip().to_canonical() => SocketAddr::new(ip, 0),
        Some(_) | None => first,
    }
}

fn record_of(
    request: &Request<Body>,
    proxy: &Arc<str>,
    from: SocketAddr,
    since: SystemTime,
    inspect: &Inspect,
    replay: &Option<Replay>,
) -> Record {
    let since = since.duration_since(UNIX_EPOCH).unwrap_or_default();
    let remote_addr = match (from.ip().is_unspecified(), from.port()) {
        (true, _) => String::new(),
        (false, 0) => from.ip().to_canonical().to_string(),
        (false, port) => SocketAddr::new(from.ip().to_canonical(), port).to_string(),
    };
    let uri = request.uri();
    let path = match uri.path() {
        // CONNECT.
        "" => uri.to_string(),
        path => path.to_owned(),
    };
    Record {
        proxy: proxy.clone(),
        remote_addr: remote_addr.into(),
        started_at: u64::try_from(since.as_millis()).unwrap_or(u64::MAX),
        to_first_byte: None,
        method: request.method().as_str().into(),
        path: path.into(),
        query: uri.query().map(Into::into),
        http_version: match request.version() {
            Version::HTTP_10 => "HTTP/1.0",
            Version::HTTP_2 => "HTTP/2.0",
            _ => "HTTP/1.1",
        },
        status: None,
        replay_of: replay.as_ref().map(|it| it.of),
        request: Message {
            headers: kept_headers(request.headers(), &inspect.redact),
            ..Message::default()
        },
        response: Message::default(),
        progress: Arc::default(),
    }
}

/// What is kept of `headers`: no value of those that are in `redact`, and nothing beyond the limit.
fn kept_headers(headers: &HeaderMap, redact: &[String]) -> Vec<Header> {
    let mut room = MAX_HEADERS;
    let mut kept = Vec::new();
    for (name, value) in headers {
        let is_secret = redact.iter().any(|it| it == name.as_str());
        let value = (!is_secret).then(|| value.as_bytes());
        let len = name.as_str().len() + value.map_or(0, <[u8]>::len);
        let Some(rest) = room.checked_sub(len) else {
            break;
        };
        room = rest;
        kept.push(Header {
            name: name.as_str().into(),
            value: value.map(Into::into),
        });
    }
    kept
}

fn is_websocket(headers: &HeaderMap) -> bool {
    let upgrade = headers.get(header::UPGRADE);
    upgrade.is_some_and(|it| it.as_bytes().eq_ignore_ascii_case(b"websocket"))
}

/// How long an answer to a request that is repeated may take.
pub(crate) const REPLAY_TIME: Duration = Duration::from_secs(45);
