//! Patterns for names of files, as Go's `filepath.Match` reads them.
//!
//! The crate glob negates a set with `!`, where Go does with `^`.

/// Whether the whole name matches: `*` stands for any characters, `?` for one, `[a-z]` and `[^a-z]` for one of a set, and `\` takes the
/// meaning of what follows away. A malformed pattern matches nothing.
pub(super) fn matches(pattern: &str, name: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    let (mut at_pattern, mut at_name) = (0, 0);
    // Where to go on when what follows the last `*` does not match: it takes one more character then.
    let mut retry = None;
    loop {
        if pattern.get(at_pattern) == Some(&'*') {
            at_pattern += 1;
            retry = Some((at_pattern, at_name));
            continue;
        }
        if at_pattern == pattern.len() && at_name == name.len() {
            return true;
        }
        let step = name
            .get(at_name)
            .and_then(|letter| one(&pattern[at_pattern..], *letter));
        if let Some(len) = step {
            at_pattern += len;
            at_name += 1;
            continue;
        }
        match retry {
            Some((after_star, taken)) if taken < name.len() => {
                retry = Some((after_star, taken + 1));
                (at_pattern, at_name) = (after_star, taken + 1);
            }
            Some(_) | None => return false,
        }
    }
}

/// How much of the pattern matches the character; `None` if it does not.
fn one(pattern: &[char], letter: char) -> Option<usize> {
    match pattern {
        ['?', ..] => Some(1),
        ['\\', next, ..] => (*next == letter).then_some(2),
        ['[', set @ ..] => {
            let negated = set.first() == Some(&'^');
            let mut at = usize::from(negated);
            let mut found = false;
            let mut is_first = true;
            while *set.get(at)? != ']' || is_first {
                is_first = false;
                let low = bound(set, &mut at)?;
                let mut high = low;
                if set.get(at) == Some(&'-') {
                    at += 1;
                    high = bound(set, &mut at)?;
                }
                found |= (low..=high).contains(&letter);
            }
            (found != negated).then_some(at + 2)
        }
        [same, ..] => (*same == letter).then_some(1),
        [] => None,
    }
}

fn bound(set: &[char], at: &mut usize) -> Option<char> {
    if set.get(*at) == Some(&'\\') {
        *at += 1;
    }
    let found = set.get(*at).copied()?;
    *at += 1;
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns() {
        for (pattern, name, expect) in [
            ("*.toml", "a.toml", true),
            ("*.toml", ".toml", true),
            ("*.toml", "a.toml.bak", false),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("?.ini", "a.ini", true),
            ("?.ini", "ab.ini", false),
            ("[a-c]x", "bx", true),
            ("[a-c]x", "dx", false),
            ("[^a-c]x", "dx", true),
            ("[^a-c]x", "ax", false),
            ("[abc", "a", false),
            ("\\*", "*", true),
            ("\\*", "a", false),
            ("a.toml", "a.toml", true),
            ("", "", true),
            ("*", "", true),
            ("ä?", "äö", true),
        ] {
            assert_eq!(matches(pattern, name), expect, "{pattern} {name}");
        }
        assert!(!matches(&"*a".repeat(200), &"a".repeat(150)));
    }
}
