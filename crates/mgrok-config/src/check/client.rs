//! The client's file.

use std::{
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU16,
    time::Duration,
};

use super::{
    auth, certificate, entries::Start, grace_period, log, proxies::proxies, udp_packet_size,
    visitors::visitors, web_server,
};
use crate::{
    client::{ClientConfig, ClientTls, ClientTransport, ServerAddr},
    quic::Quic,
    section::Section,
};

/// How often the server is pinged when streams are not multiplexed, so that nothing else notices that it is gone.
// frp: the same
const HEARTBEAT_INTERVAL_WITHOUT_MUX: Duration = Duration::from_secs(30);
/// How long an answer to those pings may take.
// frp: the same
const HEARTBEAT_TIMEOUT_WITHOUT_MUX: Duration = Duration::from_secs(90);

/// Reads the whole file.
pub(crate) fn client(mut root: Section<'_>) -> ClientConfig {
    let default = ClientConfig::default();
    // frp: allowed and without a meaning
    root.text("version");
    let mut server = ServerAddr::new("127.0.0.1", 7000);
    if let Some(host) = root.text("serverAddr") {
        server.host = dialable(host);
    }
    if let Some(port) = root.port("serverPort") {
        server.port = port;
    }
    let auth = auth(root.section("auth"));
    let mut start = Start::read(&mut root);
    let proxies = proxies(&mut root, &mut start, &auth);
    let visitors = visitors(&mut root, &mut start);
    start.warn_of_absent(&root);
    ClientConfig {
        user: root.text("user").unwrap_or_default(),
        client_id: root.text("clientID").unwrap_or_default(),
        servers: vec![server],
        connect_all: default.connect_all,
        dns_server: default.dns_server,
        login_fail_exit: root
            .boolean("loginFailExit")
            .unwrap_or(default.login_fail_exit),
        udp_packet_size: udp_packet_size(&mut root).unwrap_or(default.udp_packet_size),
        metadatas: root.map("metadatas"),
        auth,
        log: log(root.section("log")),
        grace_period: grace_period(&mut root).unwrap_or(default.grace_period),
        transport: transport(root.section("transport"), default.transport),
        proxies,
        visitors,
        nat_hole_stun_server: nat_hole_stun_server(&mut root)
            .unwrap_or(default.nat_hole_stun_server),
        web_server: web_server(root.section("webServer")),
    }
}

/// Makes the addresses that mean "any", which not every system can dial, what dialling them means on those that can.
fn dialable(host: String) -> String {
    match host.parse() {
        Ok(IpAddr::V4(addr)) if addr.is_unspecified() => "127.0.0.1".to_owned(),
        Ok(IpAddr::V6(addr)) if addr.is_unspecified() => "::1".to_owned(),
        Ok(_) | Err(_) => host,
    }
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

fn transport(mut section: Section<'_>, default: ClientTransport) -> ClientTransport {
    road(&mut section);
    let tcp_mux = section.boolean("tcpMux").unwrap_or(default.tcp_mux);
    let (heartbeat_interval, heartbeat_timeout) = heartbeats(&mut section, tcp_mux);
    ClientTransport {
        protocol: default.protocol,
        wire_protocol: default.wire_protocol,
        proxy_url: default.proxy_url,
        dial_server_timeout: section
            .seconds("dialServerTimeout")
            .unwrap_or(default.dial_server_timeout),
        dial_server_keepalive: section
            .seconds_or_off("dialServerKeepalive")
            .unwrap_or(default.dial_server_keepalive),
        connect_server_local_ip: connect_server_local_ip(&mut section),
        pool_count: section.count("poolCount").unwrap_or(default.pool_count),
        tcp_mux,
        tcp_mux_keepalive_interval: section
            .seconds("tcpMuxKeepaliveInterval")
            .unwrap_or(default.tcp_mux_keepalive_interval),
        heartbeat_interval,
        heartbeat_timeout,
        quic: quic(section.section("quic"), default.quic),
        tls: tls(section.section("tls")),
    }
}

/// What carries messages, and in which form. There is only one of each for now.
fn road(section: &mut Section<'_>) {
    match section.text("protocol").as_deref() {
        None | Some("tcp") => {}
        Some(later @ ("kcp" | "quic" | "websocket" | "wss")) => {
            section.unsupported("protocol", format!("`transport.protocol = {later:?}`"));
        }
        Some(other) => section.invalid("protocol", format!("must be \"tcp\", not {other:?}")),
    }
    match section.text("wireProtocol").as_deref() {
        None | Some("v1") => {}
        Some(later @ "v2") => {
            section.unsupported(
                "wireProtocol",
                format!("`transport.wireProtocol = {later:?}`"),
            );
        }
        Some(other) => section.invalid("wireProtocol", format!("must be \"v1\", not {other:?}")),
    }
}

fn heartbeats(section: &mut Section<'_>, tcp_mux: bool) -> (Option<Duration>, Option<Duration>) {
    let interval = section
        .seconds_or_off("heartbeatInterval")
        .unwrap_or((!tcp_mux).then_some(HEARTBEAT_INTERVAL_WITHOUT_MUX));
    let chosen = section.seconds_or_off("heartbeatTimeout");
    let timeout = chosen.unwrap_or((!tcp_mux).then_some(HEARTBEAT_TIMEOUT_WITHOUT_MUX));
    let Some(interval) = interval else {
        if chosen.flatten().is_some() {
            section.warn(
                "heartbeatTimeout",
                "does nothing while `heartbeatInterval` is off, which it is by default with `tcpMux`",
            );
        }
        return (None, None);
    };
    if let Some(timeout) = timeout.filter(|timeout| *timeout < interval) {
        let (timeout, interval) = (timeout.as_secs(), interval.as_secs());
        section.invalid(
            "heartbeatTimeout",
            format!("must not be less than `heartbeatInterval`: {timeout} is less than {interval}"),
        );
    }
    (Some(interval), timeout)
}

fn connect_server_local_ip(section: &mut Section<'_>) -> Option<IpAddr> {
    let key = "connectServerLocalIP";
    let text = section.text(key)?;
    let Ok(addr) = text.parse() else {
        section.invalid(key, format!("must be an IP address, not {text:?}"));
        return None;
    };
    Some(addr)
}

fn quic(mut section: Section<'_>, default: Quic) -> Quic {
    let key = "maxIncomingStreams";
    let max_incoming_streams = section.count(key);
    if max_incoming_streams == Some(0) {
        section.invalid(key, "must be 1 or more, or nothing could be carried");
    }
    Quic {
        keepalive_period: section
            .seconds("keepalivePeriod")
            .unwrap_or(default.keepalive_period),
        max_idle_timeout: section
            .seconds("maxIdleTimeout")
            .unwrap_or(default.max_idle_timeout),
        max_incoming_streams: max_incoming_streams.unwrap_or(default.max_incoming_streams),
    }
}

fn tls(mut section: Section<'_>) -> Option<ClientTls> {
    let enabled = section.boolean("enable").unwrap_or(true);
    let custom_first_byte = !section.boolean("disableCustomTLSFirstByte").unwrap_or(true);
    let server_name = section.text("serverName");
    if !enabled {
        for key in ["certFile", "keyFile", "trustedCaFile"] {
            if section.text(key).is_some() {
                section.warn(key, "does nothing while `transport.tls.enable` is false");
            }
        }
        return None;
    }
    Some(ClientTls {
        custom_first_byte,
        certificate: certificate(
            &mut section,
            ["certFile", "keyFile"],
            "the server is shown none",
        ),
        trusted_ca: section.path("trustedCaFile"),
        pinned_sha256: None,
        server_name,
    })
}
