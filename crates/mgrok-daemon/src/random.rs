//! Texts that nobody can guess.

use anyhow::bail;
use aws_lc_rs::rand;

/// What names are made of: letters and digits that are not mistaken for one another.
const LETTERS: &[u8; 32] = b"abcdefghijkmnpqrstuvwxyz23456789";

/// A token: 160 bits, as 32 letters and digits that need no quotes anywhere.
///
/// # Errors
/// If the system has no random numbers.
pub fn token() -> anyhow::Result<String> {
    letters(32)
}

/// A short name that is free, most likely, and valid as a part of a host's name.
///
/// # Errors
/// As [`token`].
pub fn name() -> anyhow::Result<String> {
    letters(8)
}

fn letters(count: usize) -> anyhow::Result<String> {
    let mut bytes = vec![0; count];
    if rand::fill(&mut bytes).is_err() {
        bail!("the system has no random numbers");
    }
    // 32 divides 256: each is as likely as any other.
    let letters = bytes.iter().map(|byte| LETTERS[usize::from(byte % 32)]);
    Ok(letters.map(char::from).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_the_same() {
        let first = token().unwrap();
        assert_eq!(first.len(), 32);
        assert_ne!(first, token().unwrap());
        let first = name().unwrap();
        assert!(first.bytes().all(|it| LETTERS.contains(&it)), "{first}");
        assert_ne!(first, name().unwrap());
    }
}
