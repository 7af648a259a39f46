//! What a token says: who issued it, for whom, of whom, and until when.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mgrok_config::OidcServer;
use serde::Deserialize;

use crate::jws::{MalformedToken, Token};
use crate::shown::shown;

/// How far ahead of ours an issuer's clock may be for its tokens to count already.
// frp: the same (go-oidc)
const LEEWAY: Duration = Duration::from_secs(5 * 60);

/// The issuer that does not write itself in its tokens as it does elsewhere.
// frp: so (go-oidc)
const GOOGLE: (&str, &str) = ("https://accounts.google.com", "accounts.google.com");

/// Why what a token says does not help. The words are go-oidc's, which frp's users know.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ClaimsError {
    /// It is for somebody else.
    #[error("oidc: expected audience \"{0}\" got [{1}]")]
    Audience(String, String),
    /// It has expired.
    #[error("oidc: token is expired (Token Expiry: {0})")]
    Expired(String),
    /// Somebody else has issued it.
    #[error("oidc: id token issued by a different provider, expected \"{0}\" got \"{1}\"")]
    Issuer(String, String),
    /// It counts later.
    #[error("oidc: current time {0} before the nbf (not before) time: {1}")]
    NotYet(String, String),
}

/// What a token says. Whether that is true is another matter.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Told {
    /// Who issued it; empty if it does not say.
    pub issuer: String,
    /// Of whom it is; empty if it does not say.
    pub subject: String,
    /// For whom it is.
    pub audience: Vec<String>,
    /// Until when it counts.
    pub expires: Option<SystemTime>,
    /// From when it counts.
    pub not_before: Option<SystemTime>,
}

#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: Option<String>,
    #[serde(default)]
    sub: Option<String>,
    #[serde(default)]
    aud: Option<Audience>,
    #[serde(default)]
    exp: Option<f64>,
    #[serde(default)]
    nbf: Option<f64>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audience {
    One(String),
    Many(Vec<String>),
}

impl Told {
    /// What `token` says, without looking at its signature.
    ///
    /// # Errors
    /// It is no token.
    pub fn by(token: &str) -> Result<Self, MalformedToken> {
        Self::new(&Token::parse(token)?)
    }

    pub(crate) fn new(token: &Token<'_>) -> Result<Self, MalformedToken> {
        let claims: Claims =
            serde_json::from_slice(&token.payload).map_err(|_| MalformedToken::Part("payload"))?;
        Ok(Self {
            issuer: claims.iss.unwrap_or_default(),
            subject: claims.sub.unwrap_or_default(),
            audience: match claims.aud {
                Some(Audience::One(one)) => vec![one],
                Some(Audience::Many(many)) => many,
                None => Vec::new(),
            },
            expires: claims.exp.and_then(time),
            not_before: claims.nbf.and_then(time),
        })
    }

    /// Whether that is what `wanted` wants, at `now`.
    pub(crate) fn check(&self, wanted: &OidcServer, now: SystemTime) -> Result<(), ClaimsError> {
        let issuer = wanted.issuer.as_str();
        let is_google = (issuer, self.issuer.as_str()) == GOOGLE;
        if !wanted.skip_issuer_check && self.issuer != issuer && !is_google {
            return Err(ClaimsError::Issuer(issuer.to_owned(), shown(&self.issuer)));
        }
        if let Some(audience) = &wanted.audience
            && !self.audience.contains(audience)
        {
            let got = self.audience.join(" ");
            return Err(ClaimsError::Audience(audience.clone(), shown(&got)));
        }
        if wanted.skip_expiry_check {
            return Ok(());
        }
        // frp: a token that does not say is expired (go-oidc)
        let expires = self.expires.unwrap_or(UNIX_EPOCH);
        if expires < now {
            return Err(ClaimsError::Expired(written(expires)));
        }
        if let Some(not_before) = self.not_before
            && now + LEEWAY < not_before
        {
            return Err(ClaimsError::NotYet(written(now), written(not_before)));
        }
        Ok(())
    }
}

/// A time of seconds since 1970, as far as this system knows it.
fn time(seconds: f64) -> Option<SystemTime> {
    let since = Duration::try_from_secs_f64(seconds.max(0.0)).ok()?;
    UNIX_EPOCH.checked_add(since)
}

/// As Go writes times.
fn written(time: SystemTime) -> String {
    match jiff::Timestamp::try_from(time) {
        Ok(time) => format!("{} +0000 UTC", time.strftime("%Y-%m-%d %H:%M:%S")),
        Err(_) => "out of reach".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted() -> OidcServer {
        OidcServer {
            issuer: "https://id.test".parse().unwrap(),
            audience: Some("tunnel".to_owned()),
            skip_expiry_check: false,
            skip_issuer_check: false,
        }
    }

    fn told(json: &str) -> Told {
        let token = Token {
            algorithm: String::new(),
            key_id: None,
            signed: b"",
            signature: Vec::new(),
            payload: json.as_bytes().to_vec(),
        };
        Told::new(&token).unwrap()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[track_caller]
    fn refused(told: &Told, wanted: &OidcServer, now: u64, expect: &str) {
        let error = told.check(wanted, at(now)).unwrap_err();
        assert_eq!(error.to_string(), expect);
    }

    #[test]
    fn a_token_counts_for_its_issuer_audience_and_time() {
        let good =
            r#"{"iss":"https://id.test","sub":"s","aud":["a","tunnel"],"exp":1000.5,"nbf":1290}"#;
        let good = told(good);
        assert_eq!(good.subject, "s");
        good.check(&wanted(), at(1000)).unwrap();
        refused(
            &good,
            &wanted(),
            1001,
            "oidc: token is expired (Token Expiry: 1970-01-01 00:16:40 +0000 UTC)",
        );
        refused(
            &good,
            &wanted(),
            980,
            "oidc: current time 1970-01-01 00:16:20 +0000 UTC before the nbf (not before) time: 1970-01-01 00:21:30 +0000 UTC",
        );
        let one = told(r#"{"iss":"https://id.test","aud":"tunnel","exp":1e300}"#);
        // A time that no clock reaches is none.
        assert_eq!(one.expires, None);
        let other = told(r#"{"iss":"https://id.test/","aud":"other","exp":9}"#);
        refused(
            &other,
            &wanted(),
            0,
            "oidc: id token issued by a different provider, expected \"https://id.test\" got \"https://id.test/\"",
        );
        let mut lax = wanted();
        lax.skip_issuer_check = true;
        refused(
            &other,
            &lax,
            0,
            "oidc: expected audience \"tunnel\" got [other]",
        );
        lax.audience = None;
        other.check(&lax, at(9)).unwrap();
        assert!(other.check(&lax, at(10)).is_err());
        lax.skip_expiry_check = true;
        other.check(&lax, at(10)).unwrap();
    }

    #[test]
    fn a_token_that_does_not_say_when_it_expires_has_expired() {
        let told = told(r#"{"iss":"https://id.test","aud":"tunnel"}"#);
        assert!(told.check(&wanted(), at(1)).is_err());
    }

    #[test]
    fn google_writes_itself_in_two_ways() {
        let mut wanted = wanted();
        wanted.issuer = GOOGLE.0.parse().unwrap();
        let told = told(r#"{"iss":"accounts.google.com","aud":"tunnel","exp":9}"#);
        told.check(&wanted, at(1)).unwrap();
    }
}
