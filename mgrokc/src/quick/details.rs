//! The headers and bodies of a request and its answer, as lines of text for a terminal.

use std::fmt::Write as _;

use mgrok_client::{MessageDetail, RequestDetail};
use mgrok_daemon::terminal::{shown, size};

use super::view::Show;

/// How much of a body is shown, in bytes and in lines.
const MAX_BODY: usize = 4096;
const MAX_LINES: usize = 60;

/// Adds a line for each header, and, if they are wanted, for each line of the bodies: those of the request behind `>`, those of the answer
/// behind `<`.
pub(super) fn details(detail: &RequestDetail, more: Show, text: &mut String) {
    for (mark, message) in [('>', &detail.request), ('<', &detail.response)] {
        for (name, value) in &message.headers {
            let _ = writeln!(text, "    {mark} {}: {}", shown(name), shown(value));
        }
        if more == Show::Bodies && message.size > 0 {
            let _ = writeln!(text, "    {mark}");
            body(message, mark, text);
        }
    }
}

fn body(message: &MessageDetail, mark: char, text: &mut String) {
    let Some(shown_body) = readable(&message.body) else {
        let _ = writeln!(
            text,
            "    {mark} ({} {})",
            size(message.size),
            what(message)
        );
        return;
    };
    let mut passed = 0;
    for line in shown_body.split_inclusive('\n').take(MAX_LINES) {
        passed += line.len();
        let _ = writeln!(
            text,
            "    {mark} {}",
            shown(line.trim_end_matches(['\n', '\r']))
        );
    }
    let rest = message.size.saturating_sub(passed as u64);
    if rest > 0 {
        let _ = writeln!(text, "    {mark} … and {} more", size(rest));
    }
}

/// The beginning of a body, if it is text that a person can read.
fn readable(body: &[u8]) -> Option<&str> {
    let begin = body.get(..MAX_BODY).unwrap_or(body);
    let text = match std::str::from_utf8(begin) {
        Ok(text) => text,
        // A character may be cut at the end.
        Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => {
            std::str::from_utf8(&begin[..error.valid_up_to()]).ok()?
        }
        Err(_) => return None,
    };
    let is_binary = |c: char| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\u{1b}');
    (!text.is_empty() && !text.contains(is_binary)).then_some(text)
}

/// What a body is that is no text.
fn what(message: &MessageDetail) -> String {
    let header = |name: &str| {
        let found = message.headers.iter().find(|(it, _)| it == name);
        found.map(|(_, value)| shown(value))
    };
    match (header("content-encoding"), header("content-type")) {
        (Some(encoding), Some(kind)) => format!("of {kind}, {encoding}"),
        (None, Some(kind)) => format!("of {kind}"),
        (Some(encoding), None) => format!("of {encoding}"),
        (None, None) => "that are no text".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(headers: &[(&str, &str)], body: &[u8]) -> MessageDetail {
        let headers = headers.iter();
        MessageDetail {
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            body: body.to_vec(),
            size: body.len() as u64,
        }
    }

    fn lines(detail: &RequestDetail, more: Show) -> Vec<String> {
        let mut text = String::new();
        details(detail, more, &mut text);
        text.lines().map(|it| it.trim().to_owned()).collect()
    }

    #[test]
    fn headers_and_text_are_shown_without_what_a_terminal_obeys() {
        let detail = RequestDetail {
            request: message(
                &[("host", "a.test"), ("x", "\u{1b}[2J")],
                b"{\n\ta\x1b]0;\n}",
            ),
            response: message(&[("content-type", "text/plain")], b""),
        };
        let headers = ["> host: a.test", "> x: \\u{1b}[2J"];
        let answer = "< content-type: text/plain";
        assert_eq!(
            lines(&detail, Show::Headers),
            [headers[0], headers[1], answer]
        );
        assert_eq!(
            lines(&detail, Show::Bodies),
            [
                headers[0],
                headers[1],
                ">",
                "> {",
                "> \\ta\\u{1b}]0;",
                "> }",
                answer
            ]
        );
    }

    #[test]
    fn what_is_no_text_or_too_much_is_told_by_its_size() {
        let image = message(&[("content-type", "image/png")], b"\x89PNG\0");
        let mut long = message(&[], "é".repeat(3000).as_bytes());
        // The inspector has not kept all of it.
        long.size = 1_000_000;
        let detail = RequestDetail {
            request: image,
            response: long,
        };
        let lines = lines(&detail, Show::Bodies);
        assert_eq!(lines[1..3], [">", "> (5 B of image/png)"]);
        assert_eq!(lines[4].chars().count(), 2 + MAX_BODY / 2);
        assert_eq!(lines[5], "< … and 995.9 KB more");
        let many = message(&[], "x\n".repeat(100).as_bytes());
        let mut text = String::new();
        body(&many, '<', &mut text);
        assert_eq!(text.lines().count(), MAX_LINES + 1);
    }
}
