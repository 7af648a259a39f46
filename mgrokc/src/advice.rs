//! What an operator should know of a configuration that can be used all the same.

use mgrok_config::{ClientConfig, Protocol};

/// What is so whoever the server is: one sentence each, with the line to add.
pub(crate) fn advice(config: &ClientConfig) -> Vec<String> {
    let mut advice = Vec::new();
    let tls = config.transport.tls.as_ref();
    let has_certificate = tls.is_some_and(|it| it.certificate.is_some());
    if config.auth.token.is_empty() && config.oidc.is_none() && !has_certificate {
        advice.push(
            "this client proves nothing to its server, which lets in whoever comes: add auth.token = \"a long random text\" \
             (--token) at both ends"
                .to_owned(),
        );
    }
    if tls.is_none() && !is_always_encrypted(config) {
        advice.push(
            "everything goes to the server in clear text: remove transport.tls.enable = false"
                .to_owned(),
        );
    }
    advice
}

/// The same of a server that is not verified. When the client meets it, it says so by itself and names the fingerprint.
pub(crate) fn unverified(config: &ClientConfig) -> Option<String> {
    let is_verified = match &config.transport.tls {
        Some(tls) => tls.pinned_sha256.is_some() || tls.trusted_ca.is_some() || tls.trusts_system,
        None => !is_always_encrypted(config),
    };
    let advice = "any server will do, since its certificate is not verified: add transport.tls.pinnedSha256 = \"…\" (--pin), which \
         mgroks prints at its start, or transport.tls.trustSystemRoots = true (--trust-system-roots) if the server has a publicly \
         trusted certificate";
    (!is_verified).then(|| advice.to_owned())
}

fn is_always_encrypted(config: &ClientConfig) -> bool {
    matches!(config.transport.protocol, Protocol::Quic | Protocol::Wss)
}
