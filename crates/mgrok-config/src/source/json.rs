//! JSON as a tree of values.

use jsonc_parser::ast;
use jsonc_parser::common::Ranged;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::outcome::{MAX_DEPTH, Outcome};
use crate::go_number::{float, integer};
use crate::value::{Entry, Node, Value};

/// Reads a text that begins at `base`.
pub(super) fn read(text: &str, base: usize) -> Outcome {
    // Only what the standard has.
    let options = ParseOptions {
        allow_comments: false,
        allow_loose_object_property_names: false,
        allow_trailing_commas: false,
        allow_missing_commas: false,
        allow_single_quoted_strings: false,
        allow_hexadecimal_numbers: false,
        allow_unary_plus_numbers: false,
        allow_bare_decimal_point_numbers: false,
        allow_non_finite_numbers: false,
        allow_extended_string_escapes: false,
    };
    let mut outcome = Outcome::default();
    let parsed = match parse_to_ast(text, &CollectOptions::default(), &options) {
        Ok(parsed) => parsed,
        Err(error) => {
            let why = with_advice(&error.kind().to_string());
            let at = base + error.range().start;
            outcome.mistakes.push((at, format!("json: {why}")));
            return outcome;
        }
    };
    let mut reading = Reading {
        base,
        outcome: &mut outcome,
    };
    let root = parsed.value.and_then(|value| reading.node(value, 0));
    outcome.root = root;
    outcome
}

/// What the parser says, and what to do where people are known to get stuck.
fn with_advice(message: &str) -> String {
    let message = match message.split_at_checked(1) {
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_lowercase()),
        None => message.to_owned(),
    };
    let advice = if message.contains("omments are not") {
        "; JSON has no comments, TOML and YAML have"
    } else if message.contains("railing commas") {
        "; take away the comma after the last item"
    } else if message.contains("xpected comma") {
        "; a comma stands between any two items"
    } else if message.contains("single-quoted") || message.contains("string for object") {
        "; keys and texts stand in double quotes"
    } else if message.contains("unexpected word") || message.contains("unexpected token") {
        "; a text stands in double quotes, and only true, false and null stand alone"
    } else {
        ""
    };
    format!("{message}{advice}")
}

struct Reading<'a> {
    base: usize,
    outcome: &'a mut Outcome,
}

impl Reading<'_> {
    /// The value; `None` is as good as absent.
    fn node(&mut self, value: ast::Value<'_>, depth: usize) -> Option<Node> {
        let at = self.base + value.start();
        if depth > MAX_DEPTH {
            let why = "json: tables and lists are nested too deeply".to_owned();
            self.outcome.mistakes.push((at, why));
            return None;
        }
        let value = match value {
            ast::Value::NullKeyword(_) => return None,
            ast::Value::BooleanLit(literal) => Value::Boolean(literal.value),
            ast::Value::NumberLit(literal) => match integer(literal.value) {
                Some(Ok(integer)) => Value::Integer(integer),
                Some(Err(why)) => {
                    self.outcome.mistakes.push((at, format!("json: {why}")));
                    return None;
                }
                None => Value::Float(float(literal.value).unwrap_or(f64::NAN)),
            },
            ast::Value::StringLit(literal) => Value::Text(literal.value.into_owned()),
            ast::Value::Array(array) => {
                let nodes = array.elements.into_iter();
                Value::List(nodes.filter_map(|it| self.node(it, depth + 1)).collect())
            }
            ast::Value::Object(object) => {
                let mut entries = Vec::new();
                for property in object.properties {
                    let at = self.base + property.range.start;
                    let key = property.name.into_string();
                    if let Some(node) = self.node(property.value, depth + 1) {
                        entries.push(Entry { key, at, node });
                    }
                }
                self.outcome.last_of_each(&mut entries);
                Value::Table(entries)
            }
        };
        Some(Node { at, value })
    }
}
