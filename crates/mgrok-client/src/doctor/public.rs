//! What users find: the places at which proxies are published, tried from outside.
//!
//! A client that runs says which those are. Without one only a fixed port of TCP can be tried, and it is not known who answers there.

use std::time::Duration;

use mgrok_config::{ClientConfig, Domains, ProxyConfig, ProxyKind};
use mgrok_doctor::{Examination, Fault, NO_TIME, PATIENCE, Sound, Verdict};
use mgrok_net::conn::Conn;
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::{Resolver, without_zone};
use mgrok_net::tcp::{DialOptions, dial};
use mgrok_net::tls::{ClientTls, ClientTlsOptions};
use tokio::time::timeout;

use super::http::{self, Wanted};
use super::reach::is_closed;
use super::running::{PublishedProxy, RunningClient};
use super::services::subject;

/// How long a connection of a user that cannot be served lives at most: the server finds that out, and closes it.
const STAYS_OPEN: Duration = Duration::from_millis(1000);

const CHECK: &str = "public";

/// How a proxy is tried.
#[derive(Clone, Debug)]
enum Way {
    Tcp,
    Udp,
    Http { domain: String },
    Https { domain: String },
}

/// A place at which users come in.
#[derive(Clone, Debug)]
struct Place {
    host: String,
    port: u16,
    way: Way,
    /// Whether the server may keep this host out.
    is_guarded: bool,
}

/// Tries all of them.
pub(super) async fn examine(
    config: &ClientConfig,
    running: &RunningClient,
    examination: &mut Examination<'_>,
) {
    let resolver = Resolver::new(config.dns_server);
    let mut tried = Vec::new();
    for proxy in &config.proxies {
        let subject = subject(proxy);
        if let ProxyKind::Stcp(_) | ProxyKind::Sudp(_) | ProxyKind::Xtcp { .. } = proxy.kind {
            examination.leave_out(
                CHECK,
                &subject,
                "visitors reach it, and it has no place of its own",
            );
            continue;
        }
        match running.proxy(&config.user, &proxy.name) {
            Some(published) if published.runs() => match places(config, proxy, published) {
                Some(places) => tried.push((subject, places, true)),
                None => {
                    examination.leave_out(CHECK, &subject, "how its users come in cannot be tried")
                }
            },
            Some(published) => {
                let _ = examination.note::<()>(CHECK, &subject, Err(not_running(published)));
            }
            None if matches!(running, RunningClient::Found(_)) => {
                let fault = Fault::new(
                    "the client that runs does not have it",
                    "have it read the file again: `mgrokc reload`, or SIGHUP",
                );
                let _ = examination.note::<()>(CHECK, &subject, Err(fault));
            }
            None => match (&proxy.kind, config.servers.first()) {
                (ProxyKind::Tcp { remote_port }, Some(server)) if *remote_port != 0 => {
                    let place = Place {
                        host: server.host.clone(),
                        port: *remote_port,
                        way: Way::Tcp,
                        is_guarded: proxy.is_guarded(),
                    };
                    tried.push((subject, vec![place], false));
                }
                _ => examination.leave_out(
                    CHECK,
                    &subject,
                    "not tried: only a client that runs with webServer.port set says where it is",
                ),
            },
        }
    }
    // Without a client that says so nobody knows that anybody is to be there.
    let (known, guessed): (Vec<_>, Vec<_>) =
        tried.into_iter().partition(|(.., is_known)| *is_known);
    let known = known.into_iter().map(|(subject, places, _)| {
        let resolver = resolver.clone();
        (subject, async move { all(&places, &resolver).await })
    });
    examination.check_each(CHECK, known).await;
    let (subjects, works): (Vec<_>, Vec<_>) = guessed
        .into_iter()
        .map(|(subject, places, _)| {
            let resolver = resolver.clone();
            (subject, async move { all(&places, &resolver).await })
        })
        .unzip();
    let tried = examination.try_each(works).await;
    for (subject, verdict) in subjects.iter().zip(tried) {
        match verdict {
            Some(Ok(sound)) => {
                let finding = format!("{}, whoever publishes there", sound.finding);
                let _ = examination.note(CHECK, subject, Ok(Sound { finding, ..sound }));
            }
            Some(Err(Fault { cause, .. })) => examination.leave_out(
                CHECK,
                subject,
                format_args!("not known, because no client is known to run: {cause}"),
            ),
            None => examination.leave_out(CHECK, subject, NO_TIME),
        }
    }
}

fn not_running(published: &PublishedProxy) -> Fault {
    let PublishedProxy { status, err, .. } = published;
    let remedy = if err.contains("not allowed") {
        "choose another remotePort, or have the server's allowPorts list it"
    } else if err.contains("already used")
        || err.contains("in use")
        || err.contains("already exists")
    {
        "another proxy has the place: choose another remotePort, domain or name, or stop the other client"
    } else if status == "check failed" {
        "its health check fails: see the check `health`"
    } else {
        "the server's log says more"
    };
    match err.as_str() {
        "" => Fault::new(format_args!("the client that runs says: {status}"), remedy),
        err => Fault::new(
            format_args!(
                "the client that runs says: {status}: {}",
                crate::server_text::server_text(err)
            ),
            remedy,
        ),
    }
}

/// Where a running proxy is; `None` if that cannot be tried.
fn places(
    config: &ClientConfig,
    proxy: &ProxyConfig,
    published: &PublishedProxy,
) -> Option<Vec<Place>> {
    let server = config.servers.first()?;
    let places: Vec<Place> = published
        .remote_addr
        .split(',')
        .filter_map(|addr| {
            let (host, port) = addr.trim().rsplit_once(':')?;
            let port = port.parse().ok()?;
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let domain = || domain(proxy, host);
            let way = match &proxy.kind {
                ProxyKind::Tcp { .. } => Way::Tcp,
                ProxyKind::Udp { .. } => Way::Udp,
                ProxyKind::Http(_) => Way::Http { domain: domain()? },
                ProxyKind::Https(_) => Way::Https { domain: domain()? },
                ProxyKind::TcpMux(_) => Way::Tcp,
                ProxyKind::Stcp(_) | ProxyKind::Sudp(_) | ProxyKind::Xtcp { .. } => return None,
            };
            let host = match (&way, host.is_empty()) {
                (_, true) => without_zone(&server.host),
                _ => host,
            };
            Some(Place {
                host: host.to_owned(),
                port,
                way,
                is_guarded: proxy.is_guarded(),
            })
        })
        .collect();
    (!places.is_empty()).then_some(places)
}

/// The name by which users ask, if it is a whole one.
fn domain(proxy: &ProxyConfig, host: &str) -> Option<String> {
    let domains: &Domains = match &proxy.kind {
        ProxyKind::Http(http) => &http.domains,
        ProxyKind::Https(domains) => domains,
        _ => return None,
    };
    let known = domains
        .custom
        .iter()
        .any(|it| it.eq_ignore_ascii_case(host));
    let is_whole = !host.is_empty() && !host.contains('*');
    (is_whole && (known || !domains.subdomain.is_empty())).then(|| host.to_owned())
}

/// All places of one proxy must do.
async fn all(places: &[Place], resolver: &Resolver) -> Verdict<()> {
    let mut findings = Vec::new();
    let mut remedy = None;
    for place in places {
        let found = one(place, resolver).await?;
        findings.push(found.finding);
        remedy = remedy.or(found.remedy);
    }
    Ok(Sound {
        value: (),
        finding: findings.join("; "),
        remedy,
    })
}

async fn one(place: &Place, resolver: &Resolver) -> Verdict<()> {
    let Place {
        host, port, way, ..
    } = place;
    if let Way::Udp = way {
        let addrs = resolver.lookup(host, *port).await.unwrap_or_default();
        return match is_closed(&addrs).await {
            true => Err(Fault::new(
                format_args!("nobody listens at UDP {host}:{port}: its host says so"),
                "see the server's log: the proxy may just have stopped",
            )),
            false => Ok(Sound::good(
                (),
                format_args!("nothing says that UDP {host}:{port} is closed"),
            )),
        };
    }
    let options = DialOptions {
        timeout: PATIENCE,
        keepalive: None,
        local_ip: None,
        resolver: resolver.clone(),
    };
    let dialled = dial(host, *port, &options).await;
    let conn = Conn::from(dialled.map_err(|error| {
        let remedy = match way {
            Way::Tcp | Way::Udp => {
                "the port is published, and not reached from here: open it in the server's firewall and the cloud's security \
                 group; proxyBindAddr of the server says on which address it is"
            }
            Way::Http { .. } | Way::Https { .. } => {
                "the name must lead to the server (an A, AAAA or CNAME record), and its port be open in the firewall"
            }
        };
        Fault::new(Chain(&error), remedy)
    })?);
    let found = match way {
        Way::Tcp | Way::Udp => stays_open(conn, host, *port).await,
        // Who is kept out here has an answer that says so.
        Way::Http { domain } => return answers(conn, domain, *port).await,
        Way::Https { domain } => secures(conn, domain, *port).await,
    };
    match found {
        Err(Fault { cause, .. }) if place.is_guarded => Ok(Sound::doubtful(
            (),
            cause,
            "`access` of the proxy may leave this host out: try it from an address that may come; else see the check `local`",
        )),
        found => found,
    }
}

/// A user who cannot be served is parted from at once.
async fn stays_open(mut conn: Conn, host: &str, port: u16) -> Verdict<()> {
    let through = |what: &str| Ok(Sound::good((), format_args!("{host}:{port} {what}")));
    match timeout(STAYS_OPEN, conn.recv()).await {
        Err(_) => through("accepts, and keeps the connection"),
        Ok(Ok(said)) if !said.is_empty() => through("accepts, and the service speaks"),
        Ok(Ok(_) | Err(_)) => Err(Fault::new(
            format_args!("{host}:{port} accepts, and closes the connection at once"),
            "the server does not get through to the local service: see the check `local`, and the log of the client that runs",
        )),
    }
}

async fn answers(mut conn: Conn, domain: &str, port: u16) -> Verdict<()> {
    let host = match port {
        80 => domain.to_owned(),
        port => format!("{domain}:{port}"),
    };
    let remedy = "see the check `local`, and the logs of the client that runs and of the server";
    match timeout(
        PATIENCE,
        http::get(&mut conn, &host, "/", None, Wanted::Head),
    )
    .await
    {
        Ok(Ok(answer)) if matches!(answer.status, 502..=504) => Err(Fault::new(
            format_args!("http://{host}/ answers with status {}", answer.status),
            remedy,
        )),
        Ok(Ok(answer)) => {
            let date = answer
                .date
                .map(|it| format!("; its clock says {}", crate::server_text::server_text(&it)));
            let date = date.unwrap_or_default();
            Ok(Sound::good(
                (),
                format_args!("http://{host}/ answers with status {}{date}", answer.status),
            ))
        }
        Ok(Err(error)) => Err(Fault::new(
            format_args!("http://{host}/ gives no answer in HTTP: {}", Chain(&error)),
            remedy,
        )),
        Err(_) => Err(Fault::new(
            format_args!("http://{host}/ does not answer"),
            remedy,
        )),
    }
}

async fn secures(conn: Conn, domain: &str, port: u16) -> Verdict<()> {
    let remedy = "see the check `local`, and the logs of the client that runs and of the server";
    let failed = |why: String| Fault::new(format_args!("https://{domain}:{port}: {why}"), remedy);
    let tls = ClientTls::new(ClientTlsOptions {
        server_name: domain.to_owned(),
        ..ClientTlsOptions::default()
    });
    let tls = tls.map_err(|error| failed(Chain(&error).to_string()))?;
    match timeout(PATIENCE, tls.connect(conn)).await {
        Ok(Ok(_)) => Ok(Sound::good(
            (),
            format_args!("https://{domain}:{port} speaks TLS"),
        )),
        Ok(Err(error)) => Err(failed(Chain(&error).to_string())),
        Err(_) => Err(failed("no answer to TLS".to_owned())),
    }
}
