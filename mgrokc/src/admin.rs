//! `mgrokc reload`, `status` and `stop`: what is asked of a client that runs, at its admin port.

use std::path::Path;
use std::process::ExitCode;
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
use mgrok_config::{LoadOptions, Strictness, WebServer, load_client};
use mgrok_daemon::say;
use serde::Deserialize;
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::duration;
use crate::status::Status;

/// The longest answer that is read: the status of 100,000 proxies needs less.
const MAX_ANSWER: usize = 64 * 1024 * 1024;

/// What follows the commands.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// How long the client may take to answer
    #[arg(long, default_value = "30s", value_name = "DURATION", value_parser = duration::parse)]
    api_timeout: Duration,

    // frp: commands ignore what else they are given
    #[arg(hide = true)]
    _ignored: Vec<std::ffi::OsString>,
}

/// A refusal of the admin port.
#[derive(Deserialize)]
struct Refused {
    #[serde(rename = "Msg")]
    message: String,
}

/// Has the client read `file` again.
///
/// # Errors
/// As [`ask`].
pub(crate) fn reload(
    arguments: &Arguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let path = match options.strictness() {
        Strictness::Strict => "/api/reload?strictConfig=true",
        Strictness::Lenient => "/api/reload",
    };
    ask(arguments, file, options, Method::GET, path)?;
    // frp: these words, which scripts look for
    say("reload success");
    Ok(ExitCode::SUCCESS)
}

/// Shows the client's proxies.
///
/// # Errors
/// As [`ask`].
pub(crate) fn status(
    arguments: &Arguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let answer = ask(arguments, file, options, Method::GET, "/api/status")?;
    let status: Status =
        serde_json::from_slice(&answer).context("unmarshal http response error")?;
    say(status.table().strip_suffix('\n').unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// Stops the client.
///
/// # Errors
/// As [`ask`].
pub(crate) fn stop(
    arguments: &Arguments,
    file: &Path,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    ask(arguments, file, options, Method::POST, "/api/stop")?;
    say("stop success");
    Ok(ExitCode::SUCCESS)
}

/// Asks the client that runs with `file`.
///
/// # Errors
/// If the file cannot be used or names no admin port, or if the client does not answer in time or refuses.
fn ask(
    arguments: &Arguments,
    file: &Path,
    options: LoadOptions,
    method: Method,
    path: &str,
) -> anyhow::Result<Bytes> {
    let Some(admin) = load_client(file, options)?.config.web_server else {
        // frp: these words
        bail!("web server port should be set if you want to use this feature");
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let answered = runtime.block_on(async {
        let exchange = exchange(&admin, method, path);
        timeout(arguments.api_timeout, exchange).await
    });
    // A name that is being looked up would hold up the end.
    runtime.shutdown_background();
    match answered {
        Ok(answer) => answer,
        Err(_elapsed) => bail!(
            "the client did not answer at {} within {:?}",
            authority(&admin),
            arguments.api_timeout
        ),
    }
}

async fn exchange(admin: &WebServer, method: Method, path: &str) -> anyhow::Result<Bytes> {
    let authority = authority(admin);
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
            format!("no client answers at {authority}; is it running with this file?")
        })?;
    let (mut sender, conn) = http1::handshake(TokioIo::new(stream)).await?;
    let exchange = async {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let body = Limited::new(response.into_body(), MAX_ANSWER).collect();
        let body = body.await.map_err(anyhow::Error::from_boxed)?;
        anyhow::Ok((status, body.to_bytes()))
    };
    let (status, body) = tokio::select! {
        answered = exchange => answered?,
        ended = conn => {
            ended?;
            bail!("the client at {authority} closed the connection");
        }
    };
    if status != StatusCode::OK {
        // frp: the first words
        let why = serde_json::from_slice::<Refused>(&body)
            .map(|refused| format!(": {}", refused.message))
            .unwrap_or_default();
        bail!("api status code [{}]{why}", status.as_u16());
    }
    Ok(body)
}

fn authority(admin: &WebServer) -> String {
    let WebServer { addr, port, .. } = admin;
    match addr.contains(':') {
        true => format!("[{addr}]:{port}"),
        false => format!("{addr}:{port}"),
    }
}
