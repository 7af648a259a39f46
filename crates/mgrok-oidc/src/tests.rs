//! Tokens of a provider over real sockets, and what becomes of one that misbehaves.

use std::collections::BTreeMap;
use std::time::Duration;

use mgrok_config::{ClientCredentials, OidcClient, OidcServer};
use mgrok_issuer::{AUDIENCE, CLIENT, Issuer, Key, Mood, SUBJECT, connect_proxy, now, unsigned};
use mgrok_net::resolver::Resolver;
use mgrok_proto::auth::Secret;
use serde_json::{Value, json};

use crate::{TokenSource, Verifier, examine};

fn wanted(issuer: &Issuer) -> OidcServer {
    OidcServer {
        issuer: issuer.url().parse().unwrap(),
        audience: Some(AUDIENCE.to_owned()),
        skip_expiry_check: false,
        skip_issuer_check: false,
    }
}

fn verifier(issuer: &Issuer) -> Verifier {
    Verifier::new(wanted(issuer))
}

/// Why `token` is not good.
async fn refusal(verifier: &Verifier, token: &str) -> String {
    verifier.verify(token).await.unwrap_err().to_string()
}

#[tokio::test]
async fn a_token_of_the_issuer_is_good_whatever_it_signs_with() {
    let issuer = Issuer::start().await;
    for key in [
        Key::es256("a"),
        Key::eddsa("b"),
        Key::rs256("c"),
        Key::ps256("d"),
    ] {
        issuer.set_key(key);
        let verifier = verifier(&issuer);
        let token = issuer.token(|_| {});
        assert_eq!(verifier.verify(&token).await.unwrap(), SUBJECT);
        // The claims of one and the signature of another.
        let other = issuer.token(|claims| claims["sub"] = json!("somebody"));
        let (claims, _) = other.rsplit_once('.').unwrap();
        let (_, signature) = token.rsplit_once('.').unwrap();
        let error = refusal(&verifier, &format!("{claims}.{signature}")).await;
        assert!(error.contains("failed to verify signature"), "{error}");
    }
}

#[tokio::test]
async fn claims_are_looked_at_before_anybody_is_asked() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer);
    let change = |key: &'static str, value: Value| {
        issuer.token(move |claims| {
            claims[key] = value;
        })
    };
    for (token, expect) in [
        (
            change("aud", json!(["x", "y"])),
            "expected audience \"tunnel\" got [x y]",
        ),
        (
            change("iss", json!("https://evil.test")),
            "issued by a different provider",
        ),
        (
            change("exp", json!(now() - 10)),
            "oidc: token is expired (Token Expiry: ",
        ),
        (change("exp", json!(null)), "oidc: token is expired"),
        (
            change("nbf", json!(now() + 3000)),
            "before the nbf (not before) time",
        ),
        (
            change("exp", json!("soon")),
            "its payload cannot be understood",
        ),
        ("opaque".to_owned(), "expected 3 parts"),
        (String::new(), "there is no token"),
    ] {
        let error = refusal(&verifier, &token).await;
        assert!(error.contains(expect), "{error}");
    }
    assert_eq!(issuer.key_requests(), 0);
    // A clock that is a little behind is no reason.
    let early = change("nbf", json!(now() + 200));
    verifier.verify(&early).await.unwrap();
}

#[tokio::test]
async fn a_signature_that_anybody_can_make_is_none() {
    let issuer = Issuer::start().await;
    let key = Key::rs256("k");
    let public = key.public();
    issuer.set_key(key);
    // Whatever the provider says of itself.
    issuer.set_algorithms(json!(["none", "HS256", "RS256"]));
    let verifier = verifier(&issuer);
    verifier.verify(&issuer.token(|_| {})).await.unwrap();
    let mut claims = Value::Null;
    issuer.token(|it| claims = it.clone());
    let secret = aws_lc_rs::hmac::Key::new(
        aws_lc_rs::hmac::HMAC_SHA256,
        public["n"].as_str().unwrap().as_bytes(),
    );
    for name in ["none", "None", "HS256", "RS512", ""] {
        let header = json!({ "alg": name, "kid": "k" });
        let text = unsigned(&header, &claims, b"");
        let text = text.trim_end_matches('.');
        let tag = aws_lc_rs::hmac::sign(&secret, text.as_bytes());
        for signature in [&b""[..], tag.as_ref()] {
            let error = refusal(&verifier, &unsigned(&header, &claims, signature)).await;
            assert!(
                error.contains("unsupported algorithm, expected [RS256]"),
                "{error}"
            );
        }
    }
    let odd = json!({ "alg": "RS256", "kid": "k", "crit": ["exp"] });
    let error = refusal(&verifier, &unsigned(&odd, &claims, b"")).await;
    assert!(error.contains("crit"), "{error}");
}

#[tokio::test]
async fn an_issuer_that_offers_no_safe_signature_has_no_keys() {
    let issuer = Issuer::start().await;
    issuer.set_algorithms(json!(["none", "HS256"]));
    let error = refusal(&verifier(&issuer), &issuer.token(|_| {})).await;
    assert!(error.contains("it signs with none, HS256"), "{error}");
    issuer.set_algorithms(json!(["ES256"]));
    issuer
        .show_keys(json!([{ "kty": "oct", "k": "c2VjcmV0" }, { "kty": "EC", "crv": "P-256" }, 7]));
    let error = refusal(&verifier(&issuer), &issuer.token(|_| {})).await;
    assert!(error.contains("no keys that can be used"), "{error}");
}

#[tokio::test]
async fn a_new_key_is_asked_for_once_however_many_come_with_it() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer);
    verifier.verify(&issuer.token(|_| {})).await.unwrap();
    assert_eq!(issuer.key_requests(), 1);
    issuer.set_key(Key::es256("k2"));
    let token = issuer.token(|_| {});
    let all = (0..20).map(|_| {
        let (verifier, token) = (verifier.clone(), token.clone());
        tokio::spawn(async move { verifier.verify(&token).await.unwrap() })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(issuer.key_requests(), 2);
    // Some keep the name when they change the key.
    issuer.set_key(Key::es256("k2"));
    verifier.verify(&issuer.token(|_| {})).await.unwrap();
    assert_eq!(issuer.key_requests(), 3);
}

#[tokio::test]
async fn strangers_cannot_have_the_issuer_asked_for_ever() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer);
    let good = issuer.token(|_| {});
    let mut claims = Value::Null;
    issuer.token(|it| claims = it.clone());
    for number in 0..50 {
        let strange = Key::es256(&format!("strange {number}")).sign(&claims);
        let error = refusal(&verifier, &strange).await;
        assert!(error.contains("no key of the issuer"), "{error}");
    }
    assert!(issuer.key_requests() <= 4, "{}", issuer.key_requests());
    // Nobody else is kept out by that.
    verifier.verify(&good).await.unwrap();
}

#[tokio::test]
async fn an_issuer_that_is_away_at_first_is_found_when_it_is_there() {
    let issuer = Issuer::start().await;
    issuer.set_mood(Mood::Away);
    let verifier = verifier(&issuer);
    let keep_up = tokio::spawn(verifier.keep_up());
    let token = issuer.token(|_| {});
    let error = refusal(&verifier, &token).await;
    assert!(
        error.contains("not known yet, try again later: "),
        "{error}"
    );
    issuer.set_mood(Mood::Failing);
    let error = refusal(&verifier, &token).await;
    assert!(error.contains("status 503"), "{error}");
    issuer.set_mood(Mood::Well);
    // By itself, with no login that asks.
    while issuer.key_requests() == 0 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    verifier.verify(&token).await.unwrap();
    drop(verifier);
    keep_up.await.unwrap();
}

#[tokio::test]
async fn the_last_keys_count_while_the_issuer_is_away() {
    let issuer = Issuer::start().await;
    let verifier = verifier(&issuer);
    let token = issuer.token(|_| {});
    verifier.verify(&token).await.unwrap();
    issuer.set_mood(Mood::Away);
    let mut claims = Value::Null;
    issuer.token(|it| claims = it.clone());
    let strange = Key::es256("strange").sign(&claims);
    refusal(&verifier, &strange).await;
    verifier.verify(&token).await.unwrap();
}

#[tokio::test]
async fn an_answer_without_an_end_is_not_read_to_its_end() {
    let issuer = Issuer::start().await;
    issuer.set_mood(Mood::Endless);
    let error = refusal(&verifier(&issuer), &issuer.token(|_| {})).await;
    assert!(error.contains("more than 262144 bytes"), "{error}");
    let error = source(&issuer, |_| {}).token().await.unwrap_err();
    let error = mgrok_net::error_chain::Chain(&error).to_string();
    assert!(error.contains("more than 262144 bytes"), "{error}");
}

#[tokio::test]
async fn an_issuer_that_hangs_has_its_time() {
    let issuer = Issuer::start().await;
    issuer.set_mood(Mood::Hanging);
    let verifier = verifier(&issuer);
    let token = issuer.token(|_| {});
    tokio::time::pause();
    let began = tokio::time::Instant::now();
    let error = refusal(&verifier, &token).await;
    assert!(error.contains("within 8 s"), "{error}");
    assert_eq!(began.elapsed().as_secs(), 8);
}

#[tokio::test]
async fn what_an_issuer_has_can_be_looked_at() {
    let issuer = Issuer::start().await;
    let report = examine(&wanted(&issuer)).await.unwrap();
    assert_eq!(report.keys, 1);
    assert_eq!(report.algorithms, ["RS256", "PS256", "ES256", "EdDSA"]);
    let mut wrong = wanted(&issuer);
    wrong.issuer = format!("{}/", issuer.url()).parse().unwrap();
    let error = examine(&wrong).await.unwrap_err().to_string();
    assert!(error.contains("issuer did not match"), "{error}");
}

fn source(issuer: &Issuer, change: impl FnOnce(&mut ClientCredentials)) -> TokenSource {
    let (id, secret) = CLIENT;
    let mut credentials = ClientCredentials {
        token_endpoint: issuer.token_endpoint().parse().unwrap(),
        client_id: id.to_owned(),
        client_secret: secret.into(),
        audience: None,
        scope: None,
        params: BTreeMap::new(),
        trusted_ca: None,
        insecure_skip_verify: false,
        proxy: None,
    };
    change(&mut credentials);
    let config = OidcClient::Credentials(Box::new(credentials));
    TokenSource::new(&config, &Resolver::default())
}

#[tokio::test]
async fn a_token_is_asked_for_once_and_kept_until_it_is_refused() {
    let issuer = Issuer::start().await;
    let source = source(&issuer, |it| {
        it.audience = Some("a b".to_owned());
        it.scope = Some("tunnel:use more".to_owned());
        it.params = BTreeMap::from([("x".to_owned(), Secret::new("ü&="))]);
    });
    assert!(source.kept().is_none());
    let all = (0..20).map(|_| {
        let source = source.clone();
        tokio::spawn(async move { source.token().await.unwrap() })
    });
    for one in all.collect::<Vec<_>>() {
        one.await.unwrap();
    }
    assert_eq!(
        issuer.token_requests(),
        ["grant_type=client_credentials&scope=tunnel%3Ause+more&audience=a+b&x=%C3%BC%26%3D"]
    );
    let token = source.kept().unwrap();
    verifier(&issuer).verify(token.expose()).await.unwrap();
    source.forget();
    assert!(source.kept().is_none());
    source.token().await.unwrap();
    assert_eq!(issuer.token_requests().len(), 2);
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let issuer = Issuer::start().await;
    issuer.set_expires_in(Some(json!("60")));
    let source = source(&issuer, |_| {});
    source.token().await.unwrap();
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(53)).await;
    assert!(source.kept().is_some());
    tokio::time::advance(Duration::from_secs(2)).await;
    assert!(source.kept().is_none());
}

#[tokio::test]
async fn a_token_that_does_not_say_how_long_it_lives_is_used_once() {
    let issuer = Issuer::start().await;
    issuer.set_expires_in(None);
    let source = source(&issuer, |_| {});
    for count in 1..=3 {
        source.token().await.unwrap();
        assert_eq!(issuer.token_requests().len(), count);
    }
}

#[tokio::test]
async fn credentials_go_where_the_endpoint_looks_for_them() {
    let issuer = Issuer::start().await;
    issuer.want_params();
    let source = source(&issuer, |_| {});
    source.token().await.unwrap();
    source.forget();
    source.token().await.unwrap();
    assert_eq!(issuer.token_requests().len(), 2);
}

#[tokio::test]
async fn a_refusal_does_not_repeat_secrets() {
    let issuer = Issuer::start().await;
    let source = source(&issuer, |it| it.client_id = "somebody".to_owned());
    let error = source.token().await.unwrap_err();
    let error = format!("{error} {error:?}");
    assert!(error.contains("status 401: it repeats a secret"), "{error}");
    assert!(!error.contains(CLIENT.1), "{error}");
    // Whoever asks right after hears the same, and the endpoint nothing.
    issuer.set_mood(Mood::Away);
    assert!(
        source
            .token()
            .await
            .unwrap_err()
            .to_string()
            .contains("status 401")
    );
}

#[tokio::test]
async fn https_wants_a_certificate_that_is_trusted() {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec!["localhost".to_owned()]);
    let certificate = certificate.unwrap().self_signed(&key).unwrap();
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("ca.pem");
    std::fs::write(&file, certificate.pem()).unwrap();
    let der = rustls::pki_types::PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let issuer = Issuer::start_tls(certificate.der().clone(), der).await;
    let error = source(&issuer, |_| {}).token().await.unwrap_err();
    let error = mgrok_net::error_chain::Chain(&error).to_string();
    assert!(error.contains("TLS"), "{error}");
    let trusting = source(&issuer, |it| it.trusted_ca = Some(file.clone()));
    trusting.token().await.unwrap();
    let careless = source(&issuer, |it| it.insecure_skip_verify = true);
    careless.token().await.unwrap();
    // And by a proxy.
    let proxy = connect_proxy().await;
    let through = source(&issuer, |it| {
        it.trusted_ca = Some(file);
        it.proxy = Some(format!("http://{proxy}").parse().unwrap());
    });
    through.token().await.unwrap();
    assert_eq!(issuer.token_requests().len(), 3);
}

#[tokio::test]
async fn a_file_is_read_anew_each_time() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("token");
    let text = format!(
        "auth.method = \"oidc\"\nauth.oidc.tokenSource = {{ type = \"file\", file.path = \"{}\" }}",
        file.display()
    );
    let loaded =
        mgrok_config::load_client_from_str(&text, "client.toml", mgrok_config::Strictness::Strict);
    let config = loaded.unwrap().config.oidc.unwrap();
    let source = TokenSource::new(&config, &Resolver::default());
    for expect in ["one", "two"] {
        std::fs::write(&file, format!("{expect}\n")).unwrap();
        assert_eq!(source.token().await.unwrap().expose(), expect);
    }
    std::fs::remove_file(&file).unwrap();
    let error = source.token().await.unwrap_err().to_string();
    assert!(error.contains("failed to read file"), "{error}");
}

/// A key of `ES256` whose private half nobody has kept.
const KEYS: &[u8] = br#"{"keys":[{"kty":"EC","crv":"P-256","kid":"k",
    "x":"MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4","y":"4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}]}"#;

proptest::proptest! {
    /// As the fuzz target does it.
    #[test]
    fn whatever_others_send_is_taken_apart_or_refused(bytes: Vec<u8>, text: String, claims: String) {
        let issuer = "https://id.test".parse().unwrap();
        let _ = crate::replies::Discovery::parse(&bytes, &issuer);
        let _ = crate::replies::TokenAnswer::parse(&bytes, &text);
        let _ = crate::replies::KeySet::parse(&bytes);
        let keys = crate::replies::KeySet::parse(KEYS).unwrap();
        let header = json!({ "alg": "ES256", "kid": text });
        let token = unsigned(&header, &json!(claims), &bytes);
        let _ = crate::Told::by(&token);
        let token = crate::replies::Token::parse(&token).unwrap();
        assert!(!keys.has_signed(&token));
    }
}
