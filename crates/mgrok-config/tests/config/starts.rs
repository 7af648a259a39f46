//! What could not start is refused before it is tried, what only some of it cannot is warned of, and what works is not.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::fs;
use std::path::PathBuf;

use mgrok_config::{LoadError, Strictness, load_client, load_server};

use crate::client;
use crate::client_mistakes;
use crate::client_warnings;
use crate::lines;
use crate::server;
use crate::server_mistakes;

const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----\n";
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nAA==\n-----END EC PRIVATE KEY-----\n";

/// A directory with files, and configurations that name them as `@/name`.
struct Directory(tempfile::TempDir);

impl Directory {
    fn new() -> Self {
        let directory = Self(tempfile::tempdir().unwrap());
        for (name, text) in [("c.pem", CERTIFICATE), ("k.pem", KEY), ("page", "<p>")] {
            fs::write(directory.path(name), text).unwrap();
        }
        directory
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, text: &str) -> PathBuf {
        let path = self.path("config.toml");
        fs::write(&path, text.replace('@', self.0.path().to_str().unwrap())).unwrap();
        path
    }

    #[track_caller]
    fn check<T>(&self, loaded: Result<T, LoadError>, expect: &[&str]) {
        let found = match loaded {
            Ok(_) => Vec::new(),
            Err(LoadError::Mistakes(mistakes)) => lines(mistakes.iter()),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(self.told(&found), expect);
    }

    /// These lines without where the directory is.
    fn told(&self, lines: &[String]) -> Vec<String> {
        let at = self.0.path().to_str().unwrap();
        let name = format!("{at}/config.toml:");
        let shown = |line: &String| line.replace(&name, "").replace(at, "@");
        lines.iter().map(shown).collect()
    }

    #[track_caller]
    fn server(&self, text: &str, expect: &[&str]) {
        self.check(load_server(&self.write(text), Strictness::Strict), expect);
    }

    #[track_caller]
    fn client(&self, text: &str, expect: &[&str]) {
        self.check(load_client(&self.write(text), Strictness::Strict), expect);
    }
}

#[test]
fn files_that_are_missing_or_something_else_are_mistakes() {
    let directory = Directory::new();
    directory.server(
        r#"
vhostHTTPPort = 80
custom404Page = "@/none.html"
transport.tls.certFile = "@/none.pem"
transport.tls.keyFile = "@/c.pem"
transport.tls.trustedCaFile = "@"
"#,
        &[
            "3:17: custom404Page: @/none.html cannot be used: no such file or directory; put the file there or mend the path",
            "4:26: transport.tls.certFile: @/none.pem cannot be used: no such file or directory; put the file there or mend the path",
            "5:25: transport.tls.keyFile: @/c.pem has no private key in PEM format in it",
            "6:31: transport.tls.trustedCaFile: @ is a directory; name the file in it",
        ],
    );
    directory.client(
        "transport.tls.trustedCaFile = \"@/k.pem\"",
        &["1:31: transport.tls.trustedCaFile: @/k.pem has no certificate in PEM format in it"],
    );
}

#[test]
fn files_of_a_plugin_that_are_missing_are_warned_of() {
    let directory = Directory::new();
    let file = directory.write(
        r#"
[[proxies]]
name = "web"
type = "https"
customDomains = ["a.example.com"]
plugin = { type = "https2http", localAddr = "127.0.0.1:80", crtPath = "@/none", keyPath = "@/c.pem" }
"#,
    );
    let loaded = load_client(&file, Strictness::Strict).unwrap();
    assert_eq!(
        directory.told(&loaded.warnings),
        [
            "6:71: proxies[0].plugin.crtPath: @/none cannot be used: no such file or directory; put the file there or mend the path; \
             this proxy does not start before that",
            "6:105: proxies[0].plugin.keyPath: @/c.pem has no private key in PEM format in it; this proxy does not start before that",
        ],
    );
    assert_eq!(loaded.config.proxies.len(), 1);
}

#[test]
fn files_that_are_there_or_not_needed_are_none() {
    let directory = Directory::new();
    directory.server(
        r#"
vhostHTTPPort = 80
custom404Page = "@/page"
log.to = "@/logs/not yet.log"
transport.tls = { certFile = "@/c.pem", keyFile = "@/k.pem", trustedCaFile = "@/c.pem" }
"#,
        &[],
    );
    directory.server("transport.tls.autoGenCertPath = \"@/to be made\"", &[]);
    directory.client(
        r#"
transport.tls = { enable = false, trustedCaFile = "@/none" }
start = ["none"]
[[proxies]]
name = "not used"
type = "https"
customDomains = ["a.example.com"]
plugin = { type = "https2http", localAddr = "127.0.0.1:80", crtPath = "@/none", keyPath = "@/none" }
"#,
        &[],
    );
}

#[test]
fn a_relative_path_is_told_with_where_it_is_looked_for() {
    let directory = Directory::new();
    let path = directory.write("transport.tls.trustedCaFile = \"no/ca.pem\"");
    let error = load_server(&path, Strictness::Strict)
        .unwrap_err()
        .to_string();
    let here = std::env::current_dir().unwrap();
    let expect = format!(
        "no/ca.pem cannot be used, seen from {}: no such",
        here.display()
    );
    assert!(error.contains(&expect), "{error}");
}

#[test]
fn text_in_utf_16_is_to_be_saved_as_utf_8() {
    let directory = Directory::new();
    let path = directory.path("config.toml");
    let little: Vec<u8> = "bindPort = 1"
        .encode_utf16()
        .flat_map(u16::to_le_bytes)
        .collect();
    let big: Vec<u8> = "\u{feff}bindPort = 1"
        .encode_utf16()
        .flat_map(u16::to_be_bytes)
        .collect();
    for bytes in [little, big] {
        fs::write(&path, bytes).unwrap();
        let error = load_server(&path, Strictness::Strict).unwrap_err();
        let expect = format!(
            "read {}: is text in UTF-16; save the file as UTF-8",
            path.display()
        );
        assert_eq!(error.to_string(), expect);
    }
    fs::write(&path, b"bindPort = 7001\n# caf\xe9\n").unwrap();
    let error = load_server(&path, Strictness::Strict).unwrap_err();
    assert!(
        error
            .to_string()
            .ends_with(": line 2 is not text in UTF-8; save the file as UTF-8")
    );
}

#[test]
fn a_path_that_an_escape_has_changed() {
    server_mistakes(
        "transport.tls.trustedCaFile = \"C:\\new\\temp\"",
        &[
            r"1:31: transport.tls.trustedCaFile: has the control character `\n` in it, because a `\` in double quotes begins an escape: write the path in single quotes, or with `/`",
        ],
    );
    server_mistakes(
        "log.to = \"logs\\today\"",
        &[
            r"1:10: log.to: has the control character `\t` in it, because a `\` in double quotes begins an escape: write the path in single quotes, or with `/`",
        ],
    );
    let error =
        mgrok_config::load_server_from_str("log.to = \"C:\\logs\"", "f", Strictness::Strict);
    let error = error.unwrap_err().to_string();
    assert!(
        error.contains("in single quotes a `\\` is only a `\\`"),
        "{error}"
    );
    assert_eq!(
        server("log.to = 'C:\\new\\today'").log.to,
        mgrok_config::LogTarget::File(r"C:\new\today".into())
    );
}

#[test]
fn a_key_of_the_whole_file_below_a_table() {
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nlocalPort = 1\nserverAddr = \"b\"\nauth.token = \"c\"",
        &[
            "5:1: proxies[0].serverAddr: unknown field \"serverAddr\"; `serverAddr` is a key of the whole file, and belongs above the first `[table]`",
            "6:1: proxies[0].auth: unknown field \"auth\"; `auth` is a key of the whole file, and belongs above the first `[table]`",
        ],
    );
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nlocalPort = 1\ntransport.tls.enable = false",
        &[
            "5:11: proxies[0].transport.tls: unknown field \"tls\"; `transport.tls` is a key of the whole file, and belongs above the first `[table]`",
        ],
    );
    server_mistakes(
        "[webServer]\nport = 7500\nbindPort = 7000",
        &[
            "3:1: webServer.bindPort: unknown field \"bindPort\"; `bindPort` is a key of the whole file, and belongs above the first `[table]`",
        ],
    );
}

#[test]
fn a_server_addr_is_a_host_alone() {
    for (addr, why) in [
        (
            "https://a.example.com",
            "must be a host alone, without `https://` or the like: `transport.protocol` says how it is reached",
        ),
        (
            "a.example.com:7000",
            "must be a host alone: the port belongs in `serverPort`",
        ),
        (
            "[2001:db8::1]:7000",
            "must be a host alone: an IPv6 address without brackets, and the port in `serverPort`",
        ),
        (" a.example.com", "must be a host alone, without spaces"),
        (
            "a.example.com,b.example.com",
            "must be one host: `serverAddrs` names several",
        ),
        (
            "user:secret@a.example.com",
            "must be a host alone: the port belongs in `serverPort`",
        ),
        (
            "a.example.com/x",
            "must be a host alone, like \"tunnel.example.com\" or \"192.0.2.1\"",
        ),
    ] {
        let expect = format!("1:14: serverAddr: {why}");
        client_mistakes(&format!("serverAddr = {addr:?}"), &[&expect]);
    }
    for addr in [
        "a.example.com",
        "192.0.2.1",
        "2001:db8::1",
        "fe80::1%eth0",
        "a_b",
    ] {
        let config = client(&format!("serverAddr = {addr:?}"));
        assert_eq!(config.servers[0].host, addr);
    }
}

#[test]
fn a_comma_parts_no_domains() {
    let comma = "must be one name: write a list, like [\"a.example.com\", \"b.example.com\"]";
    client_mistakes(
        "[[proxies]]\nname = \"a\"\ntype = \"http\"\nlocalPort = 1\ncustomDomains = [\"a.test,b.test\"]",
        &[&format!(
            "5:18: proxies[0].customDomains: \"a.test,b.test\" {comma}"
        )],
    );
}

fn proxies(entries: &[&str]) -> String {
    let entry = |(number, text): (usize, &&str)| {
        format!("[[proxies]]\nname = \"p{number}\"\nlocalPort = 1\n{text}\n")
    };
    entries.iter().enumerate().map(entry).collect()
}

#[test]
fn two_proxies_of_one_place_are_warned_of() {
    let group = "or give both the same `loadBalancer.group` to share it";
    for (one, other, place, why) in [
        (
            "type = \"tcp\"\nremotePort = 6000",
            "type = \"tcp\"\nremotePort = 6000",
            "10:14: proxies[1].remotePort: 6000 is the port of the proxy \"p0\" already: choose another",
            group,
        ),
        (
            "type = \"tcp\"\nremotePort = 6000\nloadBalancer.group = \"a\"",
            "type = \"tcp\"\nremotePort = 6000\nloadBalancer.group = \"b\"",
            "11:14: proxies[1].remotePort: 6000 is the port of the proxy \"p0\" already: choose another",
            group,
        ),
        (
            "type = \"http\"\ncustomDomains = [\"A.test\"]\nlocations = [\"/x\", \"/y\"]",
            "type = \"http\"\ncustomDomains = [\"a.test\"]\nlocations = [\"/y\"]",
            "11:17: proxies[1].customDomains: \"a.test\" with the location \"/y\" leads to the proxy \"p0\" already: choose another name",
            group,
        ),
        (
            "type = \"https\"\nsubdomain = \"a\"",
            "type = \"https\"\nsubdomain = \"a\"",
            "10:13: proxies[1].subdomain: \"a\" leads to the proxy \"p0\" already: choose another name",
            group,
        ),
    ] {
        client_warnings(&proxies(&[one, other]), &[&format!("{place}, {why}")]);
    }
    client_warnings(
        &proxies(&[
            "type = \"udp\"\nremotePort = 53",
            "type = \"udp\"\nremotePort = 53",
        ]),
        &[
            "10:14: proxies[1].remotePort: 53 is the port of the proxy \"p0\" already: choose another",
        ],
    );
}

#[test]
fn the_others_start_beside_two_of_one_place() {
    let text = proxies(&[
        "type = \"tcp\"\nremotePort = 6000",
        "type = \"tcp\"\nremotePort = 6000",
        "type = \"tcp\"\nremotePort = 6001",
    ]);
    let loaded = mgrok_config::load_client_from_str(&text, "f", Strictness::Strict).unwrap();
    assert_eq!(loaded.config.proxies.len(), 3);
    // The old format says it of its own keys.
    client_warnings(
        "[common]\n[a]\nlocal_port = 1\nremote_port = 6000\n[b]\nlocal_port = 2\nremote_port = 6000",
        &[
            "ini format is deprecated and the support will be removed in the future, please use yaml/json/toml format instead!",
            "7:15: b.remote_port: 6000 is the port of the proxy \"a\" already: choose another, or give both the same `loadBalancer.group` to share it",
        ],
    );
}

#[test]
fn proxies_that_can_run_beside_each_other_are_let() {
    for entries in [
        ["type = \"tcp\"", "type = \"tcp\""],
        [
            "type = \"tcp\"\nremotePort = 0",
            "type = \"tcp\"\nremotePort = 0",
        ],
        [
            "type = \"tcp\"\nremotePort = 53",
            "type = \"udp\"\nremotePort = 53",
        ],
        [
            "type = \"tcp\"\nremotePort = 80\nloadBalancer.group = \"a\"",
            "type = \"tcp\"\nremotePort = 80\nloadBalancer.group = \"a\"",
        ],
        [
            "type = \"tcp\"\nremotePort = 80\nhealthCheck.type = \"tcp\"",
            "type = \"tcp\"\nremotePort = 80\nhealthCheck.type = \"tcp\"",
        ],
        [
            "type = \"tcp\"\nremotePort = 80",
            "type = \"tcp\"\nremotePort = 80\nenabled = false",
        ],
        [
            "type = \"http\"\ncustomDomains = [\"a.test\"]",
            "type = \"https\"\ncustomDomains = [\"a.test\"]",
        ],
        [
            "type = \"http\"\ncustomDomains = [\"a.test\"]",
            "type = \"http\"\ncustomDomains = [\"a.test\"]\nlocations = [\"/\"]",
        ],
        [
            "type = \"http\"\ncustomDomains = [\"a.test\"]",
            "type = \"http\"\ncustomDomains = [\"a.test\"]\nrouteByHTTPUser = \"ann\"",
        ],
        [
            "type = \"http\"\ncustomDomains = [\"a.test\", \"a.test\"]",
            "type = \"http\"\nsubdomain = \"a\"",
        ],
    ] {
        client(&proxies(&entries));
    }
}

#[test]
fn a_thousand_names_and_paths_cost_little() {
    let names: Vec<_> = (0..3_000).map(|it| format!("n{it}.test")).collect();
    let paths: Vec<_> = (0..3_000).map(|it| format!("/{it}")).collect();
    let one = format!("type = \"http\"\ncustomDomains = {names:?}\nlocations = {paths:?}");
    // Nine million routes would take minutes.
    let config = client(&proxies(&[&one]));
    assert_eq!(config.proxies.len(), 1);
}

fn visitors(entries: &[&str]) -> String {
    let entry = |(number, text): (usize, &&str)| {
        format!("[[visitors]]\nname = \"v{number}\"\nserverName = \"s\"\n{text}\n")
    };
    entries.iter().enumerate().map(entry).collect()
}

#[test]
fn two_visitors_of_one_port_are_warned_of() {
    client_warnings(
        &visitors(&[
            "type = \"stcp\"\nbindPort = 9000",
            "type = \"xtcp\"\nbindPort = 9000\nbindAddr = \"0.0.0.0\"",
            "type = \"sudp\"\nbindPort = 9000",
        ]),
        &[
            "10:12: visitors[1].bindPort: 9000 is the port of the visitor \"v0\" already: choose another",
        ],
    );
    client_warnings(
        &format!(
            "webServer.port = 9000\n{}",
            visitors(&["type = \"stcp\"\nbindPort = 9000"])
        ),
        &[
            "6:12: visitors[0].bindPort: 9000 is the port of `webServer.port` already: choose another",
        ],
    );
    client(&visitors(&[
        "type = \"stcp\"\nbindPort = 9000\nbindAddr = \"127.0.0.1\"",
        "type = \"stcp\"\nbindPort = 9000\nbindAddr = \"127.0.0.2\"",
        "type = \"sudp\"\nbindPort = 9000",
    ]));
}

#[test]
fn the_admin_port_of_a_server_is_its_own() {
    server_mistakes(
        "bindPort = 7000\nwebServer.port = 7000",
        &["2:1: webServer: must not have the port 7000, which is `bindPort` already"],
    );
    server("bindAddr = \"127.0.0.2\"\nwebServer.port = 7000");
}

#[test]
fn no_mistake_repeats_a_password() {
    for text in [
        "httpPlugins = [{ name = \"p\", addr = \"http://ann:hunter2@host:80:80\", ops = [\"Login\"] }]",
        "serverAddrs = [\"ann:hunter2@host\"]",
        "serverAddr = \"ann:hunter2@host\"",
        "auth.token = { value = \"hunter2\" }",
        "[[proxies]]\nname = \"a\"\ntype = \"http\"\nlocalPort = 1\ncustomDomains = [\"a.test\"]\nhttpUser = \"ann:hunter2\"",
        "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\nplugin = { type = \"http2http\", localAddr = \"ann:hunter2@host\" }",
        "auth.token = \"hunter2",
        "auth.token = \"hunter2\\q\"",
    ] {
        for error in [
            mgrok_config::load_client_from_str(text, "f", Strictness::Strict).map(|_| ()),
            mgrok_config::load_server_from_str(text, "f", Strictness::Strict).map(|_| ()),
        ] {
            let error = error.map_err(|it| it.to_string()).err().unwrap_or_default();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}

#[test]
fn a_newcomers_slips_are_told_with_what_to_do() {
    let quotes = "text stands in straight double quotes, like key = \"text\"";
    for text in ["user = ann", "user = \u{201c}ann\u{201d}"] {
        let error = mgrok_config::load_client_from_str(text, "f", Strictness::Strict);
        let error = error.unwrap_err().to_string();
        assert!(error.ends_with(quotes), "{error}");
    }
    client_mistakes(
        "[proxies]\nname = \"a\"",
        &[
            "1:1: proxies: must be a list of tables: write `[[proxies]]`, with two brackets on each side",
        ],
    );
    client_mistakes(
        "bindPort = 7000",
        &[
            "1:1: bindPort: unknown field \"bindPort\"; it is a key of the server, `mgroks`, whose file is another",
        ],
    );
    server_mistakes(
        "serverAddr = \"a\"",
        &[
            "1:1: serverAddr: unknown field \"serverAddr\"; it is a key of the client, `mgrokc`, whose file is another",
        ],
    );
}
