//! The raw form of a configuration: a tree of values with their positions in the text.
//!
//! Every file format becomes this tree, and all that follows reads nothing else, so a new format is a new module here.

mod settings;
mod toml;

use crate::report::Report;

pub(crate) use self::settings::read as read_settings;

/// What frp would fill in before it reads the text.
const TEMPLATE: &str = "a template (`{{ … }}`)";

/// A key and what it is set to.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The position of the key, as the report's `SourceMap` counts them. So are all positions here.
    pub(crate) at: usize,
    pub(crate) node: Node,
}

/// A value and where it stands.
#[derive(Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// What a file can say.
#[derive(Debug)]
pub(crate) enum Value {
    Boolean(bool),
    Float(f64),
    Integer(i64),
    List(Vec<Node>),
    Table(Vec<Entry>),
    Text(String),
}

impl Value {
    /// The value's kind in words, with an article.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Float(_) => "a fractional number",
            Self::Integer(_) => "an integer",
            Self::List(_) => "a list",
            Self::Table(_) => "a table",
            Self::Text(_) => "a string",
        }
    }

    /// Whether this says no more than an absent key does.
    // frp: the zero value of a key's type is "not set"
    pub(crate) fn is_zero(&self) -> bool {
        match self {
            Self::Boolean(value) => !value,
            Self::Float(value) => *value == 0.0,
            Self::Integer(value) => *value == 0,
            Self::List(nodes) => nodes.is_empty(),
            Self::Table(entries) => entries.is_empty(),
            Self::Text(text) => text.is_empty(),
        }
    }
}

/// Reads a text, and returns its tree with its own position. If it cannot be read, the report says why and nothing comes out, as
/// from an empty text.
pub(crate) fn read(report: &mut Report, text: &str, origin: &str) -> (Vec<Entry>, usize) {
    let base = report.sources_mut().add_text(origin, text.to_owned());
    (read_at(report, text, base), base)
}

fn read_at(report: &Report, text: &str, base: usize) -> Vec<Entry> {
    if let Some(at) = ini_header(text) {
        report.unsupported(base + at, "frp's old INI format");
        return Vec::new();
    }
    match toml::read(text, base) {
        Ok(document) => {
            for at in document.templates {
                report.unsupported(at, TEMPLATE);
            }
            document.entries
        }
        Err(mistakes) => {
            if let Some((at, format)) = other_format(text) {
                report.unsupported(base + at, format);
                return Vec::new();
            }
            if let Some(at) = action(text) {
                report.unsupported(base + at, TEMPLATE);
            }
            for (at, why) in mistakes {
                report.syntax(at, format!("toml: {why}"));
            }
            Vec::new()
        }
    }
}

/// Where the first action of a template stands in a text that, maybe because of it, is not TOML.
fn action(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if !line.trim_start().starts_with('#')
            && let Some(column) = line.find("{{")
        {
            return Some(at + column);
        }
        at += line.len();
    }
    None
}

/// Where the section stands that makes frp take a file for INI, even if it could be read as TOML.
fn ini_header(text: &str) -> Option<usize> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        if line.trim() == "[common]" {
            return Some(at);
        }
        at += line.len();
    }
    None
}

/// What else a text that is not TOML may be, going by its first line that is neither empty nor a comment.
fn other_format(text: &str) -> Option<(usize, &'static str)> {
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let content = line.trim();
        if content.is_empty() || content.starts_with('#') {
            at += line.len();
            continue;
        }
        let word = content.split(':').next().unwrap_or_default();
        let format = if content.starts_with("{{") {
            TEMPLATE
        } else if content.starts_with('{') {
            "JSON"
        } else if word.len() < content.len()
            && word.bytes().all(|byte| byte.is_ascii_alphanumeric())
        {
            "YAML"
        } else {
            return None;
        };
        return Some((at, format));
    }
    None
}
