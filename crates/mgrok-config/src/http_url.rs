//! The URL of something that is asked over HTTP, taken apart with `url`.
//!
//! No error quotes the URL, which may hold a password.

use std::fmt;
use std::str::FromStr;

use url::{Host, Url};

/// The most bytes of a URL.
const MAX_LEN: usize = 2048;

/// An absolute URL of `http` or `https`, without credentials.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpUrl {
    text: String,
    /// Whether it is of `https`.
    pub is_https: bool,
    /// A name or an address, without brackets.
    pub host: String,
    /// The port, 80 or 443 if the URL names none.
    pub port: u16,
    /// What is asked for: path and query.
    pub target: String,
    /// Host and port as a request names them.
    pub authority: String,
}

/// Why a text is no URL that can be asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HttpUrlError {
    /// Credentials have keys of their own.
    #[error("must not have a user or password in it")]
    Credentials,
    /// It is none, or of another scheme.
    // frp: the beginning of this wording
    #[error("must be an absolute http or https URL, like \"https://id.example.com/token\"")]
    Form,
    /// It is longer than any that is meant.
    #[error("must have at most {MAX_LEN} bytes")]
    TooLong,
}

impl HttpUrl {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl fmt::Display for HttpUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for HttpUrl {
    type Err = HttpUrlError;

    fn from_str(text: &str) -> Result<Self, HttpUrlError> {
        if text.len() > MAX_LEN {
            return Err(HttpUrlError::TooLong);
        }
        // `url` would take "http:host" for "http://host", and pass over line breaks.
        if !text.contains("://") || text.contains(|it: char| it.is_whitespace() || it.is_control())
        {
            return Err(HttpUrlError::Form);
        }
        let url = Url::parse(text).map_err(|_| HttpUrlError::Form)?;
        let is_https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(HttpUrlError::Form),
        };
        if !url.username().is_empty() || url.password().is_some() {
            return Err(HttpUrlError::Credentials);
        }
        let host = match url.host().ok_or(HttpUrlError::Form)? {
            Host::Domain(name) => name.to_owned(),
            Host::Ipv4(ip) => ip.to_string(),
            Host::Ipv6(ip) => ip.to_string(),
        };
        let port = url.port_or_known_default().filter(|port| *port > 0);
        let mut target = url.path().to_owned();
        if let Some(query) = url.query() {
            target.push('?');
            target.push_str(query);
        }
        let shown = url.host_str().unwrap_or_default();
        let authority = match url.port() {
            Some(port) => format!("{shown}:{port}"),
            None => shown.to_owned(),
        };
        Ok(Self {
            text: text.to_owned(),
            is_https,
            host,
            port: port.ok_or(HttpUrlError::Form)?,
            target,
            authority,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        for (text, expect) in [
            ("https://id.test", (true, "id.test", 443, "/", "id.test")),
            (
                "http://id.test:8080/a?b=c#d",
                (false, "id.test", 8080, "/a?b=c", "id.test:8080"),
            ),
            ("HTTPS://[::1]:443/x/", (true, "::1", 443, "/x/", "[::1]")),
            (
                "http://127.0.0.1:1",
                (false, "127.0.0.1", 1, "/", "127.0.0.1:1"),
            ),
        ] {
            let url: HttpUrl = text.parse().unwrap();
            let got = (
                url.is_https,
                url.host.as_str(),
                url.port,
                url.target.as_str(),
                url.authority.as_str(),
            );
            assert_eq!(got, expect, "{text}");
            assert_eq!(url.as_str(), text);
        }
    }

    #[test]
    fn what_is_none() {
        use HttpUrlError::{Credentials, Form, TooLong};
        let long = format!("https://id.test/{}", "a".repeat(MAX_LEN));
        for (text, expect) in [
            ("", Form),
            ("id.test", Form),
            ("https:id.test", Form),
            ("ftp://id.test", Form),
            ("https://", Form),
            ("https://a b", Form),
            ("https://id.test/\n", Form),
            ("http://id.test:0", Form),
            ("https://u:p@id.test", Credentials),
            ("https://u@id.test", Credentials),
            (&long, TooLong),
        ] {
            assert_eq!(text.parse::<HttpUrl>(), Err(expect), "{text}");
        }
    }
}
