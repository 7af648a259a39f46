//! What is told of each connection and each HTTP request of a user when it is over.
//!
//! Whoever serves a user notes the end where it happens, in a call that is made once for each connection or request, and only if somebody wants to
//! know. Nothing of this is on the way of a byte.

use std::fmt;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU16, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, SystemTime};

use mgrok_metrics::Label;

use crate::feed::{Feed, FeedReader};
use crate::relay::{EndReason, Leg, RelayEnd};

/// How much is kept of a text of a request for those who follow them, in bytes.
const MAX_TEXT_LEN: usize = 1_024;

/// Takes note of what is over.
pub trait AccessSink: fmt::Debug + Send + Sync {
    /// Takes note of one connection or request. Called in the task that served it, which waits meanwhile.
    fn note(&self, access: &Access<'_>);
}

/// A connection or a request of a user that is over.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// Where the user comes from; an unspecified address if nobody says.
    pub from: SocketAddr,
    /// The proxy it went to, or the last that was tried; `None` if it found none.
    pub proxy: Option<AccessProxy<'a>>,
    /// The name that was asked for, where several share a port; else empty.
    pub host: &'a str,
    /// What was asked for over HTTP; `None` if it was not HTTP, or is not looked into.
    pub request: Option<AccessRequest<'a>>,
    /// When it began.
    pub since: SystemTime,
    /// How long it took.
    pub duration: Duration,
    /// Bytes that the user was sent; of HTTP the bodies alone.
    pub sent: u64,
    /// Bytes that the user has sent; of HTTP the bodies alone.
    pub received: u64,
    /// Why it is over.
    pub end: AccessEnd,
    /// More of why, where a user was refused; else empty.
    pub reason: &'a str,
}

/// Whom a user came to.
#[derive(Clone, Copy, Debug)]
pub struct AccessProxy<'a> {
    /// The name of the proxy.
    pub name: &'a str,
    /// Its type, as in frp's configuration.
    pub kind: &'static str,
    /// The session whose proxy it is; empty where there is only one.
    pub run_id: &'a str,
}

/// What was asked for over HTTP. The query is not told: secrets are in it.
#[derive(Clone, Copy, Debug)]
pub struct AccessRequest<'a> {
    /// The method.
    pub method: &'a str,
    /// The decoded path, without the query; empty for CONNECT.
    pub path: &'a str,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
}

/// Why a connection or request is over.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[repr(u8)]
pub enum AccessEnd {
    /// In order: both ends have ended, or the answer is whole.
    Closed,
    /// By an operator's command.
    Command,
    /// Ended in the middle: the user of a request left before the answer was whole, or the program stopped.
    Cut,
    /// A user of a UDP port is silent for long, had to give way, or the port is closed.
    Gone,
    /// Nothing moved for as long as `transport.userIdleTimeout` allows.
    Idle,
    /// The user was not let in, or nobody could serve it.
    Refused,
    /// The service ended, and the user, who went on sending, was cut.
    ServiceEnded,
    /// The connection to the service failed.
    ServiceFailed,
    /// The user ended, and the service, which went on sending, was cut.
    UserEnded,
    /// The connection to the user failed.
    UserFailed,
}

impl Label for AccessEnd {
    const ALL: &'static [Self] = &[
        Self::Closed,
        Self::Command,
        Self::Cut,
        Self::Gone,
        Self::Idle,
        Self::Refused,
        Self::ServiceEnded,
        Self::ServiceFailed,
        Self::UserEnded,
        Self::UserFailed,
    ];

    fn index(self) -> usize {
        self as usize
    }

    fn as_str(self) -> &'static str {
        Self::as_str(self)
    }
}

impl AccessEnd {
    /// How a relay ended, of which `user` is the leg that leads to the user.
    pub fn of(end: &RelayEnd, user: Leg) -> Self {
        match &end.reason {
            EndReason::Closed => Self::Closed,
            EndReason::Cut(leg) if *leg == user => Self::UserEnded,
            EndReason::Cut(_) => Self::ServiceEnded,
            EndReason::Idle => Self::Idle,
            EndReason::Failed { leg, .. } if *leg == user => Self::UserFailed,
            EndReason::Failed { .. } => Self::ServiceFailed,
        }
    }

    /// A word for it, which stays the same from version to version.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::Command => "command",
            Self::Cut => "cut",
            Self::Gone => "gone",
            Self::Idle => "idle",
            Self::Refused => "refused",
            Self::ServiceEnded => "service_ended",
            Self::ServiceFailed => "service_failed",
            Self::UserEnded => "user_ended",
            Self::UserFailed => "user_failed",
        }
    }
}

/// Where the ends of one server or client are noted, if anywhere. Clones are the same.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    /// Looked at first, so that a log that is off costs nothing.
    is_on: AtomicBool,
    /// For those who follow requests, whether the log is on or not.
    requests: Feed<Arc<FinishedRequest>>,
    sink: RwLock<Option<Arc<dyn AccessSink>>>,
}

impl AccessLog {
    /// Has ends noted in `sink` from now on; `None`: nowhere.
    pub fn set_sink(&self, sink: Option<Arc<dyn AccessSink>>) {
        let mut current = self.0.sink.write().unwrap_or_else(PoisonError::into_inner);
        self.0.is_on.store(sink.is_some(), Ordering::Release);
        let before = std::mem::replace(&mut *current, sink);
        drop(current);
        drop(before);
    }

    /// Whether anybody wants to know.
    pub fn is_on(&self) -> bool {
        self.0.is_on.load(Ordering::Acquire)
    }

    /// Whether anybody wants to know of requests.
    pub fn wants_requests(&self) -> bool {
        self.is_on() || self.0.requests.has_readers()
    }

    /// The requests that are over from now on.
    pub fn requests(&self) -> FeedReader<Arc<FinishedRequest>> {
        self.0.requests.subscribe()
    }

    /// Notes that a user from `from` was refused who has not come to any proxy. `request` is what it asked for over HTTP.
    pub fn note_stranger(
        &self,
        from: SocketAddr,
        host: &str,
        request: Option<AccessRequest<'_>>,
        reason: &str,
    ) {
        self.note_refused(from, None, host, request, reason);
    }

    /// Notes that a user from `from` was refused, by `proxy` if it has come to one. `request` is what it asked for over HTTP.
    pub fn note_refused(
        &self,
        from: SocketAddr,
        proxy: Option<AccessProxy<'_>>,
        host: &str,
        request: Option<AccessRequest<'_>>,
        reason: &str,
    ) {
        self.note(&Access {
            from,
            proxy,
            host,
            request,
            since: SystemTime::now(),
            duration: Duration::ZERO,
            sent: 0,
            received: 0,
            end: AccessEnd::Refused,
            reason,
        });
    }

    /// Has it noted, if anybody wants to know.
    pub fn note(&self, access: &Access<'_>) {
        if let Some(request) = access.request {
            let feed = &self.0.requests;
            feed.publish(|| Arc::new(FinishedRequest::new(access, request)));
        }
        if !self.is_on() {
            return;
        }
        let sink = {
            let sink = self.0.sink.read().unwrap_or_else(PoisonError::into_inner);
            sink.clone()
        };
        if let Some(sink) = sink {
            sink.note(access);
        }
    }
}

/// A request that is over, for those who follow them. Long texts are cut.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct FinishedRequest {
    /// The name of the proxy it went to, or of the last that was tried; `None` if it found none.
    pub proxy: Option<String>,
    /// Where the user comes from; an unspecified address if nobody says.
    pub from: SocketAddr,
    /// The method.
    pub method: String,
    /// The name that was asked for.
    pub host: String,
    /// The decoded path, without the query.
    pub path: String,
    /// The status of the answer; `None` if there was none.
    pub status: Option<u16>,
    /// How long it took.
    pub duration: Duration,
    /// Bytes that the user was sent, without heads.
    pub sent: u64,
}

impl FinishedRequest {
    fn new(access: &Access<'_>, request: AccessRequest<'_>) -> Self {
        let text = |text: &str| {
            let end = text.floor_char_boundary(MAX_TEXT_LEN);
            text.get(..end).unwrap_or_default().to_owned()
        };
        Self {
            proxy: access.proxy.map(|it| it.name.to_owned()),
            from: access.from,
            method: text(request.method),
            host: text(access.host),
            path: text(request.path),
            status: request.status,
            duration: access.duration,
            sent: access.sent,
        }
    }
}

/// How something ends, as far as it is known yet.
#[derive(Debug)]
pub struct EndCell(AtomicU8);

impl EndCell {
    /// One that ends so unless something else is set.
    pub fn new(end: AccessEnd) -> Self {
        Self(AtomicU8::new(end as u8))
    }

    /// It ends so.
    pub fn set(&self, end: AccessEnd) {
        self.0.store(end as u8, Ordering::Relaxed);
    }

    /// How it ends, as far as it is known.
    pub fn get(&self) -> AccessEnd {
        let number = usize::from(self.0.load(Ordering::Relaxed));
        AccessEnd::ALL
            .get(number)
            .copied()
            .unwrap_or(AccessEnd::Cut)
    }
}

/// A status of HTTP that is known later.
#[derive(Debug, Default)]
pub struct StatusCell(AtomicU16);

impl StatusCell {
    /// This is the status.
    pub fn set(&self, status: u16) {
        self.0.store(status, Ordering::Relaxed);
    }

    /// The status, if it is known.
    pub fn get(&self) -> Option<u16> {
        Some(self.0.load(Ordering::Relaxed)).filter(|it| *it != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_what_it_was_set_to() {
        for end in AccessEnd::ALL {
            assert_eq!(EndCell::new(*end).get(), *end);
            assert_eq!(AccessEnd::ALL[end.index()], *end);
        }
    }
}
