//! The token of an issuer that logins show: whether there is one, what it says, and until when.

use std::time::SystemTime;

use mgrok_config::{ClientConfig, OidcClient};
use mgrok_doctor::{Examination, Fault, Passed, Sound, Verdict};
use mgrok_net::error_chain::Chain;
use mgrok_net::resolver::Resolver;
use mgrok_oidc::{TokenSource, Told};
use mgrok_proto::auth::Secret;

use crate::server_text::server_text;

/// Gets one, if the configuration wants that.
pub(super) async fn examine(
    config: &ClientConfig,
    resolver: &Resolver,
    examination: &mut Examination<'_>,
) -> Passed<Option<Secret>> {
    let Some(oidc) = &config.oidc else {
        return Ok(None);
    };
    let subject = match oidc {
        OidcClient::Credentials(it) => it.token_endpoint.to_string(),
        OidcClient::Source(_) => "auth.oidc.tokenSource".to_owned(),
    };
    let got = examination
        .check("token", &subject, Ok(()), async |()| {
            let token = TokenSource::new(oidc, resolver).token().await;
            let token = token.map_err(|error| {
                Fault::new(
                    Chain(&error),
                    "mend auth.oidc, or the way to it: without a token no login can be tried",
                )
            })?;
            look_at(token)
        })
        .await;
    got.map(Some)
}

/// Says whose it is and until when, as far as it tells that.
fn look_at(token: Secret) -> Verdict<Secret> {
    let told = Told::by(token.expose()).map_err(|error| {
        Fault::new(
            error,
            "have the provider give this client tokens that are JWTs: the server reads them",
        )
    })?;
    let now = SystemTime::now();
    let expires = match told.expires {
        Some(at) => match at.duration_since(now) {
            Ok(left) => format!("expires in {} s", left.as_secs()),
            Err(past) => {
                return Err(Fault::new(
                    format_args!("it expired {} s ago", past.duration().as_secs()),
                    "set the clocks of this host and of the provider by NTP, or renew it",
                ));
            }
        },
        None => {
            return Err(Fault::new(
                "it does not say when it expires, so that servers take it for expired",
                "have the provider put `exp` into tokens",
            ));
        }
    };
    let finding = format!(
        "one of {} for [{}], subject {}, {expires}",
        server_text(&told.issuer),
        server_text(&told.audience.join(" ")),
        server_text(&told.subject),
    );
    if told.not_before.is_some_and(|from| from > now) {
        return Ok(Sound::doubtful(
            token,
            format_args!("{finding}; it counts later, by the clock of this host"),
            "set the clocks of this host and of the provider by NTP",
        ));
    }
    Ok(Sound::good(token, finding))
}
