//! TOML as a tree of values.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::value::{Entry, Node, Value};

/// How many mistakes are kept of a text that is hardly TOML. The report lists fewer.
const MAX_TOLD: usize = 2000;

/// Reads a text that begins at `base`, or says where it is wrong and why.
pub(super) fn read(text: &str, base: usize) -> Result<Vec<Entry>, Vec<(usize, String)>> {
    let (document, errors) = DeTable::parse_recoverable(text);
    if !errors.is_empty() {
        let told = errors.iter().take(MAX_TOLD).map(|error| {
            let at = error.span().map_or(text.len(), |span| span.start);
            (base + at, with_advice(error.message(), text, at))
        });
        return Err(without_echoes(told.collect()));
    }
    let mut reading = Reading {
        base,
        mistakes: Vec::new(),
    };
    let entries = reading.table(document.into_inner());
    if !reading.mistakes.is_empty() {
        return Err(reading.mistakes);
    }
    Ok(entries)
}

/// What the parser says, and what to do where people are known to get stuck.
fn with_advice(message: &str, text: &str, at: usize) -> String {
    let rest = text.get(at..).unwrap_or_default();
    let has_value = !rest.is_empty() && !rest.starts_with(['\n', '\r', '}', ']', ',', '#']);
    let is_about_value = message.contains("must be quoted") || message.contains("literal string");
    if is_about_value && !has_value {
        return "a value is missing here".to_owned();
    }
    if message.contains("escape") || message.contains("unicode") {
        return format!(
            "{message}; in single quotes a `\\` is only a `\\`, as paths of Windows need it"
        );
    }
    let word: String = rest.chars().take_while(char::is_ascii_alphabetic).collect();
    let is_boolean = ["true", "false", "yes", "no", "on", "off"]
        .iter()
        .any(|it| word.eq_ignore_ascii_case(it));
    if message.contains("invalid boolean") || (message.contains("must be quoted") && is_boolean) {
        return format!("{message}; a boolean is `true` or `false`, in small letters");
    }
    if message.contains("must be quoted") {
        return format!("{message}; text stands in straight double quotes, like key = \"text\"");
    }
    if message.contains("leading zero") {
        return "a number must not begin with a zero".to_owned();
    }
    message.to_owned()
}

/// Leaves out what is only wrong because of something before it.
fn without_echoes(mut mistakes: Vec<(usize, String)>) -> Vec<(usize, String)> {
    mistakes.dedup();
    let unclosed = mistakes
        .iter()
        .find(|(_, why)| why.contains("unclosed array"));
    match (mistakes.first(), unclosed) {
        // What follows was read as if it stood in the list.
        (Some((at, _)), Some(_)) => {
            let why = "a list that begins with `[` has no `]` ahead of this".to_owned();
            vec![(*at, why)]
        }
        (Some(_) | None, _) => mistakes,
    }
}

/// What is noticed on the way through the tree, whose depth the parser has limited.
struct Reading {
    base: usize,
    mistakes: Vec<(usize, String)>,
}

impl Reading {
    fn table(&mut self, table: DeTable<'_>) -> Vec<Entry> {
        table
            .into_iter()
            .map(|(key, value)| {
                let at = self.base + key.span().start;
                let key = key.into_inner().into_owned();
                Entry {
                    key,
                    at,
                    node: self.node(value),
                }
            })
            .collect()
    }

    fn node(&mut self, value: Spanned<DeValue<'_>>) -> Node {
        let at = self.base + value.span().start;
        let value = match value.into_inner() {
            DeValue::Array(nodes) => {
                Value::List(nodes.into_iter().map(|node| self.node(node)).collect())
            }
            DeValue::Boolean(value) => Value::Boolean(value),
            // frp: dates arrive as text
            DeValue::Datetime(value) => Value::Text(value.to_string()),
            DeValue::Float(value) => Value::Float(value.as_str().parse().unwrap_or(f64::INFINITY)),
            DeValue::Integer(value) => {
                let integer = i64::from_str_radix(value.as_str(), value.radix());
                Value::Integer(integer.unwrap_or_else(|_| {
                    self.mistakes
                        .push((at, "the integer has more than 64 bits".to_owned()));
                    0
                }))
            }
            DeValue::String(text) => Value::Text(text.into_owned()),
            DeValue::Table(table) => Value::Table(self.table(table)),
        };
        Node { at, value }
    }
}
