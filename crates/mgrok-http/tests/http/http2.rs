//! Users who speak HTTP/2 in clear text.

use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::net::TcpStream;

use crate::support::{Proxy, backend, mirror};

type Sender = SendRequest<Full<Bytes>>;

async fn connect(proxy: &Proxy) -> Sender {
    let socket = TcpStream::connect(proxy.addr).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(socket))
        .await
        .unwrap();
    tokio::spawn(connection);
    sender
}

async fn send(sender: &mut Sender, request: Request<Full<Bytes>>) -> (StatusCode, String) {
    let response = sender.send_request(request).await.unwrap();
    let status = response.status();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn requests_become_http_1_1() {
    let proxy = Proxy::start(mirror().await).await;
    let mut sender = connect(&proxy).await;
    let request = Request::get("http://Example.test/p?q=1;2")
        .header("cookie", "a=1")
        .header("cookie", "b=2")
        .header("te", "trailers")
        .body(Full::default())
        .unwrap();
    let (status, request) = send(&mut sender, request).await;
    assert_eq!(status, StatusCode::OK);
    let mut lines: Vec<&str> = request.trim_end().split("\r\n").collect();
    lines[1..].sort_unstable();
    assert_eq!(
        lines,
        [
            "GET /p?q=1;2 HTTP/1.1",
            "Cookie: a=1; b=2",
            "Host: Example.test",
            "Te: trailers",
            "X-Forwarded-For: 127.0.0.1",
            "X-Forwarded-Host: Example.test",
            "X-Forwarded-Proto: http",
        ]
    );
    let body = "x".repeat(1_000_000);
    let request = Request::post("http://a/")
        .body(Full::from(body.clone()))
        .unwrap();
    let (_, request) = send(&mut sender, request).await;
    assert!(request.contains("Content-Length: 1000000\r\n") && request.ends_with(&body));
    assert_eq!(proxy.dials(), 1);
}

#[tokio::test]
async fn what_is_not_supported_or_contradicts_itself_is_refused() {
    let proxy = Proxy::start(mirror().await).await;
    let mut sender = connect(&proxy).await;
    let connect = Request::builder()
        .method(Method::CONNECT)
        .uri("a:1")
        .body(Full::default())
        .unwrap();
    assert_eq!(
        send(&mut sender, connect).await.0,
        StatusCode::NOT_IMPLEMENTED
    );
    let differing = Request::get("http://a/")
        .header("host", "b")
        .body(Full::default())
        .unwrap();
    assert_eq!(
        send(&mut sender, differing).await.0,
        StatusCode::BAD_REQUEST
    );
    let named = Request::get("http://u:p@a/").body(Full::default()).unwrap();
    assert_eq!(send(&mut sender, named).await.0, StatusCode::BAD_REQUEST);
    assert_eq!(proxy.dials(), 0);
}

#[tokio::test]
async fn an_answer_that_breaks_off_resets_its_stream_alone() {
    let backend = backend(|mut peer| async move {
        let head = peer.read_head().await;
        if head.starts_with("GET /broken") {
            peer.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
                .await;
        } else {
            peer.send("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
                .await;
        }
    });
    let proxy = Proxy::start(backend.await).await;
    let mut sender = connect(&proxy).await;
    let request = |uri| Request::get(uri).body(Full::default()).unwrap();
    let response = sender
        .send_request(request("http://a/broken"))
        .await
        .unwrap();
    response.into_body().collect().await.unwrap_err();
    assert_eq!(
        send(&mut sender, request("http://a/")).await.0,
        StatusCode::OK
    );
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed() {
    let proxy = Proxy::start(mirror().await).await;
    let mut sender = connect(&proxy).await;
    let request = Request::get("http://a/").body(Full::default()).unwrap();
    assert_eq!(send(&mut sender, request).await.0, StatusCode::OK);
    while sender.ready().await.is_ok() {
        tokio::time::sleep(std::time::Duration::from_secs(10)).await;
    }
}

#[tokio::test]
async fn a_stop_closes_the_connection() {
    let proxy = Proxy::start(mirror().await).await;
    let mut sender = connect(&proxy).await;
    let request = Request::get("http://a/").body(Full::default()).unwrap();
    assert_eq!(send(&mut sender, request).await.0, StatusCode::OK);
    proxy.stop.cancel();
    while sender.ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
}
