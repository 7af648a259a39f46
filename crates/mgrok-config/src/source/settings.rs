//! Settings as a tree of values.

use super::tree::put;
use crate::report::Report;
use crate::settings::{SettingValue, Settings};
use crate::value::{Entry, Node, Value};

/// Makes a tree of the settings, and returns it with its own position.
pub(crate) fn read(report: &mut Report, settings: &Settings) -> (Vec<Entry>, usize) {
    let nowhere = report.sources_mut().add_command_line(settings.flags());
    let mut root = Vec::new();
    for setting in settings.iter() {
        let at = report.sources_mut().add_flag(&setting.flag);
        let value = value(&setting.value, at);
        let path: Vec<&str> = setting.key.split('.').collect();
        if !put(&mut root, &path, at, Node { at, value }, nowhere) {
            let why = format!("sets `{}`, which is no place for it", setting.key);
            report.syntax(at, why);
        }
    }
    (root, nowhere)
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
