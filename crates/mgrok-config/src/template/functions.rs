//! The functions that templates can use.

use super::TemplateError;
use super::printf::printf;
use super::value::Value;
use crate::nearest::nearest;
use crate::number_ranges::parse_ranges;

/// How many numbers a range may stand for.
const MAX_NUMBERS: usize = 100_000;

/// A function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Function {
    And,
    Eq,
    Ge,
    Gt,
    Index,
    Le,
    Len,
    Lt,
    Ne,
    Not,
    Or,
    ParseNumberRange,
    ParseNumberRangePair,
    Print,
    Printf,
    Println,
    Slice,
}

const FUNCTIONS: [(&str, Function); 17] = [
    ("and", Function::And),
    ("eq", Function::Eq),
    ("ge", Function::Ge),
    ("gt", Function::Gt),
    ("index", Function::Index),
    ("le", Function::Le),
    ("len", Function::Len),
    ("lt", Function::Lt),
    ("ne", Function::Ne),
    ("not", Function::Not),
    ("or", Function::Or),
    ("parseNumberRange", Function::ParseNumberRange),
    ("parseNumberRangePair", Function::ParseNumberRangePair),
    ("print", Function::Print),
    ("printf", Function::Printf),
    ("println", Function::Println),
    ("slice", Function::Slice),
];

/// Functions of Go's that no configuration was seen to need.
const ABSENT: [&str; 4] = ["call", "html", "js", "urlquery"];

impl Function {
    pub(super) fn named(name: &str, at: usize) -> Result<Self, TemplateError> {
        let found = FUNCTIONS.iter().find(|(known, _)| *known == name);
        if let Some((_, function)) = found {
            return Ok(*function);
        }
        if ABSENT.contains(&name) {
            let why = format!("the function `{name}` is not supported by this version of mgrok");
            return Err(TemplateError::new(at, why));
        }
        let near = nearest(name, FUNCTIONS.iter().map(|(known, _)| *known));
        let advice = match near {
            Some(near) => format!(", did you mean \"{near}\"?"),
            None => "; an environment variable is `.Envs.NAME`, a text stands in double quotes"
                .to_owned(),
        };
        Err(TemplateError::new(
            at,
            format!("function \"{name}\" not defined{advice}"),
        ))
    }

    pub(super) fn name(self) -> &'static str {
        let named = FUNCTIONS.iter().find(|(_, function)| *function == self);
        named.map_or("", |(name, _)| name)
    }

    /// What it makes of its arguments, or why it cannot. `and` and `or` have been decided by then.
    pub(super) fn apply<'v>(self, arguments: &[Value<'v>]) -> Result<Value<'v>, String> {
        let name = self.name();
        match (self, arguments) {
            (Self::And | Self::Or, [.., last]) => Ok(last.clone()),
            (Self::Not, [value]) => Ok(Value::Boolean(!value.is_true())),
            (Self::Eq, [one, others @ ..]) if !others.is_empty() => {
                for other in others {
                    if one.equals(other)? {
                        return Ok(Value::Boolean(true));
                    }
                }
                Ok(Value::Boolean(false))
            }
            (Self::Ne, [one, other]) => Ok(Value::Boolean(!one.equals(other)?)),
            (Self::Lt, [one, other]) => Ok(Value::Boolean(one.compare(other)?.is_lt())),
            (Self::Le, [one, other]) => Ok(Value::Boolean(one.compare(other)?.is_le())),
            (Self::Gt, [one, other]) => Ok(Value::Boolean(one.compare(other)?.is_gt())),
            (Self::Ge, [one, other]) => Ok(Value::Boolean(one.compare(other)?.is_ge())),
            (Self::Len, [value]) => len(value),
            (Self::Index, [value, keys @ ..]) => {
                let mut value = value.clone();
                for key in keys {
                    value = index(&value, key)?;
                }
                Ok(value)
            }
            (Self::Slice, [value, ends @ ..]) if ends.len() <= 2 => slice(value, ends),
            (Self::Print, values) => Ok(Value::text(print(values))),
            (Self::Println, values) => {
                let texts: Vec<String> = values.iter().map(Value::as_argument).collect();
                Ok(Value::text(texts.join(" ") + "\n"))
            }
            (Self::Printf, [Value::Text(format), values @ ..]) => {
                printf(format, values).map(Value::text)
            }
            (Self::Printf, [other, ..]) => Err(format!("takes a text first, not {}", other.kind())),
            (Self::ParseNumberRange, [value]) => {
                let numbers = numbers(value)?.into_iter().map(Value::Integer);
                Ok(Value::List(numbers.collect()))
            }
            (Self::ParseNumberRangePair, [first, second]) => {
                let (first, second) = (numbers(first)?, numbers(second)?);
                if first.len() != second.len() {
                    return Err(format!(
                        "the ranges must have as many numbers as each other: {} are not {}",
                        first.len(),
                        second.len()
                    ));
                }
                let pairs = first.into_iter().zip(second);
                Ok(Value::List(
                    pairs
                        .map(|(first, second)| Value::Pair(first, second))
                        .collect(),
                ))
            }
            (_, arguments) => Err(format!(
                "wrong number of args for {name}: {} are not what it takes",
                arguments.len()
            )),
        }
    }
}

/// As Go's `Sprint`: with spaces between two of which none is a text.
fn print(values: &[Value<'_>]) -> String {
    let mut text = String::new();
    let mut before: Option<&Value<'_>> = None;
    for value in values {
        let is_text = |value: &Value<'_>| matches!(value, Value::Text(_));
        if before.is_some_and(|before| !is_text(before) && !is_text(value)) {
            text.push(' ');
        }
        text += &value.as_argument();
        before = Some(value);
    }
    text
}

fn numbers(value: &Value<'_>) -> Result<Vec<i64>, String> {
    let Value::Text(text) = value else {
        let kind = value.kind();
        return Err(format!("takes texts like \"6000-6010,6020\", not {kind}"));
    };
    parse_ranges(text, MAX_NUMBERS).map_err(|error| format!("{error}, not {text:?}"))
}

fn len<'v>(value: &Value<'v>) -> Result<Value<'v>, String> {
    let len = match value {
        Value::List(values) => values.len(),
        Value::Text(text) => text.len(),
        Value::Environment(variables) => variables.len(),
        other => return Err(format!("{} has no length", other.kind())),
    };
    Ok(Value::Integer(i64::try_from(len).unwrap_or(i64::MAX)))
}

fn index<'v>(value: &Value<'v>, key: &Value<'v>) -> Result<Value<'v>, String> {
    match (value, key) {
        // Go: the zero of what the map holds
        (Value::Environment(variables), Value::Text(name)) => Ok(Value::text(
            variables.get(name.as_ref()).map_or("", String::as_str),
        )),
        (Value::List(values), Value::Integer(at)) => {
            let found = usize::try_from(*at).ok().and_then(|at| values.get(at));
            found.cloned().ok_or_else(|| {
                format!(
                    "there is no item {at}: the list has {}, counted from 0",
                    values.len()
                )
            })
        }
        (Value::Text(text), Value::Integer(at)) => {
            let found = usize::try_from(*at)
                .ok()
                .and_then(|at| text.as_bytes().get(at));
            let found = found.map(|byte| Value::Integer(i64::from(*byte)));
            found.ok_or_else(|| format!("there is no byte {at}: the text has {}", text.len()))
        }
        (value, key) => Err(format!("{} has no item for {}", value.kind(), key.kind())),
    }
}

fn slice<'v>(value: &Value<'v>, ends: &[Value<'v>]) -> Result<Value<'v>, String> {
    let mut numbers = Vec::new();
    for end in ends {
        match end {
            Value::Integer(number) => numbers.push(usize::try_from(*number).unwrap_or(usize::MAX)),
            other => {
                return Err(format!(
                    "takes integers behind the first, not {}",
                    other.kind()
                ));
            }
        }
    }
    let start = numbers.first().copied().unwrap_or(0);
    let part = match value {
        Value::Text(text) => {
            let end = numbers.get(1).copied().unwrap_or(text.len());
            text.get(start..end).map(Value::text)
        }
        Value::List(values) => {
            let end = numbers.get(1).copied().unwrap_or(values.len());
            values.get(start..end).map(|part| Value::List(part.into()))
        }
        other => return Err(format!("{} has no parts", other.kind())),
    };
    part.ok_or_else(|| "the part lies outside".to_owned())
}
