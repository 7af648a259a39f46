//! Which request is for what.

use std::collections::BTreeMap;
use std::fmt::{self, Debug, Formatter};
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{MethodFilter, MethodRouter, any, on};

use crate::access::AdminAccess;
use crate::answer::{bare, moved_to, not_found, readiness, wrong_method};
use crate::dashboard::Dashboard;
use crate::extract::Path;

/// What an end has to tell on its admin port, beside what every admin port has: `/healthz`, `/readyz` and `/`.
///
/// Handlers are those of axum, with the extractors of this crate, whose refusals have the form of the port.
#[derive(Debug, Default)]
pub struct Routes {
    ready: Ready,
    routes: BTreeMap<&'static str, Route>,
    dashboard: Option<Dashboard>,
}

/// Whether users can be served, or why not.
struct Ready(Arc<dyn Fn() -> Result<(), String> + Send + Sync>);

/// What is at one path.
#[derive(Debug, Default)]
struct Route {
    /// In the order of the calls.
    methods: Vec<Method>,
    handlers: MethodRouter,
}

impl Routes {
    /// Has `handler` answer requests of `method` for `path`, as axum writes it (`/api/proxies/{name}`). Its future is dropped if whoever
    /// asks leaves.
    ///
    /// # Panics
    /// If there is such a handler already, or `method` is none of HTTP's own.
    #[must_use]
    pub fn with<H, T>(mut self, method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, ()>,
        T: 'static,
    {
        let route = self.routes.entry(path).or_default();
        #[allow(
            clippy::expect_used,
            reason = "the programmer's mistake, found by any test of the route"
        )]
        let filter = MethodFilter::try_from(method.clone()).expect("a method of HTTP");
        let handlers = std::mem::take(&mut route.handlers);
        route.handlers = handlers.merge(on(filter, handler));
        route.methods.push(method);
        self
    }

    /// Has `/readyz` answer what `ready` says: whether users can be served, or why not. Everybody may ask.
    #[must_use]
    pub fn ready_when(
        mut self,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.ready = Ready(Arc::new(ready));
        self
    }

    /// Has `/static/` show the pages of `dashboard`, to which `/` leads.
    #[must_use]
    pub fn dashboard(mut self, dashboard: Dashboard) -> Self {
        self.dashboard = Some(dashboard);
        self
    }

    /// The same with the routes of `more`, which are at other paths.
    pub(crate) fn and(mut self, more: Self) -> Self {
        self.routes.extend(more.routes);
        self
    }

    /// The same with routes for the pages.
    fn with_pages(self, access: AdminAccess) -> Self {
        let Some(dashboard) = self.dashboard else {
            return self;
        };
        let page = async move |path: &str, headers: &HeaderMap| {
            dashboard.answer(path, access.assets_dir(), headers).await
        };
        let (first, icon) = (page.clone(), page.clone());
        self.with(Method::GET, "/static/", async move |headers: HeaderMap| {
            first("", &headers).await
        })
        .with(
            Method::GET,
            "/static/{*path}",
            async move |Path(path): Path<String>, headers: HeaderMap| page(&path, &headers).await,
        )
        .with(
            Method::GET,
            "/favicon.ico",
            async move |headers: HeaderMap| icon("favicon.ico", &headers).await,
        )
    }

    /// The router of all this, in which `guard` stands before all that not everybody may see.
    ///
    /// Requests are matched before they are guarded: what is not there is 404 and a wrong method 405 for everybody, as in frp.
    pub(crate) fn into_router<G, F>(self, access: AdminAccess, guard: G) -> Router
    where
        G: Fn(Request, Next) -> F + Clone + Send + Sync + 'static,
        F: Future<Output = Response> + Send + 'static,
    {
        let Self { ready, routes, .. } = self.with_pages(access);
        // Not from the root, so that it is right behind a prefix, too.
        let home = any(async || moved_to("static/"));
        let mut router = Router::new()
            // frp: any method
            .route("/healthz", any(async || bare(StatusCode::OK)))
            .route("/readyz", any(async move || readiness((ready.0)())))
            .route("/", home.layer(from_fn(guard.clone())));
        for (path, Route { methods, handlers }) in routes {
            let allowed: Vec<_> = methods.iter().map(Method::as_str).collect();
            let allowed: Arc<str> = allowed.join(", ").into();
            let wrong = async move || wrong_method(&allowed);
            let mut handlers = handlers.route_layer(from_fn(guard.clone()));
            // frp: HEAD is a method like any other, not a kind of GET
            if !methods.contains(&Method::HEAD) {
                handlers = handlers.on(MethodFilter::HEAD, wrong.clone());
            }
            router = router.route(path, handlers.fallback(wrong));
        }
        router.fallback(async || not_found())
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self(Arc::new(|| Ok(())))
    }
}

impl Debug for Ready {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.0)())
    }
}
