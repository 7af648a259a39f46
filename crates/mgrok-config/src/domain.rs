//! Which texts are names that users can ask a server for.

use std::net::Ipv6Addr;

/// Why a text is no such name. Messages quote the text ahead of the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DomainError {
    /// There are several.
    #[error("must be one name: write a list, like [\"a.example.com\", \"b.example.com\"]")]
    Comma,
    /// There is nothing.
    #[error("must be a name")]
    Empty,
    /// There is nothing between two dots, or before or after one.
    #[error("must have something before and after each dot")]
    Label,
    /// There is a `/`.
    #[error("must be a name alone, without a path")]
    Path,
    /// There is a `:`.
    #[error("must be a name alone, without a port")]
    Port,
    /// It is a URL.
    #[error("must be a name alone, without `http://` or the like")]
    Scheme,
    /// No name has such characters.
    #[error("must not have spaces or control characters")]
    Space,
    /// A subdomain is one label.
    // frp: this wording, which its server has
    #[error("must be one label: '.' and '*' are not supported in subdomain")]
    Subdomain,
    /// There is a `*` that stands for nothing.
    #[error("may only have a `*` instead of its first label, like `*.example.com`, or alone")]
    Wildcard,
    /// There is a `*` where a real name is needed.
    #[error("must be a name without `*`")]
    WildcardHost,
}

/// Checks a name that a proxy is found under: `*.` in front stands for any labels, and `*` alone for every name.
pub(crate) fn check_domain(text: &str) -> Result<(), DomainError> {
    // Users write it in brackets, which servers take off.
    if text.parse::<Ipv6Addr>().is_ok() {
        return Ok(());
    }
    check_characters(text)?;
    let below = match text.split_once('.') {
        Some(("*", below)) => below,
        None if text == "*" => return Ok(()),
        Some(_) | None => text,
    };
    if below.contains('*') {
        return Err(DomainError::Wildcard);
    }
    check_labels(below)
}

/// Checks a name that others are put before.
pub(crate) fn check_host(text: &str) -> Result<(), DomainError> {
    check_characters(text)?;
    if text.contains('*') {
        return Err(DomainError::WildcardHost);
    }
    check_labels(text)
}

/// Checks the one label that is put before a server's domain.
pub(crate) fn check_subdomain(text: &str) -> Result<(), DomainError> {
    check_characters(text)?;
    if text.contains(['.', '*']) {
        return Err(DomainError::Subdomain);
    }
    Ok(())
}

/// Whether a name with `*.` in front stands for nothing, because servers look for one only below two labels or more.
pub(crate) fn is_too_wide(domain: &str) -> bool {
    // frp: names of less than three labels are only looked for as they are
    domain
        .strip_prefix("*.")
        .is_some_and(|below| !below.contains('.'))
}

fn check_characters(text: &str) -> Result<(), DomainError> {
    if text.is_empty() {
        return Err(DomainError::Empty);
    }
    if text.contains(',') {
        return Err(DomainError::Comma);
    }
    if text.contains("://") {
        return Err(DomainError::Scheme);
    }
    if text.contains('/') {
        return Err(DomainError::Path);
    }
    if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
        return Err(DomainError::Space);
    }
    if text.contains(':') {
        return Err(DomainError::Port);
    }
    Ok(())
}

fn check_labels(text: &str) -> Result<(), DomainError> {
    if text.split('.').any(str::is_empty) {
        return Err(DomainError::Label);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(
        check: fn(&str) -> Result<(), DomainError>,
        expect: Result<(), DomainError>,
        texts: &[&str],
    ) {
        for text in texts {
            assert_eq!(check(text), expect, "{text:?}");
        }
    }

    #[test]
    fn domains() {
        let right = [
            "example.com",
            "Example.COM",
            "localhost",
            "a_b.c",
            "192.0.2.1",
            "2001:db8::1",
            "*",
            "*.example.com",
            "bücher.example",
        ];
        check(check_domain, Ok(()), &right);
        for (error, texts) in [
            (DomainError::Empty, &[""][..]),
            (DomainError::Label, &[".", ".a", "a.", "a..b", "*.", "*..a"]),
            (DomainError::Path, &["a.com/", "/a", "a/b"]),
            (DomainError::Port, &["a.com:80", "[::1]", ":80"]),
            (DomainError::Scheme, &["http://a.com", "https://a.com:1/x"]),
            (DomainError::Space, &[" a.com", "a.com\n", "a b", "a\0"]),
            (DomainError::Wildcard, &["a.*", "*a.com", "a.*.b", "*.*.a"]),
        ] {
            check(check_domain, Err(error), texts);
        }
    }

    #[test]
    fn hosts() {
        check(check_host, Ok(()), &["example.com", "tunnel"]);
        check(
            check_host,
            Err(DomainError::WildcardHost),
            &["*", "*.a", "a*"],
        );
        check(check_host, Err(DomainError::Label), &[".example.com"]);
        check(check_host, Err(DomainError::Port), &["example.com:80"]);
    }

    #[test]
    fn subdomains() {
        check(check_subdomain, Ok(()), &["www", "a-b", "A"]);
        check(check_subdomain, Err(DomainError::Subdomain), &["a.b", "*"]);
        check(check_subdomain, Err(DomainError::Port), &["a:80"]);
        check(check_subdomain, Err(DomainError::Space), &["a b"]);
    }

    #[test]
    fn wildcards_that_stand_for_nothing() {
        assert!(is_too_wide("*.com"));
        for domain in ["*.example.com", "*", "com", "a.com"] {
            assert!(!is_too_wide(domain), "{domain}");
        }
    }
}
