//! Foreign words in error texts: bounded, and without what a terminal would obey.

/// How many bytes of them are told.
const MAX_TOLD: usize = 128;

/// Foreign bytes for an error text.
pub(crate) fn printable(bytes: &[u8]) -> String {
    let told = &bytes[..bytes.len().min(MAX_TOLD)];
    told.escape_ascii().to_string()
}
