//! Text from the server, made safe for one line of the log.

/// The most characters of a server's text that are kept: enough for any reason, too few to flood
/// a log.
const MAX_SERVER_TEXT: usize = 512;

/// A text of the server as it may be logged: its control characters escaped, so that it cannot
/// forge further lines or steer a terminal, and cut to a bounded length.
pub(crate) fn server_text(text: &str) -> String {
    let mut printable = String::with_capacity(text.len().min(MAX_SERVER_TEXT));
    for (position, letter) in text.chars().enumerate() {
        if position == MAX_SERVER_TEXT {
            printable.push('…');
            break;
        }
        if letter.is_control() {
            printable.extend(letter.escape_default());
        } else {
            printable.push(letter);
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_cannot_write_a_second_line() {
        assert_eq!(server_text("port already used"), "port already used");
        assert_eq!(server_text("a\n[E] b\u{1b}[1m"), "a\\n[E] b\\u{1b}[1m");
        assert_eq!(server_text("Grüße"), "Grüße");
        let long = "x".repeat(MAX_SERVER_TEXT + 1);
        assert_eq!(server_text(&long).chars().count(), MAX_SERVER_TEXT + 1);
        assert!(server_text(&long).ends_with('…'));
    }
}
