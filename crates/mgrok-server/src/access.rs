//! Who may visit a service that has no public endpoint.

use mgrok_proto::auth::{self, Secret};

/// Who may visit.
#[derive(Debug)]
pub(crate) struct Access {
    pub(crate) secret: Secret,
    owner: String,
    allowed: Vec<String>,
}

impl Access {
    /// Those of `allowed` may visit, `*` being everybody; with none named only the owner's own.
    pub(crate) fn new(secret: Secret, owner: String, allowed: Vec<String>) -> Self {
        Self {
            secret,
            owner,
            allowed,
        }
    }

    /// Whether `key` signs `timestamp` with the secret; takes the same time whichever byte is wrong.
    pub(crate) fn knows_secret(&self, timestamp: i64, key: &str) -> bool {
        auth::verify(&self.secret, timestamp, key)
    }

    /// Whether visitors of `user` may come.
    pub(crate) fn allows(&self, user: &str) -> bool {
        match self.allowed.as_slice() {
            [] => user == self.owner,
            allowed => allowed.iter().any(|it| it == "*" || it == user),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allowed: &[&str]) -> Access {
        let allowed = allowed.iter().map(|it| (*it).to_owned()).collect();
        Access::new(Secret::new("key"), "ann".to_owned(), allowed)
    }

    #[test]
    fn with_nobody_named_only_the_owners_visitors_may_come() {
        assert!(access(&[]).allows("ann"));
        assert!(!access(&[]).allows(""));
        assert!(!access(&["bob"]).allows("ann"));
        assert!(access(&["eve", "bob"]).allows("bob"));
        assert!(access(&["*"]).allows("anybody"));
    }

    #[test]
    fn a_visitor_signs_with_the_secret() {
        let signed = auth::sign(&Secret::new("key"), 7);
        assert!(access(&[]).knows_secret(7, &signed));
        assert!(!access(&[]).knows_secret(8, &signed));
        assert!(!access(&[]).knows_secret(7, ""));
    }
}
