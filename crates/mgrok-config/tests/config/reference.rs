//! `docs/configuration.md` is the table of all keys: none is missing, none is too many, and kinds and defaults are what the loader says.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::PathBuf;

use mgrok_config::{
    Keys, LoadError, Loaded, Strictness, client_keys, load_client_from_str, load_server_from_str,
    server_keys,
};

/// A row of the table.
#[derive(Debug)]
struct Row {
    kind: String,
    /// Those that have the key, if not all have it.
    types: Vec<String>,
    /// A value as it would be written, or words about it.
    default: String,
}

/// The rows below a heading, by key.
fn rows(heading: &str) -> BTreeMap<String, Row> {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/configuration.md");
    let text =
        fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let start = text
        .find(&format!("\n## {heading}\n"))
        .unwrap_or_else(|| panic!("there is no heading {heading:?}"));
    let section = &text[start + 1..];
    let section = section.split("\n## ").next().unwrap_or_default();
    let mut rows = BTreeMap::new();
    let mut has_types = false;
    for line in section.lines() {
        if line.starts_with("| key |") {
            has_types = line.contains("| of |");
        }
        let Some(line) = line.strip_prefix("| `") else {
            continue;
        };
        let cells: Vec<&str> = line.trim_end_matches('|').split(" | ").collect();
        let key = cells[0].trim().trim_end_matches('`').to_owned();
        let shift = usize::from(has_types);
        let types = match has_types {
            true if cells[1].trim() != "all" => {
                cells[1].split(',').map(|it| it.trim().to_owned()).collect()
            }
            _ => Vec::new(),
        };
        let row = Row {
            kind: cells[1 + shift].trim().to_owned(),
            types,
            default: cells[2 + shift].trim().to_owned(),
        };
        assert!(cells[3 + shift].trim().len() > 1, "{key} means nothing");
        let before = rows.insert(key.clone(), row);
        assert!(before.is_none(), "{key} stands there twice");
    }
    rows
}

/// Checks that a table has just these keys, with the types that have them. `all` is the number of types.
#[track_caller]
fn has_all(rows: &BTreeMap<String, Row>, keys: &Keys, table: &str, all: usize) {
    let mut wrong = Vec::new();
    let expect: BTreeMap<&str, &BTreeSet<&str>> = keys
        .iter()
        .filter_map(|(key, types)| Some((key.strip_prefix(table)?, types)))
        .collect();
    for (key, types) in &expect {
        let Some(row) = rows.get(*key) else {
            wrong.push(format!("missing: {key} of {types:?}"));
            continue;
        };
        let expect: BTreeSet<&str> = match types.len() == all {
            true => BTreeSet::new(),
            false => (*types).clone(),
        };
        if row
            .types
            .iter()
            .map(String::as_str)
            .collect::<BTreeSet<_>>()
            != expect
        {
            wrong.push(format!("{key} is of {types:?}, not of {:?}", row.types));
        }
    }
    for key in rows.keys() {
        if !expect.contains_key(key.as_str()) {
            wrong.push(format!("too many: {key}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A text of the client or the server with `line` in it, within an entry of this type.
fn text(table: &str, kind: &str, line: &str) -> String {
    let entry: &[&str] = match (table, kind) {
        ("proxies.", "http" | "https") => &["localPort = 1", "subdomain = \"a\""],
        ("proxies.", "tcpmux") => &[
            "localPort = 1",
            "subdomain = \"a\"",
            "multiplexer = \"httpconnect\"",
        ],
        ("proxies.", _) => &["localPort = 1"],
        ("proxies.plugin.", "unix_domain_socket") => &["unixPath = \"a\""],
        ("proxies.plugin.", "static_file") => &["localPath = \"a\""],
        ("proxies.plugin.", "http_proxy") => &["httpUser = \"a\""],
        ("proxies.plugin.", "socks5") => &["username = \"a\""],
        ("proxies.plugin.", _) => &["localAddr = \"a:1\""],
        ("visitors.", _) => &["serverName = \"b\"", "bindPort = 1"],
        _ => return format!("{line}\n"),
    };
    let key = |line: &str| line.split(" = ").next().map(str::to_owned);
    let others = entry.iter().copied().filter(|it| key(it) != key(line));
    let lines: Vec<&str> = others.chain([line]).collect();
    let lines = lines.join("\n");
    match table {
        "proxies.plugin." => format!(
            "[[proxies]]\nname = \"a\"\ntype = \"tcp\"\n[proxies.plugin]\ntype = \"{kind}\"\n{lines}\n"
        ),
        table => {
            let table = table.trim_end_matches('.');
            format!("[[{table}]]\nname = \"a\"\ntype = \"{kind}\"\n{lines}\n")
        }
    }
}

/// Checks the kinds and the defaults of a table's keys with what the loader says of values.
#[track_caller]
fn kinds_and_defaults<T: Debug>(
    rows: &BTreeMap<String, Row>,
    table: &str,
    first: &str,
    load: impl Fn(&str) -> Result<Loaded<T>, LoadError>,
) {
    let mut wrong = Vec::new();
    for (key, row) in rows {
        let kind = row.types.first().map_or(first, String::as_str);
        let (expected, other) = match row.kind.as_str() {
            "boolean" => ("a boolean", "1.5"),
            "integer" | "port" | "seconds" | "hours" | "milliseconds" => ("an integer", "\"x\""),
            "string" => ("a string", "1.5"),
            "list of strings" => ("a list of strings", "1.5"),
            "table of strings" => ("a table of strings", "1.5"),
            "source" => ("a table", "1.5"),
            unknown => {
                wrong.push(format!("{key}: there is no kind {unknown:?}"));
                continue;
            }
        };
        // A key of a list's table, or of a program, needs more around it, and is told of by the list.
        let is_nested = [
            "allowPorts.",
            "httpPlugins.",
            "healthCheck.httpHeaders.",
            "auth.tokenSource.",
            // Of visitors, and read as its type has it.
            "plugin.",
        ]
        .iter()
        .any(|list| key.starts_with(list));
        if is_nested || key == "name" || key == "type" {
            continue;
        }
        let said = match load(&text(table, kind, &format!("{key} = {other}"))) {
            Ok(_) => String::new(),
            Err(error) => error.to_string(),
        };
        let expect = format!("must be {expected}, not");
        if !said.contains(&expect) {
            wrong.push(format!("{key} is no {}: {said}", row.kind));
        }
        let Some(default) = row
            .default
            .strip_prefix('`')
            .and_then(|it| it.strip_suffix('`'))
        else {
            continue;
        };
        let loaded = |line: &str| match load(&text(table, kind, line)) {
            Ok(loaded) => format!("{:?}", loaded.config),
            Err(error) => error.to_string(),
        };
        let (unset, set) = (loaded(""), loaded(&format!("{key} = {default}")));
        if unset != set {
            wrong.push(format!(
                "{key} is not {default} by default:\n{unset}\n{set}"
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_server_s_keys() {
    let rows = rows("Server");
    has_all(&rows, &server_keys(), "", 0);
    kinds_and_defaults(&rows, "", "", |text| {
        load_server_from_str(text, "f", Strictness::Strict)
    });
}

#[test]
fn the_client_s_keys() {
    let mut keys = client_keys();
    keys.retain(|key, _| !key.starts_with("proxies.") && !key.starts_with("visitors."));
    let rows = rows("Client");
    has_all(&rows, &keys, "", 0);
    kinds_and_defaults(&rows, "", "", |text| {
        load_client_from_str(text, "f", Strictness::Strict)
    });
}

#[test]
fn the_keys_of_proxies_plugins_and_visitors() {
    for (heading, table, first, all) in [
        ("Proxies", "proxies.", "tcp", 8),
        ("Plugins", "proxies.plugin.", "http2http", 10),
        ("Visitors", "visitors.", "stcp", 3),
    ] {
        let mut keys = client_keys();
        keys.retain(|key, _| table != "proxies." || !key.starts_with("proxies.plugin."));
        let rows = rows(heading);
        has_all(&rows, &keys, table, all);
        kinds_and_defaults(&rows, table, first, |text| {
            load_client_from_str(text, "f", Strictness::Strict)
        });
    }
}
