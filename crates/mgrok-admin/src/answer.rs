//! What requests are answered with.

use axum::body::{Body, Bytes};
use axum::http::header::{self, HeaderName, HeaderValue};
use axum::http::{Response, StatusCode};
use axum::response::IntoResponse;
use serde::Serialize;

pub(crate) const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What a request asked for.
#[derive(Debug)]
pub struct Answer(Response<Body>);

/// Why a request does not get what it asked for.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// Which kind of reason it is, from 400 up.
    pub status: StatusCode,
    /// The reason, for people.
    pub message: String,
}

/// A refusal on the wire.
// frp: these keys, capitals and all (pkg/util/http)
#[derive(Serialize)]
struct Refused<'a> {
    #[serde(rename = "Code")]
    code: u16,
    #[serde(rename = "Msg")]
    message: &'a str,
}

/// What the routes below `/api/v2` answer.
// frp: these keys in this order
#[derive(Serialize)]
struct Envelope<'a, T> {
    code: u16,
    msg: &'a str,
    data: T,
}

impl Answer {
    /// `value` as JSON, with a line break at the end.
    ///
    /// # Errors
    /// A 500 if `value` has no form in JSON: a map whose keys are no texts, for example.
    pub fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        match json(value) {
            Ok(bytes) => Ok(Self(response(StatusCode::OK, JSON, bytes))),
            Err(error) => Err(Refusal::internal(error.to_string())),
        }
    }

    /// `value` as the routes below `/api/v2` answer: `{"code":200,"msg":"success","data":…}`.
    ///
    /// # Errors
    /// As [`Answer::json`].
    pub fn data(value: &impl Serialize) -> Result<Self, Refusal> {
        Self::json(&Envelope {
            code: StatusCode::OK.as_u16(),
            msg: "success",
            data: value,
        })
    }

    /// Nothing but that it is done.
    pub fn empty() -> Self {
        Self(bare(StatusCode::OK))
    }

    /// A text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self(response(StatusCode::OK, TEXT, text))
    }

    /// The same with a header, in place of one with that name.
    #[must_use]
    pub fn with_header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers_mut().insert(name, value);
        self
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response<Body> {
        self.0
    }
}

impl Refusal {
    /// A refusal with this status and reason.
    pub fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self {
            status,
            message: message.into(),
        }
    }

    /// What was asked for makes no sense.
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    /// What was asked for is not there.
    pub fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    /// This end has failed.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, message)
    }

    /// The refusal as `path` answers it.
    pub(crate) fn to_response(&self, path: &str) -> Response<Body> {
        let code = self.status.as_u16();
        let message = &*self.message;
        // Numbers and texts always have a form in JSON.
        let body = match path.starts_with("/api/v2/") {
            true => json(&Envelope {
                code,
                msg: message,
                data: (),
            }),
            false => json(&Refused { code, message }),
        };
        response(self.status, JSON, body.unwrap_or_default())
    }
}

impl IntoResponse for Refusal {
    /// Has the guard of the port write the refusal, because its form depends on the path.
    fn into_response(self) -> Response<Body> {
        let mut response = bare(self.status);
        response.extensions_mut().insert(self);
        response
    }
}

/// Whether users can be served.
#[derive(Serialize)]
struct Readiness<'a> {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// Says whether users can be served: 200, or 503 with the reason.
pub(crate) fn readiness(ready: Result<(), String>) -> Response<Body> {
    let status = match ready {
        Ok(()) => StatusCode::OK,
        Err(_) => StatusCode::SERVICE_UNAVAILABLE,
    };
    let readiness = Readiness {
        ready: ready.is_ok(),
        reason: ready.as_ref().err().map(String::as_str),
    };
    // A boolean and a text always have a form in JSON.
    response(status, JSON, json(&readiness).unwrap_or_default())
}

/// Nothing more than a status.
pub(crate) fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// Sends whoever asks on to another path of the same port.
pub(crate) fn moved_to(path: &str) -> Response<Body> {
    // Made of what was a path, or a constant, so it is a value that a header may have.
    let Ok(location) = HeaderValue::from_str(path) else {
        return not_found();
    };
    let mut response = bare(StatusCode::MOVED_PERMANENTLY);
    response.headers_mut().insert(header::LOCATION, location);
    response
}

/// There is nothing of that name.
pub(crate) fn not_found() -> Response<Body> {
    // frp: this text (Go's `NotFound`)
    response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n")
}

/// There is something of that name, but only for other methods: `allowed`, separated by commas.
pub(crate) fn wrong_method(allowed: &str) -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
}

/// Refuses whoever may not act at all, in words for a person.
pub(crate) fn plain(status: StatusCode, text: impl Into<Bytes>) -> Response<Body> {
    response(status, TEXT, text)
}

fn json(value: &impl Serialize) -> serde_json::Result<Bytes> {
    let mut bytes = serde_json::to_vec(value)?;
    bytes.push(b'\n');
    Ok(bytes.into())
}

fn response(
    status: StatusCode,
    content_type: HeaderValue,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Body::from(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    response
}
