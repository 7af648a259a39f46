//! From sections to checked types. Every key that mgrok has is asked for in exactly one place below.

mod access_lists;
mod client;
mod client_plugin;
mod client_transport;
mod conflicts;
mod entries;
mod health;
mod kinds;
mod oidc;
mod port_ranges;
mod proxies;
mod server;
mod server_addrs;
mod server_hooks;
mod stored;
mod virtual_net;
mod visitors;

use std::net::IpAddr;
use std::num::NonZeroU64;
use std::path::PathBuf;
use std::time::Duration;

use crate::auth::Auth;
use crate::liveness::LivenessKeys;
use crate::log::{
    AccessLog, DEFAULT_MAX_DAYS, DEFAULT_MAX_FILES, Log, LogFormat, LogLevel, LogTarget,
    parse_max_size,
};
use crate::quic::Quic;
use crate::section::Section;
use crate::section::files::Content;
use crate::web_server::{WebServer, WebServerTls};

pub(crate) use self::client::client;
pub(crate) use self::server::server;
pub(crate) use self::stored::stored;

/// The longest datagram that a message of frp's first wire format can carry, between IPv4 addresses: its base64 text
/// and the JSON around it must not have more than 10,240 bytes.
const MAX_V1_DATAGRAM: usize = 7635;

/// What both ends have of `auth`, and what `oidc` reads of `auth.oidc`, which is told whether it counts.
fn auth<'a, T>(
    mut section: Section<'a>,
    oidc: impl FnOnce(Section<'a>, bool) -> Option<T>,
) -> (Auth, Option<T>) {
    let method = section.choice("method", &["token", "oidc"], |word| {
        format!("invalid auth method {word:?}, must be \"token\" or \"oidc\"")
    });
    let oidc = oidc(section.section("oidc"), method.as_deref() == Some("oidc"));
    let mut auth = Auth {
        token: section.secret("token", "tokenSource").unwrap_or_default(),
        ..Auth::default()
    };
    for scope in section.texts("additionalScopes") {
        match scope.text.as_str() {
            "HeartBeats" => auth.heartbeats = true,
            "NewWorkConns" => auth.new_work_conns = true,
            other => {
                let why = format!(
                    "invalid auth additional scopes: {other:?} is neither \"HeartBeats\" nor \"NewWorkConns\""
                );
                section.no_choice(
                    "additionalScopes",
                    &scope,
                    &["HeartBeats", "NewWorkConns"],
                    why,
                );
            }
        }
    }
    (auth, oidc)
}

fn log(mut section: Section<'_>) -> Log {
    let default = Log::default();
    let to = log_target(&mut section);
    let mut level = default.level;
    let levels = LogLevel::ALL.map(LogLevel::as_str);
    let word = section.choice("level", &levels, |word| {
        let levels = levels.join(", ");
        format!("invalid log level {word:?}, must be one of {levels}")
    });
    if let Some(word) = word
        && let Some(named) = LogLevel::ALL.into_iter().find(|it| it.as_str() == word)
    {
        level = named;
    }
    let format = log_format(&mut section);
    let (max_days, max_files, max_size) = log_rotation(&mut section);
    Log {
        to: to.unwrap_or(default.to),
        level,
        format,
        max_days,
        max_files,
        max_size,
        color: !section.boolean("disablePrintColor").unwrap_or(false),
    }
}

/// The access log, which there is if it has a place that is not the log's.
fn access_log(mut section: Section<'_>, log: &Log) -> Option<AccessLog> {
    let to = log_target(&mut section);
    let format = log_format(&mut section);
    let (max_days, max_files, max_size) = log_rotation(&mut section);
    let Some(to) = to else {
        for key in ["format", "maxDays", "maxFiles", "maxSize"] {
            if section.says(key) {
                section.warn(key, "is not used without `accessLog.to`");
            }
        }
        return None;
    };
    if matches!(to, LogTarget::File(_)) && to == log.to {
        section.invalid(
            "to",
            "is where `log.to` is, and each needs a file of its own",
        );
    }
    Some(AccessLog {
        to,
        format,
        max_days,
        max_files,
        max_size,
    })
}

fn log_target(section: &mut Section<'_>) -> Option<LogTarget> {
    Some(match section.path("to")? {
        console if console.as_os_str() == "console" => LogTarget::Console,
        file => LogTarget::File(file),
    })
}

fn log_format(section: &mut Section<'_>) -> LogFormat {
    let formats = LogFormat::ALL.map(LogFormat::as_str);
    let word = section.choice("format", &formats, |word| {
        let formats = formats.join(" or ");
        format!("invalid log format {word:?}, must be {formats}")
    });
    let named = LogFormat::ALL
        .into_iter()
        .find(|it| Some(it.as_str()) == word.as_deref());
    named.unwrap_or_default()
}

/// `maxDays`, `maxFiles` and `maxSize`, with what they are if they are not set.
fn log_rotation(section: &mut Section<'_>) -> (Option<u32>, Option<u32>, Option<NonZeroU64>) {
    let mut number = |key| {
        let number = section.integer(key)?;
        Some(
            u32::try_from(number)
                .ok()
                .or((number > 0).then_some(u32::MAX)),
        )
    };
    let (max_days, max_files) = (number("maxDays"), number("maxFiles"));
    let max_size = section.text("maxSize").and_then(|text| {
        let parsed = parse_max_size(&text);
        parsed.map_err(|why| section.invalid("maxSize", why)).ok()
    });
    (
        max_days.unwrap_or(Some(DEFAULT_MAX_DAYS)),
        max_files.unwrap_or(max_size.map(|_| DEFAULT_MAX_FILES)),
        max_size,
    )
}

/// A certificate and its key, under these keys, which only count together.
fn certificate(
    section: &mut Section<'_>,
    keys: [&'static str; 2],
    otherwise: &str,
) -> Option<(PathBuf, PathBuf)> {
    certificate_of(section, keys, otherwise, Section::file)
}

/// As [`certificate`], with files that are looked at by `look`.
fn certificate_of<'a>(
    section: &mut Section<'a>,
    [certificate_key, key_key]: [&'static str; 2],
    otherwise: &str,
    look: fn(&mut Section<'a>, &'static str, Content) -> Option<PathBuf>,
) -> Option<(PathBuf, PathBuf)> {
    let both = section.says(certificate_key) && section.says(key_key);
    let mut file = |key, content| match both {
        true => look(section, key, content),
        // Nobody reads it.
        false => section.path(key),
    };
    let certificate = file(certificate_key, Content::Certificates);
    match (certificate, file(key_key, Content::PrivateKey)) {
        (Some(certificate), Some(key)) => Some((certificate, key)),
        (Some(_), None) => {
            section.warn(
                certificate_key,
                format!("is not used without `{key_key}`: {otherwise}"),
            );
            None
        }
        (None, Some(_)) => {
            section.warn(
                key_key,
                format!("is not used without `{certificate_key}`: {otherwise}"),
            );
            None
        }
        (None, None) => None,
    }
}

/// Times and limits of QUIC, on either end.
fn quic(mut section: Section<'_>, default: Quic) -> Quic {
    let key = "maxIncomingStreams";
    let max_incoming_streams = section.count(key);
    if max_incoming_streams == Some(0) {
        section.invalid(key, "must be 1 or more, or nothing could be carried");
    }
    Quic {
        times_are_set: section.says("keepalivePeriod") || section.says("maxIdleTimeout"),
        keepalive_period: section
            .seconds("keepalivePeriod")
            .unwrap_or(default.keepalive_period),
        max_idle_timeout: section
            .seconds("maxIdleTimeout")
            .unwrap_or(default.max_idle_timeout),
        max_incoming_streams: max_incoming_streams.unwrap_or(default.max_incoming_streams),
    }
}

/// Which keys about signs of life a `transport` section sets.
fn liveness_keys(section: &Section<'_>) -> LivenessKeys {
    LivenessKeys {
        heartbeats: section.says("heartbeatInterval") || section.says("heartbeatTimeout"),
        mux: section.says("tcpMuxKeepaliveInterval"),
    }
}

/// mgrok's own key. Less than no time, since an explicit 0 means the default, is none at all.
fn grace_period(section: &mut Section<'_>) -> Option<Duration> {
    let period = section.seconds_or_off("gracePeriod")?;
    Some(period.unwrap_or_default())
}

/// The admin port; `None` is off.
fn web_server(root: &mut Section<'_>) -> Option<WebServer> {
    let prometheus_key = "enablePrometheus";
    let prometheus = root.boolean(prometheus_key).unwrap_or_default();
    let port = admin_port(root.section("webServer"));
    if prometheus && port.is_none() {
        root.warn(prometheus_key, "does nothing without `webServer.port`");
    }
    port.map(|port| WebServer { prometheus, ..port })
}

fn admin_port(mut section: Section<'_>) -> Option<WebServer> {
    let default = WebServer::default();
    let web_server = WebServer {
        addr: section.text("addr").unwrap_or(default.addr),
        port: section.port("port").unwrap_or(default.port),
        user: section.text("user").unwrap_or_default(),
        password: section
            .secret("password", "passwordSource")
            .unwrap_or_default(),
        prometheus: default.prometheus,
        pprof: section.boolean("pprofEnable").unwrap_or(default.pprof),
        tls: web_server_tls(&mut section),
        assets_dir: section.directory("assetsDir"),
    };
    if web_server.port == 0 {
        for key in ["addr", "user", "password", "pprofEnable"] {
            if section.says(key) && !section.says("port") {
                section.warn(key, "does nothing without `webServer.port`");
            }
        }
        return None;
    }
    let is_open = web_server.user.is_empty() && web_server.password.is_empty();
    if is_open && !is_loopback(&web_server.addr) {
        section.warn(
            "addr",
            "lets nobody from other machines in while there is no password: set `webServer.user` and `webServer.password`",
        );
    }
    Some(web_server)
}

fn web_server_tls(section: &mut Section<'_>) -> Option<WebServerTls> {
    let mut tls = section.section("tls");
    let [cert_key, key_key] = ["certFile", "keyFile"];
    // frp: reads neither (pkg/util/http/server.go)
    for idle in ["serverName", "trustedCaFile"] {
        if tls.text(idle).is_some() {
            tls.warn(idle, "does nothing for the admin port, as in frp");
        }
    }
    // Not by `certificate`, which does without: a password must not pass in the clear because half of it is missing.
    for (has, lacks) in [(cert_key, key_key), (key_key, cert_key)] {
        if tls.says(has) && !tls.says(lacks) {
            tls.invalid(has, format!("needs `{lacks}` beside it"));
        }
    }
    let cert_file = tls.file(cert_key, Content::Certificates);
    let key_file = tls.file(key_key, Content::PrivateKey);
    let files = cert_file.zip(key_file);
    files.map(|(cert_file, key_file)| WebServerTls {
        cert_file,
        key_file,
    })
}

/// A text as messages show it: without a user and a password that somebody wrote in front of a host.
fn shown(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, host)) => format!("\"***@{}\"", host.escape_debug()),
        None => format!("{text:?}"),
    }
}

fn is_loopback(host: &str) -> bool {
    match host.parse::<IpAddr>() {
        Ok(addr) => addr.to_canonical().is_loopback(),
        Err(_) => host.eq_ignore_ascii_case("localhost"),
    }
}

fn udp_packet_size(section: &mut Section<'_>) -> Option<usize> {
    let key = "udpPacketSize";
    let number = section.integer(key)?;
    match u16::try_from(number).map(usize::from) {
        Ok(size) if size > MAX_V1_DATAGRAM => {
            section.warn(
                key,
                format!("datagrams of more than {MAX_V1_DATAGRAM} bytes may not fit into a message and are then lost"),
            );
            Some(size)
        }
        Ok(size) => Some(size),
        Err(_) => {
            section.invalid(key, format!("must be between 1 and 65535, not {number}"));
            None
        }
    }
}
