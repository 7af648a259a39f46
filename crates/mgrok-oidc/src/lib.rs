//! OpenID Connect for both ends of a tunnel.
//!
//! A client gets a token from a [`TokenSource`] and sends it in place of a signature. A server has a [`Verifier`], which knows the keys of
//! one issuer and keeps up with them. Neither asks anybody when it is made: an issuer that is away costs logins, not a start.
//!
//! What the two read of others is bounded, in bytes and in time, and no text of an error has a token or a secret in it.
//!
//! The modules, lowest first:

mod fetch;
mod once;
mod shown;

mod jws;

mod claims;
mod discovery;
mod jwk;
mod token_answer;

mod issuer;
mod token_source;

mod verifier;

pub use claims::{ClaimsError, Told};
pub use fetch::FetchError;
pub use issuer::IssuerError;
pub use jws::{MalformedToken, SignatureError};
pub use token_source::{TokenError, TokenSource};
pub use verifier::{IssuerReport, Verifier, VerifyError, examine};

/// What comes of bytes that somebody else has sent, without a network; for fuzzing.
pub mod replies {
    pub use crate::discovery::Discovery;
    pub use crate::jwk::KeySet;
    pub use crate::jws::Token;
    pub use crate::token_answer::TokenAnswer;
}

#[cfg(test)]
mod tests;
