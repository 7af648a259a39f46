//! The plugin `static_file`.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mgrok_config::{Plugin, PluginCredentials};
use mgrok_proto::auth::Secret;
use tempfile::TempDir;

use crate::plugins::{Tunnel, ask, talk};
use crate::server::within;

/// When all files were changed, and how that is written.
const CHANGED: u64 = 784_111_777;
const DATE: &str = "Sun, 06 Nov 1994 08:49:37 GMT";

struct Files {
    root: TempDir,
    tunnel: Tunnel,
}

impl Files {
    async fn new() -> Self {
        Self::with("", PluginCredentials::default()).await
    }

    async fn with(strip_prefix: &str, credentials: PluginCredentials) -> Self {
        let root = tempfile::tempdir().unwrap();
        let plugin = Plugin::StaticFile {
            root: root.path().to_owned(),
            strip_prefix: strip_prefix.to_owned(),
            credentials,
        };
        let tunnel = Tunnel::new(plugin).await;
        Self { root, tunnel }
    }

    fn write(&self, path: &str, content: impl AsRef<[u8]>) {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        set_changed(&path);
    }

    /// The answer to a GET with these header lines: its head and its body.
    async fn get(&mut self, path: &str, headers: &str) -> (String, String) {
        let request = format!("GET {path} HTTP/1.1\r\nHost: a.test\r\n{headers}");
        ask(self.tunnel.user().await, &request).await
    }

    async fn expect(&mut self, path: &str, headers: &str, status: u16, contains: &[&str]) {
        let (head, body) = self.get(path, headers).await;
        let start = format!("HTTP/1.1 {status} ");
        let all = format!("{head}\r\n\r\n{body}");
        assert!(all.starts_with(&start), "{path} {headers}: {all}");
        for it in contains {
            assert!(all.contains(it), "{path} {headers}: {it} is not in {all}");
        }
    }
}

fn set_changed(path: &Path) {
    let file = fs::File::open(path).unwrap();
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(CHANGED);
    file.set_modified(changed).unwrap();
}

#[tokio::test]
async fn files_are_sent() {
    let mut files = Files::new().await;
    files.write("a.html", "<p>");
    files.write("dir/b c.bin", [0, 1, 2]);
    files.write("dir/plain", "words");
    files.write("empty.txt", "");
    let modified = format!("Last-Modified: {DATE}\r\n");
    files
        .expect(
            "/a.html",
            "",
            200,
            &[
                "Content-Length: 3\r\n",
                "Content-Type: text/html; charset=utf-8\r\n",
                "Accept-Ranges: bytes\r\n",
                &modified,
                "\r\n\r\n<p>",
            ],
        )
        .await;
    let bytes = [
        "Content-Type: application/octet-stream\r\n",
        "\r\n\r\n\0\x01\x02",
    ];
    files.expect("/dir/b%20c.bin?x=y", "", 200, &bytes).await;
    let words = [
        "Content-Type: text/plain; charset=utf-8\r\n",
        "\r\n\r\nwords",
    ];
    files
        .expect("/dir/plain", "Accept-Encoding: gzip\r\n", 200, &words)
        .await;
    files
        .expect("/empty.txt", "", 200, &["Content-Length: 0\r\n"])
        .await;
    files
        .expect("/none", "", 404, &["\r\n\r\n404 page not found\n"])
        .await;
    files.expect("/a.html/b", "", 404, &[]).await;
}

#[tokio::test]
async fn a_large_file_is_sent_whole_and_others_on_the_same_connection() {
    let mut files = Files::new().await;
    let content: String = (0..300_000).map(|it| format!("{it}\n")).collect();
    files.write("large.txt", &content);
    files.write("small.txt", "small");
    let request = "GET /large.txt HTTP/1.1\r\nHost: a.test\r\n\r\n\
                   GET /small.txt HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    let answers = talk(files.tunnel.user().await, request).await;
    assert!(answers.contains(&content), "{} bytes", answers.len());
    assert!(answers.ends_with("\r\n\r\nsmall"));
}

#[tokio::test]
async fn paths_have_one_spelling() {
    let mut files = Files::new().await;
    files.write("a", "");
    files.write("dir/b:c", "");
    files.write("dir/x/index.html", "<p>");
    for (path, location) in [
        ("//a", "/a"),
        ("/./a?x=%20", "/a?x=%20"),
        ("/dir/../a", "/a"),
        ("/%2e%2e/%2e%2e/etc/passwd", "/etc/passwd"),
        ("/..%2f..%2fetc/passwd", "/etc/passwd"),
        ("//evil.test/", "/evil.test/"),
        ("/dir?x", "dir/?x"),
        ("/dir/b:c/", "../b%3Ac"),
        ("/dir/x/index.html?y", "./?y"),
        ("/%0d%0aX:1/..", "/"),
    ] {
        let location = format!("Location: {location}\r\n");
        files.expect(path, "", 301, &[&location]).await;
    }
    files
        .expect("/dir/x/", "", 200, &["<p>", "text/html"])
        .await;
}

#[tokio::test]
async fn directories_are_listed() {
    let mut files = Files::new().await;
    files.write("b", "");
    files.write("a&b/x", "");
    set_changed(files.root.path());
    let modified = format!("Last-Modified: {DATE}\r\n");
    let page = "\r\n\r\n<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n\
                <a href=\"a%26b/\">a&amp;b/</a>\n<a href=\"b\">b</a>\n</pre>\n";
    files
        .expect(
            "/",
            "",
            200,
            &[
                "Content-Type: text/html; charset=utf-8\r\n",
                &modified,
                page,
            ],
        )
        .await;
    let since = format!("If-Modified-Since: {DATE}\r\n");
    files.expect("/", &since, 304, &[]).await;
}

#[tokio::test]
async fn nothing_outside_is_sent() {
    let outside = tempfile::tempdir().unwrap();
    fs::write(outside.path().join("secret"), "s3cret").unwrap();
    let mut files = Files::new().await;
    files.write("dir/file", "within");
    let root = files.root.path().to_owned();
    symlink(outside.path(), root.join("out")).unwrap();
    symlink("../../etc", root.join("up")).unwrap();
    symlink("file", root.join("dir/link")).unwrap();
    files.expect("/dir/link", "", 200, &["within"]).await;
    let long = format!("/{}", "x".repeat(5000));
    let deep = "/x".repeat(10_000);
    for path in ["/out/secret", "/out/", "/up/passwd", "/a%00b", &long, &deep] {
        files.expect(path, "", 404, &[]).await;
    }
    // Not escaped, as no browser sends it.
    for path in [
        "/../../etc/passwd",
        "/dir/..\\..\\x",
        "/dir/%2e%2e%2f%2e%2e%2fup/passwd",
    ] {
        let (_, body) = files.get(path, "").await;
        assert!(!body.contains("root:"), "{body}");
    }
}

#[tokio::test]
async fn parts_are_sent() {
    let mut files = Files::new().await;
    files.write("ten.txt", "0123456789");
    for (range, content_range, body) in [
        ("bytes=2-4", "bytes 2-4/10", "234"),
        ("bytes=7-", "bytes 7-9/10", "789"),
        ("bytes=-1", "bytes 9-9/10", "9"),
        ("bytes=0-100", "bytes 0-9/10", "0123456789"),
    ] {
        let content_range = format!("Content-Range: {content_range}\r\n");
        let length = format!("Content-Length: {}\r\n", body.len());
        let body = format!("\r\n\r\n{body}");
        let headers = format!("Range: {range}\r\n");
        let expect = [&*content_range, &length, &body];
        files.expect("/ten.txt", &headers, 206, &expect).await;
    }
    for range in ["bytes=10-", "bytes=x", "lines=1-2"] {
        let headers = format!("Range: {range}\r\n");
        let expect = ["Content-Range: bytes */10\r\n"];
        files.expect("/ten.txt", &headers, 416, &expect).await;
    }
    let many = vec!["0-0"; 100].join(",");
    let many = format!("Range: bytes={many}\r\n");
    files
        .expect("/ten.txt", &many, 200, &["\r\n\r\n0123456789"])
        .await;

    let (head, body) = files.get("/ten.txt", "Range: bytes=0-1,-2\r\n").await;
    assert!(head.starts_with("HTTP/1.1 206 "), "{head}");
    let length = format!("Content-Length: {}\r\n", body.len());
    assert!(head.contains(&length), "{head}");
    let boundary = head
        .split("multipart/byteranges; boundary=")
        .nth(1)
        .unwrap();
    let boundary = boundary.lines().next().unwrap();
    let part = |range, content| {
        format!(
            "--{boundary}\r\nContent-Range: bytes {range}/10\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n{content}\r\n"
        )
    };
    let expect = part("0-1", "01") + &part("8-9", "89") + &format!("--{boundary}--\r\n");
    assert_eq!(body, expect);
}

#[tokio::test]
async fn conditions_are_kept() {
    let mut files = Files::new().await;
    files.write("a.txt", "0123456789");
    let (earlier, later) = (
        "Sun, 06 Nov 1994 08:49:36 GMT",
        "Sun, 06 Nov 1994 08:49:38 GMT",
    );
    for (headers, status) in [
        (format!("If-Modified-Since: {earlier}\r\n"), 200),
        (format!("If-Modified-Since: {DATE}\r\n"), 304),
        (format!("If-Modified-Since: {later}\r\n"), 304),
        ("If-Modified-Since: yesterday\r\n".to_owned(), 200),
        (
            format!("If-Modified-Since: {DATE}\r\nIf-None-Match: \"a\"\r\n"),
            200,
        ),
        ("If-None-Match: *\r\n".to_owned(), 304),
        (format!("If-Unmodified-Since: {earlier}\r\n"), 412),
        (format!("If-Unmodified-Since: {DATE}\r\n"), 200),
        ("If-Match: *\r\n".to_owned(), 200),
        ("If-Match: \"a\"\r\n".to_owned(), 412),
        (format!("Range: bytes=0-1\r\nIf-Range: {DATE}\r\n"), 206),
        (format!("Range: bytes=0-1\r\nIf-Range: {later}\r\n"), 200),
        ("Range: bytes=0-1\r\nIf-Range: \"a\"\r\n".to_owned(), 200),
    ] {
        files.expect("/a.txt", &headers, status, &[]).await;
    }
}

#[tokio::test]
async fn only_get_below_the_prefix() {
    let mut files = Files::with("docs/v1", PluginCredentials::default()).await;
    files.write("a", "words");
    files.expect("/docs/v1/a", "", 200, &["words"]).await;
    files
        .expect("/docs/v1/", "", 200, &["<a href=\"a\">"])
        .await;
    for path in ["/a", "/", "/docs/v1", "/docs/v1a", "/docs/v2/a"] {
        files.expect(path, "", 404, &[]).await;
    }
    for method in ["HEAD", "POST", "DELETE"] {
        let request = format!("{method} /docs/v1/a HTTP/1.1\r\nHost: a.test\r\n");
        let (answer, _) = ask(files.tunnel.user().await, &request).await;
        assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
        assert!(answer.contains("Allow: GET"), "{answer}");
    }
}

#[tokio::test]
async fn files_with_a_password() {
    let credentials = PluginCredentials {
        user: "ada".to_owned(),
        password: Secret::new("s3cret"),
    };
    let mut files = Files::with("", credentials).await;
    files.write("a", "words");
    for headers in ["", "Authorization: Basic YWRhOndyb25n\r\n"] {
        let began = Instant::now();
        let expect = ["Www-Authenticate: Basic realm=\"Restricted\"\r\n"];
        files.expect("/a", headers, 401, &expect).await;
        assert!(began.elapsed().as_millis() >= 200);
    }
    let headers = "Authorization: Basic YWRhOnMzY3JldA==\r\n";
    files.expect("/a", headers, 200, &["words"]).await;
}

#[tokio::test]
async fn http2_is_spoken_too() {
    let mut files = Files::new().await;
    files.write("a", "w".repeat(200_000));
    let user = TokioIo::new(files.tunnel.user().await);
    let handshake = hyper::client::conn::http2::handshake(TokioExecutor::new(), user);
    let (mut requests, connection) = within(handshake).await.unwrap();
    tokio::spawn(connection);
    for path in ["/a", "/b"] {
        let request = Request::get(format!("http://a.test{path}")).body(Empty::<Bytes>::new());
        let answer = within(requests.send_request(request.unwrap()))
            .await
            .unwrap();
        let is_there = path == "/a";
        let expect = if is_there {
            StatusCode::OK
        } else {
            StatusCode::NOT_FOUND
        };
        assert_eq!(answer.status(), expect);
        let body = within(answer.into_body().collect())
            .await
            .unwrap()
            .to_bytes();
        assert!(!is_there || body.len() == 200_000);
    }
}
