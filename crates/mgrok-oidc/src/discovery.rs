//! What an issuer says of itself: OpenID Connect Discovery 1.0.

use mgrok_config::{HttpUrl, HttpUrlError};
use serde::Deserialize;

use crate::jws::Algorithm;
use crate::shown::shown;

/// Where an issuer's keys are, and how it signs.
#[derive(Debug)]
pub struct Discovery {
    /// Where the set of its keys is.
    pub(crate) keys: HttpUrl,
    /// How it signs, as far as that is accepted here. At least one.
    pub(crate) algorithms: Vec<Algorithm>,
}

/// Why a discovery document cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// It signs in no way that keeps anybody out, or that is known.
    #[error("it signs with {0}, none of which is accepted")]
    Algorithms(String),
    /// The keys would come in clear text, though the issuer does not.
    #[error("its keys are at a URL of http, which anybody in between can change")]
    ClearText,
    /// It is no JSON, or lacks what it must have.
    #[error("its discovery document cannot be understood")]
    Json(#[from] serde_json::Error),
    /// The keys are nowhere.
    #[error("the URL of its keys cannot be used")]
    Keys(#[from] HttpUrlError),
    /// It is the document of somebody else.
    // frp: the beginning of this wording (go-oidc)
    #[error(
        "oidc: issuer did not match the issuer returned by provider, expected \"{0}\" got \"{1}\"; auth.oidc.issuer must be written \
         as the provider writes it"
    )]
    OtherIssuer(String, String),
}

#[derive(Deserialize)]
struct Document {
    issuer: String,
    jwks_uri: String,
    #[serde(default)]
    id_token_signing_alg_values_supported: Option<Vec<String>>,
}

impl Discovery {
    /// Reads the document `json` of `issuer`.
    ///
    /// # Errors
    /// It is not the document of `issuer`, or cannot be used.
    pub fn parse(json: &[u8], issuer: &HttpUrl) -> Result<Self, DiscoveryError> {
        let document: Document = serde_json::from_slice(json)?;
        if document.issuer != issuer.as_str() {
            let expected = issuer.as_str().to_owned();
            return Err(DiscoveryError::OtherIssuer(
                expected,
                shown(&document.issuer),
            ));
        }
        let keys: HttpUrl = document.jwks_uri.parse()?;
        if issuer.is_https && !keys.is_https {
            return Err(DiscoveryError::ClearText);
        }
        let named = document.id_token_signing_alg_values_supported;
        let named = named.unwrap_or_default();
        let algorithms: Vec<_> = named.iter().filter_map(|it| Algorithm::named(it)).collect();
        if !named.is_empty() && algorithms.is_empty() {
            return Err(DiscoveryError::Algorithms(shown(&named.join(", "))));
        }
        Ok(Self {
            keys,
            // Every provider has this one (section 3 of the specification).
            algorithms: match algorithms.is_empty() {
                true => vec![Algorithm::Rs256],
                false => algorithms,
            },
        })
    }

    /// Where the document of `issuer` is.
    ///
    /// # Errors
    /// The URL becomes too long.
    pub(crate) fn url(issuer: &HttpUrl) -> Result<HttpUrl, HttpUrlError> {
        let base = issuer.as_str();
        let base = base.strip_suffix('/').unwrap_or(base);
        format!("{base}/.well-known/openid-configuration").parse()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(json: &str) -> Result<Discovery, String> {
        let issuer = "https://id.test/a".parse().unwrap();
        Discovery::parse(json.as_bytes(), &issuer).map_err(|error| error.to_string())
    }

    #[test]
    fn where_the_keys_are_and_how_they_sign() {
        let found = parse(
            r#"{"issuer":"https://id.test/a","jwks_uri":"https://k.test/j","x":[1],
            "id_token_signing_alg_values_supported":["none","HS256","ES256","RS512"]}"#,
        );
        let found = found.unwrap();
        assert_eq!(found.keys.as_str(), "https://k.test/j");
        assert_eq!(found.algorithms, [Algorithm::Es256, Algorithm::Rs512]);
        let found = parse(r#"{"issuer":"https://id.test/a","jwks_uri":"https://k.test/j"}"#);
        assert_eq!(found.unwrap().algorithms, [Algorithm::Rs256]);
        let url = |issuer: &str| Discovery::url(&issuer.parse().unwrap()).unwrap();
        let expect = "https://id.test/a/.well-known/openid-configuration";
        assert_eq!(url("https://id.test/a/").as_str(), expect);
        assert_eq!(url("https://id.test/a").as_str(), expect);
    }

    #[test]
    fn documents_that_cannot_be_used() {
        for (json, expect) in [
            ("", "cannot be understood"),
            ("{}", "cannot be understood"),
            (
                r#"{"issuer":"https://id.test/a/","jwks_uri":"https://k.test/j"}"#,
                "issuer did not match",
            ),
            (
                r#"{"issuer":"https://id.test/a","jwks_uri":"http://k.test/j"}"#,
                "URL of http",
            ),
            (
                r#"{"issuer":"https://id.test/a","jwks_uri":"file:///etc/passwd"}"#,
                "the URL of its keys",
            ),
            (
                r#"{"issuer":"https://id.test/a","jwks_uri":"https://k.test/j","id_token_signing_alg_values_supported":["none"]}"#,
                "it signs with none",
            ),
        ] {
            let error = parse(json).unwrap_err();
            assert!(error.contains(expect), "{error}");
        }
    }
}
