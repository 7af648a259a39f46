//! Proxies and visitors as the client's admin port tells of them and takes them: `{"name":…, "type":…, "<type>":{…}}`, with the keys of a
//! configuration in the block that is called as the type.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::client_plugin::{HttpsFront, Plugin, PluginCredentials, Website};
use crate::network::Network;
use crate::proxy::{
    Domains, Group, HealthCheck, HealthCheckKind, HttpProxy, Private, ProxyConfig, ProxyKind,
    ProxyProtocol, Strategy, TcpMuxProxy,
};
use crate::store::{StoredEntry, StoredKind};
use crate::virtual_net::VisitorPlugin;
use crate::visitor::{VisitorConfig, VisitorKind, XtcpVisitor};

impl StoredKind {
    fn types(self) -> &'static [&'static str] {
        match self {
            Self::Proxy => &[
                "tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp",
            ],
            Self::Visitor => &["stcp", "sudp", "xtcp"],
        }
    }
}

impl StoredEntry {
    /// Takes a definition, which is not looked at further than to see what it defines.
    ///
    /// # Errors
    /// In words, if it defines nothing of this kind.
    // frp: these words (client/http/model)
    pub fn from_definition(kind: StoredKind, definition: &Value) -> Result<Self, String> {
        let Value::Object(members) = definition else {
            return Err("parse JSON error: a definition is an object".to_owned());
        };
        // frp: in any case, as all JSON in Go
        let find = |key: &str| {
            let mut found = members.iter();
            found
                .find(|(it, _)| it.eq_ignore_ascii_case(key))
                .map(|(_, value)| value)
        };
        let text = |key: &str| match find(key) {
            None | Some(Value::Null) => Ok(""),
            Some(Value::String(text)) => Ok(text.as_str()),
            Some(_) => Err(format!("parse JSON error: `{key}` must be a string")),
        };
        let (name, word) = (text("name")?, text("type")?);
        if name.trim().is_empty() {
            return Err(format!("{kind} name is required"));
        }
        let types = kind.types();
        if !types.contains(&word) {
            return Err(format!("invalid {kind} type: {}", word.escape_debug()));
        }
        let mut blocks = Vec::new();
        for (key, value) in members {
            let lower = key.to_ascii_lowercase();
            match value {
                _ if ["name", "type"].contains(&&*lower) => {}
                _ if !types.contains(&&*lower) => {
                    let key = key.escape_debug();
                    return Err(format!("parse JSON error: unknown field \"{key}\""));
                }
                Value::Null => {}
                Value::Object(block) => blocks.push((lower, block)),
                _ => {
                    return Err(format!("parse JSON error: `{lower}` must be an object"));
                }
            }
        }
        let [(block_type, block)] = &blocks[..] else {
            return Err(format!("exactly one {kind} type block is required"));
        };
        if block_type != word {
            return Err(format!(
                "{kind} type block {block_type:?} does not match type {word:?}"
            ));
        }
        let is_outer = |key: &str| {
            ["name", "type"]
                .iter()
                .any(|outer| outer.eq_ignore_ascii_case(key))
        };
        let inner = block.iter().filter(|(key, _)| !is_outer(key));
        let mut keys: Map<String, Value> = inner.map(|(k, v)| (k.clone(), v.clone())).collect();
        keys.insert("name".to_owned(), name.into());
        keys.insert("type".to_owned(), word.into());
        let name = name.to_owned();
        Ok(Self { name, keys })
    }

    /// Its definition: what was written, and what is always told.
    pub fn definition(&self, kind: StoredKind) -> Value {
        let mut block = self.keys.clone();
        always(kind, self.type_name(), &mut block);
        definition(&self.name, self.type_name(), block)
    }
}

impl ProxyConfig {
    /// Its definition, with what went without saying.
    pub fn definition(&self) -> Value {
        let kind = self.kind.as_str();
        let mut block = Block::default();
        block.say("name", &self.name);
        block.say("type", kind);
        block.map("annotations", &self.annotations);
        block.map("metadatas", &self.metadatas);
        block.say("localIP", &self.local_host);
        block.number("localPort", self.local_port.into());
        let mut transport = Block::default();
        transport.flag("useEncryption", self.use_encryption);
        transport.flag("useCompression", self.use_compression);
        let mut mode = "client";
        if let Some(limit) = &self.bandwidth {
            transport.say("bandwidthLimit", &limit.text);
            mode = limit.mode.as_str();
        }
        transport.say("bandwidthLimitMode", mode);
        match self.proxy_protocol {
            Some(ProxyProtocol::V1) => transport.say("proxyProtocolVersion", "v1"),
            Some(ProxyProtocol::V2) => transport.say("proxyProtocolVersion", "v2"),
            None => {}
        }
        block.table("transport", transport);
        if let Some(Group {
            name,
            key,
            strategy,
            weight,
        }) = &self.group
        {
            let mut group = Block::default();
            group.say("group", name);
            group.say("groupKey", key.expose());
            group.say("strategy", strategy.map_or("", Strategy::as_str));
            if weight.get() > 1 {
                group.number("weight", weight.get().into());
            }
            block.table("loadBalancer", group);
        }
        if !(self.access.is_open() && self.source_limits.is_open()) {
            let mut access = Block::default();
            access.list("allow", &texts(&self.access.allow));
            access.list("deny", &texts(&self.access.deny));
            let number = |limit: Option<NonZeroU32>| limit.map_or(0, |it| it.get().into());
            let limits = self.source_limits;
            access.number("maxConnectionsPerSource", number(limits.connections));
            access.number("maxRatePerSource", number(limits.rate));
            block.table("access", access);
        }
        if let Some(check) = &self.health_check {
            block.table("healthCheck", health_check(check));
        }
        if let Some(it) = &self.plugin {
            block.table("plugin", plugin(it));
        }
        match &self.kind {
            ProxyKind::Tcp { remote_port } | ProxyKind::Udp { remote_port } => {
                block.number("remotePort", (*remote_port).into());
            }
            ProxyKind::Http(it) => http(&mut block, it),
            ProxyKind::Https(it) => domains(&mut block, it),
            ProxyKind::TcpMux(it) => tcpmux(&mut block, it),
            ProxyKind::Stcp(it) | ProxyKind::Sudp(it) => private(&mut block, it),
            ProxyKind::Xtcp {
                private: it,
                disable_assisted_addrs,
            } => {
                private(&mut block, it);
                nat_traversal(&mut block, *disable_assisted_addrs);
            }
        }
        always(StoredKind::Proxy, kind, &mut block.0);
        definition(&self.name, kind, block.0)
    }
}

impl VisitorConfig {
    /// Its definition, with what went without saying.
    pub fn definition(&self) -> Value {
        let kind = self.kind.as_str();
        let mut block = Block::default();
        block.say("name", &self.name);
        block.say("type", kind);
        block.say(
            "serverUser",
            self.server_user.as_deref().unwrap_or_default(),
        );
        block.say("serverName", &self.server_name);
        block.say("secretKey", self.secret_key.expose());
        block.say("bindAddr", &self.bind_addr);
        block.number("bindPort", self.bind_port.map_or(-1, Into::into));
        let mut transport = Block::default();
        transport.flag("useEncryption", self.use_encryption);
        transport.flag("useCompression", self.use_compression);
        block.table("transport", transport);
        if let Some(VisitorPlugin::VirtualNet { destination }) = self.plugin {
            let mut plugin = Block::default();
            plugin.say("type", "virtual_net");
            plugin.say("destinationIP", &destination.to_string());
            block.table("plugin", plugin);
        }
        if let VisitorKind::Xtcp(it) = &self.kind {
            xtcp(&mut block, it);
        }
        always(StoredKind::Visitor, kind, &mut block.0);
        definition(&self.name, kind, block.0)
    }
}

fn texts(networks: &[Network]) -> Vec<String> {
    networks.iter().map(Network::to_string).collect()
}

fn definition(name: &str, word: &str, block: Map<String, Value>) -> Value {
    let mut members = Map::new();
    members.insert("name".to_owned(), name.into());
    members.insert("type".to_owned(), word.into());
    members.insert(word.to_owned(), block.into());
    members.into()
}

/// Adds what is told whether it was written or not.
// frp: what the encoder of Go cannot leave out
fn always(kind: StoredKind, word: &str, block: &mut Map<String, Value>) {
    let default = match kind {
        StoredKind::Visitor => json!({ "transport": {}, "plugin": null }),
        StoredKind::Proxy => json!({
            "transport": { "bandwidthLimit": "" },
            "loadBalancer": { "group": "" },
            "healthCheck": { "type": "", "intervalSeconds": 0 },
            "plugin": null,
        }),
    };
    add_absent(block, default);
    if kind == StoredKind::Proxy && word == "http" {
        add_absent(
            block,
            json!({ "requestHeaders": {}, "responseHeaders": {} }),
        );
    }
    if let Some(Value::Object(plugin)) = block.get_mut("plugin")
        && plugin.contains_key("localAddr")
        && plugin.get("type").and_then(Value::as_str) != Some("tls2raw")
    {
        add_absent(plugin, json!({ "requestHeaders": {} }));
    }
}

fn add_absent(block: &mut Map<String, Value>, default: Value) {
    let Value::Object(members) = default else {
        return;
    };
    for (key, value) in members {
        match (block.get_mut(&key), value) {
            (Some(Value::Object(block)), value @ Value::Object(_)) => add_absent(block, value),
            (Some(_), _) => {}
            (None, value) => drop(block.insert(key, value)),
        }
    }
}

fn health_check(check: &HealthCheck) -> Block {
    let mut block = Block::default();
    match &check.kind {
        HealthCheckKind::Tcp => block.say("type", "tcp"),
        HealthCheckKind::Http { path, headers } => {
            block.say("type", "http");
            block.say("path", path);
            let headers = headers.iter();
            let headers: Vec<_> = headers
                .map(|(name, value)| json!({ "name": name, "value": value }))
                .collect();
            if !headers.is_empty() {
                block.0.insert("httpHeaders".to_owned(), headers.into());
            }
        }
    }
    let seconds = |duration: Duration| i64::try_from(duration.as_secs());
    block.number("timeoutSeconds", seconds(check.timeout).unwrap_or(i64::MAX));
    block.number("maxFailed", check.max_failed.get().into());
    block.number(
        "intervalSeconds",
        seconds(check.interval).unwrap_or(i64::MAX),
    );
    block
}

fn plugin(plugin: &Plugin) -> Block {
    let mut block = Block::default();
    block.say("type", plugin.as_str());
    match plugin {
        Plugin::Http2Http(it) | Plugin::Http2Https(it) => website(&mut block, it),
        Plugin::Https2Http { website: it, front } | Plugin::Https2Https { website: it, front } => {
            website(&mut block, it);
            let HttpsFront {
                certificate: files,
                enable_http2,
            } = front;
            block
                .0
                .insert("enableHTTP2".to_owned(), (*enable_http2).into());
            certificate(&mut block, files.as_ref());
        }
        Plugin::HttpProxy(it) => http_credentials(&mut block, it),
        Plugin::Socks5(it) => {
            block.say("username", &it.user);
            block.say("password", it.password.expose());
        }
        Plugin::StaticFile {
            root,
            strip_prefix,
            credentials: it,
        } => {
            block.say("localPath", &root.to_string_lossy());
            block.say("stripPrefix", strip_prefix);
            http_credentials(&mut block, it);
        }
        Plugin::Tls2Raw {
            local_addr,
            certificate: files,
        } => {
            block.say("localAddr", &local_addr.to_string());
            certificate(&mut block, files.as_ref());
        }
        Plugin::VirtualNet => {}
        Plugin::UnixDomainSocket { path } => block.say("unixPath", &path.to_string_lossy()),
    }
    block
}

fn http_credentials(block: &mut Block, credentials: &PluginCredentials) {
    block.say("httpUser", &credentials.user);
    block.say("httpPassword", credentials.password.expose());
}

fn website(block: &mut Block, website: &Website) {
    block.say("localAddr", &website.local_addr.to_string());
    block.say("hostHeaderRewrite", &website.host_header_rewrite);
    headers(block, "requestHeaders", &website.request_headers);
}

fn certificate(block: &mut Block, files: Option<&(PathBuf, PathBuf)>) {
    if let Some((certificate, key)) = files {
        block.say("crtPath", &certificate.to_string_lossy());
        block.say("keyPath", &key.to_string_lossy());
    }
}

fn http(block: &mut Block, http: &HttpProxy) {
    domains(block, &http.domains);
    block.list("locations", &http.locations);
    block.say("httpUser", &http.user);
    block.say("httpPassword", http.password.expose());
    block.say("hostHeaderRewrite", &http.host_header_rewrite);
    headers(block, "requestHeaders", &http.request_headers);
    headers(block, "responseHeaders", &http.response_headers);
    block.say("routeByHTTPUser", &http.route_by_user);
}

fn tcpmux(block: &mut Block, tcpmux: &TcpMuxProxy) {
    domains(block, &tcpmux.domains);
    block.say("httpUser", &tcpmux.user);
    block.say("httpPassword", tcpmux.password.expose());
    block.say("routeByHTTPUser", &tcpmux.route_by_user);
    block.say("multiplexer", "httpconnect");
}

fn private(block: &mut Block, private: &Private) {
    block.say("secretKey", private.secret_key.expose());
    block.list("allowUsers", &private.allow_users);
}

fn domains(block: &mut Block, domains: &Domains) {
    block.list("customDomains", &domains.custom);
    block.say("subdomain", &domains.subdomain);
}

fn headers(block: &mut Block, key: &str, headers: &BTreeMap<String, String>) {
    let mut section = Block::default();
    section.map("set", headers);
    if !section.0.is_empty() {
        block.table(key, section);
    }
}

fn nat_traversal(block: &mut Block, disable_assisted_addrs: bool) {
    if disable_assisted_addrs {
        let mut section = Block::default();
        section.flag("disableAssistedAddrs", true);
        block.table("natTraversal", section);
    }
}

fn xtcp(block: &mut Block, xtcp: &XtcpVisitor) {
    block.say("protocol", xtcp.protocol.as_str());
    block.flag("keepTunnelOpen", xtcp.keep_tunnel_open);
    block.number("maxRetriesAnHour", xtcp.max_retries_an_hour.into());
    let interval = i64::try_from(xtcp.min_retry_interval.as_secs());
    block.number("minRetryInterval", interval.unwrap_or(i64::MAX));
    block.say(
        "fallbackTo",
        xtcp.fallback_to.as_deref().unwrap_or_default(),
    );
    let timeout = i64::try_from(xtcp.fallback_timeout.as_millis());
    block.number("fallbackTimeoutMs", timeout.unwrap_or(i64::MAX));
    nat_traversal(block, xtcp.disable_assisted_addrs);
}

/// The keys of a definition's block, or of a table in it. What is nothing of its kind is left out.
#[derive(Default)]
struct Block(Map<String, Value>);

impl Block {
    fn say(&mut self, key: &str, text: &str) {
        if !text.is_empty() {
            self.0.insert(key.to_owned(), text.into());
        }
    }

    fn number(&mut self, key: &str, number: i64) {
        if number != 0 {
            self.0.insert(key.to_owned(), number.into());
        }
    }

    fn flag(&mut self, key: &str, on: bool) {
        if on {
            self.0.insert(key.to_owned(), true.into());
        }
    }

    fn list(&mut self, key: &str, texts: &[String]) {
        if !texts.is_empty() {
            self.0.insert(key.to_owned(), texts.into());
        }
    }

    fn map(&mut self, key: &str, texts: &BTreeMap<String, String>) {
        if !texts.is_empty() {
            self.0.insert(key.to_owned(), json!(texts));
        }
    }

    fn table(&mut self, key: &str, Self(members): Self) {
        self.0.insert(key.to_owned(), members.into());
    }
}
