//! Answers that plugins give themselves.

use std::time::Duration;

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
