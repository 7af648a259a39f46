//! The server's file.

use std::num::NonZeroU32;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use super::access_lists::{access_list, networks, source_limits};
use super::conflicts::overlap;
use super::server_hooks::http_plugins;
use super::{
    access_log, auth, certificate, grace_period, liveness_keys, log, oidc, quic, udp_packet_size,
    web_server,
};
use crate::ban_rules::BanRules;
use crate::domain::check_host;
use crate::port_set::PortSet;
use crate::section::Section;
use crate::section::files::Content;
use crate::server::{ServerAccess, ServerConfig, ServerTls, ServerTransport, Vhost};
use crate::ssh_gateway::{HostKeyFile, SshGateway};

/// How long a session without a valid ping lives when streams are not multiplexed, so that nothing else notices.
// frp: the same
const HEARTBEAT_TIMEOUT_WITHOUT_MUX: Duration = Duration::from_secs(90);

/// Reads the whole file.
pub(crate) fn server(mut root: Section<'_>) -> ServerConfig {
    let default = ServerConfig::default();
    // frp: allowed and without a meaning
    root.text("version");
    let bind_addr = root.text("bindAddr").unwrap_or(default.bind_addr);
    let bind_port = root.port("bindPort").unwrap_or(default.bind_port);
    let proxy_bind_addr = root
        .text("proxyBindAddr")
        .unwrap_or_else(|| bind_addr.clone());
    let vhost = vhost(&mut root, default.vhost);
    let control_port = (bind_addr == proxy_bind_addr).then_some(bind_port);
    check_ports(&mut root, &vhost, control_port);
    let kcp_bind_port = root.port("kcpBindPort");
    let quic_bind_port = root.port("quicBindPort");
    if let Some(port) = quic_bind_port
        && kcp_bind_port == Some(port)
    {
        root.invalid(
            "quicBindPort",
            format!("must not be {port}, which is `kcpBindPort` already"),
        );
    }
    let has_quic = root.says("quicBindPort");
    let ssh_gateway = ssh_gateway(root.section("sshTunnelGateway"));
    let mut taken = vec![(&bind_addr, bind_port, "bindPort")];
    taken.extend(shared_ports(&vhost).map(|(port, key)| (&proxy_bind_addr, port, key)));
    if let Some(ssh) = &ssh_gateway {
        let port = ssh.bind_port;
        check_port(&mut root, SSH_GATEWAY, &bind_addr, port, &taken);
        taken.push((&bind_addr, port, "sshTunnelGateway.bindPort"));
    }
    let web_server = web_server(&mut root);
    if let Some(web) = &web_server {
        check_port(&mut root, "webServer", &web.addr, web.port, &taken);
    }
    let log = log(root.section("log"));
    let access_log = access_log(root.section("accessLog"), &log);
    let (auth, oidc) = auth(root.section("auth"), oidc::server);
    ServerConfig {
        bind_addr,
        bind_port,
        kcp_bind_port,
        quic_bind_port,
        proxy_bind_addr,
        detailed_errors_to_client: root
            .boolean("detailedErrorsToClient")
            .unwrap_or(default.detailed_errors_to_client),
        max_ports_per_client: root.count("maxPortsPerClient").and_then(NonZeroU32::new),
        user_conn_timeout: root
            .seconds("userConnTimeout")
            .unwrap_or(default.user_conn_timeout),
        udp_packet_size: udp_packet_size(&mut root).unwrap_or(default.udp_packet_size),
        allow_ports: allow_ports(&mut root),
        auth,
        oidc,
        log,
        access_log,
        reload_on_change: root.boolean("reloadOnChange").unwrap_or_default(),
        grace_period: grace_period(&mut root).unwrap_or(default.grace_period),
        transport: transport(root.section("transport"), default.transport, has_quic),
        vhost,
        accept_proxy_protocol_from: networks(&mut root, "acceptProxyProtocolFrom"),
        access: access(root.section("access")),
        bans: bans(root.section("bans")),
        ssh_gateway,
        nathole_analysis_data_reserve: nathole_analysis_data_reserve(&mut root)
            .unwrap_or(default.nathole_analysis_data_reserve),
        web_server,
        http_plugins: http_plugins(&mut root),
    }
}

fn vhost(root: &mut Section<'_>, default: Vhost) -> Vhost {
    let vhost = Vhost {
        http_port: root.port("vhostHTTPPort"),
        // frp: less than nothing is the default too
        http_timeout: root
            .seconds_or_off("vhostHTTPTimeout")
            .flatten()
            .unwrap_or(default.http_timeout),
        https_port: root.port("vhostHTTPSPort"),
        tcpmux_port: root.port("tcpmuxHTTPConnectPort"),
        tcpmux_passthrough: root
            .boolean("tcpmuxPassthrough")
            .unwrap_or(default.tcpmux_passthrough),
        sub_domain_host: sub_domain_host(root),
        not_found_page: root.file("custom404Page", Content::Any),
        unreachable_page: root.file("custom502Page", Content::Any),
        max_response_head: number_between(root, MAX_RESPONSE_HEAD, 8 * 1024, 16 * 1024 * 1024)
            .unwrap_or(default.max_response_head),
        max_response_headers: number_between(root, MAX_RESPONSE_HEADERS, 1, 10_000)
            .unwrap_or(default.max_response_headers),
        trusted_proxies: networks(root, TRUSTED_PROXIES),
    };
    let [http, https, tcpmux] = VHOST_PORTS.map(|key| root.says(key));
    for (key, needs, met) in [
        ("tcpmuxPassthrough", "`tcpmuxHTTPConnectPort`", tcpmux),
        (
            "subDomainHost",
            "`vhostHTTPPort`, `vhostHTTPSPort` or `tcpmuxHTTPConnectPort`",
            http || https || tcpmux,
        ),
        (
            "custom404Page",
            "`vhostHTTPPort` or `tcpmuxHTTPConnectPort`",
            http || tcpmux,
        ),
        ("custom502Page", "`vhostHTTPPort`", http),
        (MAX_RESPONSE_HEAD, "`vhostHTTPPort`", http),
        (MAX_RESPONSE_HEADERS, "`vhostHTTPPort`", http),
        (TRUSTED_PROXIES, "`vhostHTTPPort`", http),
    ] {
        if root.says(key) && !met {
            root.warn(key, format!("does nothing without {needs}"));
        }
    }
    vhost
}

fn sub_domain_host(root: &mut Section<'_>) -> String {
    let key = "subDomainHost";
    let host = root.text(key).unwrap_or_default();
    if !host.is_empty()
        && let Err(error) = check_host(&host)
    {
        root.invalid(key, format!("{host:?} {error}"));
    }
    host.to_lowercase()
}

/// The keys of the ports that many services share, in the order of [`Vhost`].
const VHOST_PORTS: [&str; 3] = ["vhostHTTPPort", "vhostHTTPSPort", TCPMUX_PORT];
const TCPMUX_PORT: &str = "tcpmuxHTTPConnectPort";

// mgrok's own keys.
const MAX_RESPONSE_HEAD: &str = "vhostHTTPMaxResponseHeaderBytes";
const MAX_RESPONSE_HEADERS: &str = "vhostHTTPMaxResponseHeaders";
const TRUSTED_PROXIES: &str = "trustForwardedHeadersFrom";

fn number_between(
    root: &mut Section<'_>,
    key: &'static str,
    least: usize,
    most: usize,
) -> Option<usize> {
    let number = root.integer(key)?;
    match usize::try_from(number) {
        Ok(number) if (least..=most).contains(&number) => Some(number),
        _ => {
            root.invalid(
                key,
                format!("must be between {least} and {most}, not {number}"),
            );
            None
        }
    }
}

/// Checks that no port is taken twice. Only the control port, if it is on the same address, can be shared, with HTTP,
/// HTTPS or both: what a connection is for shows in its first bytes.
fn check_ports(root: &mut Section<'_>, vhost: &Vhost, control_port: Option<u16>) {
    let ports = [vhost.http_port, vhost.https_port, vhost.tcpmux_port];
    let mut taken: Vec<(u16, &str)> = control_port
        .map(|port| (port, "bindPort"))
        .into_iter()
        .collect();
    for (key, port) in VHOST_PORTS.into_iter().zip(ports) {
        let Some(port) = port else {
            continue;
        };
        let shares = control_port == Some(port) && key != TCPMUX_PORT;
        if !shares && let Some((_, other)) = taken.iter().find(|(taken, _)| *taken == port) {
            root.invalid(
                key,
                format!("must not be {port}, which is `{other}` already"),
            );
        }
        if !shares {
            taken.push((port, key));
        }
    }
}

/// The ports of [`Vhost`] that are on, with their keys.
fn shared_ports(vhost: &Vhost) -> impl Iterator<Item = (u16, &'static str)> + use<> {
    let ports = [vhost.http_port, vhost.https_port, vhost.tcpmux_port];
    let on = ports.into_iter().zip(VHOST_PORTS);
    on.filter_map(|(port, key)| Some((port?, key)))
}

/// Checks that the `port` of a section is none of those that are `taken`, each with its address and key.
fn check_port(
    root: &mut Section<'_>,
    section: &'static str,
    addr: &str,
    port: u16,
    taken: &[(&String, u16, &'static str)],
) {
    let other = taken
        .iter()
        .find(|(other, taken, _)| *taken == port && overlap(other, addr));
    if let Some((_, port, key)) = other {
        root.invalid(
            section,
            format!("must not have the port {port}, which is `{key}` already"),
        );
    }
}

const SSH_GATEWAY: &str = "sshTunnelGateway";
const HOST_KEY: &str = "privateKeyFile";
const KEPT_HOST_KEY: &str = "autoGenPrivateKeyPath";
const AUTHORIZED_KEYS: &str = "authorizedKeysFile";

// frp: the same
const DEFAULT_KEPT_HOST_KEY: &str = "./.autogen_ssh_key";

fn ssh_gateway(mut section: Section<'_>) -> Option<SshGateway> {
    let bind_port = section.port("bindPort");
    let given = section.file(HOST_KEY, Content::PrivateKey);
    let kept = section.path(KEPT_HOST_KEY);
    let authorized_keys = section.file(AUTHORIZED_KEYS, Content::Any);
    // A file may spell the default out.
    let default = PathBuf::from(DEFAULT_KEPT_HOST_KEY);
    let says_kept = kept.as_ref().is_some_and(|path| *path != default);
    for (key, is_said) in [
        (HOST_KEY, given.is_some()),
        (KEPT_HOST_KEY, says_kept),
        (AUTHORIZED_KEYS, authorized_keys.is_some()),
    ] {
        if is_said && bind_port.is_none() {
            section.warn(key, "does nothing without `sshTunnelGateway.bindPort`");
        }
    }
    if says_kept && given.is_some() {
        section.warn(
            KEPT_HOST_KEY,
            "does nothing, because `privateKeyFile` is set",
        );
    }
    Some(SshGateway {
        bind_port: bind_port?,
        host_key: match given {
            Some(path) => HostKeyFile::Given(path),
            None => HostKeyFile::Kept(kept.unwrap_or(default)),
        },
        authorized_keys,
    })
}

/// mgrok's own section.
fn bans(mut section: Section<'_>) -> Option<BanRules> {
    let failures = section.integer("failures");
    let window = section.seconds("window");
    let duration = section.seconds("duration");
    let exempt = networks(&mut section, "exempt");
    let Some(number) = failures else {
        for key in ["window", "duration", "exempt"] {
            if section.says(key) {
                section.warn(key, "does nothing without `bans.failures`");
            }
        }
        return None;
    };
    let failures = u32::try_from(number).ok().and_then(NonZeroU32::new);
    let Some(failures) = failures else {
        section.invalid(
            "failures",
            format!("must be a number of wrong guesses, not {number}"),
        );
        return None;
    };
    let default = BanRules::new(failures);
    Some(BanRules {
        failures,
        window: window.unwrap_or(default.window),
        duration: duration.unwrap_or(default.duration),
        exempt,
    })
}

/// mgrok's own section.
fn access(mut section: Section<'_>) -> ServerAccess {
    let mut users = section.section("users");
    let mut visitors = section.section("visitors");
    ServerAccess {
        logins: access_list(&mut section.section("logins")),
        user_limits: source_limits(&mut users),
        users: access_list(&mut users),
        visitor_limits: source_limits(&mut visitors),
        visitors: access_list(&mut visitors),
    }
}

/// Less than no time, since an explicit 0 means the default, is none at all.
fn nathole_analysis_data_reserve(root: &mut Section<'_>) -> Option<Duration> {
    let reserve = root.hours_or_off("natholeAnalysisDataReserveHours")?;
    Some(reserve.unwrap_or_default())
}

fn transport(
    mut section: Section<'_>,
    default: ServerTransport,
    has_quic: bool,
) -> ServerTransport {
    if section.says("quic") && !has_quic {
        section.warn("quic", "does nothing without `quicBindPort`");
    }
    let tcp_mux = section.boolean("tcpMux").unwrap_or(default.tcp_mux);
    ServerTransport {
        tcp_mux,
        tcp_mux_keepalive_interval: section
            .seconds("tcpMuxKeepaliveInterval")
            .unwrap_or(default.tcp_mux_keepalive_interval),
        tcp_keepalive: section
            .seconds_or_off("tcpKeepalive")
            .unwrap_or(default.tcp_keepalive),
        // mgrok's own key.
        multipath: section.boolean("multipath").unwrap_or(default.multipath),
        max_pool_count: max_pool_count(&mut section).unwrap_or(default.max_pool_count),
        heartbeat_timeout: section
            .seconds_or_off("heartbeatTimeout")
            .unwrap_or((!tcp_mux).then_some(HEARTBEAT_TIMEOUT_WITHOUT_MUX)),
        liveness_keys: liveness_keys(&section),
        // mgrok's own key.
        user_idle_timeout: section.seconds_or_off("userIdleTimeout").flatten(),
        quic: quic(section.section("quic"), default.quic),
        tls: tls(section.section("tls")),
    }
}

fn max_pool_count(section: &mut Section<'_>) -> Option<u32> {
    let key = "maxPoolCount";
    let number = section.integer(key)?;
    if number < 0 {
        // frp: this wording, since 0.71
        section.invalid(key, "invalid transport.maxPoolCount, must be non-negative");
    }
    Some(u32::try_from(number.max(0)).unwrap_or(u32::MAX))
}

fn tls(mut section: Section<'_>) -> ServerTls {
    let certificate = certificate(
        &mut section,
        ["certFile", "keyFile"],
        "a self-signed certificate is made instead",
    );
    let auto_gen_cert_path = section.path("autoGenCertPath");
    if certificate.is_some() && auto_gen_cert_path.is_some() {
        section.warn(
            "autoGenCertPath",
            "does nothing, because `certFile` and `keyFile` are set",
        );
    }
    let trusted_ca = section.file("trustedCaFile", Content::Certificates);
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
        auto_gen_cert_path,
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
