//! Who may ask for what not everybody may see, and what is said of it in the log.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::http::header::{self, HeaderValue};
use axum::http::{HeaderMap, Response, StatusCode, Uri};
use axum::middleware::Next;
use mgrok_http::{Credentials, ask_for_credentials};
use tokio::sync::Semaphore;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use crate::access::AdminAccess;
use crate::answer::{Refusal, plain};
use crate::attempts::Attempts;
use crate::events::Streams;
use crate::extract::Caller;

/// How long the answer to wrong credentials is delayed, against guessing.
// frp: the same
const WRONG_CREDENTIALS_DELAY: Duration = Duration::from_millis(200);
/// How many event streams are served at a time: each is a page that is open.
const MAX_STREAMS: usize = 32;

/// What stands before the routes of one port.
#[derive(Debug)]
pub(crate) struct Guard {
    access: AdminAccess,
    attempts: Attempts,
    streams: Arc<Semaphore>,
    stop: CancellationToken,
}

/// Where a request comes from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RemoteAddr(pub(crate) SocketAddr);

impl Guard {
    pub(crate) fn new(access: AdminAccess, stop: CancellationToken) -> Self {
        Self {
            access,
            attempts: Attempts::default(),
            streams: Arc::new(Semaphore::new(MAX_STREAMS)),
            stop,
        }
    }

    /// Has `next` answer `request` if whoever asks may ask.
    pub(crate) async fn pass(self: Arc<Self>, mut request: Request, next: Next) -> Response<Body> {
        // Every connection says where it comes from.
        let Some(&RemoteAddr(from)) = request.extensions().get() else {
            return plain(
                StatusCode::INTERNAL_SERVER_ERROR,
                "nobody is known to ask\n",
            );
        };
        let path = request.uri().path().to_owned();
        if is_of_another_site(request.headers(), request.uri()) {
            debug!(
                per_session = true,
                "a page of another site asked for [{path}]"
            );
            return plain(
                StatusCode::FORBIDDEN,
                "a page of another site may not ask for this\n",
            );
        }
        let user = match self.check(&request, from) {
            Ok(user) => user,
            Err(response) => {
                if response.status() == StatusCode::UNAUTHORIZED {
                    sleep(WRONG_CREDENTIALS_DELAY).await;
                }
                return *response;
            }
        };
        let streams = Streams::new(self.streams.clone(), self.stop.clone());
        let extensions = request.extensions_mut();
        extensions.insert(Caller { user, from });
        extensions.insert(streams);
        // frp: these words, which scripts look for (pkg/util/http). It says them of requests that only look as well, with which monitors
        // would fill the log.
        let is_look = request.method().is_safe();
        match is_look {
            true => debug!(source = %from, "http request: [{path}]"),
            false => info!(source = %from, "http request: [{path}]"),
        }
        let mut response = next.run(request).await;
        if let Some(refusal) = response.extensions_mut().remove::<Refusal>() {
            warn!(source = %from, "http response [{path}]: error: {refusal}");
            response = refusal.to_response(&path);
        }
        let code = response.status().as_u16();
        match is_look {
            true => debug!(source = %from, "http response [{path}]: code [{code}]"),
            false => info!(source = %from, "http response [{path}]: code [{code}]"),
        }
        let headers = response.headers_mut();
        if !headers.contains_key(header::CACHE_CONTROL) {
            headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        }
        response
    }

    /// The user who asks, or why nobody may ask so.
    fn check(&self, request: &Request, from: SocketAddr) -> Result<String, Box<Response<Body>>> {
        let Some((user, password)) = self.access.login() else {
            return match is_at_home(request.headers(), from.ip()) {
                true => Ok(String::new()),
                false => Err(Box::new(plain(
                    StatusCode::FORBIDDEN,
                    "this port has no password, and so is for programs on the same machine that call it by an address or as \
                     localhost; set webServer.user and webServer.password to let others in\n",
                ))),
            };
        };
        let now = Instant::now();
        if let Some(wait) = self.attempts.wait(from.ip(), now) {
            let seconds = wait.as_secs() + 1;
            let mut response = plain(
                StatusCode::TOO_MANY_REQUESTS,
                format!("too many wrong passwords; try again in {seconds} s\n"),
            );
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, seconds.into());
            return Err(Box::new(response));
        }
        let given = request.headers().get(header::AUTHORIZATION);
        let is_right = given
            .and_then(Credentials::parse)
            .is_some_and(|it| it.match_with(&user, password.expose()));
        if is_right {
            self.attempts.right(from.ip());
            return Ok(user);
        }
        if given.is_some() {
            self.attempts.wrong(from.ip(), now);
            warn!(source = %from, "admin port: wrong user or password, from {from}");
        }
        Err(Box::new(ask_for_credentials(false).map(Body::new)))
    }
}

/// Whether a browser says that a page of another site has made it ask, which may know no password and yet have one sent along
/// (<https://www.w3.org/TR/fetch-metadata/>). Programs that are no browsers do not say, and are let in.
// frp: lets any page that the operator looks at stop a client
fn is_of_another_site(headers: &HeaderMap, uri: &Uri) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "cross-site" || site == "same-site";
    }
    // A browser that does not say so says where the page comes from when it acts.
    let Some(origin) = headers.get(header::ORIGIN) else {
        return false;
    };
    let origin = origin.to_str().ok().and_then(|it| it.split_once("://"));
    let host = headers.get(header::HOST).and_then(|it| it.to_str().ok());
    let host = host.or(uri.authority().map(|it| it.as_str()));
    match (origin, host) {
        (Some((_, origin)), Some(host)) => !origin.eq_ignore_ascii_case(host),
        _ => true,
    }
}

/// Whether a request comes from this machine and says so. A page whose name leads here says another name.
fn is_at_home(headers: &HeaderMap, from: IpAddr) -> bool {
    if !from.to_canonical().is_loopback() {
        return false;
    }
    let Some(host) = headers.get(header::HOST) else {
        return true;
    };
    let host = host.to_str().unwrap_or_default();
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    let name = name.trim_end_matches('.').to_ascii_lowercase();
    name == "localhost" || name.ends_with(".localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let pairs = pairs.iter();
        pairs
            .map(|&(name, value)| (name.parse().unwrap(), HeaderValue::from_static(value)))
            .collect::<HeaderMap>()
    }

    #[test]
    fn pages_of_other_sites() {
        let uri = Uri::from_static("/api/stop");
        let check = |pairs: &[_], expect| {
            let headers = headers(pairs);
            assert_eq!(is_of_another_site(&headers, &uri), expect, "{pairs:?}");
        };
        check(&[], false);
        check(&[("host", "a:7500")], false);
        for (site, expect) in [
            ("cross-site", true),
            ("same-site", true),
            ("same-origin", false),
            ("none", false),
        ] {
            check(&[("sec-fetch-site", site), ("origin", "http://b")], expect);
        }
        check(&[("host", "a:7500"), ("origin", "http://a:7500")], false);
        check(&[("host", "a:7500"), ("origin", "https://A:7500")], false);
        check(&[("host", "a:7500"), ("origin", "http://a")], true);
        check(&[("host", "a:7500"), ("origin", "http://b:7500")], true);
        check(&[("host", "a:7500"), ("origin", "null")], true);
        check(&[("origin", "http://b:7500")], true);
    }

    #[test]
    fn without_a_password_the_port_is_for_this_machine() {
        let check = |host, from: &str, expect| {
            let is = is_at_home(&headers(&[("host", host)]), from.parse().unwrap());
            assert_eq!(is, expect, "{host} from {from}");
        };
        for host in [
            "localhost",
            "LocalHost:7500",
            "a.localhost",
            "127.0.0.1:7500",
            "[::1]:7500",
            "192.0.2.1",
        ] {
            check(host, "127.0.0.1", true);
            check(host, "::1", true);
            check(host, "::ffff:127.0.0.1", true);
            check(host, "192.0.2.1", false);
        }
        check("evil.example", "127.0.0.1", false);
        check("evil.example:7500", "127.0.0.1", false);
        check("localhost.evil.example", "127.0.0.1", false);
    }
}
