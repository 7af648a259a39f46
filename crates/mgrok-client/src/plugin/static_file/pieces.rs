//! The bytes of a file as a body: read piece by piece, when the user has taken what was before.

use std::collections::VecDeque;
use std::fmt::{self, Debug, Formatter};
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use mgrok_http::Pieces;
use tracing::{Span, warn};

use super::disk::Disk;

/// What is read at once, in bytes.
const PIECE: u64 = 64 * 1024;

/// What a body consists of.
#[derive(Debug)]
pub(super) enum Part {
    /// These bytes.
    Bytes(Bytes),
    /// Those of the file in this range.
    OfFile(Range<u64>),
}

/// Reads parts of a file.
pub(super) struct FilePieces {
    file: Arc<File>,
    disk: Disk,
    parts: VecDeque<Part>,
    left: u64,
    /// Never locked: this is how requests and answers, which all threads may look at, can hold it.
    reading: Mutex<Option<Reading>>,
    span: Span,
}

type Reading = Pin<Box<dyn Future<Output = io::Result<Bytes>> + Send>>;

impl FilePieces {
    /// Reads on `disk`. Failures are logged within `span`.
    pub(super) fn new(
        file: File,
        disk: &Disk,
        parts: impl IntoIterator<Item = Part>,
        span: Span,
    ) -> Self {
        let parts: VecDeque<Part> = parts.into_iter().collect();
        let lengths = parts.iter().map(|part| match part {
            Part::Bytes(bytes) => bytes.len() as u64,
            Part::OfFile(range) => range.end - range.start,
        });
        Self {
            left: lengths.sum(),
            file: Arc::new(file),
            disk: disk.clone(),
            parts,
            reading: Mutex::default(),
            span,
        }
    }

    fn reading(&mut self) -> &mut Option<Reading> {
        self.reading
            .get_mut()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins to read the next piece; or it is at hand.
    fn next(&mut self) -> Option<Bytes> {
        match self.parts.pop_front()? {
            Part::Bytes(bytes) => return Some(bytes),
            Part::OfFile(range) => {
                let end = range.end.min(range.start + PIECE);
                if end < range.end {
                    self.parts.push_front(Part::OfFile(end..range.end));
                }
                let (file, disk) = (self.file.clone(), self.disk.clone());
                let piece = range.start..end;
                *self.reading() = Some(Box::pin(async move {
                    disk.run(move || read(&file, piece)).await?
                }));
            }
        }
        None
    }
}

fn read(file: &File, range: Range<u64>) -> io::Result<Bytes> {
    let len = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    file.read_exact_at(&mut bytes, range.start)?;
    Ok(bytes.into())
}

impl Pieces for FilePieces {
    fn poll_piece(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            if let Some(reading) = self.reading() {
                let read = ready!(reading.as_mut().poll(cx));
                *self.reading() = None;
                return Poll::Ready(match read {
                    Ok(bytes) => {
                        self.left -= bytes.len() as u64;
                        Some(bytes)
                    }
                    Err(error) => {
                        let _proxy = self.span.enter();
                        warn!(
                            source = "files",
                            "a file cannot be read any further, it may have become shorter: {error}"
                        );
                        self.parts.clear();
                        None
                    }
                });
            }
            if self.parts.is_empty() {
                return Poll::Ready(None);
            }
            if let Some(bytes) = self.next() {
                self.left -= bytes.len() as u64;
                return Poll::Ready(Some(bytes));
            }
        }
    }

    fn left(&self) -> u64 {
        self.left
    }
}

impl Debug for FilePieces {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("FilePieces")
            .field("left", &self.left)
            .finish_non_exhaustive()
    }
}
