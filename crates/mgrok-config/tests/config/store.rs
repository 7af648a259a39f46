//! The store of a client: how its file is read, what becomes of it beside the configuration, and what changes make of it.
#![expect(
    clippy::unwrap_used,
    reason = "a panic is how a test fails, in its helpers too"
)]

use std::fs;
use std::path::PathBuf;

use mgrok_config::{
    ClientConfig, LoadError, Loaded, ProxyKind, Store, StoreError, StoredEntry, StoredKind,
    Strictness, load_client,
};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A configuration and its store in a directory of their own.
struct Files {
    directory: TempDir,
}

impl Files {
    fn new(config: &str, store: Option<&str>) -> Self {
        let files = Self {
            directory: TempDir::new().unwrap(),
        };
        let config = format!("{config}\n[store]\npath = \"store.json\"\n");
        fs::write(files.path("client.toml"), config).unwrap();
        if let Some(store) = store {
            fs::write(files.path("store.json"), store).unwrap();
        }
        files
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn load(&self) -> Result<Loaded<ClientConfig>, LoadError> {
        load_client(&self.path("client.toml"), Strictness::Strict)
    }

    fn config(&self) -> ClientConfig {
        self.load().unwrap_or_else(|error| panic!("{error}")).config
    }

    /// What the loader says, without the directory.
    fn mistakes(&self) -> String {
        let error = self.load().unwrap_err().to_string();
        let directory = format!("{}/", self.directory.path().display());
        error.replace(&directory, "")
    }
}

fn names(config: &ClientConfig) -> Vec<&str> {
    config.proxies.iter().map(|it| it.name.as_str()).collect()
}

fn store(files: &Files) -> Store {
    files.config().store.unwrap()
}

fn tcp(name: &str, remote_port: u16) -> StoredEntry {
    entry(json!({"name": name, "type": "tcp", "tcp": {"localPort": 22, "remotePort": remote_port}}))
}

fn entry(definition: Value) -> StoredEntry {
    StoredEntry::from_definition(StoredKind::Proxy, &definition).unwrap()
}

/// What is wrong with a change.
fn refused(changed: Result<Store, StoreError>) -> String {
    changed.unwrap_err().to_string()
}

const FILE: &str = "[[proxies]]\nname = \"ssh\"\ntype = \"tcp\"\nlocalPort = 22\nremotePort = 6000";

// What frpc 0.70.1 has written.
const STORED: &str = r#"{
  "proxies": [
    {
      "type": "tcp",
      "name": "web",
      "transport": {
        "bandwidthLimit": ""
      },
      "loadBalancer": {
        "group": ""
      },
      "healthCheck": {
        "type": "",
        "intervalSeconds": 0
      },
      "localIP": "127.0.0.1",
      "localPort": 80,
      "plugin": null,
      "remotePort": 6001
    }
  ],
  "visitors": [
    {
      "type": "stcp",
      "name": "db",
      "transport": {},
      "secretKey": "k",
      "serverName": "database",
      "bindPort": 9000,
      "plugin": null
    }
  ]
}"#;

#[test]
fn a_file_of_frps_counts_beside_the_configuration() {
    let files = Files::new(FILE, Some(STORED));
    let loaded = files.load().unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    let config = loaded.config;
    assert_eq!(names(&config), ["ssh", "web"]);
    assert_eq!(config.visitors[0].name, "db");
    let store = config.store.unwrap();
    assert_eq!(store.path(), files.path("store.json"));
    assert!(store.counts(StoredKind::Proxy, "web"));
    assert!(!store.counts(StoredKind::Proxy, "ssh"));
}

#[test]
fn without_a_file_the_store_is_empty() {
    let files = Files::new(FILE, None);
    let config = files.config();
    assert_eq!(names(&config), ["ssh"]);
    assert_eq!(config.store.unwrap().entries(StoredKind::Proxy).count(), 0);
}

#[test]
fn a_broken_file_is_refused_with_its_place() {
    for (text, expect) in [
        (
            "",
            "store.json:1:1: has nothing in it; if nothing was stored, delete the file",
        ),
        (
            "{\"proxies\": [",
            "store.json:1:13: json: unterminated array",
        ),
        (
            "[]",
            "store.json:1:1: must be a table of keys and their values, not a list",
        ),
        (
            "{\"proxies\": [\n  {\"name\": \"a\", \"type\": \"tpc\"}\n]}",
            "store.json:2:25: proxies[0].type: unknown proxy type: tpc, must be one of tcp, udp, http, https, tcpmux, stcp, sudp, xtcp, did you mean \"tcp\"?",
        ),
        (
            "{\"proxies\": [{\"name\": \"a\", \"type\": \"tcp\", \"localPort\": 70000}]}",
            "store.json:1:56: proxies[0].localPort: port number 70000 must be in the range 0..65535",
        ),
        (
            "{\"proxies\": [{\"enabled\": false, \"type\": \"tcp\", \"localPort\": 7}]}",
            "store.json:1:14: proxies: proxy name cannot be empty",
        ),
    ] {
        let told = Files::new("", Some(text)).mistakes();
        assert_eq!(told, expect, "{text}");
    }
    let files = Files::new("", None);
    fs::create_dir(files.path("store.json")).unwrap();
    let expect =
        "client.toml:3:8: store.path: failed to load existing data: store.json: is a directory";
    assert_eq!(files.mistakes(), expect);
}

#[test]
fn unknown_keys_of_the_file_are_warned_of() {
    let text = r#"{"proxies": [{"name": "a", "type": "tcp", "LocalPort": 7, "future": 1}]}"#;
    let files = Files::new("", Some(text));
    let loaded = files.load().unwrap();
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
    assert!(loaded.warnings[0].ends_with(r#"proxies[0].future: unknown field "future""#));
    // What is known is kept in the documented spelling.
    let store = loaded.config.store.unwrap();
    let definition = store
        .entry(StoredKind::Proxy, "a")
        .unwrap()
        .definition(StoredKind::Proxy);
    assert_eq!(definition["tcp"]["localPort"], 7);
}

#[test]
fn stored_entries_take_the_place_of_those_with_their_name() {
    let stored = |enabled| {
        format!(
            r#"{{"proxies": [{{"name": "ssh", "type": "tcp", "enabled": {enabled}, "localPort": 23, "remotePort": 6000}}]}}"#
        )
    };
    let local_port = |config: &ClientConfig| config.proxies[0].local_port;
    let files = Files::new(FILE, Some(&stored(true)));
    assert_eq!(local_port(&files.config()), 23);
    // frp: one that is disabled hides nothing
    let files = Files::new(FILE, Some(&stored(false)));
    assert_eq!(local_port(&files.config()), 22);
}

#[test]
fn start_chooses_among_stored_entries_too() {
    let files = Files::new(&format!("start = [\"web\"]\n{FILE}"), Some(STORED));
    let loaded = files.load().unwrap();
    assert_eq!(loaded.warnings, Vec::<String>::new());
    assert_eq!(names(&loaded.config), ["web"]);
    assert!(loaded.config.visitors.is_empty());
}

#[test]
fn a_place_that_is_taken_is_warned_of_and_stored() {
    let files = Files::new(FILE, None);
    let store = store(&files)
        .with(StoredKind::Proxy, tcp("a", 6000), false)
        .unwrap();
    fs::write(store.path(), store.text()).unwrap();
    let loaded = files.load().unwrap();
    assert!(loaded.config.proxies.iter().any(|it| it.name == "a"));
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:?}", loaded.warnings);
    };
    let expect = "proxies[0].remotePort: 6000 is the port of the proxy \"ssh\" already: choose another, or give both the same `loadBalancer.group` to share it";
    assert!(warning.ends_with(expect), "{warning}");
}

#[test]
fn fallbacks_may_lead_from_and_to_stored_visitors() {
    let xtcp = |name: &str, to: &str, port: u16| json!({"name": name, "type": "xtcp", "xtcp": {"serverName": "s", "bindPort": port, "fallbackTo": to}});
    let visitor = |it| StoredEntry::from_definition(StoredKind::Visitor, &it).unwrap();
    let text = "[[visitors]]\nname = \"a\"\ntype = \"xtcp\"\nserverName = \"s\"\nbindPort = 9000\nfallbackTo = \"b\"";
    let store = store(&Files::new(text, None));
    let told = refused(store.with(StoredKind::Visitor, visitor(xtcp("b", "a", 9001)), false));
    assert!(told.contains("leads back to this visitor"), "{told}");
    store
        .with(StoredKind::Visitor, visitor(xtcp("c", "a", 9001)), false)
        .unwrap();
}

#[test]
fn changes_make_another_store() {
    let files = Files::new(FILE, Some(STORED));
    let store = store(&files);
    let kind = StoredKind::Proxy;
    assert_eq!(
        refused(store.with(kind, tcp("web", 1), false)),
        "already exists: proxy \"web\""
    );
    assert_eq!(
        refused(store.with(kind, tcp("x", 1), true)),
        "not found: proxy \"x\""
    );
    assert_eq!(refused(store.without(kind, "x")), "not found: proxy \"x\"");
    let next = store.with(kind, tcp("web", 7), true).unwrap();
    let web = next.proxies().iter().find(|it| it.name == "web").unwrap();
    assert_eq!(web.kind, ProxyKind::Tcp { remote_port: 7 });
    let next = next.without(kind, "web").unwrap();
    assert_eq!(next.proxies().len(), 1);
    let expect = "{\n  \"visitors\": [\n    {\n      \"bindPort\": 9000,\n      \"name\": \"db\",\n      \"secretKey\": \"k\",\n      \"serverName\": \"database\",\n      \"type\": \"stcp\"\n    }\n  ]\n}";
    assert_eq!(next.text(), expect);
    // What is written is read again as what it was.
    fs::write(files.path("store.json"), next.text()).unwrap();
    assert_eq!(store.read_again().unwrap(), next);
    fs::write(files.path("store.json"), "{").unwrap();
    store.read_again().unwrap_err();
}

#[test]
fn entries_are_checked_by_themselves_even_if_they_are_disabled() {
    let store = store(&Files::new("", None));
    let told = |block: Value| {
        let definition = json!({"name": "a", "type": "tcp", "tcp": block});
        refused(store.with(StoredKind::Proxy, entry(definition), false))
    };
    for (block, expect) in [
        (
            json!({"localPort": 70000, "remotePort": -1, "enabled": false}),
            "validation error: localPort: port number 70000 must be in the range 0..65535\nremotePort: port number -1 must be in the range 0..65535",
        ),
        (
            json!({"lokalPort": 1}),
            "validation error: lokalPort: unknown field \"lokalPort\", did you mean \"localPort\"?",
        ),
        (
            json!({"ENABLED": false, "localPort": 70000}),
            "validation error: localPort: port number 70000 must be in the range 0..65535",
        ),
        (
            json!({"enabled": 1}),
            "validation error: enabled: must be a boolean",
        ),
        (
            json!({"customDomains": ["a"]}),
            "validation error: customDomains: unknown field \"customDomains\"",
        ),
    ] {
        assert_eq!(told(block.clone()), expect, "{block}");
    }
}

#[test]
fn definitions_that_define_nothing() {
    for (definition, expect) in [
        (json!([]), "parse JSON error: a definition is an object"),
        (json!({}), "proxy name is required"),
        (json!({"name": " "}), "proxy name is required"),
        (
            json!({"name": 1}),
            "parse JSON error: `name` must be a string",
        ),
        (json!({"name": "a", "type": "x"}), "invalid proxy type: x"),
        (
            json!({"name": "a", "type": "tcp"}),
            "exactly one proxy type block is required",
        ),
        (
            json!({"name": "a", "type": "tcp", "tcp": {}, "udp": {}}),
            "exactly one proxy type block is required",
        ),
        (
            json!({"name": "a", "type": "tcp", "udp": {}}),
            "proxy type block \"udp\" does not match type \"tcp\"",
        ),
        (
            json!({"name": "a", "type": "tcp", "tcp": {}, "x": 1}),
            "parse JSON error: unknown field \"x\"",
        ),
    ] {
        let told = StoredEntry::from_definition(StoredKind::Proxy, &definition).unwrap_err();
        assert_eq!(told, expect, "{definition}");
    }
    let told =
        StoredEntry::from_definition(StoredKind::Visitor, &json!({"name": "a", "type": "tcp"}));
    assert_eq!(told.unwrap_err(), "invalid visitor type: tcp");
}

#[test]
fn stored_definitions_say_what_was_written_and_running_ones_all() {
    let store = store(&Files::new("", None));
    let definition = json!({"name": "<script>", "type": "http", "udp": null, "http": {
        "name": "other", "localPort": 80, "subdomain": "s", "Enabled": false, "annotations": {"A": ""},
        "requestHeaders": {"set": {"X-A": "b"}}, "locations": [], "transport": {"useEncryption": false},
        "plugin": {"type": "https2http", "localAddr": "127.0.0.1:80", "enableHTTP2": false},
    }});
    let store = store
        .with(StoredKind::Proxy, entry(definition), false)
        .unwrap();
    assert!(store.proxies().is_empty());
    let stored = store.entry(StoredKind::Proxy, "<script>").unwrap();
    let expect = json!({"name": "<script>", "type": "http", "http": {
        "name": "<script>", "type": "http", "enabled": false, "localPort": 80, "subdomain": "s",
        "annotations": {"A": ""}, "requestHeaders": {"set": {"X-A": "b"}}, "responseHeaders": {},
        "transport": {"bandwidthLimit": ""}, "loadBalancer": {"group": ""},
        "healthCheck": {"type": "", "intervalSeconds": 0},
        "plugin": {"type": "https2http", "localAddr": "127.0.0.1:80", "enableHTTP2": false, "requestHeaders": {}},
    }});
    assert_eq!(stored.definition(StoredKind::Proxy), expect);

    let files = Files::new(FILE, Some(STORED));
    let config = files.config();
    let expect = json!({"name": "ssh", "type": "tcp", "tcp": {
        "name": "ssh", "type": "tcp", "localIP": "127.0.0.1", "localPort": 22, "remotePort": 6000,
        "transport": {"bandwidthLimit": "", "bandwidthLimitMode": "client"}, "loadBalancer": {"group": ""},
        "healthCheck": {"type": "", "intervalSeconds": 0}, "plugin": null,
    }});
    assert_eq!(config.proxies[0].definition(), expect);
    let expect = json!({"name": "db", "type": "stcp", "stcp": {
        "name": "db", "type": "stcp", "secretKey": "k", "serverName": "database", "bindAddr": "127.0.0.1",
        "bindPort": 9000, "transport": {}, "plugin": null,
    }});
    assert_eq!(config.visitors[0].definition(), expect);
}

#[test]
fn running_plugins_are_told_with_their_keys() {
    for (keys, expect) in [
        (
            "type = \"http_proxy\"\nhttpUser = \"ada\"\nhttpPassword = \"p\"",
            json!({"type": "http_proxy", "httpUser": "ada", "httpPassword": "p"}),
        ),
        (
            "type = \"socks5\"\nusername = \"ada\"\npassword = \"p\"",
            json!({"type": "socks5", "username": "ada", "password": "p"}),
        ),
        (
            "type = \"static_file\"\nlocalPath = \"/srv\"\nstripPrefix = \"v1\"",
            json!({"type": "static_file", "localPath": "/srv", "stripPrefix": "v1"}),
        ),
    ] {
        let file = format!("[[proxies]]\nname = \"a\"\ntype = \"tcp\"\n[proxies.plugin]\n{keys}");
        let told = Files::new(&file, None).config().proxies[0].definition();
        assert_eq!(told["tcp"]["plugin"], expect);
    }
}

#[test]
fn secrets_are_not_shown_by_accident() {
    let files = Files::new("", Some(STORED));
    let store = store(&files);
    assert!(!format!("{store:?}").contains("secretKey"));
}

/// A change that looks at one entry makes what reading everything makes.
#[test]
fn changes_of_one_proxy_come_to_what_the_whole_file_says() {
    let range =
        json!({"name": "r", "type": "tcp", "localPorts": "80-81", "remotePorts": "7000-7001"});
    let off = json!({"name": "off", "type": "tcp", "localPort": 1, "enabled": false});
    let text = json!({"proxies": [range, off]}).to_string();
    let files = Files::new(&format!("start = []\n{FILE}"), Some(&text));
    let kind = StoredKind::Proxy;
    let agrees = |changed: Store| {
        fs::write(files.path("store.json"), changed.text()).unwrap();
        assert_eq!(store(&files), changed);
        changed
    };
    let udp = |enabled: bool| {
        let block = json!({"localPort": 53, "remotePort": 6000, "enabled": enabled});
        entry(json!({"name": "dns", "type": "udp", "udp": block}))
    };
    let first = store(&files);
    let next = agrees(first.with(kind, udp(true), false).unwrap());
    let next = agrees(next.with(kind, tcp("a", 6001), false).unwrap());
    let next = agrees(next.with(kind, udp(false), true).unwrap());
    let next = agrees(next.with(kind, tcp("off", 6002), true).unwrap());
    assert_eq!(names(&files.config()), ["a", "off", "r-80", "r-81", "ssh"]);
    // The name of one of a range, and of one of the file.
    let told = refused(next.with(kind, tcp("r-80", 1), false));
    assert!(told.contains("proxy name [r-80] is duplicated"), "{told}");
    let next = agrees(next.with(kind, tcp("ssh", 6003), false).unwrap());
    let next = agrees(next.with(kind, tcp("b", 6000), false).unwrap());
    // The file's own comes back.
    let other = agrees(next.without(kind, "ssh").unwrap());
    assert_eq!(other.proxies().len(), next.proxies().len());
    let next = agrees(next.without(kind, "b").unwrap());
    let next = agrees(next.without(kind, "ssh").unwrap());
    let next = agrees(next.without(kind, "r").unwrap());
    let next = agrees(next.with(kind, tcp("r-80", 1), false).unwrap());
    agrees(next.without(kind, "off").unwrap());
}

/// Says how long changes take.
#[test]
#[ignore = "measures"]
fn changes_among_ten_thousand_entries() {
    use std::time::Instant;
    let stored: Vec<Value> = (0..10_000)
        .map(|it| json!({"name": format!("p{it}"), "type": "tcp", "localPort": 22, "remotePort": 10_000 + it}))
        .collect();
    let files = Files::new(FILE, Some(&json!({"proxies": stored}).to_string()));
    let timed = |what: &str, began: Instant| println!("{what}: {:?}", began.elapsed());
    let began = Instant::now();
    let store = store(&files);
    timed("load", began);
    let kind = StoredKind::Proxy;
    let began = Instant::now();
    let next = store.with(kind, tcp("new", 7), false).unwrap();
    timed("add", began);
    let began = Instant::now();
    let text = next.text().to_owned();
    let again = next.clone();
    timed("clone", began);
    drop((text, again));
    let began = Instant::now();
    let next = next.with(kind, tcp("p5000", 8), true).unwrap();
    timed("change", began);
    let began = Instant::now();
    next.without(kind, "p5000").unwrap();
    timed("remove", began);
    let began = Instant::now();
    store.read_again().unwrap();
    timed("read again", began);
}
