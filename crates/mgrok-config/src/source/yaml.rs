//! YAML as a tree of values, with the words that frp's reader takes for booleans and nothing.
//!
//! granit-parser gives events with positions; serde-saphyr, which is built on it, gives values without, or values of types that
//! are known beforehand. What is left to do here is to build the tree: anchors, merges, and bounds on what they can blow up to.

use std::collections::{HashMap, HashSet};

use granit_parser::{Event, Options, Parser, ScalarStyle, Span};

use super::outcome::{MAX_DEPTH, Outcome};
use crate::go_number::{float, integer_of_any_base};
use crate::value::{Entry, Node, Value};

/// How many values aliases may stand for altogether. A text of 16 MiB has room for a few million values of its own.
const MAX_COPIED: usize = 1_000_000;

/// Reads the first document of a text that begins at `base`.
pub(super) fn read(text: &str, base: usize) -> Outcome {
    let mut building = Building {
        base,
        outcome: Outcome::default(),
        open: Vec::new(),
        anchors: HashMap::new(),
        copied: 0,
        root: None,
    };
    let mut options = Options::default();
    options.set_emit_comments(false);
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = match event {
            Ok(event) => event,
            Err(error) => {
                let at = error.marker().byte_offset().unwrap_or(text.len());
                let why = with_advice(&error.kind().to_string());
                let mistake = (base + at.min(text.len()), format!("yaml: {why}"));
                building.outcome.mistakes.push(mistake);
                return building.outcome;
            }
        };
        if event == Event::DocumentEnd || !building.handle(event, span) {
            break;
        }
    }
    let Building {
        mut outcome, root, ..
    } = building;
    outcome.root = root.and_then(|built| built.node).map(|mut node| {
        // frp: keys for anchors alone
        if let Value::Table(entries) = &mut node.value {
            entries.retain(|entry| !entry.key.starts_with('.'));
        }
        node
    });
    outcome
}

/// What the parser says, and what to do where people are known to get stuck.
fn with_advice(message: &str) -> String {
    let advice = if message.contains("tab") {
        "; YAML is indented by spaces"
    } else if message.contains("mapping values are not allowed") {
        "; a text with `: ` in it stands in quotes, and keys of one table stand below each other"
    } else if message.contains("did not find expected key") || message.contains("indentation") {
        "; all keys of one table are indented alike"
    } else if message.contains("unclosed quote") {
        "; a text ends with the quote that it begins with"
    } else if message.contains("unknown escape") {
        "; in single quotes a `\\` is only a `\\`, as paths of Windows need it"
    } else if message.contains("simple key expected ':'") {
        "; a key is followed by `: ` and its value"
    } else if message.contains("illegal placement") || message.contains("unclosed bracket") {
        "; what begins with `[` or `{` ends with `]` or `}`"
    } else if message.contains("unknown anchor") {
        "; a text that begins with `*` stands in quotes"
    } else {
        ""
    };
    format!("{message}{advice}")
}

struct Building {
    base: usize,
    outcome: Outcome,
    open: Vec<Collection>,
    anchors: HashMap<usize, Built>,
    copied: usize,
    root: Option<Built>,
}

/// A list or a table that has not ended.
struct Collection {
    at: usize,
    anchor: usize,
    depth: usize,
    size: usize,
    content: Content,
}

enum Content {
    List(Vec<Node>),
    Table {
        entries: Vec<Entry>,
        /// What `<<` names, which counts less than the entries.
        merged: Vec<Node>,
        /// The key whose value comes next.
        key: Option<(String, usize)>,
    },
}

/// A value that is complete; nothing is as good as absent.
#[derive(Clone)]
struct Built {
    node: Option<Node>,
    /// The text as it is written, if it is no list or table: keys are texts, whatever they look like.
    written: Option<String>,
    at: usize,
    depth: usize,
    size: usize,
}

impl Building {
    /// Takes an event; false if the rest is of no use.
    fn handle(&mut self, event: Event<'_>, span: Span) -> bool {
        let at = self.base + span.start.byte_offset().unwrap_or(0);
        match event {
            Event::Scalar(text, style, anchor, tag) => {
                let tag = tag.as_deref().map(|tag| tag.suffix().to_owned());
                let value = self.scalar(&text, style, tag.as_deref(), at);
                let built = Built {
                    node: value.map(|value| Node { at, value }),
                    written: Some(text.into_owned()),
                    at,
                    depth: 0,
                    size: 1,
                };
                self.complete(built, anchor)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(at, anchor, Content::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                let content = Content::Table {
                    entries: Vec::new(),
                    merged: Vec::new(),
                    key: None,
                };
                self.begin(at, anchor, content)
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Alias(anchor) => self.alias(anchor, at),
            Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(..)
            | Event::DocumentEnd
            | Event::Anchor(..)
            | Event::UnresolvedAlias(_)
            | _ => true,
        }
    }

    fn wrong(&mut self, at: usize, why: &str) -> bool {
        self.outcome.mistakes.push((at, format!("yaml: {why}")));
        false
    }

    fn begin(&mut self, at: usize, anchor: usize, content: Content) -> bool {
        if self.open.len() >= MAX_DEPTH {
            return self.wrong(at, "tables and lists are nested too deeply");
        }
        self.open.push(Collection {
            at,
            anchor,
            depth: 0,
            size: 1,
            content,
        });
        true
    }

    fn end(&mut self) -> bool {
        let Some(Collection {
            at,
            anchor,
            depth,
            size,
            content,
        }) = self.open.pop()
        else {
            return false;
        };
        let value = match content {
            Content::List(nodes) => Value::List(nodes),
            Content::Table {
                mut entries,
                merged,
                ..
            } => {
                self.outcome.last_of_each(&mut entries);
                let mut keys: HashSet<String> =
                    entries.iter().map(|entry| entry.key.clone()).collect();
                for node in merged {
                    if let Value::Table(more) = node.value {
                        entries.extend(more.into_iter().filter(|it| keys.insert(it.key.clone())));
                    }
                }
                Value::Table(entries)
            }
        };
        let built = Built {
            node: Some(Node { at, value }),
            written: None,
            at,
            depth: depth + 1,
            size,
        };
        self.complete(built, anchor)
    }

    fn alias(&mut self, anchor: usize, at: usize) -> bool {
        let Some(built) = self.anchors.get(&anchor) else {
            return self.wrong(at, "an alias stands within what it stands for");
        };
        self.copied += built.size;
        if self.copied > MAX_COPIED {
            return self.wrong(at, "aliases stand for too many values");
        }
        if self.open.len() + built.depth > MAX_DEPTH {
            return self.wrong(at, "tables and lists are nested too deeply");
        }
        let built = built.clone();
        self.complete(built, 0)
    }

    /// Puts a value where it belongs.
    fn complete(&mut self, built: Built, anchor: usize) -> bool {
        if anchor != 0 {
            self.copied += built.size;
            self.anchors.insert(anchor, built.clone());
            if self.copied > MAX_COPIED {
                return self.wrong(built.at, "anchors stand for too many values");
            }
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(built);
            return true;
        };
        parent.depth = parent.depth.max(built.depth);
        parent.size += built.size;
        match &mut parent.content {
            Content::List(nodes) => {
                nodes.extend(built.node);
                true
            }
            Content::Table {
                entries,
                merged,
                key,
            } => match key.take() {
                None => match built.written {
                    Some(text) => {
                        *key = Some((text, built.at));
                        true
                    }
                    None => self.wrong(built.at, "a key must be a text, not a list or a table"),
                },
                Some((name, at)) if name == "<<" => {
                    match built.node {
                        Some(Node {
                            value: Value::List(nodes),
                            ..
                        }) => merged.extend(nodes),
                        other => merged.extend(other),
                    }
                    if merged.iter().any(|it| !matches!(it.value, Value::Table(_))) {
                        return self.wrong(at, "`<<` takes a table or a list of tables");
                    }
                    true
                }
                Some((key, at)) => {
                    if let Some(node) = built.node {
                        entries.push(Entry { key, at, node });
                    }
                    true
                }
            },
        }
    }

    /// What a scalar means; `None` is nothing.
    // frp: YAML 1.1 (goyaml.v2 resolve.go)
    fn scalar(
        &mut self,
        text: &str,
        style: ScalarStyle,
        tag: Option<&str>,
        at: usize,
    ) -> Option<Value> {
        let is_plain = style == ScalarStyle::Plain && tag.is_none();
        let resolves = is_plain || matches!(tag, Some("bool" | "int" | "float" | "null"));
        if !resolves {
            return Some(Value::Text(text.to_owned()));
        }
        match text {
            "" | "~" | "null" | "Null" | "NULL" => return None,
            "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
                return Some(Value::Boolean(true));
            }
            "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off"
            | "OFF" => return Some(Value::Boolean(false)),
            ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
                return Some(Value::Float(f64::INFINITY));
            }
            "-.inf" | "-.Inf" | "-.INF" => return Some(Value::Float(f64::NEG_INFINITY)),
            ".nan" | ".NaN" | ".NAN" => return Some(Value::Float(f64::NAN)),
            _ => {}
        }
        match integer_of_any_base(text) {
            Some(Ok(integer)) => return Some(Value::Integer(integer)),
            Some(Err(why)) => {
                self.wrong(at, why);
                return None;
            }
            None => {}
        }
        let value = match float(text) {
            Some(number) => Value::Float(number),
            None => Value::Text(text.to_owned()),
        };
        Some(value)
    }
}
