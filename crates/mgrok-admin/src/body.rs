//! What requests bring along.

use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::{Request, StatusCode};

use crate::answer::Refusal;

/// The body of `request`, of `limit` bytes at most.
///
/// # Errors
/// A 400 if it is longer or breaks off.
pub async fn read_body(request: Request<Incoming>, limit: usize) -> Result<Bytes, Refusal> {
    match Limited::new(request.into_body(), limit).collect().await {
        Ok(body) => Ok(body.to_bytes()),
        // frp: these words
        Err(error) => Err(Refusal::new(
            StatusCode::BAD_REQUEST,
            format!("read request body error: {error}"),
        )),
    }
}
