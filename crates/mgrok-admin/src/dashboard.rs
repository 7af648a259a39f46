//! The dashboard: the pages of an end, which are part of the program, or those of a directory of the operator's.

use std::borrow::Cow;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode};
use rust_embed::{Embed, EmbeddedFile};
use tokio::task::spawn_blocking;

use crate::answer::{bare, not_found};

/// The largest file of the operator's directory that is served, in bytes: it is held in memory while it is sent.
const MAX_FILE: u64 = 16 * 1024 * 1024;
/// What our pages may do: load what comes from this port and nothing else, and run no script that stands within a page.
const OUR_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; \
                          form-action 'none'; frame-ancestors 'none'; base-uri 'none'";
/// What the operator's own pages may do, which are as they are.
const OWN_POLICY: &str = "default-src 'self' 'unsafe-inline' data: blob:; frame-ancestors 'none'";

/// The pages of which end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dashboard {
    /// The server's.
    Server,
    /// The client's.
    Client,
}

#[derive(Embed)]
#[folder = "pages/common"]
struct CommonPages;

#[derive(Embed)]
#[folder = "pages/server"]
struct ServerPages;

#[derive(Embed)]
#[folder = "pages/client"]
struct ClientPages;

/// A file, ready to be sent.
struct Page {
    kind: &'static str,
    etag: String,
    bytes: Bytes,
    policy: &'static str,
}

impl Dashboard {
    /// Answers a request with these `headers` for the file at `path`, which is relative and decoded: "" is the page that begins. It is taken
    /// from `assets_dir` if there is one.
    pub(crate) async fn answer(
        self,
        path: &str,
        assets_dir: Option<PathBuf>,
        headers: &HeaderMap,
    ) -> Response<Body> {
        let page = match assets_dir {
            None => self.embedded(path),
            Some(dir) => {
                let path = path.to_owned();
                let read = spawn_blocking(move || own(&dir, &path)).await;
                read.ok().and_then(Result::ok)
            }
        };
        match page {
            Some(page) => page.answer(headers),
            None => not_found(),
        }
    }

    /// The file of the program at `path`.
    fn embedded(self, path: &str) -> Option<Page> {
        let get = |end: &str, name: &str| match (self, end) {
            (_, "common") => CommonPages::get(name),
            (Self::Server, "server") => ServerPages::get(name),
            (Self::Client, "client") => ClientPages::get(name),
            _ => None,
        };
        let path = match (path, self) {
            ("", Self::Server) => "server/index.html",
            ("", Self::Client) => "client/index.html",
            ("favicon.ico", _) => "common/icon.svg",
            _ => path,
        };
        let (end, name) = path.split_once('/')?;
        let EmbeddedFile { data, metadata } = get(end, name)?;
        let hash = metadata.sha256_hash();
        let etag: String = hash.iter().take(12).map(|it| format!("{it:02x}")).collect();
        Some(Page {
            kind: content_type(path),
            etag: format!("\"{etag}\""),
            bytes: match data {
                Cow::Borrowed(data) => Bytes::from_static(data),
                Cow::Owned(data) => data.into(),
            },
            policy: OUR_POLICY,
        })
    }
}

impl Page {
    fn answer(self, headers: &HeaderMap) -> Response<Body> {
        let Self {
            kind,
            etag,
            bytes,
            policy,
        } = self;
        let is_known = headers.get_all(header::IF_NONE_MATCH).iter().any(|known| {
            let known = known.to_str().unwrap_or_default().split(',');
            known
                .map(|it| it.trim().trim_start_matches("W/"))
                .any(|it| it == etag || it == "*")
        });
        let mut response = match is_known {
            true => bare(StatusCode::NOT_MODIFIED),
            false => Response::new(Body::from(bytes)),
        };
        let headers = response.headers_mut();
        if !is_known {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        }
        // Made of hexadecimal digits.
        if let Ok(etag) = HeaderValue::from_str(&etag) {
            headers.insert(header::ETAG, etag);
        }
        // Kept, but asked for each time: a program of another version has other pages.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(
            header::CONTENT_SECURITY_POLICY,
            HeaderValue::from_static(policy),
        );
        response
    }
}

/// The file at `path` below `dir`, and never one elsewhere, whatever the path says and wherever links in `dir` lead.
fn own(dir: &Path, path: &str) -> io::Result<Page> {
    let path = if path.is_empty() { "index.html" } else { path };
    let is_name =
        |part: &str| !matches!(part, "" | "." | "..") && !part.contains(['\\', ':', '\0']);
    if !path.split('/').all(is_name) {
        return Err(io::ErrorKind::NotFound.into());
    }
    let dir = dir.canonicalize()?;
    let file = dir.join(path).canonicalize()?;
    let about = fs::metadata(&file)?;
    if !file.starts_with(&dir) || !about.is_file() || about.len() > MAX_FILE {
        return Err(io::ErrorKind::NotFound.into());
    }
    let changed = about
        .modified()?
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    Ok(Page {
        kind: content_type(path),
        etag: format!("\"{:x}-{:x}\"", about.len(), changed.as_nanos()),
        bytes: fs::read(file)?.into(),
        policy: OWN_POLICY,
    })
}

/// What a file is, by the end of its name.
fn content_type(path: &str) -> &'static str {
    let end = path.rsplit_once('.').map_or("", |(_, end)| end);
    match end.to_ascii_lowercase().as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "json" | "map" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        "png" => "image/png",
        "jpg" | "jpeg" => "image/jpeg",
        "gif" => "image/gif",
        "webp" => "image/webp",
        "ico" => "image/x-icon",
        "woff" => "font/woff",
        "woff2" => "font/woff2",
        "wasm" => "application/wasm",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests;
