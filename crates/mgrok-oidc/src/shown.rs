//! Text of others in errors: bounded, and without control characters.

/// How many characters of it are shown.
const MAX_SHOWN: usize = 200;

/// Escapes `text` for a line of the log.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(MAX_SHOWN).collect();
    if shown.len() < text.len() {
        shown.push('…');
    }
    shown.escape_debug().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_write_cannot_steer_the_log() {
        assert_eq!(shown("a\n\u{1b}[1m"), "a\\n\\u{1b}[1m");
        assert_eq!(shown(&"ä".repeat(300)).chars().count(), MAX_SHOWN + 1);
    }
}
