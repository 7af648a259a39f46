//! `doctor`: what a server needs of its host, looked at one by one before it starts, or while it runs.
//!
//! Nothing is disturbed: ports are bound and given back at once, nothing is written, and plugins are connected to and asked nothing.

mod certificate;
mod ports;
mod ssh;

use std::net::{SocketAddr, UdpSocket};
use std::time::SystemTime;

use mgrok_config::{AccessList, HttpPlugin, OidcServer, ServerConfig, WebServer};
use mgrok_doctor::{
    Examination, Fault, PATIENCE, Sound, Verdict, clock, open_files, outgoing_ports, udp_buffers,
};
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use tokio::time::timeout;

use crate::hooks;

/// How many files a user of the server takes at most: the connection of the user, and one of the client's where there is no multiplexer.
const FILES_PER_USER: u64 = 2;

/// Why there is nothing to say of what only the system knows.
const NOT_SAID: &str = "the system does not say in this container";

/// The names of all checks, in the order in which they are made. They stay the same from version to version.
pub const CHECKS: &[&str] = &[
    "files",
    "ports",
    "clock",
    "token",
    "access",
    "issuer",
    "port",
    "certificate",
    "ssh",
    "sub_domain",
    "buffers",
    "admin",
    "plugin",
];

/// Looks into everything that a server of `config` needs. Names are looked up at `dns_server`, or at the system.
pub async fn examine(
    config: &ServerConfig,
    dns_server: Option<SocketAddr>,
    examination: &mut Examination<'_>,
) {
    // Nothing needs these.
    let _ = examination.note("files", "", open_files(FILES_PER_USER));
    if let Some(ports) = outgoing_ports() {
        let _ = examination.note("ports", "", ports);
    }
    let _ = examination.note("clock", "", clock());
    let _ = examination.note("token", "", Ok(token(config)));
    let access = &config.access;
    for (key, list) in [
        ("access.logins", &access.logins),
        ("access.users", &access.users),
        ("access.visitors", &access.visitors),
    ] {
        if !list.is_open() {
            let _ = examination.note("access", key, Ok(access_list(list)));
        }
    }
    if let Some(wanted) = &config.oidc {
        let _ = examination
            .check("issuer", wanted.issuer.as_str(), Ok(()), async |()| {
                issuer(wanted).await
            })
            .await;
    }
    ports::examine(config, examination).await;
    let _ = examination
        .check("certificate", "", Ok(()), async |()| {
            certificate::examine(&config.transport.tls)
        })
        .await;
    if let Some(gateway) = &config.ssh_gateway {
        let _ = examination
            .check("ssh", "", Ok(()), async |()| ssh::examine(gateway, config))
            .await;
    }
    let host = &config.vhost.sub_domain_host;
    if !host.is_empty() {
        let resolver = Resolver::new(dns_server);
        let _ = examination
            .check("sub_domain", host, Ok(()), async |()| {
                sub_domain(host, &resolver).await
            })
            .await;
    }
    let over_udp = [
        ("kcpBindPort", config.kcp_bind_port),
        ("quicBindPort", config.quic_bind_port),
    ];
    let over_udp = over_udp.iter().filter(|(_, port)| port.is_some());
    let over_udp: Vec<_> = over_udp.map(|(key, _)| *key).collect();
    if !over_udp.is_empty() {
        let subject = over_udp.join(", ");
        match udp_buffers() {
            Some(verdict) => {
                let _ = examination.note("buffers", &subject, verdict);
            }
            None => examination.leave_out("buffers", &subject, NOT_SAID),
        }
    }
    if let Some(web_server) = &config.web_server {
        let _ = examination.note("admin", "", Ok(admin(web_server)));
    }
    let plugins = config.http_plugins.iter().map(|config| {
        let config = config.clone();
        (format!("plugin `{}`", config.name), async move {
            plugin(&config).await
        })
    });
    examination.check_each("plugin", plugins).await;
}

fn token(config: &ServerConfig) -> Sound<()> {
    if let Some(oidc) = &config.oidc {
        return Sound::good(
            (),
            format_args!("clients must show tokens of {}", oidc.issuer),
        );
    }
    if !config.auth.token.is_empty() {
        return Sound::good((), "clients must know a token");
    }
    if config.transport.tls.trusted_ca.is_some() {
        return Sound::good((), "clients must show a certificate");
    }
    if !config.http_plugins.is_empty() {
        return Sound::good((), "there is no token; plugins may decide who gets in");
    }
    Sound::doubtful(
        (),
        "whoever reaches the control port may publish services here",
        "set auth.token to a long random text, and the same at the clients",
    )
}

/// What a list comes to.
fn access_list(list: &AccessList) -> Sound<()> {
    match list.flaw() {
        None => Sound::good((), "every network in it has an effect"),
        Some(flaw) => Sound::doubtful((), flaw, flaw.remedy()),
    }
}

/// How far the clocks of this host and of an issuer may be apart without a word, in seconds.
const CLOCK_TOLERANCE: u64 = 60;

/// Whether the issuer tells its keys, and has the time that this host has.
async fn issuer(wanted: &OidcServer) -> Verdict<()> {
    let report = mgrok_oidc::examine(wanted).await;
    let report = report.map_err(|error| {
        Fault::new(
            Chain(&*error),
            "mend auth.oidc.issuer, or the way from this host to it: no client can log in until it tells its keys",
        )
    })?;
    let (keys, algorithms) = (report.keys, report.algorithms.join(", "));
    let apart = report.date.map(|date| {
        let now = SystemTime::now();
        let apart = now
            .duration_since(date)
            .or_else(|_| date.duration_since(now));
        apart.unwrap_or_default().as_secs()
    });
    Ok(match apart {
        Some(apart) if apart > CLOCK_TOLERANCE => Sound::doubtful(
            (),
            format_args!("it has {keys} keys, and its clock and ours are {apart} s apart"),
            "set both clocks by NTP: tokens count from when to when their issuer says",
        ),
        Some(_) | None => Sound::good(
            (),
            format_args!("it has {keys} keys and signs with {algorithms}"),
        ),
    })
}

/// Whether names below `host` lead here.
async fn sub_domain(host: &str, resolver: &Resolver) -> Verdict<()> {
    // One that nobody has asked for before, so that no cache and no record of its own answers.
    let name = format!("mgrok-doctor-{:08x}.{host}", fastrand::u32(..));
    let remedy = format!(
        "add a record for all names below it: `*.{host}` with the address of this host (A or AAAA)"
    );
    let addrs = match timeout(PATIENCE, resolver.lookup(&name, 0)).await {
        Ok(Ok(addrs)) if !addrs.is_empty() => addrs,
        Ok(Ok(_)) => {
            return Err(Fault::new(
                format_args!("`{name}` stands for no address"),
                remedy,
            ));
        }
        Ok(Err(error)) => {
            let cause = format!("cannot resolve `{name}`: {}", Chain(&error));
            return Err(Fault::new(cause, remedy));
        }
        Err(_) => {
            let cause = format!(
                "nobody says what `{name}` is within {} s",
                PATIENCE.as_secs()
            );
            return Err(Fault::new(cause, "check the DNS server of this host"));
        }
    };
    let list: Vec<_> = addrs.iter().map(|it| it.ip().to_string()).collect();
    let list = list.join(", ");
    // The system lets us bind to what is ours.
    let is_ours = |addr: &SocketAddr| UdpSocket::bind((addr.ip(), 0)).is_ok();
    Ok(match addrs.iter().any(is_ours) {
        true => Sound::good(
            (),
            format_args!("names below it lead to {list}, which is here"),
        ),
        false => Sound::doubtful(
            (),
            format_args!("names below it lead to {list}, which is no address of this host"),
            "all is well if a NAT or a balancer in front of this host has that address; else mend the record",
        ),
    })
}

fn admin(web_server: &WebServer) -> Sound<()> {
    let WebServer { addr, port, .. } = web_server;
    if !web_server.password.is_empty() {
        return Sound::good((), format_args!("{addr}:{port} wants a password"));
    }
    let is_loopback = addr == "localhost"
        || addr
            .parse()
            .is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
    let whoever = match is_loopback {
        true => "every program and user of this host",
        false => "whoever reaches this host",
    };
    Sound::doubtful(
        (),
        format_args!("{addr}:{port} has no password, so that {whoever} may ask who is connected"),
        "set webServer.user and webServer.password",
    )
}

async fn plugin(config: &HttpPlugin) -> Verdict<()> {
    let HttpPlugin { host, port, .. } = config;
    let remedy =
        "start it, or mend addr of httpPlugins: without it whatever it is asked about is refused";
    match timeout(PATIENCE, hooks::reach(config)).await {
        Ok(Ok(())) => Ok(Sound::good((), format_args!("{host}:{port} accepts"))),
        Ok(Err(error)) => Err(Fault::new(Chain(&*error), remedy)),
        Err(_) => Err(Fault::new(
            format_args!("{host}:{port} does not answer"),
            remedy,
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_admin_port_without_a_password_is_told() {
        let mut web_server = WebServer {
            addr: "0.0.0.0".to_owned(),
            port: 7500,
            ..WebServer::default()
        };
        assert!(
            admin(&web_server)
                .finding
                .contains("whoever reaches this host")
        );
        web_server.password = mgrok_proto::auth::Secret::new("x");
        assert!(admin(&web_server).remedy.is_none());
    }
}
