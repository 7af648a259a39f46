//! Asking the program that runs with the same file, at its admin port.

use std::pin::pin;
use std::time::Duration;

use anyhow::{Context as _, bail};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::client::conn::http1;
use hyper::header::{AUTHORIZATION, HOST};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use mgrok_config::{WebServer, WebServerTls};
use mgrok_net::conn::Conn;
use mgrok_net::tls::{ClientTls, ClientTlsOptions, Fingerprint};
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::duration;

/// The longest answer that is read: the status of 100,000 proxies needs less.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What follows a command that asks the program that runs.
#[derive(Args, Clone, Debug)]
pub struct AdminArguments {
    /// How long the program that runs may take to answer
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::parse)]
    pub api_timeout: Duration,

    // frp: commands ignore what else they are given
    #[arg(hide = true)]
    _ignored: Vec<std::ffi::OsString>,
}

/// The admin port of the program that runs with a file, as this program has read it.
#[derive(Clone, Debug)]
pub struct AdminClient {
    admin: WebServer,
    /// What the program is: client or server.
    who: &'static str,
}

/// A refusal of the admin port, in either of its forms.
#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "Msg", alias = "msg")]
    message: String,
}

impl AdminClient {
    /// Asks at the admin port `admin` of a program that is a `who`, client or server.
    ///
    /// # Errors
    /// If there is none.
    pub fn new(admin: Option<WebServer>, who: &'static str) -> anyhow::Result<Self> {
        match admin {
            Some(admin) => Ok(Self { admin, who }),
            // frp: these words
            None => bail!("web server port should be set if you want to use this feature"),
        }
    }

    /// Asks for `path` and returns what is answered.
    ///
    /// # Errors
    /// If the program does not answer within `limit`, is not the one that has the certificate of the file, or refuses.
    pub fn ask(&self, method: Method, path: &str, limit: Duration) -> anyhow::Result<Bytes> {
        let (status, body) = self.exchange(method, path, limit)?;
        if status != StatusCode::OK {
            // frp: the first words
            let why = serde_json::from_slice::<Refused>(&body)
                .map(|refused| format!(": {}", refused.message))
                .unwrap_or_default();
            bail!("api status code [{}]{why}", status.as_u16());
        }
        Ok(body)
    }

    /// As [`ask`](Self::ask), whatever the status of the answer.
    pub(crate) fn exchange(
        &self,
        method: Method,
        path: &str,
        limit: Duration,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let answered =
            runtime.block_on(async { timeout(limit, self.exchange_now(method, path)).await });
        // A name that is being looked up would hold up the end.
        runtime.shutdown_background();
        match answered {
            Ok(answer) => answer,
            Err(_elapsed) => bail!(
                "the {} did not answer at {} within {limit:?}",
                self.who,
                self.authority()
            ),
        }
    }

    async fn exchange_now(
        &self,
        method: Method,
        path: &str,
    ) -> anyhow::Result<(StatusCode, Bytes)> {
        let Self { admin, who } = self;
        let authority = self.authority();
        let mut request = Request::builder()
            .method(method)
            .uri(path)
            .header(HOST, &authority);
        if !admin.user.is_empty() || !admin.password.is_empty() {
            let login = format!("{}:{}", admin.user, admin.password.expose());
            let login = BASE64_STANDARD.encode(login);
            request = request.header(AUTHORIZATION, format!("Basic {login}"));
        }
        let request = request.body(Empty::<Bytes>::new())?;

        let host = match admin.addr.as_str() {
            // Where it listens on every address.
            "0.0.0.0" => "127.0.0.1",
            "::" => "::1",
            host => host,
        };
        let stream = TcpStream::connect((host, admin.port))
            .await
            .with_context(|| {
                format!("no {who} answers at {authority}; is it running with this file?")
            })?;
        let conn = match &admin.tls {
            None => Conn::from(stream),
            Some(tls) => {
                let shaken = own_tls(tls)?.connect(stream.into()).await;
                shaken.with_context(|| {
                    format!(
                        "what answers at {authority} is no {who} with the certificate of {}",
                        tls.cert_file.display()
                    )
                })?
            }
        };
        let no_admin_port = || format!("what answers at {authority} is no admin port of mgrok");
        let (mut sender, conn) = http1::handshake(TokioIo::new(conn)).await?;
        let exchange = async {
            let response = sender.send_request(request).await;
            let response = response.with_context(no_admin_port)?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
            let body = body.await.map_err(anyhow::Error::from_boxed)?;
            anyhow::Ok((status, body.to_bytes()))
        };
        let mut exchange = pin!(exchange);
        tokio::select! {
            answered = &mut exchange => answered,
            // The answer, or why there is none, may have come with the end.
            _ended = conn => exchange.await,
        }
    }

    /// Where it is, as in a URL.
    pub(crate) fn authority(&self) -> String {
        let WebServer { addr, port, .. } = &self.admin;
        match addr.contains(':') {
            true => format!("[{addr}]:{port}"),
            false => format!("{addr}:{port}"),
        }
    }
}

/// TLS to whoever shows the very certificate that the file names: nobody else can be the program that has read it, and no name or
/// authority says as much.
fn own_tls(tls: &WebServerTls) -> anyhow::Result<ClientTls> {
    let Fingerprint(pinned) = Fingerprint::of_file(&tls.cert_file)?;
    let options = ClientTlsOptions {
        pinned_sha256: Some(pinned),
        ..ClientTlsOptions::default()
    };
    Ok(ClientTls::new(options)?)
}
