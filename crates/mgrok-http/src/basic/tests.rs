use base64::engine::general_purpose::STANDARD as ENCODER;
use proptest::prelude::*;

use super::*;

#[track_caller]
fn check(value: &str, expect: Option<(&str, &str)>) {
    let credentials = Credentials::parse(&HeaderValue::from_str(value).unwrap());
    let got = credentials.as_ref().map(|it| (&*it.user, &*it.password));
    assert_eq!(got, expect, "{value}");
}

#[test]
fn credentials_are_read_as_go_reads_them() {
    check("Basic dXNlcjpwYXNz", Some(("user", "pass")));
    check("bASIC dXNlcjpwYXNz", Some(("user", "pass")));
    check("Basic dXNlcjpwOmE6cw==", Some(("user", "p:a:s")));
    check("Basic Og==", Some(("", "")));
    // Bits beyond the last byte.
    check("Basic Oh==", Some(("", "")));
    check("Basic ", None);
    check("Basic", None);
    check("", None);
    check("Basic dXNlcg==", None);
    check("Basic Og", None);
    check("Basic  Og==", None);
    check("Basic O g==", None);
    check("Basic /zo=", None);
    check("Bearer dXNlcjpwYXNz", None);
}

#[test]
fn both_parts_must_match() {
    let credentials = Credentials {
        user: "user".into(),
        password: "pass".into(),
    };
    assert!(credentials.match_with("user", "pass"));
    for (user, password) in [
        ("user", "pasS"),
        ("usex", "pass"),
        ("", ""),
        ("user", ""),
        ("user", "passs"),
        ("user", "pas"),
    ] {
        assert!(!credentials.match_with(user, password), "{user}:{password}");
    }
}

#[test]
fn a_password_is_not_shown() {
    let credentials = Credentials {
        user: "user".into(),
        password: "secret".into(),
    };
    assert_eq!(
        format!("{credentials:?}"),
        "Credentials { user: \"user\", password: *** }"
    );
}

#[test]
fn the_answer_asks_whoever_was_addressed() {
    let response = ask_for_credentials(false);
    assert_eq!(response.status(), 401);
    assert_eq!(
        response.headers()["www-authenticate"],
        "Basic realm=\"Restricted\""
    );
    let response = ask_for_credentials(true);
    assert_eq!(response.status(), 407);
    assert_eq!(
        response.headers()["proxy-authenticate"],
        "Basic realm=\"Restricted\""
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_read(user in "[^:]*", password in any::<String>()) {
        let value = format!("Basic {}", ENCODER.encode(format!("{user}:{password}")));
        let value = HeaderValue::from_str(&value).unwrap();
        let credentials = Credentials::parse(&value).unwrap();
        prop_assert!(credentials.match_with(&user, &password));
        prop_assert_eq!((credentials.user, credentials.password), (user, password));
    }

    #[test]
    fn any_value_is_read_or_refused(value in "(Basic )?[ -~]*") {
        let _ = Credentials::parse(&HeaderValue::from_str(&value).unwrap());
    }
}
