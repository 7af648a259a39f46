//! Finds the key that a misspelt one was meant to be.

use strsim::osa_distance;

/// The entry of `known` that is most like `word`. A third of its letters may differ, counted as letters that are inserted,
/// left out, changed or swapped with their neighbour. Case, `_` and `-` do not count, so that keys of frp's old format lead
/// to the new ones.
pub(crate) fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = letters(word);
    let word_len = word.chars().count();
    known
        .filter_map(|candidate| {
            let letters = letters(candidate);
            let candidate_len = letters.chars().count();
            let most = (candidate_len / 3).max(1);
            // A word of another length cannot be near. This bounds the work for a word of megabytes.
            if candidate_len.abs_diff(word_len) > most {
                return None;
            }
            let distance = osa_distance(&word, &letters);
            (distance <= most).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

fn letters(word: &str) -> String {
    word.chars()
        .filter(|letter| !matches!(letter, '_' | '-'))
        .map(|letter| letter.to_ascii_lowercase())
        .collect()
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
