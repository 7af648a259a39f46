//! Numbers as Go reads them.

/// The integer that a decimal `text` is; `None` if it is none, and why it cannot be used if it is one.
pub(crate) fn integer(text: &str) -> Option<Result<i64, &'static str>> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    if digits.is_empty() || !digits.bytes().all(|it| it.is_ascii_digit()) {
        return None;
    }
    Some(text.parse().map_err(|_| TOO_LONG))
}

/// As [`integer`], in the forms that Go takes: `0x`, `0o`, `0b` and a leading `0` say the base, and `_` may stand between digits.
pub(crate) fn integer_of_any_base(text: &str) -> Option<Result<i64, &'static str>> {
    let (sign, digits) = match text.split_at_checked(1) {
        Some((sign @ ("-" | "+"), digits)) => (sign, digits),
        Some(_) | None => ("", text),
    };
    if !digits.starts_with(|it: char| it.is_ascii_digit()) || digits.ends_with('_') {
        return None;
    }
    let plain = digits.replace('_', "");
    let (radix, plain) = match plain.as_bytes() {
        [b'0', b'x' | b'X', ..] => (16, &plain[2..]),
        [b'0', b'o' | b'O', ..] => (8, &plain[2..]),
        [b'0', b'b' | b'B', ..] => (2, &plain[2..]),
        [b'0', _, ..] => (8, &plain[1..]),
        _ => (10, plain.as_str()),
    };
    if plain.is_empty() || !plain.chars().all(|it| it.is_digit(radix)) {
        return None;
    }
    Some(i64::from_str_radix(&format!("{sign}{plain}"), radix).map_err(|_| TOO_LONG))
}

/// The fractional number that `text` is, in digits.
pub(crate) fn float(text: &str) -> Option<f64> {
    let is_right = |byte: u8| byte.is_ascii_digit() || b"+-.eE".contains(&byte);
    if !text.bytes().any(|it| it.is_ascii_digit()) || !text.bytes().all(is_right) {
        return None;
    }
    text.parse().ok()
}

const TOO_LONG: &str = "the integer has more than 64 bits";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forms() {
        for (text, expect) in [
            ("12", Some(12)),
            ("-12", Some(-12)),
            ("1_000", Some(1000)),
            ("0x1F", Some(31)),
            ("0o17", Some(15)),
            ("017", Some(15)),
            ("0b11", Some(3)),
            ("0", Some(0)),
            ("018", None),
            ("1_", None),
            ("0x", None),
            ("1.5", None),
            ("", None),
            ("-", None),
            ("ä", None),
        ] {
            let integer = integer_of_any_base(text).map(Result::unwrap);
            assert_eq!(integer, expect, "{text:?}");
        }
        assert!(integer("99999999999999999999").unwrap().is_err());
        assert_eq!(float("1e3"), Some(1000.0));
        assert_eq!(float("e"), None);
        assert_eq!(float("1x"), None);
    }
}
