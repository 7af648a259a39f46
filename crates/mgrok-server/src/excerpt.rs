//! What others wrote, as far as it goes into one line of the log or into an answer.

use std::fmt;

/// The most characters that are shown: more than any name needs, too few to flood a log.
const MAX_SHOWN: usize = 512;

/// Shows the beginning of a text that came from outside. What is left out is an ellipsis.
pub(crate) struct Excerpt<T>(pub(crate) T);

impl<T: fmt::Display> fmt::Display for Excerpt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = Shown {
            left: MAX_SHOWN,
            out: f,
        };
        match fmt::write(&mut shown, format_args!("{}", self.0)) {
            Err(fmt::Error) if shown.left == 0 => f.write_str("…"),
            written => written,
        }
    }
}

/// Takes so many characters, and then no more.
struct Shown<'a, 'b> {
    left: usize,
    out: &'a mut fmt::Formatter<'b>,
}

impl fmt::Write for Shown<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        match text.char_indices().nth(self.left) {
            None => {
                self.left -= text.chars().count();
                self.out.write_str(text)
            }
            Some((end, _)) => {
                self.left = 0;
                self.out.write_str(&text[..end])?;
                // Nothing more is asked of whoever is being shown.
                Err(fmt::Error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_shown_up_to_a_bound() {
        assert_eq!(Excerpt("web").to_string(), "web");
        let whole = "ä".repeat(MAX_SHOWN);
        assert_eq!(Excerpt(&whole).to_string(), whole);
        let more = whole.clone() + "b";
        assert_eq!(Excerpt(&more).to_string(), whole.clone() + "…");
        let in_parts = format_args!("{whole}{whole}").to_string();
        assert_eq!(Excerpt(in_parts).to_string(), whole + "…");
    }

    #[test]
    fn what_comes_in_parts_is_cut_where_the_bound_is() {
        let (a, b) = ("a".repeat(MAX_SHOWN - 1), "bcd");
        let text = Excerpt(format_args!("{a}{b}")).to_string();
        assert_eq!(text, a.clone() + "b…");
        let exact = Excerpt(format_args!("{a}{}", 'b')).to_string();
        assert_eq!(exact, a + "b");
    }
}
