//! The raw form of a configuration: a tree of values with their positions.

/// A key and what it is set to.
#[derive(Clone, Debug)]
pub(crate) struct Entry {
    pub(crate) key: String,
    /// The position of the key, as the report's `SourceMap` counts them. So are all positions here.
    pub(crate) at: usize,
    pub(crate) node: Node,
}

/// A value and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) at: usize,
    pub(crate) value: Value,
}

/// What a file can say.
#[derive(Clone, Debug)]
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
