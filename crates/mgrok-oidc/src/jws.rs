//! A token as it comes: a JWS in its compact form, RFC 7515, whose payload are claims.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::shown::shown;

/// The longest token, in bytes. No message that carries one is longer.
const MAX_LEN: usize = 64 * 1024;

/// A signature by a private key whose public key an issuer tells. Those with a secret key (`HS…`), which a public key would be taken for, and
/// `none` are not among them.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Algorithm {
    EdDsa,
    Es256,
    Es384,
    Es512,
    Ps256,
    Ps384,
    Ps512,
    Rs256,
    Rs384,
    Rs512,
}

impl Algorithm {
    const ALL: [Self; 10] = [
        Self::EdDsa,
        Self::Es256,
        Self::Es384,
        Self::Es512,
        Self::Ps256,
        Self::Ps384,
        Self::Ps512,
        Self::Rs256,
        Self::Rs384,
        Self::Rs512,
    ];

    /// As a header writes it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EdDsa => "EdDSA",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Rs256 => "RS256",
            Self::Rs384 => "RS384",
            Self::Rs512 => "RS512",
        }
    }

    pub(crate) fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|it| it.name() == name)
    }
}

/// A token that is not verified.
pub struct Token<'a> {
    /// What its header says of its signature.
    pub(crate) algorithm: String,
    /// Which key it says to be signed with.
    pub(crate) key_id: Option<String>,
    /// What is signed.
    pub(crate) signed: &'a [u8],
    pub(crate) signature: Vec<u8>,
    /// The claims, in JSON.
    pub(crate) payload: Vec<u8>,
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MalformedToken {
    /// A header that changes what the rest means.
    #[error("oidc: malformed jwt: its header has `crit`, of which nothing is known here")]
    Critical,
    /// Nothing was sent.
    #[error(
        "oidc: malformed jwt: there is no token; the client's auth.method must be \"oidc\" too"
    )]
    Empty,
    /// A part is not what it should be.
    #[error("oidc: malformed jwt: its {0} cannot be understood")]
    Part(&'static str),
    /// It does not have three parts.
    #[error(
        "oidc: malformed jwt, expected 3 parts; the provider may give opaque tokens, and must give JWTs for this"
    )]
    Parts,
    /// It is longer than any that is meant.
    #[error("oidc: malformed jwt: it has more than {MAX_LEN} bytes")]
    TooLong,
}

/// Why a signature does not count.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SignatureError {
    /// The issuer does not sign so.
    // frp: this wording (go-oidc)
    #[error("oidc: id token signed with unsupported algorithm, expected [{0}] got \"{1}\"")]
    Algorithm(String, String),
    /// No key of the issuer made it.
    // frp: the first words (go-oidc)
    #[error("failed to verify signature: no key of the issuer has made it")]
    Key,
}

#[derive(Deserialize)]
struct Header {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    crit: Option<serde_json::Value>,
}

impl<'a> Token<'a> {
    /// Takes `text` apart.
    ///
    /// # Errors
    /// It is no token.
    pub fn parse(text: &'a str) -> Result<Self, MalformedToken> {
        if text.is_empty() {
            return Err(MalformedToken::Empty);
        }
        if text.len() > MAX_LEN {
            return Err(MalformedToken::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(MalformedToken::Parts)?;
        let (header, payload) = signed.split_once('.').ok_or(MalformedToken::Parts)?;
        if payload.contains('.') {
            return Err(MalformedToken::Parts);
        }
        let decode = |text, part| {
            let decoded = URL_SAFE_NO_PAD.decode(text);
            decoded.map_err(|_| MalformedToken::Part(part))
        };
        let header: Header = serde_json::from_slice(&decode(header, "header")?)
            .map_err(|_| MalformedToken::Part("header"))?;
        if header.crit.is_some() {
            return Err(MalformedToken::Critical);
        }
        Ok(Self {
            algorithm: header.alg,
            key_id: header.kid,
            signed: signed.as_bytes(),
            signature: decode(signature, "signature")?,
            payload: decode(payload, "payload")?,
        })
    }

    /// How it is signed, which has to be one of `accepted`.
    pub(crate) fn algorithm(&self, accepted: &[Algorithm]) -> Result<Algorithm, SignatureError> {
        let named = Algorithm::named(&self.algorithm).filter(|it| accepted.contains(it));
        named.ok_or_else(|| {
            let names: Vec<_> = accepted.iter().map(|it| it.name()).collect();
            SignatureError::Algorithm(names.join(" "), shown(&self.algorithm))
        })
    }
}

/// Without what it is.
impl fmt::Debug for Token<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(header: &str) -> String {
        format!("{}.e30.c2ln", URL_SAFE_NO_PAD.encode(header))
    }

    #[test]
    fn a_token_is_taken_apart() {
        let text = encode(r#"{"alg":"RS256","kid":"k","typ":"JWT"}"#);
        let token = Token::parse(&text).unwrap();
        assert_eq!(token.key_id.as_deref(), Some("k"));
        assert_eq!(token.payload, b"{}");
        assert_eq!(token.signature, b"sig");
        assert!(text.as_bytes().starts_with(token.signed));
        assert_eq!(token.algorithm(&[Algorithm::Rs256]), Ok(Algorithm::Rs256));
        let error = token.algorithm(&[Algorithm::Es256]).unwrap_err();
        assert_eq!(
            error.to_string(),
            "oidc: id token signed with unsupported algorithm, expected [ES256] got \"RS256\""
        );
    }

    #[test]
    fn what_is_no_token() {
        use MalformedToken::{Critical, Empty, Part, Parts, TooLong};
        for (text, expect) in [
            ("", Empty),
            ("opaque", Parts),
            ("a.b", Parts),
            ("e30.e30.e30.e30", Parts),
            ("!.e30.e30", Part("header")),
            ("e30.e30.e30", Part("header")),
            (
                &format!("{}=", encode(r#"{"alg":"RS256"}"#)),
                Part("signature"),
            ),
            (&encode(r#"{"alg":"RS256","crit":["b64"]}"#), Critical),
            (&"a".repeat(MAX_LEN + 1), TooLong),
        ] {
            assert_eq!(Token::parse(text).unwrap_err(), expect, "{text}");
        }
    }

    #[test]
    fn secret_keys_and_none_are_no_algorithms() {
        for name in ["none", "None", "HS256", "HS384", "HS512", "rs256", ""] {
            assert_eq!(Algorithm::named(name), None, "{name}");
        }
    }
}
