//! Whatever a provider answers, and whatever a client shows as its token, is taken apart or refused; no keys of a provider let in what
//! they have not signed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_oidc::replies::{Discovery, KeySet, Token, TokenAnswer};
use mgrok_oidc::Told;

/// A key of `ES256` whose private half nobody has kept.
const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

fuzz_target!(|input: (&[u8], &str)| {
    let (bytes, text) = input;
    for issuer in ["https://id.test", "http://id.test/"] {
        let issuer = issuer.parse().unwrap();
        let _ = Discovery::parse(bytes, &issuer);
    }
    for kind in ["application/json", "text/plain", text] {
        let _ = TokenAnswer::parse(bytes, kind);
    }
    let _ = Told::by(text);
    if let Ok(token) = Token::parse(text) {
        assert!(!KeySet::parse(KEYS).unwrap().has_signed(&token));
        if let Ok(keys) = KeySet::parse(bytes) {
            keys.has_signed(&token);
        }
    }
});
