//! Puts values where dotted keys say.

use crate::value::{Entry, Node, Value};

/// Puts `node` at `path` below `entries`, whose parts may end with an index, like `proxies[0]`; false if there is no such place.
/// What was there is replaced. Tables and lists on the way are made, with the position `made_at`.
pub(super) fn put(
    entries: &mut Vec<Entry>,
    path: &[&str],
    key_at: usize,
    node: Node,
    made_at: usize,
) -> bool {
    let Some((part, rest)) = path.split_first() else {
        return false;
    };
    let (name, index) = match part.strip_suffix(']').and_then(|it| it.split_once('[')) {
        Some((name, index)) => match index.parse::<usize>() {
            Ok(index) => (name, Some(index)),
            Err(_) => return false,
        },
        None => (*part, None),
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
            at: key_at,
            node: Node { at: made_at, value },
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
                    at: made_at,
                    value: Value::Table(Vec::new()),
                });
            }
            let Some(target) = nodes.get_mut(index) else {
                return false;
            };
            target
        }
    };
    if rest.is_empty() {
        *target = node;
        if index.is_none() {
            entry.at = key_at;
        }
        return true;
    }
    let Value::Table(below) = &mut target.value else {
        return false;
    };
    put(below, rest, key_at, node, made_at)
}
