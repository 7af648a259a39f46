//! frp's old INI format as the tree that the same configuration has in today's keys.
//!
//! The dialect is the one of the library that frp reads it with (ini.v1): comments only on lines of their own, `=` or `:` behind a
//! key, a key alone is true, quotes around a value come off, a `\` at the end of a line continues it. Not by a crate: those that
//! exist differ in just these points, and none says where a value stands.

use std::collections::{HashMap, HashSet};

use super::text::Role;
use super::tree::put;
use crate::go_number::integer_of_any_base;
use crate::legacy_keys::{
    self, CLIENT, LegacyKey, LegacyKind, OldNames, PROXY, PROXY_PLUGINS, SERVER, SERVER_HOOK,
    VISITOR,
};
use crate::nearest::nearest;
use crate::number_ranges::parse_ranges;
use crate::report::Report;
use crate::value::{Entry, Node, Value};

/// How many proxies the ranges of one file may stand for.
const MAX_RANGE: usize = 10_000;

/// A section of a file; several of the same name are one.
struct Section {
    name: String,
    at: usize,
    settings: Vec<Setting>,
}

#[derive(Clone)]
struct Setting {
    key: String,
    at: usize,
    value: String,
    value_at: usize,
}

/// Whether the text has the section that makes it a file of the old format.
pub(super) fn has_common(text: &str) -> bool {
    text.lines().any(|line| {
        let inner = line.trim().strip_prefix('[');
        let inner = inner.and_then(|it| it.rsplit_once(']'));
        inner.is_some_and(|(name, _)| name.trim() == "common")
    })
}

/// Reads a text that begins at `base`, and hands out how its sections are called now. An included file has proxies only.
pub(super) fn read(
    report: &Report,
    text: &str,
    base: usize,
    role: Role,
    is_included: bool,
) -> (Vec<Entry>, OldNames) {
    let sections = sections(report, text, base);
    let mut reading = Reading {
        report,
        root: Vec::new(),
        names: OldNames {
            is_server: role == Role::Server,
            ..OldNames::default()
        },
        expanded: 0,
    };
    if !is_included {
        let common = sections.iter().find(|section| section.name == "common");
        if let Some(common) = common {
            reading.common(common, role);
        }
    }
    match role {
        Role::Server => reading.server(&sections),
        Role::Client => reading.client(sections),
    }
    (reading.root, reading.names)
}

fn sections(report: &Report, text: &str, base: usize) -> Vec<Section> {
    let mut sections: Vec<Section> = Vec::new();
    let mut indices: HashMap<String, usize> = HashMap::new();
    let mut current = None;
    let mut lines = Lines { text, at: 0 };
    while let Some((at, line)) = lines.next_line() {
        let trimmed = line.trim();
        let at = base + at + (line.len() - line.trim_start().len());
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        if let Some(rest) = trimmed.strip_prefix('[') {
            let Some((name, _)) = rest.rsplit_once(']') else {
                report.syntax(at, "ini: the `[` of a section has no `]`".to_owned());
                current = None;
                continue;
            };
            let name = name.trim().to_owned();
            let index = *indices.entry(name.clone()).or_insert(sections.len());
            if index == sections.len() {
                let settings = Vec::new();
                sections.push(Section { name, at, settings });
            }
            current = Some(index);
            continue;
        }
        let Some(setting) = setting(&mut lines, trimmed, at) else {
            report.syntax(at, "ini: a line needs a key ahead of its `=`".to_owned());
            continue;
        };
        // frp: what stands above the first section is in one of its own, which nothing reads
        if let Some(index) = current {
            sections[index].settings.push(setting);
        } else {
            let what = "stands above the first section, where nothing reads it".to_owned();
            report.warning(setting.at, setting.key, what);
        }
    }
    for section in &mut sections {
        last_of_each(report, section);
    }
    refuse_references(report, &sections);
    sections
}

/// Refuses values with references to other keys, which frp's reader puts in.
// frp: ini.v1 key.go#transformValue
fn refuse_references(report: &Report, sections: &[Section]) {
    let keys = |section: &Section| -> HashSet<String> {
        section.settings.iter().map(|it| it.key.clone()).collect()
    };
    let default = sections.iter().find(|it| it.name == "DEFAULT").map(keys);
    for section in sections {
        let mut known = None;
        for setting in &section.settings {
            let rest = setting.value.split_once("%(").map(|(_, rest)| rest);
            let Some((name, _)) = rest.and_then(|rest| rest.split_once(")s")) else {
                continue;
            };
            let known = known.get_or_insert_with(|| keys(section));
            if known.contains(name) || default.as_ref().is_some_and(|it| it.contains(name)) {
                let what = format!("`%({name})s`, by which a value takes that of another key,");
                report.unsupported(setting.value_at, what);
            }
        }
    }
}

/// Keeps the last of settings with the same key.
fn last_of_each(report: &Report, section: &mut Section) {
    let mut last: HashMap<String, usize> = HashMap::new();
    for (index, setting) in section.settings.iter().enumerate() {
        if let Some(earlier) = last.insert(setting.key.clone(), index) {
            let earlier = &section.settings[earlier];
            let key = format!("{}.{}", section.name, earlier.key);
            let what = "does nothing, because the key comes again further below".to_owned();
            report.warning(earlier.at, key, what);
        }
    }
    let mut index = 0;
    section.settings.retain(|setting| {
        index += 1;
        last.get(&setting.key) == Some(&(index - 1))
    });
}

struct Lines<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Lines<'a> {
    /// The next line and where it begins.
    fn next_line(&mut self) -> Option<(usize, &'a str)> {
        let rest = self.text.get(self.at..).filter(|rest| !rest.is_empty())?;
        let at = self.at;
        let line = rest.split_inclusive('\n').next().unwrap_or(rest);
        self.at += line.len();
        Some((at, line.trim_end_matches(['\n', '\r'])))
    }
}

/// Reads a setting that begins with `line`; `None` if it has no key.
fn setting(lines: &mut Lines<'_>, line: &str, at: usize) -> Option<Setting> {
    let (key, value_start) = match line.strip_prefix(['"', '`']) {
        Some(rest) => {
            let quote = line.get(..1)?;
            let (key, rest) = rest.split_once(quote)?;
            let delimiter = rest.find(['=', ':'])?;
            (key, line.len() - rest.len() + delimiter + 1)
        }
        None => match line.find(['=', ':']) {
            Some(delimiter) => (line[..delimiter].trim(), delimiter + 1),
            // A key alone.
            None => {
                return Some(Setting {
                    key: line.to_owned(),
                    at,
                    value: "true".to_owned(),
                    value_at: at,
                });
            }
        },
    };
    if key.is_empty() {
        return None;
    }
    let rest = &line[value_start..];
    let value_at = at + value_start + (rest.len() - rest.trim_start().len());
    let rest = rest.trim();
    let value = match rest.strip_prefix("\"\"\"").map(|it| (it, "\"\"\"")) {
        Some((first, quote)) => until(lines, first, quote),
        None => match rest.strip_prefix('`') {
            Some(first) => until(lines, first, "`"),
            None => continued(lines, rest),
        },
    };
    Some(Setting {
        key: key.to_owned(),
        at,
        value,
        value_at,
    })
}

/// A value that ends with `quote`, maybe some lines further down.
fn until(lines: &mut Lines<'_>, first: &str, quote: &str) -> String {
    let mut value = first.to_owned();
    loop {
        if let Some(end) = value.find(quote) {
            value.truncate(end);
            return value;
        }
        let Some((_, line)) = lines.next_line() else {
            return value;
        };
        value.push('\n');
        value.push_str(line);
    }
}

/// A value that goes on below as long as its lines end with a `\`.
fn continued(lines: &mut Lines<'_>, first: &str) -> String {
    let mut value = first.to_owned();
    while value.ends_with('\\') {
        value.pop();
        let Some((_, line)) = lines.next_line() else {
            break;
        };
        value.push_str(line.trim());
    }
    for quote in ['"', '\''] {
        let inner = value.strip_prefix(quote);
        let inner = inner.and_then(|inner| inner.strip_suffix(quote));
        if let Some(inner) = inner
            && !inner.contains(quote)
        {
            return inner.to_owned();
        }
    }
    value
}

struct Reading<'a> {
    report: &'a Report,
    root: Vec<Entry>,
    names: OldNames,
    expanded: usize,
}

impl Reading<'_> {
    fn common(&mut self, section: &Section, role: Role) {
        let lists = match role {
            Role::Server => SERVER,
            Role::Client => CLIENT,
        };
        let mut table = self.table(section, lists);
        if role == Role::Server {
            self.dashboard(section, &mut table);
        }
        self.root = table;
    }

    /// What the dashboard's keys of the old format mean together.
    fn dashboard(&mut self, section: &Section, table: &mut Vec<Entry>) {
        let find = |key: &str| {
            let set = section.settings.iter().find(|it| it.key == key);
            set.filter(|it| !it.value.is_empty())
        };
        let has_tls = find("dashboard_tls_mode").is_some_and(|it| boolean(&it.value) == Some(true));
        if !has_tls {
            let idle = [
                ("dashboard_tls_cert_file", "tls"),
                ("dashboard_tls_key_file", "tls"),
                ("pprof_enable", "pprofEnable"),
            ];
            for (old, new) in idle {
                if let Some(setting) = find(old).filter(|it| boolean(&it.value) != Some(false)) {
                    let key = format!("common.{old}");
                    let what = "does nothing without `dashboard_tls_mode`".to_owned();
                    self.report.warning(setting.value_at, key, what);
                }
                let web = table.iter_mut().find(|entry| entry.key == "webServer");
                if let Some(Value::Table(entries)) = web.map(|entry| &mut entry.node.value) {
                    entries.retain(|entry| entry.key != new);
                }
            }
        }
        // frp: the old format has another default
        if let (Some(port), None) = (find("dashboard_port"), find("dashboard_addr")) {
            let node = Node {
                at: port.at,
                value: Value::Text("0.0.0.0".to_owned()),
            };
            put(table, &["webServer", "addr"], port.at, node, port.at);
        }
    }

    fn server(&mut self, sections: &[Section]) {
        let mut hooks = Vec::new();
        for section in sections {
            let Some(name) = section.name.strip_prefix("plugin.") else {
                if section.name != "common" {
                    let what = "is no section that a server has".to_owned();
                    self.report
                        .warning(section.at, format!("[{}]", section.name), what);
                }
                continue;
            };
            let mut entries = self.table(section, SERVER_HOOK);
            self.name(&mut entries, name.trim(), section.at);
            self.names.hooks.push(section.name.clone());
            hooks.push(Node {
                at: section.at,
                value: Value::Table(entries),
            });
        }
        self.list("httpPlugins", hooks);
    }

    fn client(&mut self, sections: Vec<Section>) {
        let (mut proxies, mut visitors) = (Vec::new(), Vec::new());
        let mut all = Vec::new();
        let mut ranges = Vec::new();
        for section in sections {
            if section.name == "common" || section.name == "DEFAULT" {
                continue;
            }
            match section.name.strip_prefix("range:").map(str::trim) {
                Some(prefix) => ranges.extend(self.expand(&section, prefix)),
                None => all.push(section),
            }
        }
        // frp: they come behind the others
        all.extend(ranges);
        for section in all {
            let role = section.settings.iter().find(|it| it.key == "role");
            match role.map(|it| it.value.as_str()) {
                None | Some("" | "server") => {
                    let proxy = self.proxy(&section);
                    self.names.proxies.push(section.name);
                    proxies.push(proxy);
                }
                Some("visitor") => {
                    let mut entries = self.table(&section, VISITOR);
                    self.name(&mut entries, &section.name, section.at);
                    visitors.push(Node {
                        at: section.at,
                        value: Value::Table(entries),
                    });
                    self.names.visitors.push(section.name);
                }
                Some(other) => {
                    // frp: the beginning of this wording
                    let near = nearest(other, ["server", "visitor"].into_iter());
                    let near = near.map_or(String::new(), |it| format!(", did you mean \"{it}\"?"));
                    let why = format!("role should be 'server' or 'visitor', not {other:?}{near}");
                    let at = role.map_or(section.at, |it| it.value_at);
                    self.report
                        .invalid(at, format!("{}.role", section.name), why);
                }
            }
        }
        self.list("proxies", proxies);
        self.list("visitors", visitors);
    }

    fn proxy(&mut self, section: &Section) -> Node {
        let mut entries = self.table(section, PROXY);
        let find = |key: &str| section.settings.iter().find(|it| it.key == key);
        if find("type").is_none_or(|it| it.value.is_empty()) {
            // frp: the default, which the new format has not
            let node = Node {
                at: section.at,
                value: Value::Text("tcp".to_owned()),
            };
            put(&mut entries, &["type"], section.at, node, section.at);
        }
        if let Some(plugin) = find("plugin").filter(|it| !it.value.is_empty())
            && !PROXY_PLUGINS.contains(&plugin.value.as_str())
        {
            let near = nearest(&plugin.value, PROXY_PLUGINS.into_iter());
            let near = near.map_or(String::new(), |it| format!(", did you mean \"{it}\"?"));
            let why = format!(
                "the INI format has no plugin {:?}{near}; it has {}",
                plugin.value,
                PROXY_PLUGINS.join(", ")
            );
            self.report
                .invalid(plugin.value_at, format!("{}.plugin", section.name), why);
            entries.retain(|entry| entry.key != "plugin");
        }
        self.name(&mut entries, &section.name, section.at);
        Node {
            at: section.at,
            value: Value::Table(entries),
        }
    }

    /// The sections that one with ranges of ports stands for.
    fn expand(&mut self, section: &Section, prefix: &str) -> Vec<Section> {
        let mut ports = Vec::new();
        for key in ["local_port", "remote_port"] {
            let found = section.settings.iter().find(|it| it.key == key);
            let Some(setting) = found.filter(|it| !it.value.is_empty()) else {
                let why = "must name ports, like 6000-6010,6020".to_owned();
                self.report
                    .invalid(section.at, format!("{}.{key}", section.name), why);
                continue;
            };
            match parse_ranges(&setting.value, MAX_RANGE - self.expanded) {
                Ok(numbers) => ports.push((numbers, setting)),
                Err(error) => self.report.invalid(
                    setting.value_at,
                    format!("{}.{key}", section.name),
                    format!("{error}, not {:?}", setting.value),
                ),
            }
        }
        let [(local, _), (remote, setting)] = ports.as_slice() else {
            return Vec::new();
        };
        if local.len() != remote.len() {
            let why = format!(
                "must name as many ports as `local_port`: {} are not {}",
                remote.len(),
                local.len()
            );
            self.report.invalid(
                setting.value_at,
                format!("{}.remote_port", section.name),
                why,
            );
            return Vec::new();
        }
        self.expanded += local.len();
        let pairs = local.iter().zip(remote).enumerate();
        let expanded = pairs.map(|(index, (local, remote))| {
            let mut settings = section.settings.clone();
            for setting in &mut settings {
                match setting.key.as_str() {
                    "local_port" => setting.value = local.to_string(),
                    "remote_port" => setting.value = remote.to_string(),
                    _ => {}
                }
            }
            Section {
                name: format!("{prefix}_{index}"),
                at: section.at,
                settings,
            }
        });
        expanded.collect()
    }

    /// The table that a section becomes.
    fn table(&mut self, section: &Section, lists: &[&'static [LegacyKey]]) -> Vec<Entry> {
        let mut table = Vec::new();
        for setting in &section.settings {
            let Some((key, rest)) = legacy_keys::find(lists, &setting.key) else {
                let shown = format!("{}.{}", section.name, setting.key);
                let known = legacy_keys::names(lists);
                // frp: ignores it
                self.report
                    .unknown_leniently(setting.at, shown, &setting.key, known);
                continue;
            };
            let Some(value) = self.value(section, setting, key.kind) else {
                continue;
            };
            let node = Node {
                at: setting.value_at,
                value,
            };
            let mut path: Vec<&str> = key.new.split('.').collect();
            match key.kind {
                LegacyKind::Map => path.push(rest),
                LegacyKind::Scope(_) => {
                    let list = find_list(&mut table, &path);
                    if let Some(nodes) = list {
                        if let Value::List(more) = node.value {
                            nodes.extend(more);
                        }
                        continue;
                    }
                }
                LegacyKind::Boolean
                | LegacyKind::Condition
                | LegacyKind::Idle
                | LegacyKind::Integer
                | LegacyKind::List
                | LegacyKind::Ports
                | LegacyKind::Text => {}
            }
            put(&mut table, &path, setting.at, node, setting.at);
        }
        table
    }

    /// What a setting means; `None` is as good as absent.
    fn value(&self, section: &Section, setting: &Setting, kind: LegacyKind) -> Option<Value> {
        let text = setting.value.as_str();
        let at = setting.value_at;
        // frp: what cannot be read counts as not there, and nobody is told
        let wrong = |why: String| {
            let key = format!("{}.{}", section.name, setting.key);
            self.report.invalid(at, key, why);
        };
        let item = |text: &str| Node {
            at,
            value: Value::Text(text.to_owned()),
        };
        match kind {
            LegacyKind::Condition | LegacyKind::Idle => None,
            LegacyKind::Map | LegacyKind::Text => Some(Value::Text(text.to_owned())),
            _ if text.is_empty() => None,
            LegacyKind::Boolean | LegacyKind::Scope(_) => {
                let Some(value) = boolean(text) else {
                    wrong(format!("must be true or false, not {text:?}"));
                    return None;
                };
                let LegacyKind::Scope(scope) = kind else {
                    return Some(Value::Boolean(value));
                };
                value.then(|| Value::List(vec![item(scope)]))
            }
            LegacyKind::Integer => match integer_of_any_base(text) {
                Some(Ok(integer)) => Some(Value::Integer(integer)),
                Some(Err(_)) | None => {
                    wrong(format!("must be a whole number, not {text:?}"));
                    None
                }
            },
            LegacyKind::List => {
                let items = text.split(',').map(str::trim);
                Some(Value::List(
                    items.filter(|it| !it.is_empty()).map(item).collect(),
                ))
            }
            LegacyKind::Ports => self.ports(text, at, wrong),
        }
    }

    fn ports(&self, text: &str, at: usize, wrong: impl Fn(String)) -> Option<Value> {
        let mut ranges = Vec::new();
        for part in text.split(',').map(str::trim) {
            let (start, end) = part.split_once('-').unwrap_or((part, part));
            let ends = (start.trim().parse::<u16>(), end.trim().parse::<u16>());
            let (Ok(start), Ok(end)) = ends else {
                wrong(format!(
                    "must name ports, like 2000-3000,3001, not {part:?}"
                ));
                return None;
            };
            let number = |key: &str, port: u16| Entry {
                key: key.to_owned(),
                at,
                node: Node {
                    at,
                    value: Value::Integer(port.into()),
                },
            };
            ranges.push(Node {
                at,
                value: Value::Table(vec![number("start", start), number("end", end)]),
            });
        }
        Some(Value::List(ranges))
    }

    fn name(&self, entries: &mut Vec<Entry>, name: &str, at: usize) {
        let node = Node {
            at,
            value: Value::Text(name.to_owned()),
        };
        put(entries, &["name"], at, node, at);
    }

    fn list(&mut self, key: &str, nodes: Vec<Node>) {
        if let Some(first) = nodes.first() {
            let at = first.at;
            self.root.push(Entry {
                key: key.to_owned(),
                at,
                node: Node {
                    at,
                    value: Value::List(nodes),
                },
            });
        }
    }
}

/// The list at `path`, if it is there.
fn find_list<'t>(table: &'t mut [Entry], path: &[&str]) -> Option<&'t mut Vec<Node>> {
    let (head, rest) = path.split_first()?;
    let entry = table.iter_mut().find(|entry| entry.key == *head)?;
    match &mut entry.node.value {
        Value::List(nodes) if rest.is_empty() => Some(nodes),
        Value::Table(entries) => find_list(entries, rest),
        Value::Boolean(_)
        | Value::Float(_)
        | Value::Integer(_)
        | Value::List(_)
        | Value::Text(_) => None,
    }
}

// frp: ini.v1 parseBool
fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" | "YES" | "yes" | "Yes" | "y" | "ON" | "on"
        | "On" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" | "NO" | "no" | "No" | "n" | "OFF"
        | "off" | "Off" => Some(false),
        _ => None,
    }
}
