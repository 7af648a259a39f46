//! Streams of server-sent events (<https://html.spec.whatwg.org/multipage/server-sent-events.html>).

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::FromRequestParts;
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{Stream, StreamExt as _};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::answer::Refusal;

/// How often a stream without events says that it is there, so that proxies on the way do not give it up.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The event streams of one port.
#[derive(Clone, Debug)]
pub(crate) struct Streams {
    places: Arc<Semaphore>,
    stop: CancellationToken,
}

/// A place for one event stream, which a handler takes as its argument.
#[derive(Debug)]
pub struct EventStream {
    place: OwnedSemaphorePermit,
    stop: CancellationToken,
}

/// One event, which has a name and data in JSON.
#[derive(Debug)]
pub struct ServerEvent(Event);

impl Streams {
    pub(crate) fn new(places: Arc<Semaphore>, stop: CancellationToken) -> Self {
        Self { places, stop }
    }
}

impl ServerEvent {
    /// An event of the kind `name`.
    pub fn new(name: &str, data: &impl Serialize) -> Self {
        let event = Event::default().event(name);
        // What has no form in JSON is the programmer's mistake: a map whose keys are no texts, for example.
        Self(event.json_data(data).unwrap_or_default())
    }
}

impl<S: Sync> FromRequestParts<S> for EventStream {
    type Rejection = Refusal;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Refusal> {
        let Some(streams) = parts.extensions.get::<Streams>() else {
            return Err(Refusal::internal("there are no event streams"));
        };
        match streams.places.clone().try_acquire_owned() {
            Ok(place) => Ok(Self {
                place,
                stop: streams.stop.clone(),
            }),
            Err(_) => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many event streams are open; close a page that shows them",
            )),
        }
    }
}

impl EventStream {
    /// Answers with `events` until they end, whoever reads them leaves, or the port is closed.
    ///
    /// A reader that takes nothing holds `events` up, which must bound what waits.
    pub fn answer(self, events: impl Stream<Item = ServerEvent> + Send + 'static) -> Response {
        let Self { place, stop } = self;
        let events = events
            .map(move |ServerEvent(event)| {
                // The place is free again when the stream is dropped.
                let _ = &place;
                Ok::<_, Infallible>(event)
            })
            .take_until(stop.cancelled_owned());
        let keep_alive = KeepAlive::new().interval(KEEP_ALIVE);
        Sse::new(events).keep_alive(keep_alive).into_response()
    }
}
