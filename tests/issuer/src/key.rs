//! Keys that tokens are signed with.

use std::fmt;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use serde_json::{Value, json};

use super::part;

/// A private key.
pub struct Key {
    id: String,
    algorithm: &'static str,
    pair: Pair,
}

enum Pair {
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Key {
    /// One for `ES256`, which is made at once.
    pub fn es256(id: &str) -> Self {
        let pair = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_FIXED_SIGNING).unwrap();
        Self::new(id, "ES256", Pair::Ec(pair))
    }

    /// One for `EdDSA`.
    pub fn eddsa(id: &str) -> Self {
        Self::new(id, "EdDSA", Pair::Ed(Ed25519KeyPair::generate().unwrap()))
    }

    /// One for `RS256`, which takes a while to make.
    pub fn rs256(id: &str) -> Self {
        let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        Self::new(id, "RS256", Pair::Rsa(pair))
    }

    /// The same for `PS256`.
    pub fn ps256(id: &str) -> Self {
        Self {
            algorithm: "PS256",
            ..Self::rs256(id)
        }
    }

    fn new(id: &str, algorithm: &'static str, pair: Pair) -> Self {
        Self {
            id: id.to_owned(),
            algorithm,
            pair,
        }
    }

    /// Its public part, as sets of keys have it.
    pub fn public(&self) -> Value {
        let mut key = match &self.pair {
            Pair::Ec(pair) => {
                let point = pair.public_key().as_ref();
                let (x, y) = point[1..].split_at(32);
                json!({ "kty": "EC", "crv": "P-256", "x": part(x), "y": part(y) })
            }
            Pair::Ed(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": part(pair.public_key()) })
            }
            Pair::Rsa(pair) => {
                // The last two things in it, of 256 and 3 bytes: the latter has a tag and a length ahead of it.
                let der = pair.public_key().as_ref();
                let (der, e) = der.split_at(der.len() - 3);
                let n = &der[der.len() - 2 - 256..der.len() - 2];
                json!({ "kty": "RSA", "n": part(n), "e": part(e) })
            }
        };
        key["kid"] = json!(self.id);
        key["use"] = json!("sig");
        key
    }

    /// A token of these claims.
    pub fn sign(&self, claims: &Value) -> String {
        self.sign_as(
            &json!({ "alg": self.algorithm, "kid": self.id, "typ": "JWT" }),
            claims,
        )
    }

    /// A token of these claims with this header, whatever it says.
    pub fn sign_as(&self, header: &Value, claims: &Value) -> String {
        let text = format!("{}.{}", part(header.to_string()), part(claims.to_string()));
        let random = SystemRandom::new();
        let rsa = |pair: &RsaKeyPair, encoding: &'static dyn RsaEncoding| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(encoding, &random, text.as_bytes(), &mut signature)
                .unwrap();
            signature
        };
        let signature = match &self.pair {
            Pair::Ec(pair) => pair
                .sign(&random, text.as_bytes())
                .unwrap()
                .as_ref()
                .to_vec(),
            Pair::Ed(pair) => pair.sign(text.as_bytes()).as_ref().to_vec(),
            Pair::Rsa(pair) if self.algorithm == "PS256" => rsa(pair, &RSA_PSS_SHA256),
            Pair::Rsa(pair) => rsa(pair, &RSA_PKCS1_SHA256),
        };
        format!("{text}.{}", part(signature))
    }
}

/// Without what it is.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
