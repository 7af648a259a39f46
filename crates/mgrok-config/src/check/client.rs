//! The client's file.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU16;

use super::client_transport::transport;
use super::entries::Start;
use super::proxies::proxies;
use super::server_addrs::servers;
use super::virtual_net::{virtual_net, warn_of_virtual_net};
use super::visitors::visitors;
use super::{access_log, auth, grace_period, log, oidc, udp_packet_size, web_server};
use crate::client::ClientConfig;
use crate::environment::Environment;
use crate::section::Section;

/// Where DNS servers listen.
const DNS_PORT: u16 = 53;

/// Reads the whole file. `stored` are the names of what is in its store, which is read later. Returns with it which names `start` chooses.
pub(crate) fn client(
    mut root: Section<'_>,
    environment: &Environment,
    stored: &BTreeSet<String>,
) -> (ClientConfig, BTreeSet<String>) {
    let default = ClientConfig::default();
    // frp: allowed and without a meaning
    root.text("version");
    // They were read ahead of this.
    root.texts("includes");
    let virtual_net = virtual_net(&mut root);
    let servers = servers(&mut root).unwrap_or(default.servers);
    let connect_all = root.boolean("connectAll").unwrap_or(default.connect_all);
    if connect_all && servers.len() == 1 {
        root.warn(
            "connectAll",
            "does nothing with one server; `serverAddrs` names several",
        );
    }
    let (auth, oidc) = auth(root.section("auth"), oidc::client);
    let log = log(root.section("log"));
    let mut start = Start::read(&mut root);
    let proxies = proxies(&mut root, &mut start, &auth, &[]);
    let web_server = web_server(&mut root);
    let visitors = visitors(&mut root, &mut start, web_server.as_ref(), &[], stored);
    start.warn_of_absent(&root, stored);
    warn_of_virtual_net(&root, virtual_net, &proxies, &visitors);
    // It was opened ahead of this.
    root.section("store").path("path");
    let config = ClientConfig {
        user: root.text("user").unwrap_or_default(),
        client_id: root.text("clientID").unwrap_or_default(),
        servers,
        connect_all,
        dns_server: dns_server(&mut root),
        login_fail_exit: root
            .boolean("loginFailExit")
            .unwrap_or(default.login_fail_exit),
        udp_packet_size: udp_packet_size(&mut root).unwrap_or(default.udp_packet_size),
        metadatas: root.map("metadatas"),
        auth,
        oidc,
        access_log: access_log(root.section("accessLog"), &log),
        log,
        reload_on_change: root.boolean("reloadOnChange").unwrap_or_default(),
        grace_period: grace_period(&mut root).unwrap_or(default.grace_period),
        transport: transport(root.section("transport"), default.transport, environment),
        proxies,
        visitors,
        nat_hole_stun_server: nat_hole_stun_server(&mut root)
            .unwrap_or(default.nat_hole_stun_server),
        store: None,
        virtual_net,
        web_server,
    };
    (config, start.into_chosen())
}

fn dns_server(root: &mut Section<'_>) -> Option<SocketAddr> {
    let key = "dnsServer";
    let text = root.text(key)?;
    if !cfg!(feature = "dns-server") {
        root.unsupported(
            key,
            "`dnsServer`, for which this build lacks the feature `dns-server`,",
        );
        return None;
    }
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    let addr = match bare {
        Some(bare) => bare.parse().ok().map(IpAddr::V6),
        None => text.parse().ok(),
    };
    let server = addr
        .map(|addr| SocketAddr::new(addr, DNS_PORT))
        .or_else(|| text.parse().ok())
        .filter(|server| server.port() > 0);
    if server.is_none() {
        root.invalid(
            key,
            format!("must be an IP address, with a port if it is not 53, like \"192.0.2.53\" or \"[2001:db8::53]:5353\", not {text:?}"),
        );
    }
    server
}

fn nat_hole_stun_server(root: &mut Section<'_>) -> Option<String> {
    let key = "natHoleStunServer";
    let text = root.text(key)?;
    let usable = text.rsplit_once(':').is_some_and(|(host, port)| {
        let bare = host
            .strip_prefix('[')
            .and_then(|host| host.strip_suffix(']'));
        let named = match bare {
            Some(addr) => addr.parse::<Ipv6Addr>().is_ok(),
            None => {
                !host.is_empty()
                    && !host.contains(|c: char| "/:[]".contains(c) || c.is_whitespace())
            }
        };
        named && port.parse::<NonZeroU16>().is_ok()
    });
    if !usable {
        root.invalid(
            key,
            format!("must be a host and its port, like \"stun.example.com:3478\", not {text:?}"),
        );
    }
    Some(text)
}
