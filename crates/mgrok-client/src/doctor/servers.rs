//! Every way to every server of the configuration.

use std::collections::HashMap;
use std::net::SocketAddr;

use mgrok_config::{ClientConfig, ServerAddr};
use mgrok_doctor::{Examination, NO_TIME, Passed};
use mgrok_net::resolver::Resolver;
use tokio::time::timeout_at;

use super::running::RunningClient;
use super::trial::Trial;
use super::{login, reach};
use crate::clock::now;
use crate::dial_candidates::{DialCandidate, DialCandidates};

/// What is known of the addresses of servers.
type Addrs = HashMap<String, Passed<Vec<SocketAddr>>>;

/// Tries all of them, in the order in which a client would.
pub(super) async fn examine(
    config: &ClientConfig,
    running: &RunningClient,
    examination: &mut Examination<'_>,
) {
    let resolver = Resolver::new(config.dns_server);
    let mut addrs = Addrs::new();
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
            let trial = Trial::new(config, &servers[server], transport, &resolver);
            let subject = format!("{} by {}", trial.server, trial.transport);
            let until = examination.deadline();
            let tried = candidate(&trial, &subject, &mut addrs, running, examination);
            match timeout_at(until, Box::pin(tried)).await {
                Ok(works) => one_works |= works,
                Err(_) => examination.leave_out("login", &subject, NO_TIME),
            }
        }
        examination.end_choice(one_works);
    }
    examination.leave_out(
        "clock",
        "the server",
        "frp's protocol does not tell it, and no login depends on it; certificates do, and a website that is published shows it",
    );
}

/// Tries one of them. Returns whether a client would get in.
async fn candidate(
    trial: &Trial,
    subject: &str,
    addrs: &mut Addrs,
    running: &RunningClient,
    examination: &mut Examination<'_>,
) -> bool {
    let is_udp = trial.transport.is_udp();
    let link = if trial.config.transport.proxy_url.is_some() && !is_udp {
        // The proxy looks the server's name up.
        reach::tcp(trial, Ok(()), subject, examination).await
    } else {
        let ServerAddr { host, port } = &trial.server;
        let addrs = match addrs.get(host) {
            Some(known) => known.clone(),
            None => {
                let found = find(host, *port, &trial.resolver, examination).await;
                addrs.insert(host.clone(), found.clone());
                found
            }
        };
        let addrs = addrs.map(|addrs| {
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
    login::examine(trial, link, subject, running, examination).await
}

/// The addresses of a server, if this host has a way to one of them.
async fn find(
    host: &str,
    port: u16,
    resolver: &Resolver,
    examination: &mut Examination<'_>,
) -> Passed<Vec<SocketAddr>> {
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
    route.map(|()| addrs)
}
