//! Settings as a tree of values.

use super::{Entry, Node, Value};
use crate::report::Report;
use crate::settings::{SettingValue, Settings};

/// Makes a tree of the settings, and returns it with its own position.
pub(crate) fn read(report: &mut Report, settings: &Settings) -> (Vec<Entry>, usize) {
    let nowhere = report.sources_mut().add_command_line(settings.flags());
    let mut root = Value::Table(Vec::new());
    for setting in settings.iter() {
        let at = report.sources_mut().add_flag(&setting.flag);
        let value = value(&setting.value, at);
        if !set(&mut root, &setting.key, Node { at, value }, nowhere) {
            report.syntax(
                at,
                format!("sets `{}`, which is no place for it", setting.key),
            );
        }
    }
    match root {
        Value::Table(entries) => (entries, nowhere),
        Value::Boolean(_)
        | Value::Float(_)
        | Value::Integer(_)
        | Value::List(_)
        | Value::Text(_) => (Vec::new(), nowhere),
    }
}

fn value(value: &SettingValue, at: usize) -> Value {
    let text = |text: &String| Node {
        at,
        value: Value::Text(text.clone()),
    };
    match value {
        SettingValue::Boolean(value) => Value::Boolean(*value),
        SettingValue::Integer(value) => Value::Integer(*value),
        SettingValue::Map(texts) => {
            let entry = |(key, value): (&String, &String)| Entry {
                key: key.clone(),
                at,
                node: text(value),
            };
            Value::Table(texts.iter().map(entry).collect())
        }
        SettingValue::Text(text) => Value::Text(text.clone()),
        SettingValue::Texts(texts) => Value::List(texts.iter().map(text).collect()),
    }
}

/// Puts `node` where `key` says, below `value`; false if there is no such place.
fn set(value: &mut Value, key: &str, node: Node, nowhere: usize) -> bool {
    let Value::Table(entries) = value else {
        return false;
    };
    let (head, rest) = match key.split_once('.') {
        Some((head, rest)) => (head, Some(rest)),
        None => (key, None),
    };
    let (name, index) = match head.strip_suffix(']').and_then(|it| it.split_once('[')) {
        Some((name, index)) => match index.parse::<usize>() {
            Ok(index) => (name, Some(index)),
            Err(_) => return false,
        },
        None => (head, None),
    };
    let found = entries
        .iter()
        .position(|entry| entry.key.eq_ignore_ascii_case(name));
    let position = found.unwrap_or_else(|| {
        let value = match index {
            Some(_) => Value::List(Vec::new()),
            None => Value::Table(Vec::new()),
        };
        entries.push(Entry {
            key: name.to_owned(),
            at: node.at,
            node: Node { at: nowhere, value },
        });
        entries.len() - 1
    });
    let entry = &mut entries[position];
    let target = match (index, &mut entry.node) {
        (None, target) => target,
        (Some(index), list) => {
            let Value::List(nodes) = &mut list.value else {
                return false;
            };
            if index == nodes.len() {
                nodes.push(Node {
                    at: nowhere,
                    value: Value::Table(Vec::new()),
                });
            }
            match nodes.get_mut(index) {
                Some(target) => target,
                None => return false,
            }
        }
    };
    match rest {
        Some(rest) => set(&mut target.value, rest, node, nowhere),
        None => {
            *target = node;
            if index.is_none() {
                entry.at = entry.node.at;
            }
            true
        }
    }
}
