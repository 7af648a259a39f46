//! A client of the same configuration that runs, as its admin port shows it.

use std::collections::BTreeMap;
use std::io;
use std::net::IpAddr;

use mgrok_config::{ClientConfig, WebServer};
use mgrok_doctor::{Examination, Fault, PATIENCE, Sound};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use mgrok_net::tcp::{DialError, DialOptions, dial};
use serde::Deserialize;
use tokio::time::timeout;

use super::http::{self, Wanted};

/// What is known of it.
#[derive(Debug)]
pub(super) enum RunningClient {
    /// Its proxies by their names.
    Found(BTreeMap<String, PublishedProxy>),
    /// None runs.
    None,
    /// It cannot be asked.
    Unknown,
}

/// A proxy of a client that runs.
// frp: these names (client/http)
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PublishedProxy {
    pub(super) name: String,
    pub(super) status: String,
    #[serde(default)]
    pub(super) err: String,
    #[serde(default)]
    pub(super) remote_addr: String,
}

/// Why the admin port has not answered.
enum Silence {
    Nobody(DialError),
    Refused(u16),
    Other(String),
}

impl RunningClient {
    /// Asks it.
    pub(super) async fn ask(
        config: &ClientConfig,
        resolver: &Resolver,
        examination: &mut Examination<'_>,
    ) -> Self {
        const CHECK: &str = "admin";
        let Some(web_server) = &config.web_server else {
            examination.leave_out(
                CHECK,
                "",
                "webServer.port is not set, so that a client which runs cannot be asked what it publishes",
            );
            return Self::Unknown;
        };
        let subject = format!("{}:{}", web_server.addr, web_server.port);
        match timeout(PATIENCE, proxies(web_server, resolver)).await {
            Ok(Ok(proxies)) => {
                let running = proxies.values().filter(|it| it.runs()).count();
                let finding = format!(
                    "a client runs, and publishes {running} of {} proxies",
                    proxies.len()
                );
                // Nothing needs it.
                let _ = examination.note(CHECK, &subject, Ok(Sound::good((), finding)));
                Self::Found(proxies)
            }
            Ok(Err(Silence::Nobody(error))) => {
                let because = format!("no client of this file runs here: {}", Chain(&error));
                examination.leave_out(CHECK, &subject, because);
                Self::None
            }
            Ok(Err(Silence::Refused(status))) => {
                let fault = Fault::new(
                    format_args!("the admin port answers with status {status}"),
                    "a client with other credentials, or another program, has this port: choose another webServer.port, or restart \
                     the client with this file",
                );
                let _ = examination.note::<()>(CHECK, &subject, Err(fault));
                Self::Unknown
            }
            Ok(Err(Silence::Other(why))) => {
                let fault = Fault::new(
                    format_args!("what answers at this port is no admin port of a client: {why}"),
                    "choose another webServer.port, or stop the program that has this one",
                );
                let _ = examination.note::<()>(CHECK, &subject, Err(fault));
                Self::Unknown
            }
            Err(_) => {
                let fault = Fault::new(
                    "somebody listens at this port, and does not answer",
                    "choose another webServer.port, or stop the program that has this one",
                );
                let _ = examination.note::<()>(CHECK, &subject, Err(fault));
                Self::Unknown
            }
        }
    }

    /// Whether it says that it is with a server.
    pub(super) fn publishes(&self) -> bool {
        match self {
            Self::Found(proxies) => proxies.values().any(PublishedProxy::runs),
            Self::None | Self::Unknown => false,
        }
    }

    /// Whether it runs.
    pub(super) fn is_found(&self) -> bool {
        matches!(self, Self::Found(_))
    }

    /// What it says of a proxy.
    pub(super) fn proxy(&self, user: &str, name: &str) -> Option<&PublishedProxy> {
        let Self::Found(proxies) = self else {
            return None;
        };
        // frp: shows the user in front
        proxies
            .get(name)
            .or_else(|| proxies.get(&format!("{user}.{name}")))
    }
}

impl PublishedProxy {
    pub(super) fn runs(&self) -> bool {
        self.status == "running"
    }
}

async fn proxies(
    web_server: &WebServer,
    resolver: &Resolver,
) -> Result<BTreeMap<String, PublishedProxy>, Silence> {
    let options = DialOptions {
        timeout: PATIENCE,
        keepalive: None,
        local_ip: None,
        resolver: resolver.clone(),
    };
    let host = match web_server.addr.parse::<IpAddr>() {
        Ok(IpAddr::V4(ip)) if ip.is_unspecified() => "127.0.0.1",
        Ok(IpAddr::V6(ip)) if ip.is_unspecified() => "::1",
        _ => &web_server.addr,
    };
    let dialled = dial(host, web_server.port, &options).await;
    let mut conn = Conn::from(dialled.map_err(Silence::Nobody)?);
    let other = |error: io::Error| Silence::Other(Chain(&error).to_string());
    let answer = http::get(
        &mut conn,
        "localhost",
        "/api/status",
        Some(web_server),
        Wanted::All,
    );
    let answer = answer.await.map_err(other)?;
    if answer.status != 200 {
        return Err(Silence::Refused(answer.status));
    }
    let by_kind: BTreeMap<String, Option<Vec<PublishedProxy>>> =
        serde_json::from_slice(&answer.body).map_err(|error| Silence::Other(error.to_string()))?;
    let all = by_kind.into_values().flatten().flatten();
    Ok(all.map(|it| (it.name.clone(), it)).collect())
}
