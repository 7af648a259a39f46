//! Which request is for what.

use std::fmt::{self, Debug, Formatter};
use std::pin::Pin;

use hyper::body::Incoming;
use hyper::{Method, Request};

use crate::answer::{Answer, Refusal};

/// What an end has to tell on its admin port, beside what every admin port has: `/healthz`, `/readyz`, `/` and
/// `/static/`.
#[derive(Debug, Default)]
pub struct Routes {
    ready: Ready,
    routes: Vec<Route>,
}

/// Whether users can be served, or why not.
struct Ready(Box<dyn Fn() -> Result<(), String> + Send + Sync>);

struct Route {
    method: Method,
    path: &'static str,
    responder: Responder,
}

type Responder = Box<dyn Fn(Request<Incoming>) -> Answering + Send + Sync>;
type Answering = Pin<Box<dyn Future<Output = Result<Answer, Refusal>> + Send>>;

/// What a request is for.
pub(crate) enum Found<'a> {
    /// Whether there is anybody.
    Health,
    /// Whether users can be served, or why not.
    Ready(Result<(), String>),
    /// Something that not everybody may see.
    Page(Page<'a>),
    Unknown,
    /// Something that only these methods can ask for.
    WrongMethod(String),
}

/// What credentials are asked for.
pub(crate) enum Page<'a> {
    /// The beginning: leads on to the dashboard.
    Home,
    Route(&'a Responder),
    /// A file of the dashboard.
    Static,
}

impl Routes {
    /// Has `responder` answer requests of `method` for `path`, which is clean: no empty parts and no
    /// dots. Its future is dropped if the user leaves.
    #[must_use]
    pub fn with<R>(
        mut self,
        method: Method,
        path: &'static str,
        responder: impl Fn(Request<Incoming>) -> R + Send + Sync + 'static,
    ) -> Self
    where
        R: Future<Output = Result<Answer, Refusal>> + Send + 'static,
    {
        self.routes.push(Route {
            method,
            path,
            responder: Box::new(move |request| Box::pin(responder(request))),
        });
        self
    }

    /// Has `/readyz` answer what `ready` says: whether users can be served, or why not. Everybody may ask.
    #[must_use]
    pub fn ready_when(
        mut self,
        ready: impl Fn() -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        self.ready = Ready(Box::new(ready));
        self
    }

    pub(crate) fn find(&self, method: &Method, path: &str) -> Found<'_> {
        match path {
            // frp: any method
            "/" => return Found::Page(Page::Home),
            "/healthz" => return Found::Health,
            "/readyz" => return Found::Ready((self.ready.0)()),
            _ if !path.starts_with("/static/") => {}
            _ if method == Method::GET => return Found::Page(Page::Static),
            _ => return Found::WrongMethod(Method::GET.to_string()),
        }
        let mut allowed = Vec::new();
        for route in self.routes.iter().filter(|route| route.path == path) {
            if route.method == method {
                return Found::Page(Page::Route(&route.responder));
            }
            allowed.push(route.method.as_str());
        }
        if allowed.is_empty() {
            Found::Unknown
        } else {
            Found::WrongMethod(allowed.join(", "))
        }
    }
}

impl Default for Ready {
    fn default() -> Self {
        Self(Box::new(|| Ok(())))
    }
}

impl Debug for Ready {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", (self.0)())
    }
}

impl Debug for Route {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.method, self.path)
    }
}
