//! What the access log is told of a request when its answer is over.
//!
//! Whatever passes bytes of the request holds its note, so that the last of them tells.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::{Instant, SystemTime};

use hyper::{Request, Response};
use mgrok_http::{Body, BodyEnd, Meter, RequestTarget};
use mgrok_net::access_log::{Access, AccessEnd, AccessLog, AccessRequest, EndCell, StatusCell};
use mgrok_net::relay::Traffic;

use crate::directory::{ConnectionRow, ProxyEntry};

/// One request, from its head to the end of its answer.
#[derive(Debug)]
pub(super) struct RequestNote {
    log: AccessLog,
    from: SocketAddr,
    since: SystemTime,
    began: Instant,
    method: Box<str>,
    host: Box<str>,
    path: Box<str>,
    /// The proxy that was asked last.
    proxy: Mutex<Option<Arc<ProxyEntry>>>,
    traffic: Traffic,
    status: StatusCell,
    end: EndCell,
    /// Why it was refused, if it was.
    refusal: OnceLock<String>,
}

/// Counts for a request, and for the connection that it came on.
#[derive(Debug)]
pub(super) struct RequestMeter {
    note: Arc<RequestNote>,
    row: Arc<ConnectionRow>,
    /// What the connection had moved when the protocol changed: from then on nobody else uses it.
    before_raw: OnceLock<(u64, u64)>,
}

impl RequestNote {
    /// A note of `request`, for a log that is on.
    pub(super) fn of(log: &AccessLog, request: &Request<Body>, from: SocketAddr) -> Arc<Self> {
        let target = RequestTarget::of(request);
        Arc::new(Self {
            log: log.clone(),
            from,
            since: SystemTime::now(),
            began: Instant::now(),
            method: request.method().as_str().into(),
            host: target.host.as_ref().into(),
            path: String::from_utf8_lossy(&target.path).into(),
            proxy: Mutex::default(),
            traffic: Traffic::default(),
            status: StatusCell::default(),
            end: EndCell::new(AccessEnd::Cut),
            refusal: OnceLock::new(),
        })
    }

    /// Counts what passes for the request on its way to `proxy`, and in the row of its connection.
    pub(super) fn meter(
        self: &Arc<Self>,
        proxy: &Arc<ProxyEntry>,
        row: Arc<ConnectionRow>,
    ) -> RequestMeter {
        self.set_proxy(proxy);
        RequestMeter {
            note: self.clone(),
            row,
            before_raw: OnceLock::new(),
        }
    }

    /// The request is refused for `reason`, by `proxy` if it has come to one.
    pub(super) fn refused(&self, proxy: Option<&Arc<ProxyEntry>>, reason: &dyn fmt::Display) {
        if let Some(proxy) = proxy {
            self.set_proxy(proxy);
        }
        // Nobody refuses a request twice.
        let _ = self.refusal.set(reason.to_string());
    }

    fn set_proxy(&self, proxy: &Arc<ProxyEntry>) {
        *self.proxy.lock().unwrap_or_else(PoisonError::into_inner) = Some(proxy.clone());
    }

    /// The request has its answer, of which the body may be under way.
    pub(super) fn answered(&self, response: &Response<Body>) {
        self.status.set(response.status().as_u16());
        if let Some(len) = response.body().len_at_hand() {
            self.traffic.sent.fetch_add(len as u64, Ordering::Relaxed);
            self.end.set(AccessEnd::Closed);
        }
    }
}

impl Drop for RequestNote {
    fn drop(&mut self) {
        let proxy = self.proxy.get_mut().unwrap_or_else(PoisonError::into_inner);
        self.log.note(&Access {
            from: self.from,
            proxy: proxy.as_ref().map(|it| it.as_accessed()),
            host: &self.host,
            request: Some(AccessRequest {
                method: &self.method,
                path: &self.path,
                status: self.status.get(),
            }),
            since: self.since,
            duration: self.began.elapsed(),
            sent: self.traffic.sent.load(Ordering::Relaxed),
            received: self.traffic.received.load(Ordering::Relaxed),
            end: match self.refusal.get() {
                Some(_) => AccessEnd::Refused,
                None => self.end.get(),
            },
            reason: self.refusal.get().map_or("", String::as_str),
        });
    }
}

impl RequestMeter {
    fn moved(&self) -> (u64, u64) {
        let Traffic { sent, received } = self.row.traffic();
        (
            sent.load(Ordering::Relaxed),
            received.load(Ordering::Relaxed),
        )
    }
}

impl Meter for RequestMeter {
    fn traffic(&self) -> &Traffic {
        self.before_raw.get_or_init(|| self.moved());
        self.row.traffic()
    }

    fn count_sent(&self, bytes: u64) {
        self.row.traffic().sent.fetch_add(bytes, Ordering::Relaxed);
        self.note.traffic.sent.fetch_add(bytes, Ordering::Relaxed);
    }

    fn count_received(&self, bytes: u64) {
        let counters = [self.row.traffic(), &self.note.traffic];
        for Traffic { received, .. } in counters {
            received.fetch_add(bytes, Ordering::Relaxed);
        }
    }

    fn note_end(&self, end: BodyEnd) {
        self.note.end.set(match end {
            BodyEnd::Abandoned => AccessEnd::Cut,
            BodyEnd::Failed => AccessEnd::ServiceFailed,
            BodyEnd::Whole => AccessEnd::Closed,
        });
    }
}

impl Drop for RequestMeter {
    fn drop(&mut self) {
        if let Some((sent_before, received_before)) = self.before_raw.get() {
            let (sent, received) = self.moved();
            let Traffic {
                sent: all_sent,
                received: all_received,
            } = &self.note.traffic;
            all_sent.fetch_add(sent - sent_before, Ordering::Relaxed);
            all_received.fetch_add(received - received_before, Ordering::Relaxed);
        }
    }
}
