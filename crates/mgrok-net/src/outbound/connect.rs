//! Opens a tunnel by `CONNECT`, RFC 9110 section 9.3.6.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::{Buf, Bytes};

use super::ntlm::{Challenge, Identity, NEGOTIATE};
use super::{OutboundError, OutboundProxy, Target};
use crate::conn::Conn;
use crate::head::Response;
use crate::printable::printable;

const PROXY_AUTHENTICATION_REQUIRED: u16 = 407;
/// The longest response body, in bytes, that is skipped between the messages of NTLM.
const MAX_SKIPPED: u64 = 256 * 1024;
/// frp: the same, as some proxies look at it (golib, net/dial.go)
const USER_AGENT: &str = "User-Agent: Mozilla/5.0\r\n";

const ADVICE_GIVE: &str =
    "put user and password into transport.proxyURL, as in http://user:password@proxy.example.com";
const ADVICE_CHECK: &str = "check user and password in transport.proxyURL";
const ADVICE_NTLM: &str = "it takes no Basic credentials; try ntlm:// in transport.proxyURL";
const ADVICE_BASIC: &str = "it takes no NTLM; try http:// in transport.proxyURL";

/// Sends one request, with Basic credentials if there are any.
pub(super) async fn basic(
    proxy: &OutboundProxy,
    mut conn: Conn,
    target: &Target<'_>,
) -> Result<Conn, OutboundError> {
    let mut more = USER_AGENT.to_owned();
    if let Some(credentials) = &proxy.credentials {
        let pair = format!("{}:{}", credentials.user, credentials.password.expose());
        more += &format!("Proxy-Authorization: Basic {}\r\n", STANDARD.encode(pair));
    }
    let response = ask(proxy, &mut conn, target, &more).await?;
    let advice = match &proxy.credentials {
        None => ADVICE_GIVE,
        Some(_) if offers(&response, "Basic") => ADVICE_CHECK,
        Some(_) if offers(&response, "NTLM") || offers(&response, "Negotiate") => ADVICE_NTLM,
        Some(_) => ADVICE_CHECK,
    };
    check_tunnel(proxy, target, &response, advice)?;
    Ok(conn)
}

/// Authenticates with the three messages of NTLM: two requests on the same connection. Proxies use two names for the
/// scheme.
pub(super) async fn ntlm(
    proxy: &OutboundProxy,
    mut conn: Conn,
    target: &Target<'_>,
) -> Result<Conn, OutboundError> {
    let failed = |reason| OutboundError::Ntlm {
        proxy: proxy.to_string(),
        reason,
    };
    let identity = match &proxy.credentials {
        Some(credentials) => Identity::new(&credentials.user, &credentials.password),
        None => return Err(failed("transport.proxyURL has no user and password")),
    };
    // frp: only "Negotiate" (golib, net/dial.go)
    for name in ["Negotiate", "NTLM"] {
        let first = authorization(name, &NEGOTIATE);
        let response = ask(proxy, &mut conn, target, &first).await?;
        if response.status != PROXY_AUTHENTICATION_REQUIRED {
            check_tunnel(proxy, target, &response, ADVICE_CHECK)?;
            return Ok(conn);
        }
        let challenge = response
            .fields
            .all("Proxy-Authenticate")
            .find_map(|value| challenge_in(value, name));
        let is_last = challenge.is_none() && (name == "NTLM" || !offers(&response, "NTLM"));
        if is_last {
            let advice = if offers(&response, "Basic") {
                ADVICE_BASIC
            } else {
                ADVICE_CHECK
            };
            check_tunnel(proxy, target, &response, advice)?;
        }
        skip_body(proxy, &mut conn, &response).await?;
        let Some(challenge) = challenge else { continue };
        let challenge = STANDARD.decode(challenge).ok();
        let challenge = challenge.as_deref().and_then(Challenge::parse);
        let challenge = challenge.ok_or_else(|| failed("its challenge is malformed"))?;
        let answer = identity.answer(&challenge);
        let answer = answer.map_err(|source| proxy.io_error(source))?;
        let response = ask(proxy, &mut conn, target, &authorization(name, &answer)).await?;
        check_tunnel(proxy, target, &response, ADVICE_CHECK)?;
        return Ok(conn);
    }
    Err(failed("it sent no challenge"))
}

/// Sends a request, and receives the head of the response.
async fn ask(
    proxy: &OutboundProxy,
    conn: &mut Conn,
    target: &Target<'_>,
    more: &str,
) -> Result<Response, OutboundError> {
    let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{more}\r\n");
    let sent = conn.send(Bytes::from(request)).await;
    sent.map_err(|source| proxy.io_error(source))?;
    let received = Response::receive(conn).await;
    received.map_err(|source| OutboundError::Head {
        proxy: proxy.to_string(),
        source,
    })
}

/// Checks whether the response opened the tunnel.
// frp: only status 200 opens it
fn check_tunnel(
    proxy: &OutboundProxy,
    target: &Target<'_>,
    response: &Response,
    advice: &'static str,
) -> Result<(), OutboundError> {
    match response.status {
        200..=299 => Ok(()),
        PROXY_AUTHENTICATION_REQUIRED => {
            let names = response.fields.all("Proxy-Authenticate");
            let names: Vec<_> = names.map(scheme_of).take(8).collect();
            Err(OutboundError::Credentials {
                proxy: proxy.to_string(),
                status_line: response.status_line.clone(),
                offers: match names.is_empty() {
                    true => "nothing".to_owned(),
                    false => printable(names.join(", ").as_bytes()),
                },
                advice,
            })
        }
        _ => Err(OutboundError::Refused {
            proxy: proxy.to_string(),
            target: target.to_string(),
            status_line: response.status_line.clone(),
        }),
    }
}

fn authorization(name: &str, message: &[u8]) -> String {
    format!(
        "Proxy-Connection: Keep-Alive\r\nProxy-Authorization: {name} {}\r\n",
        STANDARD.encode(message)
    )
}

fn offers(response: &Response, scheme: &str) -> bool {
    let mut offered = response.fields.all("Proxy-Authenticate");
    offered.any(|value| scheme_of(value).eq_ignore_ascii_case(scheme))
}

/// The authentication scheme: the first word of a challenge.
fn scheme_of(value: &str) -> &str {
    value.split_ascii_whitespace().next().unwrap_or_default()
}

/// The challenge that follows the name of the scheme.
fn challenge_in<'a>(value: &'a str, scheme: &str) -> Option<&'a str> {
    let (name, challenge) = value.split_once(' ')?;
    name.eq_ignore_ascii_case(scheme).then(|| challenge.trim())
}

/// Reads and discards the body of a response, so that the next response can be read.
async fn skip_body(
    proxy: &OutboundProxy,
    conn: &mut Conn,
    response: &Response,
) -> Result<(), OutboundError> {
    let failed = |reason| OutboundError::Ntlm {
        proxy: proxy.to_string(),
        reason,
    };
    let fields = &response.fields;
    if fields.lists("Connection", "close") || fields.lists("Proxy-Connection", "close") {
        return Err(failed("it ends the connection between its messages"));
    }
    if fields.first("Transfer-Encoding").is_some() {
        return Err(failed("it answers with a page of unknown length"));
    }
    let len = fields.first("Content-Length").unwrap_or("0");
    let Some(mut left) = len.parse().ok().filter(|&len: &u64| len <= MAX_SKIPPED) else {
        return Err(failed("it answers with a page that is too long"));
    };
    while left > 0 {
        let mut chunk = conn.recv().await.map_err(|source| proxy.io_error(source))?;
        if chunk.is_empty() {
            return Err(failed("it ends the connection between its messages"));
        }
        let skipped = usize::try_from(left).map_or(chunk.len(), |left| left.min(chunk.len()));
        chunk.advance(skipped);
        left -= skipped as u64;
        conn.unread(chunk);
    }
    Ok(())
}
