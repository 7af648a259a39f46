//! The server's file.

use std::{num::NonZeroU32, ops::RangeInclusive, time::Duration};

use super::{auth, certificate, grace_period, log, udp_packet_size};
use crate::{
    port_set::PortSet,
    section::Section,
    server::{ServerConfig, ServerTls, ServerTransport},
};

/// How long a session without a valid ping lives when streams are not multiplexed, so that nothing else notices.
// frp: the same
const HEARTBEAT_TIMEOUT_WITHOUT_MUX: Duration = Duration::from_secs(90);

/// Reads the whole file.
pub(crate) fn server(mut root: Section<'_>) -> ServerConfig {
    let default = ServerConfig::default();
    // frp: allowed and without a meaning
    root.text("version");
    let bind_addr = root.text("bindAddr").unwrap_or(default.bind_addr);
    ServerConfig {
        bind_port: root.port("bindPort").unwrap_or(default.bind_port),
        proxy_bind_addr: root
            .text("proxyBindAddr")
            .unwrap_or_else(|| bind_addr.clone()),
        bind_addr,
        detailed_errors_to_client: root
            .boolean("detailedErrorsToClient")
            .unwrap_or(default.detailed_errors_to_client),
        max_ports_per_client: root.count("maxPortsPerClient").and_then(NonZeroU32::new),
        user_conn_timeout: root
            .seconds("userConnTimeout")
            .unwrap_or(default.user_conn_timeout),
        udp_packet_size: udp_packet_size(&mut root).unwrap_or(default.udp_packet_size),
        allow_ports: allow_ports(&mut root),
        auth: auth(root.section("auth")),
        log: log(root.section("log")),
        grace_period: grace_period(&mut root).unwrap_or(default.grace_period),
        transport: transport(root.section("transport"), default.transport),
        vhost: default.vhost,
        accept_proxy_protocol_from: default.accept_proxy_protocol_from,
        nathole_analysis_data_reserve: default.nathole_analysis_data_reserve,
    }
}

fn transport(mut section: Section<'_>, default: ServerTransport) -> ServerTransport {
    let tcp_mux = section.boolean("tcpMux").unwrap_or(default.tcp_mux);
    ServerTransport {
        tcp_mux,
        tcp_mux_keepalive_interval: section
            .seconds("tcpMuxKeepaliveInterval")
            .unwrap_or(default.tcp_mux_keepalive_interval),
        tcp_keepalive: section
            .seconds_or_off("tcpKeepalive")
            .unwrap_or(default.tcp_keepalive),
        max_pool_count: section
            .count("maxPoolCount")
            .unwrap_or(default.max_pool_count),
        heartbeat_timeout: section
            .seconds_or_off("heartbeatTimeout")
            .unwrap_or((!tcp_mux).then_some(HEARTBEAT_TIMEOUT_WITHOUT_MUX)),
        tls: tls(section.section("tls")),
    }
}

fn tls(mut section: Section<'_>) -> ServerTls {
    let certificate = certificate(&mut section, "a self-signed certificate is made instead");
    let trusted_ca = section.path("trustedCaFile");
    let force = section.boolean("force");
    if force == Some(false) && trusted_ca.is_some() {
        section.warn("force", "does nothing, because `trustedCaFile` forces TLS");
    }
    if section.text("serverName").is_some() {
        section.warn("serverName", "does nothing on a server");
    }
    ServerTls {
        force: force.unwrap_or(false) || trusted_ca.is_some(),
        certificate,
        trusted_ca,
    }
}

fn allow_ports(root: &mut Section<'_>) -> PortSet {
    let entries = root.sections("allowPorts");
    if entries.is_empty() {
        return PortSet::unrestricted();
    }
    PortSet::from_ranges(entries.into_iter().filter_map(ports))
}

/// One entry of `allowPorts`. frp lets the meaningless ones pass, which then allow nothing.
fn ports(mut entry: Section<'_>) -> Option<RangeInclusive<u16>> {
    let single = entry.port("single");
    let start = entry.port("start");
    let end = entry.port("end");
    if entry.is_flawed() {
        return None;
    }
    match (single, start, end) {
        (Some(port), None, None) => return Some(port..=port),
        (Some(port), _, _) => {
            entry.warn(
                "single",
                "makes `start` and `end` of the same entry do nothing",
            );
            return Some(port..=port);
        }
        (None, Some(start), Some(end)) if start <= end => return Some(start..=end),
        (None, Some(start), Some(end)) => {
            entry.invalid(
                "start",
                format!("the range is reversed: {start} is greater than {end}"),
            );
        }
        // Port 0 cannot be taken, so a range that expressly starts there means to start at the lowest port.
        (None, None, Some(end)) if entry.has("start") => return Some(1..=end),
        (None, None, Some(_)) => entry.invalid("end", "a range needs a `start` too"),
        (None, Some(_), None) => entry.invalid("start", "a range needs an `end` too"),
        (None, None, None) => entry.invalid(
            "",
            "must have a port as `single`, or a range as `start` and `end`",
        ),
    }
    None
}
