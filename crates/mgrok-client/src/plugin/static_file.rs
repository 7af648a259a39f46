//! Answers requests with the files of a directory.
//!
//! An answer is never compressed, so that its length is known and parts of it can be asked for.
// frp: compresses for whoever takes it, parts of files included.

mod beneath;
mod content_type;
mod disk;

mod listing;
mod pieces;

use std::fs::{File, Metadata};
use std::io;
use std::ops::Range;
use std::os::unix::fs::{FileExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822;
use mgrok_config::PluginCredentials;
use mgrok_http::{
    Body, ByteRanges, Credentials, RequestTarget, User, ask_for_credentials, clean_path,
    escape_path, text_answer,
};
use tokio::time::sleep;
use tracing::warn;

use self::beneath::{Found, find};
use self::disk::Disk;
use self::pieces::{FilePieces, Part};
use super::answers::{WRONG_PASSWORD_DELAY, empty};
use super::requests::{AnswerRequests, Requests};

/// What is shown in place of a directory, if it is there.
const INDEX: &[u8] = b"index.html";

/// The files of a directory.
#[derive(Debug)]
pub(crate) struct StaticFile {
    root: PathBuf,
    /// What paths begin with: a `/`, or more between two of them.
    prefix: String,
    /// `None`: anybody may read them.
    credentials: Option<PluginCredentials>,
    disk: Disk,
}

/// What is at a path.
enum Seen {
    /// A file, for which the path must not end in a `/`.
    AsDirectory,
    /// A directory, for which the path must end in a `/`.
    AsFile,
    File(Opened),
    Listing {
        page: String,
        modified: Option<Timestamp>,
    },
}

/// A file that is to be sent.
struct Opened {
    file: File,
    size: u64,
    modified: Option<Timestamp>,
    content_type: &'static str,
}

/// What becomes of a request for something that has been changed at some time.
enum Condition {
    /// It is answered, with the ranges that it asks for if it does.
    Met {
        with_ranges: bool,
    },
    NotModified,
    Failed,
}

impl StaticFile {
    /// The files below `root`. What paths begin with and files do not is `strip_prefix`, without slashes at its ends.
    pub(super) fn new(root: PathBuf, strip_prefix: &str, credentials: PluginCredentials) -> Self {
        Self {
            root,
            prefix: match strip_prefix {
                "" => "/".to_owned(),
                prefix => format!("/{prefix}/"),
            },
            credentials: Some(credentials).filter(|it| !it.is_empty()),
            disk: Disk::new(),
        }
    }

    /// Whether a request may read files.
    fn lets_in(&self, headers: &HeaderMap) -> bool {
        let Some(PluginCredentials { user, password }) = &self.credentials else {
            return true;
        };
        let shown = headers.get(header::AUTHORIZATION);
        let shown = shown.and_then(Credentials::parse);
        shown.is_some_and(|shown| shown.match_with(user, password.expose()))
    }
}

impl AnswerRequests for StaticFile {
    async fn answer(
        requests: &Requests<Self>,
        request: Request<Body>,
        _user: &User,
    ) -> Response<Body> {
        requests.find(&request).await
    }
}

impl Requests<StaticFile> {
    // frp: what is answered to what, and in which order of checks (gorilla/mux, Go's net/http/fs.go)
    async fn find(&self, request: &Request<Body>) -> Response<Body> {
        let target = RequestTarget::of(request);
        let query = request.uri().query();
        let path = clean_path(&target.path);
        if path != target.path {
            return moved(escape_path(&path), query);
        }
        let Some(path) = path.strip_prefix(self.plugin.prefix.as_bytes()) else {
            return not_found();
        };
        if request.method() != Method::GET {
            let mut response = empty(StatusCode::METHOD_NOT_ALLOWED);
            insert(&mut response, header::ALLOW, "GET");
            return response;
        }
        if !self.plugin.lets_in(request.headers()) {
            // Also who shows no password.
            sleep(WRONG_PASSWORD_DELAY).await;
            return ask_for_credentials(false);
        }
        let path = [b"/", path].concat();
        if path.ends_with(&[b"/", INDEX].concat()) {
            return moved("./".to_owned(), query);
        }
        let last = path.rsplit(|&byte| byte == b'/').find(|it| !it.is_empty());
        let last = escape_path(last.unwrap_or_default());
        let root = self.plugin.root.clone();
        let looked = self.plugin.disk.run(move || see(&root, &path)).await;
        match looked.flatten() {
            Ok(Seen::AsFile) => moved(last + "/", query),
            Ok(Seen::AsDirectory) => moved(format!("../{last}"), query),
            Ok(Seen::File(opened)) => self.send(request.headers(), opened),
            Ok(Seen::Listing { page, modified }) => list(request.headers(), page, modified),
            Err(error) => self.failed(&error),
        }
    }

    /// Sends a file, or as much of it as is asked for.
    fn send(&self, headers: &HeaderMap, opened: Opened) -> Response<Body> {
        let Opened {
            file,
            size,
            modified,
            content_type,
        } = opened;
        let mut response = empty(StatusCode::OK);
        insert_date(&mut response, modified);
        let range = match judge(headers, modified) {
            Condition::NotModified => {
                *response.status_mut() = StatusCode::NOT_MODIFIED;
                return response;
            }
            Condition::Failed => {
                *response.status_mut() = StatusCode::PRECONDITION_FAILED;
                return response;
            }
            Condition::Met { with_ranges: true } => headers.get(header::RANGE),
            Condition::Met { with_ranges: false } => None,
        };
        let ranges = range.map_or(ByteRanges::All, |it| ByteRanges::parse(it.as_bytes(), size));
        insert(&mut response, header::ACCEPT_RANGES, "bytes");
        insert(&mut response, header::CONTENT_TYPE, content_type);
        let parts = match ranges {
            ByteRanges::All => vec![Part::OfFile(0..size)],
            ByteRanges::Unsatisfiable => {
                let mut response =
                    text_answer(StatusCode::RANGE_NOT_SATISFIABLE, "invalid range\n");
                let all = format!("bytes */{size}");
                insert(&mut response, header::CONTENT_RANGE, &all);
                return response;
            }
            ByteRanges::Some(ranges) => {
                *response.status_mut() = StatusCode::PARTIAL_CONTENT;
                match &ranges[..] {
                    [range] => {
                        let value = content_range(range, size);
                        insert(&mut response, header::CONTENT_RANGE, &value);
                        vec![Part::OfFile(range.clone())]
                    }
                    ranges => {
                        let boundary =
                            format!("{:032x}{:032x}", fastrand::u128(..), fastrand::u128(..));
                        let value = format!("multipart/byteranges; boundary={boundary}");
                        insert(&mut response, header::CONTENT_TYPE, &value);
                        in_parts(ranges, size, content_type, &boundary)
                    }
                }
            }
        };
        let pieces = FilePieces::new(file, &self.plugin.disk, parts, self.span.clone());
        *response.body_mut() = Body::made(Box::new(pieces), self.row.clone());
        response
    }

    /// The answer to a request for something that cannot be read.
    fn failed(&self, error: &io::Error) -> Response<Body> {
        use rustix::io::Errno;

        match Errno::from_io_error(error) {
            // Links that lead elsewhere, and names that no file has, among them those with a zero byte in them.
            Some(
                Errno::NOENT
                | Errno::NOTDIR
                | Errno::LOOP
                | Errno::XDEV
                | Errno::NAMETOOLONG
                | Errno::INVAL,
            ) => not_found(),
            None if error.kind() == io::ErrorKind::InvalidInput => not_found(),
            Some(Errno::ACCESS) => text_answer(StatusCode::FORBIDDEN, "403 Forbidden\n"),
            _ => {
                let _proxy = self.span.enter();
                warn!(source = "files", "a file cannot be read: {error}");
                let why = "500 Internal Server Error\n";
                text_answer(StatusCode::INTERNAL_SERVER_ERROR, why)
            }
        }
    }
}

/// Finds out what there is at `path`, which is clean, and opens it. Blocks on the file system.
fn see(root: &Path, path: &[u8]) -> io::Result<Seen> {
    let is_directory_path = path.ends_with(b"/");
    let name = path.rsplit(|&byte| byte == b'/').next();
    match find(root, path)? {
        Found::File(..) if is_directory_path => Ok(Seen::AsDirectory),
        Found::File(file, metadata) => open(file, &metadata, name.unwrap_or_default()),
        Found::Directory(..) if !is_directory_path => Ok(Seen::AsFile),
        Found::Directory(directory, metadata) => {
            if let Ok(Found::File(file, metadata)) = find(root, &[path, INDEX].concat()) {
                return open(file, &metadata, INDEX);
            }
            Ok(Seen::Listing {
                page: listing::page(&directory)?,
                modified: modified(&metadata),
            })
        }
    }
}

fn open(file: File, metadata: &Metadata, name: &[u8]) -> io::Result<Seen> {
    let content_type = match content_type::by_name(name) {
        Some(known) => known,
        None => {
            let len = metadata.len().min(content_type::LOOK);
            let mut first = vec![0; usize::try_from(len).unwrap_or_default()];
            file.read_exact_at(&mut first, 0)?;
            content_type::by_content(&first)
        }
    };
    Ok(Seen::File(Opened {
        file,
        size: metadata.len(),
        modified: modified(metadata),
        content_type,
    }))
}

/// When it was changed, in whole seconds; `None` if nobody knows.
fn modified(metadata: &Metadata) -> Option<Timestamp> {
    let seconds = metadata.mtime();
    // frp: the same, for file systems that keep no times
    (seconds != 0).then(|| Timestamp::from_second(seconds).ok())?
}

/// Whether a request is to be answered, by when what it asks for was changed. There are no entity tags.
// frp: in this order (Go's net/http/fs.go#checkPreconditions)
fn judge(headers: &HeaderMap, modified: Option<Timestamp>) -> Condition {
    let value = |name: HeaderName| headers.get(name).filter(|it| !it.is_empty());
    let date = |name| value(name).and_then(parse_date);
    match (value(header::IF_MATCH), modified) {
        (Some(tags), _) if tags.as_bytes().trim_ascii() != b"*" => return Condition::Failed,
        (None, Some(modified))
            if date(header::IF_UNMODIFIED_SINCE).is_some_and(|since| modified > since) =>
        {
            return Condition::Failed;
        }
        _ => {}
    }
    match (value(header::IF_NONE_MATCH), modified) {
        (Some(tags), _) if tags.as_bytes().trim_ascii() == b"*" => return Condition::NotModified,
        (None, Some(modified))
            if date(header::IF_MODIFIED_SINCE).is_some_and(|since| modified <= since) =>
        {
            return Condition::NotModified;
        }
        _ => {}
    }
    // A tag is one that we have not made, so that the range is one of something else.
    let with_ranges =
        value(header::IF_RANGE).is_none_or(|it| modified.is_some() && parse_date(it) == modified);
    Condition::Met { with_ranges }
}

fn parse_date(value: &HeaderValue) -> Option<Timestamp> {
    rfc2822::DateTimeParser::new()
        .parse_timestamp(value.as_bytes())
        .ok()
}

/// The parts of an answer with several ranges, with what stands between them (RFC 9110, 14.6).
fn in_parts(ranges: &[Range<u64>], size: u64, content_type: &str, boundary: &str) -> Vec<Part> {
    let mut parts = Vec::with_capacity(2 * ranges.len() + 1);
    let mut line_end = "";
    for range in ranges {
        let head = format!(
            "{line_end}--{boundary}\r\nContent-Range: {}\r\nContent-Type: {content_type}\r\n\r\n",
            content_range(range, size)
        );
        parts.push(Part::Bytes(Bytes::from(head)));
        parts.push(Part::OfFile(range.clone()));
        line_end = "\r\n";
    }
    parts.push(Part::Bytes(Bytes::from(format!("\r\n--{boundary}--\r\n"))));
    parts
}

fn content_range(range: &Range<u64>, size: u64) -> String {
    // A range is never empty.
    format!("bytes {}-{}/{size}", range.start, range.end - 1)
}

/// Shows what is in a directory.
fn list(headers: &HeaderMap, page: String, modified: Option<Timestamp>) -> Response<Body> {
    let mut response = empty(StatusCode::OK);
    insert_date(&mut response, modified);
    // frp: of the conditions this one alone
    let since = headers.get(header::IF_MODIFIED_SINCE).and_then(parse_date);
    let has_tag = headers.contains_key(header::IF_NONE_MATCH);
    if !has_tag && since.is_some_and(|since| modified.is_some_and(|it| it <= since)) {
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        return response;
    }
    insert(
        &mut response,
        header::CONTENT_TYPE,
        "text/html; charset=utf-8",
    );
    *response.body_mut() = Body::full(page);
    response
}

fn not_found() -> Response<Body> {
    text_answer(StatusCode::NOT_FOUND, "404 page not found\n")
}

/// Says that something is at `location`, a path as URLs have it.
fn moved(mut location: String, query: Option<&str>) -> Response<Body> {
    if let Some(query) = query {
        location.push('?');
        location.push_str(query);
    }
    let mut response = empty(StatusCode::MOVED_PERMANENTLY);
    insert(&mut response, header::LOCATION, &location);
    response
}

fn insert_date(response: &mut Response<Body>, date: Option<Timestamp>) {
    let printer = rfc2822::DateTimePrinter::new();
    if let Some(date) = date.and_then(|it| printer.timestamp_to_rfc9110_string(&it).ok()) {
        insert(response, header::LAST_MODIFIED, &date);
    }
}

/// Sets a header to a value of printable characters.
fn insert(response: &mut Response<Body>, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(name, value);
    }
}
