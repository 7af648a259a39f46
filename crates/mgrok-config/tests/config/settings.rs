//! Configurations that come from flags and not from a file.

use std::collections::BTreeMap;

use mgrok_config::{
    LoadError, Loaded, ProxyKind, Settings, Strictness, load_client_from_settings,
    load_server_from_settings,
};

#[track_caller]
fn told<T>(loaded: Result<Loaded<T>, LoadError>, expect: &[&str]) {
    let Err(error) = loaded else {
        panic!("it was read");
    };
    assert_eq!(error.to_string().lines().collect::<Vec<_>>(), expect);
}

fn one_off() -> Settings {
    let mut settings = Settings::default();
    settings.know_flag("proxies[0].name", "--proxy-name");
    settings.know_flag("proxies[0].localPort", "--local-port");
    settings.set("proxies[0].type", "tcp", "tcp");
    settings
}

#[test]
fn flags_mean_what_keys_mean() {
    let mut settings = one_off();
    settings.set("proxies[0].name", "ssh", "--proxy-name");
    settings.set("proxies[0].localPort", 22, "--local-port");
    settings.set("proxies[0].remotePort", 6000, "--remote-port");
    settings.set("proxies[0].remotePort", 6001, "--remote-port");
    settings.set("Transport.tls.enable", false, "--tls-enable");
    let names = vec!["a".to_owned(), "ssh".to_owned()];
    settings.set("start", names, "--start");
    let map = [("a.b".to_owned(), "c".to_owned())];
    settings.set("metadatas", BTreeMap::from(map.clone()), "--meta");
    let loaded = load_client_from_settings(&settings, Strictness::Strict).unwrap();
    let config = loaded.config;
    assert_eq!(config.proxies.len(), 1);
    assert_eq!(config.proxies[0].kind, ProxyKind::Tcp { remote_port: 6001 });
    assert_eq!(config.transport.tls, None);
    assert_eq!(config.metadatas, map.into());
    assert_eq!(
        loaded.warnings,
        ["--start: there is no proxy or visitor \"a\""]
    );
}

#[test]
fn mistakes_are_the_flags() {
    let mut settings = one_off();
    settings.set("proxies[0].remotePort", 70000, "-r");
    settings.set("serverPort", "7000", "--server-port");
    told(
        load_client_from_settings(&settings, Strictness::Strict),
        &[
            "--proxy-name: name should not be empty",
            "-r: port number 70000 must be in the range 0..65535",
            "--server-port: must be an integer, not a string",
        ],
    );
    let mut settings = Settings::default();
    settings.set("allowPorts[0].start", 2000, "--allow-ports");
    settings.set("allowPorts[0].end", 1000, "--allow-ports");
    settings.set("allowPorts[2].single", 1, "--allow-ports");
    settings.set("log.levl", "info", "--log-level");
    told(
        load_server_from_settings(&settings, Strictness::Strict),
        &[
            "--allow-ports: the range is reversed: 2000 is greater than 1000",
            "--allow-ports: sets `allowPorts[2].single`, which is no place for it",
            "--log-level: log.levl: unknown field \"levl\", did you mean \"level\"?",
        ],
    );
}

#[test]
fn what_no_flag_says_is_missed_on_the_command_line() {
    let mut settings = Settings::default();
    settings.set("proxies[0].type", "http", "http");
    settings.set("proxies[0].name", "web", "--proxy-name");
    settings.set("proxies[0].localPort", 80, "--local-port");
    told(
        load_client_from_settings(&settings, Strictness::Strict),
        &["command line: proxies[0]: subdomain and custom domains should not be both empty"],
    );
}

#[test]
fn values_are_not_shown() {
    let mut settings = Settings::default();
    settings.set("auth.token", "s3cret", "--token");
    let shown = format!("{settings:?}");
    assert!(shown.contains("auth.token by --token"), "{shown}");
    assert!(!shown.contains("s3cret"), "{shown}");
}

#[test]
fn what_is_set_can_be_asked() {
    let mut settings = Settings::default();
    assert!(settings.is_empty());
    settings.set("transport.tls.enable", true, "--tls-enable");
    assert!(settings.has("transport.tls.enable"));
    assert!(settings.has("transport"));
    assert!(!settings.has("trans"));
    assert!(!settings.has("auth"));
}
