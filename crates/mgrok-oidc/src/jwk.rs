//! The public keys of an issuer, RFC 7517, and the signatures that they verify.

use std::fmt;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, ECDSA_P521_SHA512_FIXED, ED25519,
    EcdsaVerificationAlgorithm, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;

use crate::jws::{Algorithm, SignatureError, Token};

/// How many keys of a set are looked at. A signature without the name of a key is tried with each.
const MAX_KEYS: usize = 64;

/// The keys of an issuer that can be used.
#[derive(Debug)]
pub struct KeySet {
    keys: Vec<Key>,
}

/// Why a set of keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeySetError {
    /// It is no JSON, or no set.
    #[error("its keys cannot be understood")]
    Json(#[from] serde_json::Error),
    /// It has no key for any signature that is accepted.
    #[error("it has no keys that can be used")]
    NoKeys,
}

struct Key {
    id: Option<String>,
    /// The only algorithm that it is for, if it says so.
    algorithm: Option<String>,
    material: Material,
}

enum Material {
    Ed25519(Vec<u8>),
    /// The curve, and a point in its uncompressed form.
    Ec(Curve, Vec<u8>),
    Rsa {
        modulus: Vec<u8>,
        exponent: Vec<u8>,
    },
}

#[derive(Clone, Copy, Eq, PartialEq)]
enum Curve {
    P256,
    P384,
    P521,
}

#[derive(Deserialize)]
struct Set {
    keys: Vec<serde_json::Value>,
}

#[derive(Deserialize)]
struct Jwk {
    kty: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default)]
    alg: Option<String>,
    #[serde(default, rename = "use")]
    usage: Option<String>,
    #[serde(default)]
    crv: Option<String>,
    #[serde(default)]
    n: Option<String>,
    #[serde(default)]
    e: Option<String>,
    #[serde(default)]
    x: Option<String>,
    #[serde(default)]
    y: Option<String>,
}

impl KeySet {
    /// Reads the set `json`. Keys that are not understood are passed over.
    ///
    /// # Errors
    /// It is no set, or has no key that can be used.
    pub fn parse(json: &[u8]) -> Result<Self, KeySetError> {
        let set: Set = serde_json::from_slice(json)?;
        let keys = set.keys.into_iter().filter_map(|it| {
            let key: Jwk = serde_json::from_value(it).ok()?;
            Key::new(key)
        });
        let keys: Vec<_> = keys.take(MAX_KEYS).collect();
        match keys.is_empty() {
            true => Err(KeySetError::NoKeys),
            false => Ok(Self { keys }),
        }
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether there are none, which is never so.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }

    /// Whether one of the keys has signed `token` by an algorithm of `accepted`.
    pub(crate) fn verify(
        &self,
        token: &Token<'_>,
        accepted: &[Algorithm],
    ) -> Result<(), SignatureError> {
        let algorithm = token.algorithm(accepted)?;
        let named = self.keys.iter().filter(|it| match &token.key_id {
            Some(id) if !id.is_empty() => it.id.as_ref() == Some(id),
            Some(_) | None => true,
        });
        let mut named = named.filter(|it| it.is_for(algorithm));
        match named.any(|it| it.material.verify(algorithm, token)) {
            true => Ok(()),
            false => Err(SignatureError::Key),
        }
    }

    /// As `verify`, by any algorithm at all; for fuzzing.
    pub fn has_signed(&self, token: &Token<'_>) -> bool {
        let accepted: Vec<_> = Algorithm::named(&token.algorithm).into_iter().collect();
        self.verify(token, &accepted).is_ok()
    }
}

impl Key {
    fn new(key: Jwk) -> Option<Self> {
        if key.usage.as_deref().is_some_and(|it| it != "sig") {
            return None;
        }
        let bytes = |text: &Option<String>| {
            // Some pad, though they must not.
            let text = text.as_ref()?.trim_end_matches('=');
            URL_SAFE_NO_PAD.decode(text).ok()
        };
        let material = match (key.kty.as_str(), key.crv.as_deref()) {
            ("RSA", _) => Material::Rsa {
                modulus: without_zeros(bytes(&key.n)?),
                exponent: without_zeros(bytes(&key.e)?),
            },
            ("EC", Some(curve)) => {
                let curve = Curve::named(curve)?;
                let (x, y) = (bytes(&key.x)?, bytes(&key.y)?);
                Material::Ec(curve, curve.point(&x, &y)?)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes(&key.x)?),
            _ => return None,
        };
        Some(Self {
            id: key.kid,
            algorithm: key.alg,
            material,
        })
    }

    fn is_for(&self, algorithm: Algorithm) -> bool {
        match self.algorithm.as_deref() {
            // RFC 9864 has a name of its own for what EdDSA means with such a key.
            Some("Ed25519") => algorithm == Algorithm::EdDsa,
            Some(name) => name == algorithm.name(),
            None => true,
        }
    }
}

impl Material {
    fn verify(&self, algorithm: Algorithm, token: &Token<'_>) -> bool {
        let Token {
            signed, signature, ..
        } = token;
        let rsa = |parameters: &'static RsaParameters| match self {
            Self::Rsa { modulus, exponent } => {
                let (n, e) = (modulus, exponent);
                let key = RsaPublicKeyComponents { n, e };
                key.verify(parameters, signed, signature).is_ok()
            }
            Self::Ec(..) | Self::Ed25519(_) => false,
        };
        let ec = |wanted: Curve, parameters: &'static EcdsaVerificationAlgorithm| match self {
            Self::Ec(curve, point) if *curve == wanted => {
                let key = UnparsedPublicKey::new(parameters, point);
                key.verify(signed, signature).is_ok()
            }
            Self::Ec(..) | Self::Ed25519(_) | Self::Rsa { .. } => false,
        };
        match algorithm {
            Algorithm::Rs256 => rsa(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => rsa(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => rsa(&RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Ps256 => rsa(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => rsa(&RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => rsa(&RSA_PSS_2048_8192_SHA512),
            Algorithm::Es256 => ec(Curve::P256, &ECDSA_P256_SHA256_FIXED),
            Algorithm::Es384 => ec(Curve::P384, &ECDSA_P384_SHA384_FIXED),
            Algorithm::Es512 => ec(Curve::P521, &ECDSA_P521_SHA512_FIXED),
            Algorithm::EdDsa => match self {
                Self::Ed25519(key) => {
                    let key = UnparsedPublicKey::new(&ED25519, key);
                    key.verify(signed, signature).is_ok()
                }
                Self::Ec(..) | Self::Rsa { .. } => false,
            },
        }
    }
}

impl Curve {
    fn named(name: &str) -> Option<Self> {
        match name {
            "P-256" => Some(Self::P256),
            "P-384" => Some(Self::P384),
            "P-521" => Some(Self::P521),
            _ => None,
        }
    }

    /// A point in its uncompressed form, from its coordinates, whose leading zeros may be missing.
    fn point(self, x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
        let len: usize = match self {
            Self::P256 => 32,
            Self::P384 => 48,
            Self::P521 => 66,
        };
        let mut point = vec![4];
        for coordinate in [x, y] {
            let zeros = len.checked_sub(coordinate.len())?;
            point.resize(point.len() + zeros, 0);
            point.extend_from_slice(coordinate);
        }
        Some(point)
    }
}

fn without_zeros(mut bytes: Vec<u8>) -> Vec<u8> {
    let zeros = bytes.iter().take_while(|it| **it == 0).count();
    bytes.drain(..zeros);
    bytes
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
