//! A proxy's `plugin`: its `type`, and the keys that only plugins of this type have.

use std::path::PathBuf;

use super::kinds::{headers, host_header_rewrite, password, user};
use super::{certificate_of, shown};
use crate::client_plugin::{HttpsFront, Plugin, PluginCredentials, Website};
use crate::local_addr::LocalAddr;
use crate::proxy::ProxyKind;
use crate::section::Section;
use crate::section::choice::none_of;

/// The types that frp has.
const TYPES: [&str; 10] = [
    "http2http",
    "http2https",
    "http_proxy",
    "https2http",
    "https2https",
    "socks5",
    "static_file",
    "tls2raw",
    "unix_domain_socket",
    "virtual_net",
];

const HTTP_PORT: u16 = 80;
const HTTPS_PORT: u16 = 443;

/// The most bytes that SOCKS has for a user or a password.
const MAX_SOCKS5_CREDENTIAL: usize = 255;

/// Reads what is to serve the users of a proxy of this kind; `None` if that is the local service.
pub(super) fn plugin(entry: &mut Section<'_>, kind: &ProxyKind) -> Option<Plugin> {
    let is_there = entry.has("plugin");
    let mut section = entry.section("plugin");
    if !is_there || section.is_flawed() {
        return None;
    }
    let name = section.text("type").unwrap_or_default();
    let plugin = match name.as_str() {
        "http2http" => Plugin::Http2Http(website(&mut section, &name, HTTP_PORT)),
        "http2https" => Plugin::Http2Https(website(&mut section, &name, HTTPS_PORT)),
        "http_proxy" => Plugin::HttpProxy(http_credentials(&mut section)),
        "https2http" => Plugin::Https2Http {
            website: website(&mut section, &name, HTTP_PORT),
            front: https_front(&mut section),
        },
        "https2https" => Plugin::Https2Https {
            website: website(&mut section, &name, HTTPS_PORT),
            front: https_front(&mut section),
        },
        "socks5" => Plugin::Socks5(socks5_credentials(&mut section)),
        "static_file" => Plugin::StaticFile {
            root: path(&mut section, &name, "localPath"),
            strip_prefix: strip_prefix(&mut section),
            credentials: http_credentials(&mut section),
        },
        "tls2raw" => Plugin::Tls2Raw {
            local_addr: local_addr(&mut section, &name, None),
            certificate: front_certificate(&mut section),
        },
        "unix_domain_socket" => Plugin::UnixDomainSocket {
            path: path(&mut section, &name, "unixPath"),
        },
        "virtual_net" => Plugin::VirtualNet,
        other => {
            // frp: this wording
            let why = match other {
                "" => "plugin type is empty".to_owned(),
                other => none_of(
                    format!("unknown plugin type: {}", other.escape_debug()),
                    other,
                    &TYPES,
                ),
            };
            if !section.is_flawed() {
                section.invalid("type", why);
            }
            section.abandon();
            return None;
        }
    };
    match kind {
        ProxyKind::Tcp { .. } | ProxyKind::Http(_) | ProxyKind::Https(_) | ProxyKind::TcpMux(_) => {
            if let Plugin::HttpProxy(credentials) | Plugin::Socks5(credentials) = &plugin
                && credentials.is_empty()
            {
                let why = format!(
                    "`{name}` without a user and a password lets everybody who reaches this proxy connect to all that this machine can"
                );
                section.warn("type", why);
            }
            Some(plugin)
        }
        ProxyKind::Stcp(_) | ProxyKind::Xtcp { .. } => Some(plugin),
        ProxyKind::Udp { .. } | ProxyKind::Sudp(_) => {
            let kind = kind.as_str();
            entry.warn(
                "plugin",
                format!("does nothing for proxies of type `{kind}`"),
            );
            None
        }
    }
}

fn website(section: &mut Section<'_>, plugin: &str, default_port: u16) -> Website {
    Website {
        local_addr: local_addr(section, plugin, Some(default_port)),
        host_header_rewrite: host_header_rewrite(section),
        request_headers: headers(section.section("requestHeaders")),
    }
}

fn https_front(section: &mut Section<'_>) -> HttpsFront {
    let default = HttpsFront::default();
    HttpsFront {
        certificate: front_certificate(section),
        enable_http2: section
            .boolean("enableHTTP2")
            .unwrap_or(default.enable_http2),
    }
}

fn front_certificate(section: &mut Section<'_>) -> Option<(PathBuf, PathBuf)> {
    certificate_of(
        section,
        ["crtPath", "keyPath"],
        "a self-signed certificate is made instead",
        Section::file_of_proxy,
    )
}

fn local_addr(section: &mut Section<'_>, plugin: &str, default_port: Option<u16>) -> LocalAddr {
    let key = "localAddr";
    let text = required(section, plugin, key);
    if text.is_empty() {
        return LocalAddr::default();
    }
    LocalAddr::parse(&text, default_port).unwrap_or_else(|error| {
        section.invalid(key, format!("{error}, not {}", shown(&text)));
        LocalAddr::default()
    })
}

/// A user and a password that HTTP carries.
fn http_credentials(section: &mut Section<'_>) -> PluginCredentials {
    PluginCredentials {
        user: user(section, "httpUser"),
        password: password(section),
    }
}

/// A user and a password that SOCKS carries, each within 255 bytes.
fn socks5_credentials(section: &mut Section<'_>) -> PluginCredentials {
    let credentials = PluginCredentials {
        user: section.text("username").unwrap_or_default(),
        password: section
            .secret("password", "passwordSource")
            .unwrap_or_default(),
    };
    let lengths = [
        ("username", credentials.user.len()),
        ("password", credentials.password.expose().len()),
    ];
    for (key, len) in lengths {
        if len > MAX_SOCKS5_CREDENTIAL {
            let why =
                format!("must have {MAX_SOCKS5_CREDENTIAL} bytes at most for SOCKS, not {len}");
            section.invalid(key, why);
        }
    }
    credentials
}

/// What paths begin with. Slashes at its ends go without saying.
fn strip_prefix(section: &mut Section<'_>) -> String {
    let text = section.text("stripPrefix").unwrap_or_default();
    let prefix = text.trim_matches('/');
    // Paths are cleaned before they are looked at.
    let is_clean = prefix.is_empty() || prefix.split('/').all(|it| !["", ".", ".."].contains(&it));
    if !is_clean {
        let why = format!("is no beginning of a path: {}", shown(&text));
        section.invalid("stripPrefix", why);
    }
    prefix.to_owned()
}

fn path(section: &mut Section<'_>, plugin: &str, key: &'static str) -> PathBuf {
    required(section, plugin, key);
    section.path(key).unwrap_or_default()
}

/// A text that must be there; empty if it is not, which is in the report by then.
// frp: asks for no `localAddr` of http2http, which then answers each request by 502.
fn required(section: &mut Section<'_>, plugin: &str, key: &'static str) -> String {
    let text = section.text(key);
    if text.is_none() && !section.says(key) {
        // frp: this wording
        section.invalid(key, format!("plugin {plugin}: {key} is required"));
    }
    text.unwrap_or_default()
}
