//! The client's `transport` section: the transport to the server.

use std::net::IpAddr;
use std::time::Duration;

use super::{certificate, liveness_keys, quic};
use crate::client::{ClientTls, ClientTransport, Protocol, WireProtocol};
use crate::environment::Environment;
use crate::proxy_url::{ProxyUrl, ProxyUrlError};
use crate::section::Section;
use crate::section::files::Content;

/// How often the server is pinged when streams are not multiplexed, so that nothing else notices that it is gone.
// frp: the same
const HEARTBEAT_INTERVAL_WITHOUT_MUX: Duration = Duration::from_secs(30);
/// How long an answer to those pings may take.
// frp: the same
const HEARTBEAT_TIMEOUT_WITHOUT_MUX: Duration = Duration::from_secs(90);

/// The values of `transport.protocol`; "auto" is mgrok's own.
const PROTOCOLS: [(&str, Protocol); 6] = [
    ("tcp", Protocol::Tcp),
    ("kcp", Protocol::Kcp),
    ("quic", Protocol::Quic),
    ("websocket", Protocol::WebSocket),
    ("wss", Protocol::Wss),
    ("auto", Protocol::Auto),
];

/// Reads the `transport` section.
pub(super) fn transport(
    mut section: Section<'_>,
    default: ClientTransport,
    environment: &Environment,
) -> ClientTransport {
    let protocol = protocol(&mut section).unwrap_or(default.protocol);
    let tcp_mux = section.boolean("tcpMux").unwrap_or(default.tcp_mux);
    let tcp_mux_connections = tcp_mux_connections(&mut section, tcp_mux);
    warn_of_idle_keys(&section, protocol, tcp_mux);
    let multipath = section.boolean(MULTIPATH).unwrap_or(default.multipath);
    let (heartbeat_interval, heartbeat_timeout) = heartbeats(&mut section, tcp_mux);
    ClientTransport {
        protocol,
        wire_protocol: wire_protocol(&mut section).unwrap_or(default.wire_protocol),
        proxy_url: proxy_url(&mut section, protocol, environment),
        dial_server_timeout: section
            .seconds("dialServerTimeout")
            .unwrap_or(default.dial_server_timeout),
        dial_server_keepalive: section
            .seconds_or_off("dialServerKeepalive")
            .unwrap_or(default.dial_server_keepalive),
        connect_server_local_ip: connect_server_local_ip(&mut section),
        multipath,
        pool_count: section.count("poolCount").unwrap_or(default.pool_count),
        tcp_mux,
        tcp_mux_connections: tcp_mux_connections.unwrap_or(default.tcp_mux_connections),
        tcp_mux_keepalive_interval: section
            .seconds("tcpMuxKeepaliveInterval")
            .unwrap_or(default.tcp_mux_keepalive_interval),
        heartbeat_interval,
        heartbeat_timeout,
        liveness_keys: liveness_keys(&section),
        quic: quic(section.section("quic"), default.quic),
        tls: tls(section.section("tls"), protocol),
    }
}

/// mgrok's own key.
const MUX_CONNECTIONS: &str = "tcpMuxConnections";

/// How many connections the streams share, where they share any.
fn tcp_mux_connections(section: &mut Section<'_>, tcp_mux: bool) -> Option<usize> {
    let most = ClientTransport::MAX_MUX_CONNECTIONS;
    let number = section.integer(MUX_CONNECTIONS)?;
    let Some(number) = usize::try_from(number).ok().filter(|it| *it <= most) else {
        section.invalid(
            MUX_CONNECTIONS,
            format!("must be a number from 1 to {most}, not {number}"),
        );
        return None;
    };
    if number > 1 && !tcp_mux {
        section.invalid(
            MUX_CONNECTIONS,
            "needs `transport.tcpMux`; without it, each stream has a connection of its own anyway",
        );
    }
    Some(number)
}

/// mgrok's own key.
const MULTIPATH: &str = "multipath";

fn protocol(section: &mut Section<'_>) -> Option<Protocol> {
    let key = "protocol";
    let text = section.choice(key, &PROTOCOLS.map(|(name, _)| name), |word| {
        let names = PROTOCOLS.map(|(name, _)| format!("{name:?}")).join(", ");
        format!("must be one of {names}, not {word:?}")
    })?;
    let known = PROTOCOLS.iter().find(|(name, _)| *name == text);
    known.map(|(_, protocol)| *protocol)
}

fn wire_protocol(section: &mut Section<'_>) -> Option<WireProtocol> {
    let key = "wireProtocol";
    let word = section.choice(key, &["auto", "v1", "v2"], |word| {
        format!("must be \"auto\", \"v1\" or \"v2\", not {word:?}")
    })?;
    match word.as_str() {
        "v1" => Some(WireProtocol::V1),
        "v2" => Some(WireProtocol::V2),
        _ => Some(WireProtocol::Auto),
    }
}

/// The outbound proxy of the file or, if it names none, of the environment.
fn proxy_url(
    section: &mut Section<'_>,
    protocol: Protocol,
    environment: &Environment,
) -> Option<ProxyUrl> {
    let key = "proxyURL";
    if let Some(url) = section.text(key) {
        let parsed = url.parse();
        return parsed
            .map_err(|error: ProxyUrlError| section.invalid(key, error.to_string()))
            .ok();
    }
    let url = environment.http_proxy.as_ref()?.expose();
    // frp: with KCP it is dialled all the same, in vain
    if url.is_empty() || goes_past_proxies(protocol) {
        return None;
    }
    let parsed = url.parse().map_err(|error: ProxyUrlError| {
        section.invalid(
            key,
            format!("is not set, so the environment variable `http_proxy` counts, which {error}"),
        );
    });
    parsed.ok()
}

fn goes_past_proxies(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Kcp | Protocol::Quic => true,
        Protocol::Auto | Protocol::Tcp | Protocol::WebSocket | Protocol::Wss => false,
    }
}

/// Whether the protocol comes with TLS of its own, so that it cannot be switched off.
fn is_always_encrypted(protocol: Protocol) -> bool {
    match protocol {
        Protocol::Quic | Protocol::Wss => true,
        Protocol::Auto | Protocol::Kcp | Protocol::Tcp | Protocol::WebSocket => false,
    }
}

/// Warns of keys that do nothing with the protocol.
fn warn_of_idle_keys(section: &Section<'_>, protocol: Protocol, tcp_mux: bool) {
    if goes_past_proxies(protocol) {
        for key in [
            "proxyURL",
            "connectServerLocalIP",
            "dialServerKeepalive",
            MULTIPATH,
        ] {
            if section.says(key) {
                section.warn(key, format!("does nothing with {}", quoted(protocol)));
            }
        }
    } else if section.says("proxyURL") && section.says(MULTIPATH) {
        section.warn(MULTIPATH, "does nothing with `proxyURL`");
    }
    if protocol == Protocol::Quic {
        let why = "does nothing with \"quic\", in which streams share a connection anyway";
        if !tcp_mux {
            section.warn("tcpMux", why);
        }
        if section.says("tcpMuxKeepaliveInterval") {
            section.warn(
                "tcpMuxKeepaliveInterval",
                "does nothing with \"quic\", which has `transport.quic.keepalivePeriod`",
            );
        }
        if section.says(MUX_CONNECTIONS) {
            section.warn(MUX_CONNECTIONS, why);
        }
    }
}

fn quoted(protocol: Protocol) -> String {
    let named = PROTOCOLS.iter().find(|(_, named)| *named == protocol);
    named.map_or_else(String::new, |(name, _)| format!("{name:?}"))
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

fn tls(mut section: Section<'_>, protocol: Protocol) -> Option<ClientTls> {
    let enabled = section.boolean("enable").unwrap_or(true);
    let first_byte_key = "disableCustomTLSFirstByte";
    let custom_first_byte = !section.boolean(first_byte_key).unwrap_or(true);
    let server_name = section.text("serverName");
    if is_always_encrypted(protocol) {
        if !enabled {
            let why = format!(
                "does nothing with {}, which is always encrypted",
                quoted(protocol)
            );
            section.warn("enable", why);
        }
        if custom_first_byte {
            section.warn(
                first_byte_key,
                format!("does nothing with {}", quoted(protocol)),
            );
        }
    } else if !enabled {
        for key in ["certFile", "keyFile", "trustedCaFile", "pinnedSha256"] {
            if section.text(key).is_some() {
                section.warn(key, NO_TLS);
            }
        }
        if section.boolean(TRUST_SYSTEM) == Some(true) {
            section.warn(TRUST_SYSTEM, NO_TLS);
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
        trusts_system: trusts_system(&mut section),
        trusted_ca: section.file("trustedCaFile", Content::Certificates),
        pinned_sha256: pinned_sha256(&mut section),
        server_name,
    })
}

/// mgrok's own key: the authorities that the system trusts.
const TRUST_SYSTEM: &str = "trustSystemRoots";

const NO_TLS: &str = "does nothing while `transport.tls.enable` is false";

fn trusts_system(section: &mut Section<'_>) -> bool {
    let trusts = section.boolean(TRUST_SYSTEM).unwrap_or(false);
    if trusts && section.says("trustedCaFile") {
        section.invalid(
            TRUST_SYSTEM,
            "must not be set beside `trustedCaFile`, because one of them alone can say who is trusted",
        );
    }
    trusts
}

/// mgrok's own key.
fn pinned_sha256(section: &mut Section<'_>) -> Option<[u8; 32]> {
    let key = "pinnedSha256";
    let text = section.text(key)?;
    let fingerprint = fingerprint(&text);
    if fingerprint.is_none() {
        section.invalid(
            key,
            "must be the SHA-256 fingerprint of the server's certificate: 64 hex digits, with colons between pairs or without",
        );
    }
    fingerprint
}

/// Reads 32 bytes in hex, either all with colons between them, as OpenSSL prints them, or all without.
fn fingerprint(text: &str) -> Option<[u8; 32]> {
    let step = if text.contains(':') { 3 } else { 2 };
    let mut bytes = [0; 32];
    if !text.is_ascii() || text.len() != bytes.len() * step - (step - 2) {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(step)) {
        let &[high, low, ref colon @ ..] = pair else {
            return None;
        };
        if !matches!(colon, [] | [b':']) {
            return None;
        }
        *byte = hex_digit(high)? * 16 + hex_digit(low)?;
    }
    Some(bytes)
}

fn hex_digit(digit: u8) -> Option<u8> {
    let value = char::from(digit).to_digit(16)?;
    u8::try_from(value).ok()
}
