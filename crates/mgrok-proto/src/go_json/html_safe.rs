//! Go's way to write strings: safe to be pasted into HTML and JavaScript.

use std::io::{self, Write};

use serde_json::ser::Formatter;

/// Writes no white space, and `<`, `>`, `&`, U+2028 and U+2029 as `\u` escapes.
pub(super) struct HtmlSafe;

impl Formatter for HtmlSafe {
    fn write_string_fragment<W: ?Sized + Write>(
        &mut self,
        writer: &mut W,
        mut fragment: &str,
    ) -> io::Result<()> {
        while let Some((at, unsafe_char)) = fragment
            .char_indices()
            .find(|(_, char)| matches!(char, '<' | '>' | '&' | '\u{2028}' | '\u{2029}'))
        {
            writer.write_all(&fragment.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(unsafe_char))?;
            fragment = &fragment[at + unsafe_char.len_utf8()..];
        }
        writer.write_all(fragment.as_bytes())
    }
}
