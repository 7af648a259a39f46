//! Keys that take one of a few words.

use super::{Item, Section};
use crate::nearest::nearest;

impl Section<'_> {
    /// The text of `key`, if it is one of `words`. `why` begins the sentence about another one.
    pub(crate) fn choice(
        &mut self,
        key: &'static str,
        words: &[&str],
        why: impl FnOnce(&str) -> String,
    ) -> Option<String> {
        let text = self.text(key)?;
        if words.contains(&text.as_str()) {
            return Some(text);
        }
        self.invalid(key, none_of(why(&text), &text, words));
        None
    }

    /// Notes that an item of `key` is none of `words`.
    pub(crate) fn no_choice(&mut self, key: &str, item: &Item, words: &[&str], why: String) {
        self.invalid_item(key, item, none_of(why, &item.text, words));
    }
}

/// The sentence that begins with `why`, about a word that is none of those that it must be.
pub(crate) fn none_of(why: String, word: &str, words: &[&str]) -> String {
    let near = nearest_word(word, words);
    match near.filter(|near| !why.ends_with(&format!("must be \"{near}\""))) {
        Some(near) => format!("{why}, did you mean \"{near}\"?"),
        None => why,
    }
}

/// The one of `words` that somebody meant. Short words with another letter are other words: `tcp` is not meant to be `kcp`.
pub(crate) fn nearest_word<'w>(word: &str, words: &[&'w str]) -> Option<&'w str> {
    let near = nearest(word, words.iter().copied())?;
    let letters = |word: &str| {
        let mut letters: Vec<char> = word.to_ascii_lowercase().chars().collect();
        letters.sort_unstable();
        letters
    };
    let (letters, near_letters) = (letters(word), letters(near));
    let is_other = letters.len() == near_letters.len() && letters != near_letters;
    (!is_other || letters.len() > 3).then_some(near)
}
