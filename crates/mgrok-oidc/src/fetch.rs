//! One request over HTTP/1.1 and its answer, bounded in bytes and time.
//!
//! Redirects are not followed: what is asked here has a fixed place, and a secret must not be sent to another. Proxies that the environment
//! names are not used.

use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, LengthLimitError, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use mgrok_config::{HttpUrl, ProxyScheme, ProxyUrl};
use mgrok_net::conn::Conn;
use mgrok_net::outbound::{
    OutboundCredentials, OutboundError, OutboundProxy, OutboundScheme, dial_through,
};
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{self, DialError, DialOptions};
use mgrok_net::tls::{ClientTls, ClientTlsOptions, TlsError};
use tokio::time::timeout;

use crate::shown::shown;

/// How long one request may take, with all that comes before it. Both clients and their servers give up on a login after 10 s, and
/// should hear why.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(8);

/// The longest answer, in bytes. Sets of keys with their certificates have a few dozen kilobytes.
pub(crate) const MAX_ANSWER: usize = 256 * 1024;

/// The longest head of an answer, in bytes.
const MAX_HEAD: usize = 64 * 1024;

const USER_AGENT: HeaderValue =
    HeaderValue::from_static(concat!("mgrok/", env!("CARGO_PKG_VERSION")));
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const FORM: HeaderValue = HeaderValue::from_static("application/x-www-form-urlencoded");

/// Why a request has no answer that can be used.
#[derive(Debug, thiserror::Error)]
pub enum FetchError {
    /// The answer broke off.
    #[error("its answer did not arrive")]
    Body(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be reached.
    #[error("cannot reach it")]
    Dial(#[from] DialError),
    /// It cannot be reached through the proxy.
    #[error("cannot reach it by its proxy")]
    Proxy(#[from] OutboundError),
    /// It does not speak HTTP.
    #[error("it gave no answer in HTTP")]
    Exchange(#[from] hyper::Error),
    /// Its certificate is not trusted, or it does not speak TLS.
    #[error("TLS with it failed")]
    Handshake(#[source] std::io::Error),
    /// It sends elsewhere.
    #[error(
        "it sends elsewhere, to {1:?} with status {0}; redirects are not followed, so name that place"
    )]
    Redirect(u16, String),
    /// The request cannot be written.
    #[error("there is no such request")]
    Request(#[from] hyper::http::Error),
    /// It answers with an error.
    #[error("its answer has status {0}")]
    Status(u16),
    /// It does not answer.
    #[error("it did not answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// What TLS needs cannot be had.
    #[error("TLS cannot be set up")]
    Tls(#[from] TlsError),
    /// Its answer has no end.
    #[error("its answer has more than {MAX_ANSWER} bytes")]
    TooLong,
}

/// Whose certificates are trusted.
#[derive(Clone, Debug)]
pub(crate) enum Trust {
    Anybody,
    File(PathBuf),
    System,
}

/// Asks over HTTP. Files of authorities are read anew for each request, which are few.
#[derive(Clone, Debug)]
pub(crate) struct Fetcher {
    trust: Trust,
    proxy: Option<OutboundProxy>,
    resolver: Resolver,
}

/// What is sent along.
#[derive(Debug)]
pub(crate) struct Form {
    pub(crate) body: String,
    /// Marked as not to be shown.
    pub(crate) authorization: Option<HeaderValue>,
}

/// An answer with any status but that of a redirect.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) content_type: String,
    /// What time it is there, by the answer's `Date`.
    pub(crate) date: Option<SystemTime>,
    pub(crate) body: Bytes,
}

impl Fetcher {
    pub(crate) fn new(trust: Trust, proxy: Option<&ProxyUrl>, resolver: Resolver) -> Self {
        Self {
            trust,
            proxy: proxy.map(outbound),
            resolver,
        }
    }

    /// Asks for `url`, and takes nothing but success.
    pub(crate) async fn get(&self, url: &HttpUrl) -> Result<Answer, FetchError> {
        let answer = self.exchange(url, None).await?;
        match answer.status.is_success() {
            true => Ok(answer),
            false => Err(FetchError::Status(answer.status.as_u16())),
        }
    }

    /// Posts `form` to `url`.
    pub(crate) async fn post(&self, url: &HttpUrl, form: Form) -> Result<Answer, FetchError> {
        self.exchange(url, Some(form)).await
    }

    async fn exchange(&self, url: &HttpUrl, form: Option<Form>) -> Result<Answer, FetchError> {
        timeout(TIMEOUT, Box::pin(self.exchange_in_time(url, form)))
            .await
            .unwrap_or(Err(FetchError::Timeout))
    }

    async fn exchange_in_time(
        &self,
        url: &HttpUrl,
        form: Option<Form>,
    ) -> Result<Answer, FetchError> {
        let conn = self.connect(url).await?;
        let request = request(url, form)?;
        let (mut sender, connection) = http1::Builder::new()
            .max_buf_size(MAX_HEAD)
            .handshake(TokioIo::new(conn))
            .await?;
        let exchange = async {
            let answer = sender.send_request(request).await?;
            let (head, body) = answer.into_parts();
            let header = |name| {
                let value = head.headers.get(name)?;
                value.to_str().ok().map(str::to_owned)
            };
            if head.status.is_redirection() {
                let location = header(header::LOCATION).unwrap_or_default();
                return Err(FetchError::Redirect(head.status.as_u16(), shown(&location)));
            }
            let body = Limited::new(body, MAX_ANSWER).collect().await;
            let body = body.map_err(|error| match error.is::<LengthLimitError>() {
                true => FetchError::TooLong,
                false => FetchError::Body(error),
            })?;
            Ok(Answer {
                status: head.status,
                content_type: header(header::CONTENT_TYPE).unwrap_or_default(),
                date: header(header::DATE).and_then(|it| date(&it)),
                body: body.to_bytes(),
            })
        };
        tokio::pin!(exchange, connection);
        tokio::select! {
            biased;
            answer = &mut exchange => answer,
            driven = &mut connection => {
                driven?;
                // All has been read that there is.
                exchange.await
            }
        }
    }

    async fn connect(&self, url: &HttpUrl) -> Result<Conn, FetchError> {
        let tls = match url.is_https {
            true => Some(self.tls(&url.host).await?),
            false => None,
        };
        let options = DialOptions {
            timeout: TIMEOUT,
            keepalive: None,
            local_ip: None,
            resolver: self.resolver.clone(),
        };
        let conn = match &self.proxy {
            Some(proxy) => dial_through(proxy, &url.host, url.port, &options).await?,
            None => Conn::from(tcp::dial(&url.host, url.port, &options).await?),
        };
        match tls {
            Some(tls) => tls.connect(conn).await.map_err(FetchError::Handshake),
            None => Ok(conn),
        }
    }

    async fn tls(&self, host: &str) -> Result<ClientTls, FetchError> {
        let options = ClientTlsOptions {
            server_name: host.to_owned(),
            trusted_ca: match &self.trust {
                Trust::File(path) => Some(path.clone()),
                Trust::Anybody | Trust::System => None,
            },
            trusts_system: matches!(self.trust, Trust::System),
            ..ClientTlsOptions::default()
        };
        let made = tokio::task::spawn_blocking(|| ClientTls::new(options)).await;
        let made = made.map_err(|error| FetchError::Handshake(std::io::Error::other(error)))?;
        Ok(made?)
    }
}

fn request(url: &HttpUrl, form: Option<Form>) -> Result<Request<Full<Bytes>>, FetchError> {
    let mut request = Request::builder()
        .uri(&url.target)
        .header(header::HOST, &url.authority)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::ACCEPT, JSON)
        .header(header::CONNECTION, "close");
    let mut body = Bytes::new();
    if let Some(form) = form {
        request = request
            .method(Method::POST)
            .header(header::CONTENT_TYPE, FORM);
        if let Some(authorization) = form.authorization {
            request = request.header(header::AUTHORIZATION, authorization);
        }
        body = form.body.into();
    }
    Ok(request.body(Full::new(body))?)
}

fn date(text: &str) -> Option<SystemTime> {
    let date = jiff::fmt::rfc2822::DateTimeParser::new();
    let date = date.parse_timestamp(text).ok()?;
    let since = u64::try_from(date.as_second()).ok()?;
    UNIX_EPOCH.checked_add(Duration::from_secs(since))
}

fn outbound(url: &ProxyUrl) -> OutboundProxy {
    let scheme = match url.scheme {
        ProxyScheme::Http => OutboundScheme::Http,
        ProxyScheme::Https => OutboundScheme::Https,
        ProxyScheme::Ntlm => OutboundScheme::Ntlm,
        ProxyScheme::Socks5 => OutboundScheme::Socks5,
    };
    let credentials = url.credentials.as_ref();
    let credentials = credentials.map(|it| OutboundCredentials {
        user: it.user.clone(),
        password: it.password.clone(),
    });
    OutboundProxy::new(scheme, url.host.clone(), url.port, credentials)
}
