//! From texts to a tree of values with their positions.
//!
//! Every file format becomes this tree, and all that follows reads nothing else, so a new format is a new module here.

mod ini;
mod json;
mod outcome;
mod settings;
mod text;
mod toml;
mod tree;
mod yaml;

use std::path::Path;

use self::outcome::Outcome;
use crate::environment::Variables;
use crate::report::Report;
use crate::template::{self, Rendered};

pub(crate) use crate::value::{Entry, Node, Value};

pub(crate) use self::settings::read as read_settings;
pub(crate) use self::text::{Role, Text};
pub(crate) use crate::source_map::Shift;

/// Reads a text, and returns its tree with its own position. If it cannot be read, the report says why and nothing comes out, as
/// from an empty text.
pub(crate) fn read(
    report: &mut Report,
    mut text: Text<'_>,
    variables: &Variables,
) -> (Vec<Entry>, usize) {
    let written = text.text.strip_prefix('\u{feff}').unwrap_or(text.text);
    text.text = written;
    let Text { origin, .. } = text;
    if !template::is_template(written) {
        let base = report.sources_mut().add_text(origin, written.to_owned());
        return (read_at(report, text, base), base);
    }
    let rendered = match template::render(written, variables.as_map()) {
        Ok(rendered) => rendered,
        Err(error) => {
            let base = report.sources_mut().add_text(origin, written.to_owned());
            report.syntax(base + error.at, format!("template: {}", error.why));
            return (Vec::new(), base);
        }
    };
    let Rendered {
        text: made,
        origins,
        missing,
    } = rendered;
    if !missing.is_empty() {
        // What is wrong with the template stands in the template, which is a text of its own.
        let base = report.sources_mut().add_text(origin, written.to_owned());
        for (at, name) in missing {
            report.missing_variable(base + at, &name);
        }
    }
    let sources = report.sources_mut();
    let base = sources.add_template(origin, written.to_owned(), origins, made.len());
    let text = Text {
        text: &made,
        ..text
    };
    (read_at(report, text, base), base)
}

fn read_at(report: &mut Report, text: Text<'_>, base: usize) -> Vec<Entry> {
    if let Some(shift) = text.included {
        report.sources_mut().shift(base, shift);
    }
    let entries = read_format(report, text, base);
    if text.text.contains("${") {
        for entry in &entries {
            explain_references(report, &entry.key, &entry.node);
        }
    }
    entries
}

/// Warns of texts that somebody may expect to be filled in from the environment.
fn explain_references(report: &Report, key: &str, node: &Node) {
    match &node.value {
        Value::Text(text) => {
            if let Some(name) = reference(text) {
                let what = format!(
                    "`${{{name}}}` is taken as it stands; an environment variable is written `{{{{ .Envs.{name} }}}}`"
                );
                report.warning(node.at, key.to_owned(), what);
            }
        }
        Value::Table(entries) => {
            for entry in entries {
                explain_references(report, &format!("{key}.{}", entry.key), &entry.node);
            }
        }
        Value::List(nodes) => {
            for (index, node) in nodes.iter().enumerate() {
                explain_references(report, &format!("{key}[{index}]"), node);
            }
        }
        Value::Boolean(_) | Value::Float(_) | Value::Integer(_) => {}
    }
}

/// The name in a text like `${NAME}`.
fn reference(text: &str) -> Option<&str> {
    let (_, rest) = text.split_once("${")?;
    let (name, _) = rest.split_once('}')?;
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins = name.starts_with(|it: char| it.is_ascii_alphabetic() || it == '_');
    (begins && name.bytes().all(is_part)).then_some(name)
}

fn read_format(report: &mut Report, text: Text<'_>, base: usize) -> Vec<Entry> {
    let Text {
        text,
        origin,
        role,
        included,
        is_old,
    } = text;
    let extension = Path::new(origin).extension().and_then(|it| it.to_str());
    let extension = extension.unwrap_or_default().to_ascii_lowercase();
    let toml = match text.trim_start().starts_with('{') {
        // No TOML begins so, and to try would cost as much as to read it.
        true => Err(vec![(base, "TOML does not begin with `{`".to_owned())]),
        false => toml::read(text, base),
    };
    let could_be_toml = toml.as_ref().is_ok_and(|entries| !is_flat(entries));
    let says_otherwise = matches!(extension.as_str(), "toml" | "yaml" | "yml" | "json");
    if (ini::has_common(text) && !could_be_toml) || (is_old && !says_otherwise) {
        report.deprecated_ini();
        let (entries, names) = ini::read(report, text, base, role, included.is_some());
        report.sources_mut().rename(base, names);
        return entries;
    }
    let mistakes = match toml {
        Ok(entries) => return entries,
        Err(mistakes) => mistakes,
    };
    let other = other_format(text);
    let outcome = match (extension.as_str(), other) {
        // frp: such a file is nothing else
        ("toml", None) => None,
        ("toml", Some((at, format))) => {
            let advice = format!(
                "it looks like {format}, so its name must end with {}",
                format.ending()
            );
            report.syntax(
                base + at,
                format!(
                    "toml: {}; {advice}",
                    mistakes.first().map_or("", |(_, why)| why)
                ),
            );
            return Vec::new();
        }
        ("json", _) | (_, Some((_, Format::Json))) => Some(json::read(text, base)),
        ("yaml" | "yml", _) | (_, Some((_, Format::Yaml))) => Some(yaml::read(text, base)),
        (_, None) => None,
    };
    let Some(outcome) = outcome else {
        for (at, why) in mistakes {
            report.syntax(at, format!("toml: {why}"));
        }
        return Vec::new();
    };
    table(report, outcome)
}

/// Reads a text in JSON, which is no template.
pub(crate) fn read_json(report: &mut Report, text: &str, origin: &str) -> (Vec<Entry>, usize) {
    let base = report.sources_mut().add_text(origin, text.to_owned());
    (table(report, json::read(text, base)), base)
}

/// Reads the text of a store: JSON, and no template. Of keys that nothing knows it only warns.
pub(crate) fn read_store(report: &mut Report, text: &str, origin: &str) -> (Vec<Entry>, usize) {
    let sources = report.sources_mut();
    let base = sources.add_text(origin, text.to_owned());
    sources.be_lenient(base);
    if text.trim().is_empty() {
        // A store has at least its braces, so that something else has emptied it.
        let why = "has nothing in it; if nothing was stored, delete the file";
        report.syntax(base, why.to_owned());
        return (Vec::new(), base);
    }
    (table(report, json::read(text, base)), base)
}

/// The entries of a text that has to be a table.
fn table(report: &Report, outcome: Outcome) -> Vec<Entry> {
    for (at, why) in outcome.mistakes {
        report.syntax(at, why);
    }
    for (at, key) in outcome.overridden {
        let what = "does nothing, because the key comes again further below".to_owned();
        report.warning(at, key, what);
    }
    match outcome.root {
        None => Vec::new(),
        Some(Node {
            value: Value::Table(entries),
            ..
        }) => entries,
        Some(Node { at, value }) => {
            let kind = value.kind();
            let advice = match &value {
                Value::Text(text) if text.contains(':') => "; a space follows the `:` of a key",
                Value::Boolean(_)
                | Value::Float(_)
                | Value::Integer(_)
                | Value::List(_)
                | Value::Table(_)
                | Value::Text(_) => "",
            };
            report.syntax(
                at,
                format!("must be a table of keys and their values, not {kind}{advice}"),
            );
            Vec::new()
        }
    }
}

/// Whether a text that could be read as TOML has sections only, and values only in them, as a text in INI has.
fn is_flat(entries: &[Entry]) -> bool {
    entries.iter().all(|section| match &section.node.value {
        Value::Table(settings) => settings
            .iter()
            .all(|setting| !matches!(setting.node.value, Value::Table(_) | Value::List(_))),
        Value::Boolean(_)
        | Value::Float(_)
        | Value::Integer(_)
        | Value::List(_)
        | Value::Text(_) => false,
    })
}

/// A format that begins in a way that TOML cannot.
#[derive(Clone, Copy)]
enum Format {
    Json,
    Yaml,
}

impl Format {
    fn ending(self) -> &'static str {
        match self {
            Self::Json => "`.json`",
            Self::Yaml => "`.yaml`",
        }
    }
}

impl std::fmt::Display for Format {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Json => "JSON",
            Self::Yaml => "YAML",
        })
    }
}

/// What else a text that is not TOML may be, going by its first line that is neither empty nor a comment.
fn other_format(text: &str) -> Option<(usize, Format)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            at += line.len();
            continue;
        }
        let word = content.split(':').next().unwrap_or_default();
        let is_word = |byte: u8| byte.is_ascii_alphanumeric() || b"._\"'<- ".contains(&byte);
        let is_key = word.len() < content.len() && word.bytes().all(is_word);
        let format = if content.starts_with('{') {
            Format::Json
        } else if is_key
            || content.starts_with("---")
            || content.starts_with("- ")
            || content.starts_with('%')
        {
            Format::Yaml
        } else {
            return None;
        };
        return Some((at, format));
    }
    None
}
