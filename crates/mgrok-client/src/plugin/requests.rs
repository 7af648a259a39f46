//! The requests of one user's connection, for plugins that answer them.

use std::sync::Arc;

use hyper::{Request, Response};
use mgrok_http::{Body, Handler, Meter as _, User};
use mgrok_net::conn::Conn;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::users::UserRow;

/// Answers requests.
pub(crate) trait AnswerRequests: Send + Sync + Sized + 'static {
    /// Answers one of `requests`.
    fn answer(
        requests: &Requests<Self>,
        request: Request<Body>,
        user: &User,
    ) -> impl Future<Output = Response<Body>> + Send;
}

/// What the requests of one connection share.
pub(crate) struct Requests<P> {
    /// What answers them.
    pub(super) plugin: Arc<P>,
    /// The row of the connection.
    pub(super) row: Arc<UserRow>,
    /// Requests of HTTP/2 are answered in tasks of their own.
    pub(super) span: Span,
}

/// Has `plugin` serve a connection of `user`, whose row is `row`, until it ends. After `stop`, only requests that are under way are
/// finished.
pub(crate) async fn serve<P: AnswerRequests>(
    plugin: &Arc<P>,
    conn: Conn,
    user: User,
    row: Arc<UserRow>,
    stop: &CancellationToken,
) {
    let requests = Requests {
        plugin: plugin.clone(),
        row,
        span: Span::current(),
    };
    mgrok_http::serve(conn, user, Arc::new(requests), stop).await;
}

impl<P: AnswerRequests> Handler for Requests<P> {
    async fn handle(&self, request: Request<Body>, user: &User) -> Response<Body> {
        let response = P::answer(self, request, user).await;
        if let Some(len) = response.body().len_at_hand() {
            self.row.count_sent(len as u64);
        }
        response
    }
}
