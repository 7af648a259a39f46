//! The loader, from the outside: what files mean, what is wrong with them, and how that is told.

mod broken;
mod client;
mod client_plugins;
mod examples;
mod files;
mod formats;
mod includes;
mod kinds;
mod logs;
mod messages;
mod nearest_values;
mod oidc;
mod port_ranges;
mod proxies;
mod reference;
mod robust;
mod server;
mod server_hooks;
mod settings;
mod starts;
mod store;
mod templates;
mod transports;
mod unknown_keys;
mod value_sources;
mod virtual_net;
mod visitors;
mod web_server;

use mgrok_config::{
    ClientConfig, LoadError, Loaded, ServerConfig, Strictness, load_client_from_str,
    load_server_from_str,
};

/// The server's configuration, which must have neither mistakes nor warnings.
#[track_caller]
fn server(text: &str) -> ServerConfig {
    clean(load_server_from_str(text, "f", Strictness::Strict))
}

/// The client's configuration, which must have neither mistakes nor warnings.
#[track_caller]
fn client(text: &str) -> ClientConfig {
    clean(load_client_from_str(text, "f", Strictness::Strict))
}

#[track_caller]
fn clean<T>(loaded: Result<Loaded<T>, LoadError>) -> T {
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(loaded.warnings, Vec::<String>::new());
    loaded.config
}

/// Checks all mistakes of a server's file, without the file's name.
#[track_caller]
fn server_mistakes(text: &str, expect: &[&str]) {
    mistakes(load_server_from_str(text, "f", Strictness::Strict), expect);
}

/// Checks all mistakes of a client's file, without the file's name.
#[track_caller]
fn client_mistakes(text: &str, expect: &[&str]) {
    mistakes(load_client_from_str(text, "f", Strictness::Strict), expect);
}

#[track_caller]
fn mistakes<T>(loaded: Result<Loaded<T>, LoadError>, expect: &[&str]) {
    let found = match loaded {
        Ok(_) => Vec::new(),
        Err(LoadError::Mistakes(mistakes)) => lines(mistakes.iter()),
        Err(other) => panic!("{other}"),
    };
    assert_eq!(found, expect);
}

/// Checks all warnings of a server's file, without the file's name.
#[track_caller]
fn server_warnings(text: &str, expect: &[&str]) {
    warnings(load_server_from_str(text, "f", Strictness::Strict), expect);
}

/// Checks all warnings of a client's file, without the file's name.
#[track_caller]
fn client_warnings(text: &str, expect: &[&str]) {
    warnings(load_client_from_str(text, "f", Strictness::Strict), expect);
}

#[track_caller]
fn warnings<T>(loaded: Result<Loaded<T>, LoadError>, expect: &[&str]) {
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(lines(loaded.warnings.iter()), expect);
}

fn lines<T: ToString>(found: impl Iterator<Item = T>) -> Vec<String> {
    found
        .map(|line| line.to_string().trim_start_matches("f:").to_owned())
        .collect()
}
