//! The local services of all proxies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mgrok_config::{
    ClientConfig, HealthCheck, LocalAddr, Plugin as PluginConfig, ProxyConfig, ProxyKind,
};
use mgrok_doctor::{Examination, Fault, PATIENCE, Sound, Verdict};
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use tokio::time::{Instant, timeout};

use super::reach::is_closed;
use crate::health;
use crate::local::{Local, LocalError};
use crate::plugin::Plugin;
use crate::virtual_net;

/// Where a local service is.
#[derive(Clone, Debug)]
enum Place {
    /// Wherever users want.
    Anywhere,
    Directory(PathBuf),
    Tcp {
        host: String,
        port: u16,
    },
    Udp {
        host: String,
        port: u16,
    },
    Unix(PathBuf),
    /// It is the virtual network.
    Network,
}

/// Connects to each of them, and makes its health check if it has one.
pub(super) async fn examine(
    config: &ClientConfig,
    resolver: &Resolver,
    examination: &mut Examination<'_>,
) {
    let proxies = &config.proxies;
    let local = proxies.iter().map(|proxy| {
        let (proxy, resolver) = (proxy.clone(), resolver.clone());
        (
            subject(&proxy),
            async move { local(&proxy, &resolver).await },
        )
    });
    let reached = examination.check_each("local", local).await;
    let mut with_health = Vec::new();
    for (proxy, reached) in proxies.iter().zip(reached) {
        let Some(check) = &proxy.health_check else {
            continue;
        };
        match reached {
            Ok(()) => with_health.push((proxy.clone(), check.clone())),
            Err(unmet) => {
                let _ = examination.skip::<()>("health", &subject(proxy), unmet);
            }
        }
    }
    let health = with_health.into_iter().map(|(proxy, check)| {
        let resolver = resolver.clone();
        (subject(&proxy), async move {
            healthy(&proxy, check, &resolver).await
        })
    });
    examination.check_each("health", health).await;
}

/// What a proxy is called.
pub(super) fn subject(proxy: &ProxyConfig) -> String {
    format!("proxy `{}`", proxy.name)
}

impl Place {
    fn of(proxy: &ProxyConfig) -> Self {
        let own = || Self::Tcp {
            host: proxy.local_host.clone(),
            port: proxy.local_port,
        };
        let at = |addr: &LocalAddr| Self::Tcp {
            host: addr.host.clone(),
            port: addr.port,
        };
        if let ProxyKind::Udp { .. } | ProxyKind::Sudp(_) = proxy.kind {
            // Plugins have no effect on these.
            return Self::Udp {
                host: proxy.local_host.clone(),
                port: proxy.local_port,
            };
        }
        match &proxy.plugin {
            None => own(),
            Some(PluginConfig::VirtualNet) => Self::Network,
            Some(PluginConfig::UnixDomainSocket { path }) => Self::Unix(path.clone()),
            Some(PluginConfig::StaticFile { root, .. }) => Self::Directory(root.clone()),
            Some(PluginConfig::HttpProxy(_) | PluginConfig::Socks5(_)) => Self::Anywhere,
            Some(PluginConfig::Tls2Raw { local_addr, .. }) => at(local_addr),
            Some(
                PluginConfig::Http2Http(website)
                | PluginConfig::Http2Https(website)
                | PluginConfig::Https2Http { website, .. }
                | PluginConfig::Https2Https { website, .. },
            ) => at(&website.local_addr),
        }
    }
}

async fn local(proxy: &ProxyConfig, resolver: &Resolver) -> Verdict<()> {
    let place = Place::of(proxy);
    if let Some(plugin) = &proxy.plugin
        && !matches!(place, Place::Network)
        && let Err(error) = Plugin::new(plugin, None, resolver, None)
    {
        let what = format!(
            "the plugin {} cannot be used: {}",
            plugin.as_str(),
            Chain(&error)
        );
        return Err(Fault::new(what, "mend the files that the plugin names"));
    }
    match place {
        Place::Network => network(),
        Place::Tcp { host, port } => {
            let local = Local::Tcp { host: &host, port };
            connect(local, resolver).await
        }
        Place::Anywhere => Ok(Sound::good((), "users are connected to whatever they name")),
        Place::Directory(path) => directory(&path),
        Place::Unix(path) => connect(Local::Unix(&path), resolver).await,
        Place::Udp { host, port } => udp(&host, port, resolver).await,
    }
}

/// The client that runs may have its device already, so a device without an address is tried.
fn network() -> Verdict<()> {
    match virtual_net::try_device() {
        Ok(()) => Ok(Sound::good((), "a network device can be made")),
        Err(error) => Err(Fault::new(
            Chain(&error),
            "without its device the client does not start: see \"A virtual network\" in docs/recipes.md",
        )),
    }
}

/// Whether the files of a directory can be found.
fn directory(path: &Path) -> Verdict<()> {
    let remedy = "mend localPath of the plugin, or let the user who runs mgrokc read the directory";
    match std::fs::read_dir(path) {
        Ok(_) => Ok(Sound::good(
            (),
            format_args!("{} can be read", path.display()),
        )),
        Err(error) => Err(Fault::new(
            format_args!("{} cannot be read: {error}", path.display()),
            remedy,
        )),
    }
}

async fn connect(local: Local<'_>, resolver: &Resolver) -> Verdict<()> {
    let began = Instant::now();
    let remedy = format!(
        "start the service, or mend localIP and localPort (or the plugin): nobody accepts at {local}"
    );
    match timeout(PATIENCE, local.connect(resolver)).await {
        Ok(Ok(_conn)) => {
            let took = began.elapsed().as_millis();
            Ok(Sound::good(
                (),
                format_args!("{local} accepts, in {took} ms"),
            ))
        }
        Ok(Err(error @ LocalError::Unix { .. })) => Err(Fault::new(
            Chain(&error),
            "start the service, or mend the path; the socket must allow the user who runs mgrokc to write",
        )),
        Ok(Err(error)) => Err(Fault::new(Chain(&error), remedy)),
        Err(_) => Err(Fault::new(
            format_args!("{local} did not accept within {} s", PATIENCE.as_secs()),
            "a firewall swallows what is sent there, the host is down, or the service is too busy to accept",
        )),
    }
}

/// A service of UDP that is there says nothing to what it does not know, so that only the absence of one can be told for sure.
async fn udp(host: &str, port: u16, resolver: &Resolver) -> Verdict<()> {
    let addrs = match timeout(PATIENCE, resolver.lookup(host, port)).await {
        Ok(Ok(addrs)) => addrs,
        Ok(Err(error)) => {
            let cause = format!("cannot resolve `{host}`: {}", Chain(&error));
            return Err(Fault::new(cause, "mend localIP"));
        }
        Err(_) => {
            let cause = format!("nobody says what `{host}` is");
            return Err(Fault::new(cause, "mend localIP, or the DNS of this host"));
        }
    };
    match is_closed(&addrs).await {
        true => Err(Fault::new(
            format_args!("nobody listens at UDP {host}:{port}: its host says so"),
            "start the service, or mend localIP and localPort",
        )),
        false => Ok(Sound::good(
            (),
            format_args!(
                "nothing says that UDP {host}:{port} is closed; more cannot be known without speaking as its users do"
            ),
        )),
    }
}

async fn healthy(proxy: &ProxyConfig, check: HealthCheck, resolver: &Resolver) -> Verdict<()> {
    let check = HealthCheck {
        timeout: check.timeout.min(PATIENCE).max(Duration::from_millis(1)),
        ..check
    };
    match health::attempt(&check, &proxy.local_host, proxy.local_port, resolver).await {
        Ok(()) => Ok(Sound::good((), "its health check finds it well")),
        Err(error) => Err(Fault::new(
            Chain(&error),
            "mend the service, or the healthCheck of the proxy: until it is well its proxy is not published",
        )),
    }
}
