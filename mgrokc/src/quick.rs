//! Quick tunnels, `mgrokc http 3000 --server example.com`: a service is public at once, without a file. What users ask for is shown.
//!
//! Without an address of a local service the commands are frp's one-off proxies.

mod view;

mod details;

mod screen;

use std::future::pending;
use std::process::ExitCode;
use std::{env, thread};

use anyhow::bail;
use clap::Args;
use mgrok_client::{Client, ProxyPhase, StatusWatch};
use mgrok_config::{ClientConfig, LoadOptions, ProxyConfig, ProxyKind, Settings, WebServer};
use mgrok_daemon::{Daemon, FlagTable, FlagValues, random};

use self::screen::Screen;
use self::view::Show;
pub(crate) use self::view::ViewArguments;
use crate::flags::{ClientFlags, PIN};
use crate::host_port::{HostPort, parse_local, parse_server};
use crate::{PROGRAM, one_off, run};

/// Defaults for flags of quick tunnels, so that a secret need not stand in a shell's history.
const SERVER_VARIABLE: &str = "MGROK_SERVER";
pub(crate) const TOKEN_VARIABLE: &str = "MGROK_TOKEN";
const PIN_VARIABLE: &str = "MGROK_PIN";

/// What is said of a service that is to be public at once.
#[derive(Args, Debug)]
pub(crate) struct Arguments {
    /// The local service, which is made public at once under a free name or port; the environment's MGROK_SERVER, MGROK_TOKEN and
    /// MGROK_PIN are the defaults of --server, --token and --pin then
    #[arg(value_name = "[HOST:]PORT", value_parser = parse_local)]
    local: Option<HostPort>,

    /// The server, and its port for clients if that is not 7000
    #[arg(
        long,
        value_name = "HOST[:PORT]",
        value_parser = parse_server,
        conflicts_with_all = ["server-addr", "server-port"],
        help_heading = "Server",
    )]
    server: Option<HostPort>,
}

/// Runs a proxy of this kind: a quick tunnel if a local service is named, otherwise what the flags say.
///
/// # Errors
/// What is wrong with a flag, or why the client has ended.
pub(crate) fn run<T: FlagTable>(
    kind: &'static str,
    arguments: &Arguments,
    view: ViewArguments,
    client: &FlagValues<ClientFlags>,
    proxy: &FlagValues<T>,
    options: LoadOptions,
) -> anyhow::Result<ExitCode> {
    let mut settings = Settings::default();
    client.add_to(&mut settings);
    if let Some(server) = &arguments.server {
        set_server(&mut settings, server, "--server");
    }
    settings.set("proxies[0].type", kind, kind);
    proxy.add_to(&mut settings);
    view.add_to(&mut settings);
    let Some(local) = &arguments.local else {
        return run::without_file(one_off::load(&settings, options)?);
    };
    complete(&mut settings, kind, local, |name| env::var(name).ok())?;
    let is_server_named = settings.has("serverAddr") || settings.has("serverPort");
    let ended = tunnel(one_off::load(&settings, options)?, view.show);
    ended.map_err(|error| match is_server_named {
        true => error,
        false => anyhow::anyhow!(
            "{error:#}\nNo server is named, so it was looked for on this host; name it by --server example.com, or in {SERVER_VARIABLE}."
        ),
    })
}

fn set_server(settings: &mut Settings, server: &HostPort, origin: &str) {
    if let Some(host) = &server.host {
        settings.set("serverAddr", host.as_str(), origin);
    }
    if let Some(port) = server.port {
        settings.set("serverPort", port, origin);
    }
}

/// Adds what makes a service at `local` public, as far as no flag says it. `variable` is the environment.
fn complete(
    settings: &mut Settings,
    kind: &str,
    local: &HostPort,
    variable: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<()> {
    let variable = |name: &str| variable(name).filter(|it| !it.is_empty());
    let has_server = settings.has("serverAddr") || settings.has("serverPort");
    if let Some(server) = variable(SERVER_VARIABLE).filter(|_| !has_server) {
        match parse_server(&server) {
            Ok(server) => set_server(settings, &server, SERVER_VARIABLE),
            Err(why) => bail!("{SERVER_VARIABLE}: {why}"),
        }
    }
    for (key, name) in [("auth.token", TOKEN_VARIABLE), (PIN, PIN_VARIABLE)] {
        if let Some(value) = variable(name).filter(|_| !settings.has(key)) {
            settings.set(key, value, name);
        }
    }
    if settings.has("proxies[0].localPort") {
        bail!("--local-port and the local service before it are the same; one of them is too many");
    }
    let origin = "the local service";
    if let Some(host) = &local.host {
        settings.set("proxies[0].localIP", host.as_str(), origin);
    }
    let port = local.port.unwrap_or_default();
    settings.set("proxies[0].localPort", port, origin);
    let random = random::name()?;
    if !settings.has("proxies[0].name") {
        settings.set("proxies[0].name", format!("{kind}-{port}-{random}"), origin);
    }
    let is_named = matches!(kind, "http" | "https");
    if is_named
        && !settings.has("proxies[0].customDomains")
        && !settings.has("proxies[0].subdomain")
    {
        settings.set("proxies[0].subdomain", random, "the free name");
    }
    if !settings.has("log.level") {
        // Beside what users ask for, only what goes wrong is of interest.
        settings.set("log.level", "warn", "the default of --log-level");
    }
    Ok(())
}

/// Runs the client, and shows where its only proxy is and who comes.
fn tunnel(config: ClientConfig, show_more: Option<Show>) -> anyhow::Result<ExitCode> {
    let daemon = Daemon::start(PROGRAM.name, &config.log)?;
    run::introduce(&config);
    let [proxy] = config.proxies.as_slice() else {
        bail!("a quick tunnel has one proxy");
    };
    let proxy = proxy.clone();
    let inspector = config.web_server.as_ref().map(inspector_url);
    daemon.block_on(async |running| {
        let mut client = Client::new(config)?;
        client.open_admin_port().await?;
        run::add_log(&mut client, &running.log());
        let mut events = client.observe_users();
        // A terminal may be slow, or stopped.
        thread::spawn(move || {
            let screen = Screen::new();
            while let Some(event) = events.blocking_next() {
                screen.show_event(&event, show_more, events.missed());
            }
        });
        let shown = show(client.status(), &proxy, inspector.as_deref());
        tokio::select! {
            ended = client.run(running.stopped()) => Ok(ended?.cut),
            failed = shown => Err(failed),
        }
    })
}

/// Shows where the proxy is whenever that changes. Ends if the server does not take it.
async fn show(
    mut status: StatusWatch,
    proxy: &ProxyConfig,
    inspector: Option<&str>,
) -> anyhow::Error {
    let screen = Screen::new();
    let mut shown = None;
    loop {
        let changed = status.wait_for(&proxy.name, |it| match it.phase {
            ProxyPhase::Running => it.remote_addr != shown,
            // Later it may be the next server's trouble, which passes.
            ProxyPhase::StartError => shown.is_none(),
            ProxyPhase::CheckFailed
            | ProxyPhase::Closed
            | ProxyPhase::New
            | ProxyPhase::WaitStart => false,
        });
        let Some(changed) = changed.await else {
            return pending().await;
        };
        if let Some(error) = changed.error {
            return refused(&proxy.kind, &error);
        }
        let addr = changed.remote_addr.clone().unwrap_or_default();
        screen.show_urls(&urls(&proxy.kind, &addr), &service(proxy), inspector);
        shown = changed.remote_addr;
    }
}

/// Why the server does not take the proxy, and what to do.
fn refused(kind: &ProxyKind, error: &str) -> anyhow::Error {
    let advice = if error.contains("subdomain is not supported") {
        "\nThis server gives no names away. Either name one that leads to it, by --custom-domain www.example.com; or let it give names \
         away, by subDomainHost = \"example.com\" in its file and a DNS record for *.example.com; or publish the service at a port, \
         by `mgrokc tcp` instead."
    } else if matches!(kind, ProxyKind::Http(_) | ProxyKind::Https(_)) && error.contains("vhost") {
        "\nThis server has no port for names: add vhostHTTPPort = 8080, or vhostHTTPSPort = 8443, to its file; or publish the service \
         at a port, by `mgrokc tcp` instead."
    } else {
        ""
    };
    anyhow::anyhow!("the server refused: {error}{advice}")
}

/// Where users reach the service; `remote_addr` is what the server has answered.
fn urls(kind: &ProxyKind, remote_addr: &str) -> Vec<String> {
    let (scheme, usual_port) = match kind {
        ProxyKind::Http(_) => ("http", ":80"),
        ProxyKind::Https(_) => ("https", ":443"),
        ProxyKind::Udp { .. } => ("udp", ""),
        _ => ("tcp", ""),
    };
    let addresses = remote_addr.split(',').filter(|it| !it.is_empty());
    let urls = addresses.map(|addr| {
        let addr = addr.strip_suffix(usual_port).unwrap_or(addr);
        format!("{scheme}://{addr}")
    });
    urls.collect()
}

/// Where the page with the requests is.
fn inspector_url(admin: &WebServer) -> String {
    format!("http://{}/#/requests", host_port(&admin.addr, admin.port))
}

fn service(proxy: &ProxyConfig) -> String {
    host_port(&proxy.local_host, proxy.local_port)
}

fn host_port(host: &str, port: u16) -> String {
    match host.contains(':') {
        true => format!("[{host}]:{port}"),
        false => format!("{host}:{port}"),
    }
}

#[cfg(test)]
mod tests;
