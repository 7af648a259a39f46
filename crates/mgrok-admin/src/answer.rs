//! What requests are answered with.

use bytes::Bytes;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use mgrok_http::Body;
use serde::Serialize;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// What a request asked for.
#[derive(Debug)]
pub struct Answer(Form);

#[derive(Debug)]
enum Form {
    Empty,
    Json(Bytes),
    Text(Bytes),
}

/// Why a request does not get what it asked for.
#[derive(Debug, thiserror::Error)]
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

impl Answer {
    /// `value` as JSON, with a line break at the end.
    ///
    /// # Errors
    /// A 500 if `value` has no form in JSON: a map whose keys are no texts, for example.
    pub fn json(value: &impl Serialize) -> Result<Self, Refusal> {
        match json(value) {
            Ok(bytes) => Ok(Self(Form::Json(bytes))),
            Err(error) => Err(Refusal {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                message: error.to_string(),
            }),
        }
    }

    /// Nothing but that it is done.
    pub fn empty() -> Self {
        Self(Form::Empty)
    }

    /// A text.
    pub fn text(text: impl Into<Bytes>) -> Self {
        Self(Form::Text(text.into()))
    }

    pub(crate) fn into_response(self) -> Response<Body> {
        match self.0 {
            Form::Empty => bare(StatusCode::OK),
            Form::Json(bytes) => response(StatusCode::OK, JSON, bytes),
            Form::Text(bytes) => response(StatusCode::OK, TEXT, bytes),
        }
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

    pub(crate) fn to_response(&self) -> Response<Body> {
        let refused = Refused {
            code: self.status.as_u16(),
            message: &self.message,
        };
        // A number and a text always have a form in JSON.
        response(self.status, JSON, json(&refused).unwrap_or_default())
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

/// Sends the user on to another path of the same port.
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
    // frp: this text and these headers (Go's `NotFound`)
    let mut response = response(StatusCode::NOT_FOUND, TEXT, "404 page not found\n");
    response.headers_mut().insert(
        header::X_CONTENT_TYPE_OPTIONS,
        HeaderValue::from_static("nosniff"),
    );
    response
}

/// There is something of that name, but only for other methods: `allowed`, separated by commas.
pub(crate) fn wrong_method(allowed: &str) -> Response<Body> {
    let mut response = bare(StatusCode::METHOD_NOT_ALLOWED);
    if let Ok(allowed) = HeaderValue::from_str(allowed) {
        response.headers_mut().insert(header::ALLOW, allowed);
    }
    response
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
    let mut response = Response::new(Body::full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, content_type);
    response
}
