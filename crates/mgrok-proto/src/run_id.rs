//! The name of one login.

use std::{fmt, sync::Arc};

use aws_lc_rs::rand;

/// Names one session, and lets its client back in after a lost connection. Cheap to clone.
///
/// Whoever knows it and can sign may take the session over, so [`Debug`] shows the beginning only.
#[derive(Clone, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct RunId(Arc<str>);

/// How much of an id [`Debug`] shows: enough to tell sessions apart.
const SHOWN: usize = 4;

/// How much of an id a log shows, in characters: enough to tell sessions apart there, and too little to use it.
const HEAD: usize = 8;

impl RunId {
    /// A new id: 64 random bits as 16 lower-case hex digits, the form that frp gives out.
    #[expect(
        clippy::expect_used,
        reason = "a system without randomness cannot run this program"
    )]
    pub fn random() -> Self {
        let mut bits = [0; 8];
        rand::fill(&mut bits).expect("the system's random generator works");
        Self(format!("{:016x}", u64::from_be_bytes(bits)).into())
    }

    /// The id as it is sent.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Its beginning, which logs show in place of the whole.
    pub fn head(&self) -> &str {
        let end = self.0.char_indices().nth(HEAD);
        end.map_or(&self.0, |(end, _)| &self.0[..end])
    }
}

impl From<&str> for RunId {
    fn from(text: &str) -> Self {
        Self(text.into())
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = self.0.char_indices().nth(SHOWN);
        match shown {
            Some((end, _)) => write!(f, "RunId({}…)", &self.0[..end]),
            None => write!(f, "RunId({})", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_random_id_is_sixteen_lower_case_hex_digits() {
        let id = RunId::random();
        assert_eq!(id.as_str().len(), 16);
        assert!(
            id.as_str()
                .bytes()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        );
        assert_ne!(id, RunId::random());
    }

    #[test]
    fn debug_hides_the_rest() {
        assert_eq!(
            format!("{:?}", RunId::from("0123456789abcdef")),
            "RunId(0123…)"
        );
        assert_eq!(format!("{:?}", RunId::from("äöü")), "RunId(äöü)");
        assert_eq!(
            RunId::from("0123456789abcdef").to_string(),
            "0123456789abcdef"
        );
    }
}
