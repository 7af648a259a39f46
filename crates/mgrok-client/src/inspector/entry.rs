//! One request with its answer, as it is kept.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What an entry takes beside its texts and bodies, at least.
const OVERHEAD: usize = 1024;

/// What a header takes beside its texts.
const HEADER_OVERHEAD: usize = 48;

/// A header of a message.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Header {
    pub(crate) name: Box<str>,
    /// `None` if it is not kept, because it may be a secret.
    pub(crate) value: Option<Box<[u8]>>,
}

/// A request or an answer.
#[derive(Debug, Default)]
pub(crate) struct Message {
    pub(crate) headers: Vec<Header>,
    /// The beginning of the body.
    pub(crate) body: Vec<u8>,
    /// The body went on.
    pub(crate) is_truncated: bool,
    pub(crate) trailers: Vec<Header>,
}

/// What is known of a request when its answer has come, or will not.
#[derive(Debug)]
pub(crate) struct Record {
    pub(crate) proxy: Arc<str>,
    /// Where the user comes from; empty if nobody says.
    pub(crate) remote_addr: Box<str>,
    /// In milliseconds since 1970.
    pub(crate) started_at: u64,
    pub(crate) to_first_byte: Option<Duration>,
    pub(crate) method: Box<str>,
    pub(crate) path: Box<str>,
    /// Without the question mark; `None` if there is none.
    pub(crate) query: Option<Box<str>>,
    pub(crate) http_version: &'static str,
    /// `None` if there was no answer.
    pub(crate) status: Option<u16>,
    /// Which entry it repeats.
    pub(crate) replay_of: Option<u64>,
    pub(crate) request: Message,
    pub(crate) response: Message,
    pub(crate) progress: Arc<Progress>,
}

/// What goes on to change while a connection that has changed its protocol lives.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// Bytes of the bodies, or of what follows a change of protocol.
    pub(crate) request_size: AtomicU64,
    pub(crate) response_size: AtomicU64,
    /// Frames of WebSocket: from the user, and to the user.
    pub(crate) frames_received: AtomicU64,
    pub(crate) frames_sent: AtomicU64,
    pub(crate) is_websocket: OnceLock<()>,
    /// Unset while it goes on.
    pub(crate) end: OnceLock<End>,
}

/// How a request ended.
#[derive(Clone, Debug)]
pub(crate) struct End {
    pub(crate) duration: Duration,
    /// Why it broke off, if it did.
    pub(crate) error: Option<Box<str>>,
}

/// One request that is kept.
#[derive(Debug)]
pub(crate) struct Entry {
    /// No other entry of this client has or had it; later ones have greater ones.
    pub(crate) id: u64,
    record: Record,
}

impl Entry {
    pub(super) fn new(id: u64, record: Record) -> Self {
        Self { id, record }
    }
}

impl std::ops::Deref for Entry {
    type Target = Record;

    fn deref(&self) -> &Record {
        &self.record
    }
}

impl Record {
    /// What it takes in memory, about.
    pub(super) fn bytes(&self) -> usize {
        let texts = [&self.remote_addr, &self.method, &self.path];
        let texts: usize = texts.iter().map(|it| it.len()).sum();
        let query = self.query.as_ref().map_or(0, |it| it.len());
        OVERHEAD + texts + query + self.request.bytes() + self.response.bytes()
    }

    pub(crate) fn request_size(&self) -> u64 {
        self.progress.request_size.load(Ordering::Relaxed)
    }

    pub(crate) fn response_size(&self) -> u64 {
        self.progress.response_size.load(Ordering::Relaxed)
    }

    /// How long it took; `None` while it goes on.
    pub(crate) fn duration(&self) -> Option<Duration> {
        self.progress.end.get().map(|it| it.duration)
    }
}

impl Message {
    fn bytes(&self) -> usize {
        let headers = self.headers.iter().chain(&self.trailers);
        let headers = headers.map(|it| {
            HEADER_OVERHEAD + it.name.len() + it.value.as_ref().map_or(0, |value| value.len())
        });
        self.body.capacity() + headers.sum::<usize>()
    }

    /// The first header called `name`, in lower case, if its value is kept.
    pub(crate) fn header(&self, name: &str) -> Option<String> {
        let header = self.headers.iter().find(|it| &*it.name == name)?;
        let value = header.value.as_deref()?;
        Some(String::from_utf8_lossy(value).into_owned())
    }
}
