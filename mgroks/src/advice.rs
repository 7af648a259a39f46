//! What an operator should know of a configuration that can be used all the same.

use mgrok_config::ServerConfig;

/// One sentence each, with the line to add.
pub(crate) fn advice(config: &ServerConfig) -> Vec<String> {
    let mut advice = Vec::new();
    let is_open = config.auth.token.is_empty()
        && config.oidc.is_none()
        && config.transport.tls.trusted_ca.is_none()
        && config.http_plugins.is_empty();
    if is_open {
        advice.push(
            "whoever reaches the control port may publish services here: add auth.token = \"a long random text\" to \
             this file and to those of the clients; `mgroks init` writes a file that has one"
                .to_owned(),
        );
    }
    advice
}
