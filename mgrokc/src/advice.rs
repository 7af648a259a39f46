//! What an operator should know of a configuration that can be used all the same.

use mgrok_config::{ClientConfig, Protocol};

/// One sentence each, with the line to add.
pub(crate) fn advice(config: &ClientConfig) -> Vec<String> {
    let mut advice = Vec::new();
    if config.auth.token.is_empty()
        && config
            .transport
            .tls
            .as_ref()
            .is_none_or(|it| it.certificate.is_none())
    {
        advice.push(
            "this client proves nothing to its server, which lets in whoever comes: add auth.token = \"a long random text\" here \
             and there"
                .to_owned(),
        );
    }
    let is_always_encrypted = matches!(config.transport.protocol, Protocol::Quic | Protocol::Wss);
    match &config.transport.tls {
        None if !is_always_encrypted => advice.push(
            "everything goes to the server in clear text: remove transport.tls.enable = false".to_owned(),
        ),
        Some(tls) if tls.pinned_sha256.is_some() || tls.trusted_ca.is_some() || tls.trusts_system => {}
        _ => advice.push(
            "any server will do, since its certificate is not verified: add transport.tls.pinnedSha256 = \"…\", which mgroks \
             prints at its start, or transport.tls.trustSystemRoots = true if the server has a publicly trusted certificate"
                .to_owned(),
        ),
    }
    advice
}
