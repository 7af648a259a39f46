//! What a template computes with.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// A value. Copies are cheap.
#[derive(Clone, Debug)]
pub(super) enum Value<'v> {
    Boolean(bool),
    /// The variables of the environment, `.Envs`.
    Environment(&'v BTreeMap<String, String>),
    Float(f64),
    Integer(i64),
    List(Rc<[Value<'v>]>),
    /// A variable of the environment that is not there.
    Missing(Rc<str>),
    /// Two numbers of `parseNumberRangePair`: `.First` and `.Second`.
    Pair(i64, i64),
    /// What a file's template begins with: `.`.
    Root(&'v BTreeMap<String, String>),
    Text(Rc<str>),
}

impl<'v> Value<'v> {
    pub(super) fn text(text: impl Into<Rc<str>>) -> Self {
        Self::Text(text.into())
    }

    /// The value's kind in words, with an article.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Boolean(_) => "a boolean",
            Self::Environment(_) => "the environment",
            Self::Float(_) => "a fractional number",
            Self::Integer(_) => "an integer",
            Self::List(_) => "a list",
            Self::Missing(_) => "a variable that is not set",
            Self::Pair(..) => "a pair of numbers",
            Self::Root(_) => "the template's data",
            Self::Text(_) => "a text",
        }
    }

    /// As Go prints an argument.
    pub(super) fn as_argument(&self) -> String {
        match self {
            Self::Missing(_) => "<nil>".to_owned(),
            value => value.to_string(),
        }
    }

    /// Whether `if` takes it for true.
    pub(super) fn is_true(&self) -> bool {
        match self {
            Self::Boolean(value) => *value,
            Self::Environment(variables) => !variables.is_empty(),
            Self::Float(value) => *value != 0.0,
            Self::Integer(value) => *value != 0,
            Self::List(values) => !values.is_empty(),
            Self::Missing(_) => false,
            Self::Pair(..) | Self::Root(_) => true,
            Self::Text(text) => !text.is_empty(),
        }
    }

    /// What `.name` of it is, or why it has none.
    pub(super) fn field(&self, name: &str) -> Result<Value<'v>, String> {
        match (self, name) {
            (Self::Root(variables), "Envs") => Ok(Self::Environment(variables)),
            (Self::Root(_), _) => Err(format!(
                "a file's template has `.Envs` alone, no `.{name}`; an environment variable is `.Envs.{name}`"
            )),
            (Self::Environment(variables), _) => Ok(match variables.get(name) {
                Some(value) => Self::text(value.as_str()),
                None => Self::Missing(name.into()),
            }),
            (Self::Pair(first, _), "First") => Ok(Self::Integer(*first)),
            (Self::Pair(_, second), "Second") => Ok(Self::Integer(*second)),
            (Self::Pair(..), _) => Err(format!("a pair has `.First` and `.Second`, no `.{name}`")),
            (other, _) => Err(format!("{} has no `.{name}`", other.kind())),
        }
    }

    /// Whether the two are equal, or why they cannot be compared.
    // Go: funcs.go#eq
    pub(super) fn equals(&self, other: &Self) -> Result<bool, String> {
        match (self, other) {
            (Self::Missing(_), Self::Missing(_)) => Ok(true),
            (Self::Missing(_), _) | (_, Self::Missing(_)) => Ok(false),
            (Self::Pair(a, b), Self::Pair(c, d)) => Ok((a, b) == (c, d)),
            _ => Ok(self.compare(other)? == Ordering::Equal),
        }
    }

    /// How the two compare, or why they cannot be.
    pub(super) fn compare(&self, other: &Self) -> Result<Ordering, String> {
        let found = match (self, other) {
            (Self::Boolean(one), Self::Boolean(other)) => Some(one.cmp(other)),
            (Self::Float(one), Self::Float(other)) => one.partial_cmp(other),
            (Self::Integer(one), Self::Integer(other)) => Some(one.cmp(other)),
            (Self::Text(one), Self::Text(other)) => Some(one.cmp(other)),
            _ => None,
        };
        found.ok_or_else(|| {
            format!(
                "{} and {} cannot be compared; environment variables are texts, so write a number in quotes",
                self.kind(),
                other.kind()
            )
        })
    }
}

/// As Go prints it.
impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => write!(f, "{value}"),
            Self::Environment(variables) | Self::Root(variables) => {
                // It may hold secrets, and no configuration can be made of it.
                write!(f, "map[{} variables]", variables.len())
            }
            Self::Float(value) => f.write_str(&go_float(*value)),
            Self::Integer(value) => write!(f, "{value}"),
            Self::List(values) => {
                f.write_str("[")?;
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        f.write_str(" ")?;
                    }
                    value.fmt(f)?;
                }
                f.write_str("]")
            }
            // Go: so for a missing entry of a map
            Self::Missing(_) => f.write_str("<no value>"),
            Self::Pair(first, second) => write!(f, "{{{first} {second}}}"),
            Self::Text(text) => f.write_str(text),
        }
    }
}

/// A float as Go's `%v` has it: as short as it can be, with an exponent if that is below -4 or from 21 on.
fn go_float(value: f64) -> String {
    if value == 0.0 || !value.is_finite() || (1e-4..1e21).contains(&value.abs()) {
        return match value {
            _ if value.is_nan() => "NaN".to_owned(),
            f64::INFINITY => "+Inf".to_owned(),
            f64::NEG_INFINITY => "-Inf".to_owned(),
            _ => value.to_string(),
        };
    }
    let text = format!("{value:e}");
    match text.split_once('e') {
        Some((digits, exponent)) => {
            let (sign, exponent) = match exponent.strip_prefix('-') {
                Some(exponent) => ('-', exponent),
                None => ('+', exponent),
            };
            format!("{digits}e{sign}{exponent:0>2}")
        }
        None => text,
    }
}
