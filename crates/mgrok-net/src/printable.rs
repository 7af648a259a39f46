//! Foreign bytes in error texts: bounded, and without terminal control characters.

/// How many foreign bytes an error text shows.
const MAX_SHOWN: usize = 128;

/// Escapes foreign bytes for an error text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_SHOWN)];
    shown.escape_ascii().to_string()
}
