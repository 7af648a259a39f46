//! Every way to every server of the configuration.

use std::collections::HashMap;
use std::net::SocketAddr;

use mgrok_config::{ClientConfig, ServerAddr};
use mgrok_doctor::{Examination, NO_TIME, Passed, Sound};
use mgrok_net::resolver::Resolver;
use tokio::time::timeout_at;

use super::running::RunningClient;
use super::server_clock::{self, ServerClock};
use super::trial::Trial;
use super::{login, reach, token};
use crate::clock::now;
use crate::dial_candidates::{DialCandidate, DialCandidates};

/// What is known of the hosts of servers.
type Hosts = HashMap<String, Passed<Host>>;

/// A host that has a name and a way to it.
#[derive(Clone, Debug)]
struct Host {
    addrs: Vec<SocketAddr>,
    clock: Option<ServerClock>,
}

/// Tries all of them, in the order in which a client would.
pub(super) async fn examine(
    config: &ClientConfig,
    running: &RunningClient,
    examination: &mut Examination<'_>,
) {
    let resolver = Resolver::new(config.dns_server);
    let mut hosts = Hosts::new();
    let token = token::examine(config, &resolver, examination).await;
    let web_ports = server_clock::ports(config, running);
    // A client on all servers at once needs each of them; else one will do.
    let choices: Vec<&[ServerAddr]> = match config.connect_all {
        true => config.servers.chunks(1).collect(),
        false => vec![&config.servers],
    };
    for servers in choices {
        let candidates = DialCandidates::new(servers.len(), config.transport.protocol);
        if !candidates.is_single() {
            examination.begin_choice();
        }
        let mut one_works = false;
        for (DialCandidate { server, transport }, _) in candidates.order(now()) {
            let mut trial = Trial::new(config, &servers[server], transport, &resolver, &token);
            let subject = format!("{} by {}", trial.server, trial.transport);
            let until = examination.deadline();
            let tried = candidate(&mut trial, &subject, &mut hosts, &web_ports, examination);
            match timeout_at(until, Box::pin(tried)).await {
                Ok(works) => one_works |= works,
                Err(_) => examination.leave_out("login", &subject, NO_TIME),
            }
        }
        examination.end_choice(one_works);
    }
    client_id(&config.client_id, running, examination);
    let mut hosts: Vec<_> = hosts.into_iter().collect();
    hosts.sort_by(|(one, _), (other, _)| one.cmp(other));
    let mut is_known = false;
    for (host, found) in hosts {
        if let Ok(Host {
            clock: Some(clock), ..
        }) = found
        {
            is_known = true;
            let _ = examination.note("clock", &format!("the server {host}"), Ok(clock.verdict()));
        }
    }
    if !is_known {
        examination.leave_out(
            "clock",
            "the server",
            "not known: frp's protocol does not tell it, and nobody there answers in HTTP; no login by token depends on it, but certificates do",
        );
    }
}

/// Whether somebody has the client id. A login by it would tell, and keep the client of this file out that starts meanwhile.
fn client_id(id: &str, running: &RunningClient, examination: &mut Examination<'_>) {
    if id.is_empty() {
        return;
    }
    match running.publishes() {
        true => {
            let finding = "online: the client of this file that runs here has it";
            let _ = examination.note("client_id", id, Ok(Sound::good((), finding)));
        }
        false => examination.leave_out(
            "client_id",
            id,
            "not tried, because a login by it could keep the client of this file out; where another has it, the client's log says \
             that it is already online",
        ),
    }
}

/// Tries one of them. Returns whether a client would get in.
async fn candidate(
    trial: &mut Trial,
    subject: &str,
    hosts: &mut Hosts,
    web_ports: &[u16],
    examination: &mut Examination<'_>,
) -> bool {
    let is_udp = trial.transport.is_udp();
    let link = if trial.config.transport.proxy_url.is_some() && !is_udp {
        // The proxy looks the server's name up.
        reach::tcp(trial, Ok(()), subject, examination).await
    } else {
        let ServerAddr { host, port } = &trial.server;
        let found = match hosts.get(host) {
            Some(known) => known.clone(),
            None => {
                let found = find(host, *port, web_ports, &trial.resolver, examination).await;
                hosts.insert(host.clone(), found.clone());
                found
            }
        };
        trial.clock = found.as_ref().ok().and_then(|it| it.clock.clone());
        let addrs = found.map(|Host { addrs, .. }| {
            let with_port = |mut addr: SocketAddr| {
                addr.set_port(*port);
                addr
            };
            addrs.into_iter().map(with_port).collect::<Vec<_>>()
        });
        match is_udp {
            true => reach::udp(trial, addrs, subject, examination).await,
            false => reach::tcp(trial, addrs.map(drop), subject, examination).await,
        }
    };
    login::examine(trial, link, subject, examination).await
}

/// The addresses of a server, if this host has a way to one of them, and its time, if one of `web_ports` tells it.
async fn find(
    host: &str,
    port: u16,
    web_ports: &[u16],
    resolver: &Resolver,
    examination: &mut Examination<'_>,
) -> Passed<Host> {
    let found = examination
        .check("dns", host, Ok(()), async |()| {
            reach::dns(host, port, resolver).await
        })
        .await;
    let (addrs, need) = match found {
        Ok(addrs) => (addrs, Ok(())),
        Err(unmet) => (Vec::new(), Err(unmet)),
    };
    let route = examination
        .check("route", host, need, async |()| reach::route(&addrs))
        .await;
    route?;
    let clock = ServerClock::ask(host, web_ports, resolver).await;
    Ok(Host { addrs, clock })
}
