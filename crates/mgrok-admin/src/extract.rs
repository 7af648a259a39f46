//! What handlers take from a request. Refusals have the form of the port.

use std::fmt::{self, Display, Formatter};
use std::net::SocketAddr;

use axum::body::{Bytes, HttpBody as _};
use axum::extract::{FromRequest, FromRequestParts, Path as AxumPath, Query as AxumQuery, Request};
use axum::http::Uri;
use axum::http::request::Parts;
use http_body_util::{BodyExt as _, Limited};
use serde::de::DeserializeOwned;

use crate::answer::Refusal;

/// The longest body that [`JsonBody`] reads, in bytes.
const MAX_JSON: usize = 1024 * 1024;

/// The decoded variables of the path.
#[derive(Clone, Debug)]
pub struct Path<T>(pub T);

/// The decoded variables of the query. What `T` does not know is passed over.
#[derive(Clone, Debug)]
pub struct Query<T>(pub T);

/// A body in JSON, whatever its content type says, of 1 MiB at most.
#[derive(Clone, Debug)]
pub struct JsonBody<T>(pub T);

/// Who asks, for the log.
#[derive(Clone, Debug)]
pub struct Caller {
    /// The user that was let in; empty if nobody is asked.
    pub user: String,
    /// Where the request comes from.
    pub from: SocketAddr,
}

impl<S: Send + Sync, T: DeserializeOwned + Send> FromRequestParts<S> for Path<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Refusal> {
        match AxumPath::from_request_parts(parts, state).await {
            Ok(AxumPath(values)) => Ok(Self(values)),
            Err(error) => Err(Refusal::bad_request(error.body_text())),
        }
    }
}

impl<T: DeserializeOwned> Query<T> {
    /// The variables of the query of `uri`.
    ///
    /// # Errors
    /// A 400 if one of them is not as `T` wants it.
    pub fn from_uri(uri: &Uri) -> Result<Self, Refusal> {
        match AxumQuery::try_from_uri(uri) {
            Ok(AxumQuery(values)) => Ok(Self(values)),
            Err(error) => Err(Refusal::bad_request(error.body_text())),
        }
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        Self::from_uri(&parts.uri)
    }
}

impl<S: Sync, T: DeserializeOwned> FromRequest<S> for JsonBody<T> {
    type Rejection = Refusal;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Refusal> {
        let body = read_body(request, MAX_JSON).await?;
        match serde_json::from_slice(&body) {
            Ok(value) => Ok(Self(value)),
            // frp: these words
            Err(error) => Err(Refusal::bad_request(format!("parse JSON error: {error}"))),
        }
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let caller = parts.extensions.get().cloned();
        caller.ok_or_else(|| Refusal::internal("nobody is known to ask"))
    }
}

impl Display for Caller {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.user.as_str() {
            "" => write!(f, "{}", self.from),
            user => write!(f, "{} from {}", user.escape_debug(), self.from),
        }
    }
}

/// Whether a word of a query says yes.
// frp: these words (Go's `ParseBool`)
pub fn is_true(word: &str) -> bool {
    matches!(word, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// The body of `request`, of `limit` bytes at most.
///
/// # Errors
/// A 400 if it is longer or breaks off.
pub async fn read_body(request: Request, limit: usize) -> Result<Bytes, Refusal> {
    let body = request.into_body();
    // One that says that it is too long is not read at all.
    let is_too_long = body.size_hint().lower() > limit as u64;
    let read = match is_too_long {
        true => Err("length limit exceeded".into()),
        false => Limited::new(body, limit).collect().await,
    };
    match read {
        Ok(body) => Ok(body.to_bytes()),
        // frp: these words
        Err(error) => Err(Refusal::bad_request(format!(
            "read request body error: {error}"
        ))),
    }
}
