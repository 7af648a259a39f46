//! All keys that there are, for documentation and tools, as the readers of files ask for them.

use std::collections::{BTreeMap, BTreeSet};

use crate::load::{keys_of_client, keys_of_server};

/// The types of proxies.
const PROXIES: [&str; 8] = [
    "tcp", "udp", "http", "https", "tcpmux", "stcp", "sudp", "xtcp",
];

/// The types of visitors.
const VISITORS: [&str; 3] = ["stcp", "sudp", "xtcp"];

/// The types of plugins of the client.
const PLUGINS: [&str; 10] = [
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

/// Below this, keys are those of a plugin's type.
const PLUGIN: &str = "proxies.plugin.";

/// The same of visitors.
const VISITOR_PLUGIN: &str = "visitors.plugin.";

/// The keys of a configuration, dotted and without the indices of lists: `proxies.localPort`, each with the types that have it. A key that belongs
/// to no type has none. What a secret's `XSource` takes is the same for all, and is listed for `auth.tokenSource` alone.
pub type Keys = BTreeMap<String, BTreeSet<&'static str>>;

/// The keys of the server's file.
pub fn server_keys() -> Keys {
    let mut keys = Keys::new();
    let text = format!(
        "{}[[allowPorts]]\n[[httpPlugins]]\n",
        sources("auth.tokenSource")
    );
    add(&mut keys, keys_of_server(&text), None);
    finish(keys)
}

/// The keys of the client's file.
pub fn client_keys() -> Keys {
    let mut keys = Keys::new();
    add(
        &mut keys,
        keys_of_client(&sources("auth.tokenSource")),
        None,
    );
    for kind in PROXIES {
        let text = format!("[[proxies]]\ntype = \"{kind}\"\nhealthCheck.httpHeaders = [{{}}]\n");
        add(&mut keys, keys_of_client(&text), Some(("proxies.", kind)));
    }
    for kind in VISITORS {
        let text = format!("[[visitors]]\ntype = \"{kind}\"\n");
        add(&mut keys, keys_of_client(&text), Some(("visitors.", kind)));
    }
    for kind in PLUGINS {
        let text = format!("[[proxies]]\ntype = \"tcp\"\nplugin.type = \"{kind}\"\n");
        let asked = keys_of_client(&text).into_iter();
        let own = asked.filter(|key| key.starts_with(PLUGIN)).collect();
        add(&mut keys, own, Some((PLUGIN, kind)));
    }
    let text = "[[visitors]]\ntype = \"stcp\"\nplugin.type = \"virtual_net\"\n";
    let asked = keys_of_client(text).into_iter();
    let own = asked
        .filter(|key| key.starts_with(VISITOR_PLUGIN))
        .collect();
    // There is one type, which has them all.
    add(&mut keys, own, None);
    finish(keys)
}

/// A secret that comes from a program, so that a program's keys are asked for.
fn sources(key: &str) -> String {
    format!("{key} = {{ type = \"exec\", exec = {{ command = \"x\", env = [{{}}] }} }}\n")
}

fn add(keys: &mut Keys, asked: BTreeSet<String>, kind: Option<(&str, &'static str)>) {
    for key in asked {
        let types = kind.filter(|(table, _)| key.starts_with(table));
        let known = keys.entry(key).or_default();
        known.extend(types.map(|(_, kind)| kind));
    }
}

/// Leaves out tables, which are no more than the keys in them.
fn finish(mut keys: Keys) -> Keys {
    // A file's keys are not asked for where a program is named.
    keys.entry("auth.tokenSource.file.path".to_owned())
        .or_default();
    let tables: BTreeSet<String> = keys
        .keys()
        .flat_map(|key| key.match_indices('.').map(|(at, _)| key[..at].to_owned()))
        .collect();
    keys.retain(|key, _| !tables.contains(key));
    keys
}
