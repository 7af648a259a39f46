//! What a token endpoint answers, RFC 6749, sections 5.1 and 5.2.

use std::time::Duration;

use mgrok_proto::auth::Secret;
use serde::Deserialize;

use crate::shown::shown;

/// The longest time that a token is kept, whatever its endpoint says.
const MAX_LIFE: Duration = Duration::from_secs(365 * 86_400);

/// The answer of a token endpoint.
#[derive(Debug)]
pub enum TokenAnswer {
    /// A token, and for how long it counts; `None` if it does not say.
    Token(Secret, Option<Duration>),
    /// A refusal, with what it says of itself.
    Refused(String),
}

/// The answer cannot be understood.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("its answer is no token and no refusal; check that it is the token endpoint")]
pub struct NoTokenAnswer;

#[derive(Default, Deserialize)]
struct Json {
    #[serde(default)]
    access_token: Option<String>,
    #[serde(default)]
    expires_in: Option<serde_json::Value>,
    #[serde(default)]
    error: Option<String>,
    #[serde(default)]
    error_description: Option<String>,
}

impl TokenAnswer {
    /// Reads a body of this type.
    ///
    /// # Errors
    /// It is neither a token nor a refusal.
    pub fn parse(body: &[u8], content_type: &str) -> Result<Self, NoTokenAnswer> {
        let kind = content_type.split(';').next().unwrap_or_default().trim();
        // frp: some answer in a form (oauth2 of Go)
        let is_form = ["application/x-www-form-urlencoded", "text/plain"]
            .iter()
            .any(|it| kind.eq_ignore_ascii_case(it));
        let answer = serde_json::from_slice::<Json>(body);
        let answer = match answer {
            Ok(answer) => answer,
            Err(_) if is_form => form(body),
            Err(_) => return Err(NoTokenAnswer),
        };
        if let Some(error) = answer.error {
            let why = answer.error_description.filter(|it| !it.is_empty());
            let why = why.map(|it| format!(" ({})", shown(&it)));
            let text = format!("{}{}", shown(&error), why.unwrap_or_default());
            return Ok(Self::Refused(text));
        }
        let token = answer.access_token.filter(|it| !it.is_empty());
        let token = token.ok_or(NoTokenAnswer)?;
        // It goes into a message as it is.
        if !token.bytes().all(|it| it.is_ascii_graphic()) {
            return Err(NoTokenAnswer);
        }
        let life = answer.expires_in.as_ref().and_then(seconds);
        Ok(Self::Token(Secret::new(token), life))
    }
}

// frp: a number, or one in a text; none and 0 are not said (oauth2 of Go)
fn seconds(value: &serde_json::Value) -> Option<Duration> {
    let seconds = match value {
        serde_json::Value::String(text) => text.trim().parse::<f64>().ok()?,
        other => other.as_f64()?,
    };
    let seconds = (seconds > 0.0).then_some(seconds)?;
    Some(Duration::try_from_secs_f64(seconds).map_or(MAX_LIFE, |it| it.min(MAX_LIFE)))
}

fn form(body: &[u8]) -> Json {
    let mut answer = Json::default();
    for (key, value) in url::form_urlencoded::parse(body) {
        let value = value.into_owned();
        match &*key {
            "access_token" => answer.access_token = Some(value),
            "expires_in" => answer.expires_in = Some(value.into()),
            "error" => answer.error = Some(value),
            "error_description" => answer.error_description = Some(value),
            _ => {}
        }
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(body: &str, kind: &str, expect: Option<(&str, Option<u64>)>) {
        let got = TokenAnswer::parse(body.as_bytes(), kind).ok();
        let got = got.and_then(|it| match it {
            TokenAnswer::Token(token, life) => {
                Some((token.expose().to_owned(), life.map(|it| it.as_secs())))
            }
            TokenAnswer::Refused(_) => None,
        });
        let got = got.as_ref().map(|(token, life)| (token.as_str(), *life));
        assert_eq!(got, expect, "{body}");
    }

    #[test]
    fn tokens_come_in_json_or_in_a_form() {
        let json = "application/json; charset=utf-8";
        check(
            r#"{"access_token":"t","expires_in":60}"#,
            json,
            Some(("t", Some(60))),
        );
        check(
            r#"{"access_token":"t","expires_in":"60"}"#,
            json,
            Some(("t", Some(60))),
        );
        check(
            r#"{"access_token":"t","expires_in":0}"#,
            json,
            Some(("t", None)),
        );
        check(
            r#"{"access_token":"t","expires_in":null}"#,
            "",
            Some(("t", None)),
        );
        check(
            r#"{"access_token":"t","expires_in":1e99}"#,
            "",
            Some(("t", Some(31_536_000))),
        );
        check(
            "access_token=t&expires_in=5",
            "text/plain",
            Some(("t", Some(5))),
        );
        check("access_token=t", json, None);
        check(r#"{"access_token":""}"#, json, None);
        check(r#"{"access_token":"a b"}"#, json, None);
        check("{}", json, None);
        check("<html>", "text/html", None);
    }

    #[test]
    fn a_refusal_says_why() {
        let body = r#"{"error":"invalid_client","error_description":"no\nsuch client"}"#;
        match TokenAnswer::parse(body.as_bytes(), "") {
            Ok(TokenAnswer::Refused(why)) => {
                assert_eq!(why, "invalid_client (no\\nsuch client)");
            }
            other => panic!("{other:?}"),
        }
    }
}
