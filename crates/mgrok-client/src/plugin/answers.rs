//! Answers that plugins give themselves.

use std::time::Duration;

use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use mgrok_http::Body;

/// How long somebody with a wrong password waits for the answer. Nobody else does.
// frp: the same (pkg/plugin/client/http_proxy.go, static_file.go)
pub(super) const WRONG_PASSWORD_DELAY: Duration = Duration::from_millis(200);

/// An answer without a body.
pub(super) fn empty(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// An answer of words, each line of which has its end.
// frp: these headers (Go's `http.Error`)
pub(super) fn text(status: StatusCode, text: impl Into<String>) -> Response<Body> {
    let mut response = Response::new(Body::full(text.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("text/plain; charset=utf-8"),
    );
    headers.insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}
