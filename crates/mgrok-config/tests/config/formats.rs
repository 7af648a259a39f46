//! YAML, JSON and frp's old INI format: told apart by what is in the file, and meaning what the same TOML means.

use mgrok_config::{Loaded, ProxyKind, Strictness, load_client_from_str, load_server_from_str};

use super::{client, client_mistakes, client_warnings, server, server_mistakes, server_warnings};

const INI: &str = "ini format is deprecated and the support will be removed in the future, please use yaml/json/toml format instead!";

const TOML: &str = r#"
serverAddr = "a.example"
serverPort = 7001
auth.token = "s3cret"
metadatas = { a = "b" }
transport.tcpMux = false

[[proxies]]
name = "ssh"
type = "tcp"
localPort = 22
remotePort = 6000

[[proxies]]
name = "web"
type = "http"
localPort = 80
customDomains = ["a.example.com", "b.example.com"]
requestHeaders.set = { X-A = "1" }
transport.useCompression = true
healthCheck = { type = "http", path = "/status", intervalSeconds = 5 }

[[visitors]]
name = "v"
type = "xtcp"
serverName = "p"
secretKey = "k"
bindPort = 9000
keepTunnelOpen = true
"#;

#[test]
fn yaml_means_what_toml_means() {
    let yaml = r#"
# A comment, and keys for anchors alone.
.both: &both
  localPort: 22
serverAddr: a.example
serverPort: 7001
auth: { token: s3cret }
metadatas:
  a: b
transport:
  tcpMux: off
webServer:
log: null
proxies:
  - <<: *both
    name: "ssh"
    type: tcp
    remotePort: 6_000
  - name: web
    <<: [*both, { subdomain: ~ }]
    type: http
    localPort: 0x50
    customDomains: [a.example.com, 'b.example.com']
    requestHeaders:
      set:
        X-A: "1"
    transport:
      useCompression: yes
    healthCheck:
      type: http
      path: /status
      intervalSeconds: 5.0
visitors:
- name: v
  type: xtcp
  serverName: p
  secretKey: k
  bindPort: 9000
  keepTunnelOpen: Yes
---
this: is another document
"#;
    assert_eq!(client(yaml), client(TOML));
}

#[test]
fn json_means_what_toml_means() {
    let json = r#"
{
  "serverAddr": "a.example", "serverPort": 7001,
  "auth": {"token": "s3cret"}, "metadatas": {"a": "\u0062"},
  "transport": {"tcpMux": false}, "log": null,
  "proxies": [
    {"name": "ssh", "type": "tcp", "localPort": 22, "remotePort": 6e3},
    {
      "name": "web", "type": "http", "localPort": 80,
      "customDomains": ["a.example.com", "b.example.com"],
      "requestHeaders": {"set": {"X-A": "1"}},
      "transport": {"useCompression": true},
      "healthCheck": {"type": "http", "path": "/status", "intervalSeconds": 5}
    }
  ],
  "visitors": [{
    "name": "v", "type": "xtcp", "serverName": "p", "secretKey": "k", "bindPort": 9000, "keepTunnelOpen": true
  }]
}
"#;
    assert_eq!(client(json), client(TOML));
}

/// The configuration of a text in INI, without the warning that each has.
#[track_caller]
fn old<T>(loaded: Result<Loaded<T>, mgrok_config::LoadError>, expect: &[&str]) -> T {
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings[0], INI);
    assert_eq!(&loaded.warnings[1..], expect);
    loaded.config
}

#[track_caller]
fn old_client(text: &str, expect: &[&str]) -> mgrok_config::ClientConfig {
    old(load_client_from_str(text, "f", Strictness::Strict), expect)
}

#[track_caller]
fn old_server(text: &str, expect: &[&str]) -> mgrok_config::ServerConfig {
    old(load_server_from_str(text, "f", Strictness::Strict), expect)
}

#[test]
fn ini_means_what_toml_means() {
    let ini = r#"
; the old format
[common]
server_addr = a.example
server_port : 7001
token = "s3cret"
meta_a = b
tcp_mux = off

[ssh]
# tcp is the default
local_port = 22
remote_port = 6000

[web]
type = http
local_port = 80
custom_domains = a.example.com, b.example.com
header_X-A = 1
use_compression
health_check_type = http
health_check_url = /status
health_check_interval_s = 5

[v]
type = xtcp
role = visitor
server_name = p
sk = k
bind_port = 9000
keep_tunnel_open = true
"#;
    assert_eq!(old_client(ini, &[]), client(TOML));
}

#[test]
fn ini_of_a_server() {
    let ini = r#"
[common]
bind_port = 7001
vhost_http_port = 8080
allow_ports = 2000-3000, 3001,4000-50000
authenticate_heartbeats = true
authenticate_new_work_conns = true
token = a b  # not a comment
tls_only = true
dashboard_port = 7500
dashboard_user = u
log_way = file
max_pool_count =
quic_max_idle_timeout = 0x10

[plugin.a-manager]
addr = 127.0.0.1:9000
path = /handler
ops = Login, NewProxy
"#;
    let toml = r#"
bindPort = 7001
vhostHTTPPort = 8080
allowPorts = [{ start = 2000, end = 3000 }, { single = 3001 }, { start = 4000, end = 50000 }]
auth.additionalScopes = ["HeartBeats", "NewWorkConns"]
auth.token = "a b  # not a comment"
transport.tls.force = true
webServer = { addr = "0.0.0.0", port = 7500, user = "u" }
quicBindPort = 7002
transport.quic.maxIdleTimeout = 16
[[httpPlugins]]
name = "a-manager"
addr = "127.0.0.1:9000"
path = "/handler"
ops = ["Login", "NewProxy"]
"#;
    let ini = ini.replace("[plugin", "quic_bind_port = 7002\n[plugin");
    assert_eq!(old_server(&ini, &[]), server(toml));
}

#[test]
fn ini_that_could_be_toml() {
    // Nothing in this tells it from TOML but the section's name.
    let config = old_server("[common]\nbind_port = 7002\n", &[]);
    assert_eq!(config.bind_port, 7002);
    // This has what only TOML has.
    server_mistakes(
        "bindPort = 7002\n[common]\nx = 1",
        &["2:2: common: unknown field \"common\""],
    );
    server_mistakes(
        "[common]\nx.y = 1\n[log]\nto = \"x\"",
        &["1:2: common: unknown field \"common\""],
    );
}

#[test]
fn ranges_of_ini_become_proxies() {
    let config = old_client(
        "[common]\n[range:p]\ntype = udp\nlocal_port = 6000-6001,7000\nremote_port = 1-2, 9\n[a]\nlocal_port = 1",
        &[],
    );
    let found: Vec<_> = config
        .proxies
        .iter()
        .map(|proxy| (proxy.name.as_str(), proxy.local_port, proxy.kind.clone()))
        .collect();
    let udp = |remote_port| ProxyKind::Udp { remote_port };
    assert_eq!(
        found,
        [
            ("a", 1, ProxyKind::Tcp { remote_port: 0 }),
            ("p_0", 6000, udp(1)),
            ("p_1", 6001, udp(2)),
            ("p_2", 7000, udp(9)),
        ]
    );
    client_mistakes(
        "[common]\n[range:p]\nlocal_port = 1-3\nremote_port = 1-2\n[range:q]\nlocal_port = 1-100000\nremote_port = x",
        &[
            "4:15: range:p.remote_port: must name as many ports as `local_port`: 2 are not 3",
            "6:14: range:q.local_port: must not stand for more than 10000 numbers, not \"1-100000\"",
            "7:15: range:q.remote_port: range number is invalid: must be numbers and ranges, like \"6000-6010,6020\", not \"x\"",
        ],
    );
}

#[test]
fn mistakes_in_ini_name_its_keys() {
    server_mistakes(
        "[common]\nbind_port = 70000\ntcp_mux = maybe\nallow_ports = 1-x\nlog_level = loud\nudp_packet_size = 1k\n",
        &[
            "2:13: common.bind_port: port number 70000 must be in the range 0..65535",
            "3:11: common.tcp_mux: must be true or false, not \"maybe\"",
            "4:15: common.allow_ports: must name ports, like 2000-3000,3001, not \"1-x\"",
            "5:13: common.log_level: invalid log level \"loud\", must be one of trace, debug, info, warn, error",
            "6:19: common.udp_packet_size: must be a whole number, not \"1k\"",
        ],
    );
    client_mistakes(
        "[common]\n[a]\ntype = http\nlocal_port = 80\n[b]\nplugin = http2http\n[c]\nrole = vistor\n[d\n= 1",
        &[
            "2:1: [a]: subdomain and custom domains should not be both empty",
            "6:10: b.plugin: the INI format has no plugin \"http2http\", did you mean \"http2https\"?; it has http2https, http_proxy, https2http, https2https, socks5, static_file, unix_domain_socket",
            "8:8: c.role: role should be 'server' or 'visitor', not \"vistor\", did you mean \"visitor\"?",
            "9:1: ini: the `[` of a section has no `]`",
            "10:1: ini: a line needs a key ahead of its `=`",
        ],
    );
}

#[test]
fn ini_warns_of_what_does_nothing() {
    old_client(
        "x = 1\n[common]\nserver_prt = 1\nbindPort = 1\n[a]\nlocal_port = 1\nlocal_port = 2\ntype = stcp\nsk = x\nremote_port = 3",
        &[
            "f:1:1: x: stands above the first section, where nothing reads it",
            "f:3:1: common.server_prt: unknown field \"server_prt\", did you mean \"server_port\"?",
            "f:4:1: common.bindPort: unknown field \"bindPort\"",
            "f:6:1: a.local_port: does nothing, because the key comes again further below",
            "f:10:1: a.remote_port: does nothing in this section",
        ],
    );
    old_server(
        "[common]\ndashboard_port = 7500\ndashboard_user = u\npprof_enable = true\ndashboard_tls_cert_file = x\n[a]\nb = 1",
        &[
            "f:4:16: common.pprof_enable: does nothing without `dashboard_tls_mode`",
            "f:5:27: common.dashboard_tls_cert_file: does nothing without `dashboard_tls_mode`",
            "f:6:1: [a]: is no section that a server has",
        ],
    );
}

#[test]
fn values_of_ini_may_have_quotes_and_more_lines() {
    let config = old_client(
        "[common]\nuser = 'a b'\ntoken = \"a\"b\"\nmeta_x = one \\\n  two\nmeta_y = \"\"\"p\nq\"\"\"\nmeta_z = `r`\nmeta_e =\nmeta_w = w\\",
        &[],
    );
    assert_eq!(config.user, "a b");
    assert_eq!(config.auth.token.expose(), "\"a\"b\"");
    let metadatas: Vec<_> = config.metadatas.into_iter().collect();
    let expect = [
        ("e", ""),
        ("w", "w"),
        ("x", "one two"),
        ("y", "p\nq"),
        ("z", "r"),
    ];
    assert_eq!(metadatas, expect.map(|(k, v)| (k.to_owned(), v.to_owned())));
}

#[test]
fn references_between_values_of_ini_are_refused() {
    client_mistakes(
        "[common]\nuser = %(nothing)s\n[DEFAULT]\nhost = x\n[a]\nlocal_ip = %(host)s\nmeta_a = %(local_ip)s",
        &[
            "6:12: `%(host)s`, by which a value takes that of another key, is not supported by this version of mgrok",
            "7:10: `%(local_ip)s`, by which a value takes that of another key, is not supported by this version of mgrok",
        ],
    );
}

#[test]
fn the_last_of_equal_keys_counts_in_yaml_and_json() {
    server_warnings(
        "bindPort: 1\nbindPort: 2\n",
        &["1:1: bindPort: does nothing, because the key comes again further below"],
    );
    server_warnings(
        "{\"bindPort\": 1, \"bindPort\": 2}",
        &["1:2: bindPort: does nothing, because the key comes again further below"],
    );
}

#[test]
fn mistakes_in_yaml_have_places() {
    server_mistakes(
        "bindPort: \"7000\"\ntransport:\n  tcpMux: 1\n  hearbeatTimeout: 3\n",
        &[
            "1:11: bindPort: must be an integer, not a string",
            "3:11: transport.tcpMux: must be a boolean, not an integer",
            "4:3: transport.hearbeatTimeout: unknown field \"hearbeatTimeout\", did you mean \"heartbeatTimeout\"?",
        ],
    );
    for (text, expect) in [
        (
            "bindPort: 1\nlog:\n\tlevel: info\n",
            "3:2: yaml: tabs disallowed within this context (block indentation); YAML is indented by spaces",
        ),
        (
            "bindPort: a: b\n",
            "1:12: yaml: mapping values are not allowed in this context; a text with `: ` in it stands in quotes, and keys of one table stand below each other",
        ),
        (
            "a: &a [*a]\n",
            "1:8: yaml: an alias stands within what it stands for",
        ),
        (
            "- 1\n- 2\n",
            "1:1: must be a table of keys and their values, not a list",
        ),
        (
            "a: *b\n",
            "1:4: yaml: while parsing node, found unknown anchor; a text that begins with `*` stands in quotes",
        ),
        (
            "bindPort: 99999999999999999999\n",
            "1:11: yaml: the integer has more than 64 bits",
        ),
        (
            "? [a]\n: 1\n",
            "1:3: yaml: a key must be a text, not a list or a table",
        ),
    ] {
        let loaded = load_server_from_str(text, "f.yaml", Strictness::Strict);
        let expect = format!("f.yaml:{expect}");
        assert_eq!(loaded.unwrap_err().to_string(), expect);
    }
}

#[test]
fn mistakes_in_json_have_places() {
    for (text, expect) in [
        (
            "{\n  \"bindPort\": 7000,\n}",
            "2:19: json: trailing commas are not allowed; take away the comma after the last item",
        ),
        (
            "{\"bindPort\": x}",
            "1:14: json: unexpected token; a text stands in double quotes, and only true, false and null stand alone",
        ),
        (
            "{ // x\n}",
            "1:3: json: comments are not allowed; JSON has no comments, TOML and YAML have",
        ),
        (
            "{\"a\": 1 \"b\": 2}",
            "1:8: json: expected comma; a comma stands between any two items",
        ),
        (
            "{\"log\": {\"level\": 1}}",
            "1:19: log.level: must be a string, not an integer",
        ),
    ] {
        server_mistakes(text, &[expect]);
    }
}

#[test]
fn the_ending_of_a_name_counts_when_the_text_is_broken() {
    let error = |text, name| {
        let loaded = load_server_from_str(text, name, Strictness::Strict);
        loaded.unwrap_err().to_string()
    };
    assert_eq!(
        error("bindPort: 7000\n", "f.toml"),
        "f.toml:1:1: toml: key with no value, expected `=`; it looks like YAML, so its name must end with `.yaml`"
    );
    assert_eq!(
        error("bindPort 7000\n", "f.yml"),
        "f.yml:1:1: must be a table of keys and their values, not a string"
    );
}

#[test]
fn nothing_blows_up() {
    let mut bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
    for n in 1..12 {
        let item = format!("*a{}", n - 1);
        bomb += &format!("a{n}: &a{n} [{}]\n", vec![item; 10].join(", "));
    }
    let error = load_server_from_str(&bomb, "f.yaml", Strictness::Strict).unwrap_err();
    assert!(
        error.to_string().contains("stand for too many values"),
        "{error}"
    );
    for text in [
        "a: ".to_owned() + &"[".repeat(100_000),
        "{\"a\":".repeat(100_000),
        "- ".repeat(100_000),
    ] {
        assert!(load_server_from_str(&text, "f.yaml", Strictness::Strict).is_err());
        assert!(load_server_from_str(&text, "f.json", Strictness::Strict).is_err());
    }
}

#[test]
fn nothing_at_all_is_a_configuration() {
    for text in ["", "\n# nothing\n", "\u{feff}"] {
        for name in ["f", "f.yaml", "f.json", "f.toml"] {
            let loaded = load_server_from_str(text, name, Strictness::Strict).unwrap();
            assert_eq!(loaded.config, server(""));
        }
    }
    client_warnings("---\n", &[]);
}

/// Every key of the old format, by the section that it stands in.
const OLD_SERVER: &str = "bind_addr bind_port kcp_bind_port quic_bind_port proxy_bind_addr quic_keepalive_period \
    quic_max_idle_timeout quic_max_incoming_streams vhost_http_port vhost_https_port vhost_http_timeout \
    tcpmux_httpconnect_port tcpmux_passthrough dashboard_addr dashboard_port dashboard_user dashboard_pwd assets_dir \
    dashboard_tls_mode dashboard_tls_cert_file dashboard_tls_key_file pprof_enable enable_prometheus custom_404_page \
    detailed_errors_to_client subdomain_host max_ports_per_client user_conn_timeout udp_packet_size log_file log_way \
    log_level log_max_days disable_log_color tcp_mux tcp_mux_keepalive_interval tcp_keepalive max_pool_count \
    heartbeat_timeout tls_only tls_cert_file tls_key_file tls_trusted_ca_file authentication_method token \
    authenticate_heartbeats authenticate_new_work_conns oidc_issuer oidc_audience oidc_skip_expiry_check \
    oidc_skip_issuer_check allow_ports nat_hole_analysis_data_reserve_hours";

const OLD_CLIENT: &str = "server_addr server_port user dns_server login_fail_exit start udp_packet_size includes \
    nat_hole_stun_server token authentication_method authenticate_heartbeats authenticate_new_work_conns oidc_client_id \
    oidc_client_secret oidc_audience oidc_scope oidc_token_endpoint_url oidc_additional_x protocol http_proxy pool_count \
    tcp_mux tcp_mux_keepalive_interval dial_server_timeout dial_server_keepalive connect_server_local_ip \
    heartbeat_interval heartbeat_timeout quic_keepalive_period quic_max_idle_timeout quic_max_incoming_streams tls_enable \
    tls_cert_file tls_key_file tls_trusted_ca_file tls_server_name disable_custom_tls_first_byte admin_addr admin_port \
    admin_user admin_pwd assets_dir pprof_enable log_file log_way log_level log_max_days disable_log_color meta_x";

const OLD_PROXY: &str = "type role local_ip local_port remote_port use_encryption use_compression bandwidth_limit \
    bandwidth_limit_mode proxy_protocol_version group group_key health_check_type health_check_timeout_s \
    health_check_max_failed health_check_interval_s health_check_url meta_x";

const OLD_HTTP: &str = "custom_domains subdomain locations http_user http_pwd host_header_rewrite route_by_http_user header_x";

const OLD_PLUGIN: &str =
    "plugin_local_addr plugin_host_header_rewrite plugin_header_x plugin_crt_path plugin_key_path";

const OLD_VISITOR: &str = "role type sk server_name server_user bind_addr bind_port protocol keep_tunnel_open \
    max_retries_an_hour min_retry_interval fallback_to fallback_timeout_ms use_encryption use_compression";

#[test]
fn every_old_key_is_known() {
    let client = |text: &str| match load_client_from_str(text, "f", Strictness::Strict) {
        Ok(loaded) => loaded.warnings.join("\n"),
        Err(error) => error.to_string(),
    };
    let server = |text: &str| match load_server_from_str(text, "f", Strictness::Strict) {
        Ok(loaded) => loaded.warnings.join("\n"),
        Err(error) => error.to_string(),
    };
    // Whether the value is right does not matter here.
    for key in OLD_SERVER.split_whitespace() {
        check_known(key, &server(&format!("[common]\n{key} = 1")));
    }
    for key in OLD_CLIENT.split_whitespace() {
        check_known(key, &client(&format!("[common]\n{key} = 1")));
    }
    for (keys, section) in [
        (OLD_PROXY, "[a]\ntype = tcp"),
        (OLD_HTTP, "[a]\ntype = http"),
        (
            OLD_PLUGIN,
            "[a]\ntype = https\nsubdomain = a\nplugin = https2http",
        ),
        ("plugin_unix_path", "[a]\nplugin = unix_domain_socket"),
        (
            "plugin_http_user plugin_http_passwd",
            "[a]\nplugin = http_proxy",
        ),
        ("plugin_user plugin_passwd", "[a]\nplugin = socks5"),
        (
            "plugin_local_path plugin_strip_prefix plugin_http_user plugin_http_passwd",
            "[a]\nplugin = static_file",
        ),
        ("sk allow_users", "[a]\ntype = stcp"),
        (
            "multiplexer custom_domains subdomain http_user http_pwd route_by_http_user",
            "[a]\ntype = tcpmux",
        ),
        (OLD_VISITOR, "[a]\nrole = visitor\ntype = xtcp"),
    ] {
        for key in keys.split_whitespace() {
            let line = match key {
                "type" | "role" => "",
                _ => " = 1",
            };
            let text = match line {
                "" => format!("[common]\n{section}"),
                line => format!("[common]\n{section}\n{key}{line}"),
            };
            check_known(key, &client(&text));
        }
    }
    check_known(
        "ops",
        &server("[common]\n[plugin.a]\naddr = a:1\npath = /\nops = Login\ntlsVerify = true"),
    );
    // This test would be worth nothing if it could not fail.
    assert!(is_unknown(&client("[common]\nlocal_port = 1")));
    assert!(is_unknown(&client("[common]\n[a]\nsk = 1")));
}

#[track_caller]
fn check_known(key: &str, told: &str) {
    assert!(!is_unknown(told), "{key}: {told}");
}

fn is_unknown(told: &str) -> bool {
    told.contains("unknown field") || told.contains("does nothing in this section")
}
