//! Foreign words in error texts: bounded, and without what a terminal would obey.

/// How many bytes of them are told.
const MAX_SHOWN: usize = 128;

/// Foreign bytes for an error text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let shown = &bytes[..bytes.len().min(MAX_SHOWN)];
    shown.escape_ascii().to_string()
}
