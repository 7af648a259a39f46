//! Splits a template into texts and actions, and actions into tokens.

use super::TemplateError;
use crate::go_number::{float, integer_of_any_base};

/// A text or an action, in the order of the template.
#[derive(Debug, PartialEq)]
pub(super) enum Piece<'t> {
    Action {
        at: usize,
        tokens: Vec<Token>,
    },
    /// What is to be copied, without what trim markers took away.
    Text {
        at: usize,
        text: &'t str,
    },
}

/// What an action is made of.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Token {
    pub(super) at: usize,
    pub(super) kind: TokenKind,
    /// Whether it follows the token before it without a space.
    pub(super) joined: bool,
}

#[derive(Clone, Debug, PartialEq)]
pub(super) enum TokenKind {
    Assign,
    Close,
    Comma,
    Declare,
    Dot,
    /// `.Name`.
    Field(String),
    Float(f64),
    Integer(i64),
    Open,
    Pipe,
    Text(String),
    /// `$name`; empty for `$` alone.
    Variable(String),
    /// A function or a keyword.
    Word(String),
}

const OPEN: &str = "{{";
const CLOSE: &str = "}}";

/// Splits a template.
pub(super) fn split(template: &str) -> Result<Vec<Piece<'_>>, TemplateError> {
    let mut pieces = Vec::new();
    let mut at = 0;
    let mut trims = false;
    while let Some(rest) = template.get(at..) {
        let found = rest.find(OPEN);
        let text = rest.get(..found.unwrap_or(rest.len())).unwrap_or_default();
        let inside = found.map(|found| at + found + OPEN.len());
        let left = inside.is_some_and(|inside| {
            let mut after = template.get(inside..).unwrap_or_default().chars();
            after.next() == Some('-') && after.next().is_some_and(is_space)
        });
        let start = match trims {
            true => text.len() - text.trim_start_matches(is_space).len(),
            false => 0,
        };
        let kept = text.get(start..).unwrap_or_default();
        let kept = match left {
            true => kept.trim_end_matches(is_space),
            false => kept,
        };
        if !kept.is_empty() {
            pieces.push(Piece::Text {
                at: at + start,
                text: kept,
            });
        }
        let Some(inside) = inside else {
            break;
        };
        let open_at = inside - OPEN.len();
        let mut lexer = Lexer {
            text: template,
            at: inside + usize::from(left),
        };
        let (tokens, trims_right) = lexer.action(open_at)?;
        trims = trims_right;
        at = lexer.at;
        if let Some(tokens) = tokens {
            pieces.push(Piece::Action {
                at: open_at,
                tokens,
            });
        }
    }
    Ok(pieces)
}

struct Lexer<'t> {
    text: &'t str,
    at: usize,
}

impl Lexer<'_> {
    /// Reads an action up to behind its end: its tokens, or `None` if it is a comment, and whether the text behind it is trimmed.
    fn action(&mut self, open_at: usize) -> Result<(Option<Vec<Token>>, bool), TemplateError> {
        let unclosed = || {
            TemplateError::new(
                open_at,
                "this `{{` has no `}}`; for the two characters alone write `{{ \"{{\" }}`",
            )
        };
        if self.rest().trim_start_matches(is_space).starts_with("/*") {
            let end = self.rest().find("*/").ok_or_else(unclosed)?;
            self.at += end + 2;
            let trims = self.closes().ok_or_else(|| {
                TemplateError::new(open_at, "a comment must end with `*/}}` or `*/ -}}`")
            })?;
            return Ok((None, trims));
        }
        let mut tokens = Vec::new();
        let mut joined = false;
        loop {
            if let Some(trims) = self.closes() {
                return Ok((Some(tokens), trims));
            }
            let Some(next) = self.rest().chars().next() else {
                return Err(unclosed());
            };
            if is_space(next) {
                self.at += 1;
                joined = false;
                continue;
            }
            let at = self.at;
            let kind = self.token(next)?;
            tokens.push(Token { at, kind, joined });
            joined = true;
        }
    }

    /// Steps over the end of an action, if it stands here; whether it trims.
    fn closes(&mut self) -> Option<bool> {
        let rest = self.rest();
        if rest.starts_with(CLOSE) {
            self.at += CLOSE.len();
            return Some(false);
        }
        // ` -}}`, with space in front that is still to come.
        let trimmed = rest.trim_start_matches(is_space);
        let spaces = rest.len() - trimmed.len();
        if spaces > 0 && trimmed.strip_prefix('-')?.starts_with(CLOSE) {
            self.at += spaces + 1 + CLOSE.len();
            return Some(true);
        }
        None
    }

    fn rest(&self) -> &str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn token(&mut self, first: char) -> Result<TokenKind, TemplateError> {
        let rest = self.rest();
        let (kind, len) = match first {
            '(' => (TokenKind::Open, 1),
            ')' => (TokenKind::Close, 1),
            '|' => (TokenKind::Pipe, 1),
            ',' => (TokenKind::Comma, 1),
            '=' => (TokenKind::Assign, 1),
            ':' if rest.starts_with(":=") => (TokenKind::Declare, 2),
            '"' => return self.quoted('"').map(TokenKind::Text),
            '\'' => return self.character(),
            '`' => {
                let Some(end) = rest.get(1..).and_then(|rest| rest.find('`')) else {
                    return Err(self.wrong("a text that begins with a backtick must end with one"));
                };
                let text = rest.get(1..=end).unwrap_or_default();
                (TokenKind::Text(text.to_owned()), end + 2)
            }
            '.' if rest.get(1..).is_some_and(|it| it.starts_with(is_letter)) => {
                let name = word(rest.get(1..).unwrap_or_default());
                (TokenKind::Field(name.to_owned()), 1 + name.len())
            }
            '.' if !rest.get(1..).is_some_and(|it| it.starts_with(is_digit)) => (TokenKind::Dot, 1),
            '$' => {
                let name = word(rest.get(1..).unwrap_or_default());
                (TokenKind::Variable(name.to_owned()), 1 + name.len())
            }
            '0'..='9' | '+' | '-' | '.' => return self.number(),
            first if is_letter(first) => {
                let name = word(rest);
                (TokenKind::Word(name.to_owned()), name.len())
            }
            other => {
                let why = format!("unexpected {other:?} in an action");
                return Err(self.wrong(why));
            }
        };
        self.at += len;
        Ok(kind)
    }

    fn wrong(&self, why: impl Into<String>) -> TemplateError {
        TemplateError::new(self.at, why)
    }

    fn number(&mut self) -> Result<TokenKind, TemplateError> {
        let is_part = |it: char| it.is_ascii_alphanumeric() || matches!(it, '.' | '_' | '+' | '-');
        let rest = self.rest();
        let len = rest
            .char_indices()
            .find(|(index, it)| *index > 0 && !is_part(*it))
            .map_or(rest.len(), |(index, _)| index);
        let text = rest.get(..len).unwrap_or_default();
        let kind = match (integer_of_any_base(text), float(text)) {
            (Some(Ok(integer)), _) => TokenKind::Integer(integer),
            (_, Some(float)) => TokenKind::Float(float),
            (Some(Err(why)), None) => return Err(self.wrong(why)),
            (None, None) => return Err(self.wrong(format!("{text:?} is no number"))),
        };
        self.at += len;
        Ok(kind)
    }

    /// A character, which is a number.
    fn character(&mut self) -> Result<TokenKind, TemplateError> {
        let at = self.at;
        let text = self.quoted('\'')?;
        let mut chars = text.chars();
        match (chars.next(), chars.next()) {
            (Some(only), None) => Ok(TokenKind::Integer(i64::from(u32::from(only)))),
            (Some(_) | None, _) => Err(TemplateError::new(
                at,
                "single quotes hold one character; a text stands in double quotes",
            )),
        }
    }

    /// A text in quotes, with Go's escapes.
    fn quoted(&mut self, quote: char) -> Result<String, TemplateError> {
        let open_at = self.at;
        let unclosed =
            || TemplateError::new(open_at, format!("this text has no closing `{quote}`"));
        let mut text = String::new();
        self.at += 1;
        loop {
            let Some(next) = self.rest().chars().next().filter(|it| *it != '\n') else {
                return Err(unclosed());
            };
            self.at += next.len_utf8();
            if next == quote {
                return Ok(text);
            }
            if next != '\\' {
                text.push(next);
                continue;
            }
            let Some(escape) = self.rest().chars().next() else {
                return Err(unclosed());
            };
            self.at += escape.len_utf8();
            text.push(match escape {
                'a' => '\u{7}',
                'b' => '\u{8}',
                'f' => '\u{c}',
                'n' => '\n',
                'r' => '\r',
                't' => '\t',
                'v' => '\u{b}',
                '\\' | '\'' | '"' => escape,
                'x' => self.hex(2)?,
                'u' => self.hex(4)?,
                'U' => self.hex(8)?,
                other => {
                    let why = format!("`\\{other}` is no escape that Go has");
                    return Err(TemplateError::new(self.at, why));
                }
            });
        }
    }

    fn hex(&mut self, len: usize) -> Result<char, TemplateError> {
        let digits = self.rest().get(..len).unwrap_or_default();
        let number = u32::from_str_radix(digits, 16).ok();
        let Some(found) = number.and_then(char::from_u32) else {
            return Err(self.wrong(format!("an escape needs {len} hex digits of a character")));
        };
        self.at += len;
        Ok(found)
    }
}

fn word(text: &str) -> &str {
    let len = text
        .find(|it| !is_letter(it) && !is_digit(it))
        .unwrap_or(text.len());
    text.get(..len).unwrap_or_default()
}

fn is_letter(it: char) -> bool {
    it == '_' || it.is_alphabetic()
}

fn is_digit(it: char) -> bool {
    it.is_ascii_digit()
}

fn is_space(it: char) -> bool {
    matches!(it, ' ' | '\t' | '\r' | '\n')
}
