//! Finds the key that someone may have meant.

/// The one of `known` that is most like `word`, if any is alike enough: a third of its letters may differ.
/// Capitals, `_` and `-` do not count, so that keys of frp's old format lead to the new ones.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = letters(word);
    known
        .filter_map(|candidate| {
            let letters = letters(candidate);
            let most = (letters.len() / 3).max(1);
            // Spares the work for words that cannot be near, however long they are.
            if letters.len().abs_diff(word.len()) > most {
                return None;
            }
            let distance = distance(&word, &letters);
            (distance <= most).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> Vec<char> {
    word.chars()
        .filter(|letter| !matches!(letter, '_' | '-'))
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
}

/// How many letters must be put in, left out, changed or swapped with their neighbour to get from one word to the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut above: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, wanted) in to.iter().enumerate() {
            let change = above[j] + usize::from(letter != wanted);
            let mut least = change.min(above[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from[i - 1] == *wanted && *letter == to[j - 1] {
                least = least.min(before[j - 1] + 1);
            }
            row.push(least);
        }
        before = std::mem::replace(&mut above, row);
    }
    above[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let known = ["bindAddr", "bindPort", "tls", "transport", "proxyBindAddr"];
        for (word, expect) in [
            ("bindprt", Some("bindPort")),
            ("bidnPort", Some("bindPort")),
            ("bind_port", Some("bindPort")),
            ("binAdr", Some("bindAddr")),
            ("tsl", Some("tls")),
            ("transports", Some("transport")),
            ("proxy-bind-addr", Some("proxyBindAddr")),
            ("t", None),
            ("", None),
            ("somethingElse", None),
            ("bïndPört", Some("bindPort")),
        ] {
            assert_eq!(nearest(word, known.into_iter()), expect, "{word:?}");
        }
    }

    #[test]
    fn a_long_word_costs_nothing() {
        assert_eq!(
            nearest(&"x".repeat(1 << 24), ["bindPort"].into_iter()),
            None
        );
    }
}
