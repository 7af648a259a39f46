//! Prints an error with all its causes, on one line.

use std::error::Error;
use std::fmt::{self, Display, Formatter, Write};

/// An error with all its causes, outermost first, as `a: b: c`. Control characters are escaped, because causes may
/// quote foreign input and some come from other crates.
#[derive(Debug)]
pub struct Chain<'a>(pub &'a dyn Error);

impl Display for Chain<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut out = Escape(f);
        write!(out, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(out, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

/// A writer that escapes control characters.
struct Escape<'a, 'b>(&'a mut Formatter<'b>);

impl Write for Escape<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let mut plain = text;
        while let Some((at, letter)) = plain.char_indices().find(|(_, it)| it.is_control()) {
            write!(self.0, "{}{}", &plain[..at], letter.escape_default())?;
            plain = &plain[at + letter.len_utf8()..];
        }
        self.0.write_str(plain)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot reach the server")]
    struct Outer(#[source] std::io::Error);

    #[test]
    fn a_chain_names_every_cause() {
        let error = Outer(std::io::Error::other("no route"));
        assert_eq!(
            Chain(&error).to_string(),
            "cannot reach the server: no route"
        );
    }

    #[test]
    fn a_cause_cannot_add_a_line_or_control_a_terminal() {
        let error = Outer(std::io::Error::other("gone\n[E] b\u{1b}[1mü\u{9b}"));
        assert_eq!(
            Chain(&error).to_string(),
            "cannot reach the server: gone\\n[E] b\\u{1b}[1mü\\u{9b}"
        );
    }
}
