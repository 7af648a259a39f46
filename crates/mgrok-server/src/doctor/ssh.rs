//! The files of the SSH gateway: its host key, and the keys of those who may come.

use std::fs;

use mgrok_config::{ServerConfig, SshGateway};
use mgrok_doctor::{Fault, Sound, Verdict};
use mgrok_net::error_chain::Chain;

use crate::ssh_policy;

/// Looks at what `gateway` names. Nothing is written.
pub(super) fn examine(gateway: &SshGateway, config: &ServerConfig) -> Verdict<()> {
    let shown = match ssh_policy::look(&gateway.host_key) {
        Ok(Some(fingerprint)) => format!("host key {fingerprint}"),
        Ok(None) => "a host key is made at the next start".to_owned(),
        Err(error) => {
            return Err(Fault::new(
                Chain(&error),
                "mend sshTunnelGateway.privateKeyFile or autoGenPrivateKeyPath",
            ));
        }
    };
    let Some(path) = &gateway.authorized_keys else {
        return Ok(match config.auth.token.is_empty() {
            false => Sound::good((), format_args!("{shown}; clients must know the token")),
            true => Sound::doubtful(
                (),
                format_args!("{shown}; whoever reaches the port may publish services here"),
                "set sshTunnelGateway.authorizedKeysFile, or auth.token",
            ),
        });
    };
    match fs::read_to_string(path) {
        Ok(text) => {
            let is_key = |line: &&str| !line.trim().is_empty() && !line.trim().starts_with('#');
            let keys = text.lines().filter(is_key).count();
            let (path, finding) = (
                path.display(),
                format_args!("{shown}; {keys} keys are let in"),
            );
            Ok(match keys {
                0 => Sound::doubtful(
                    (),
                    format_args!("{shown}; nobody is let in"),
                    format_args!("add public keys to {path}, one a line"),
                ),
                _ => Sound::good((), finding),
            })
        }
        Err(error) => Err(Fault::new(
            format_args!("cannot read {}: {error}", path.display()),
            "mend sshTunnelGateway.authorizedKeysFile: without it nobody is let in",
        )),
    }
}

#[cfg(test)]
mod tests {
    use mgrok_config::HostKeyFile;
    use mgrok_proto::auth::Secret;

    use super::*;

    #[test]
    fn keys_are_looked_at_and_nothing_is_made() {
        let directory = tempfile::tempdir().unwrap();
        let (key, authorized) = (directory.path().join("key"), directory.path().join("may"));
        let mut gateway = SshGateway {
            bind_port: 2200,
            host_key: HostKeyFile::Kept(key.clone()),
            authorized_keys: None,
        };
        let mut config = ServerConfig::default();
        assert!(examine(&gateway, &config).unwrap().remedy.is_some());
        config.auth.token = Secret::new("x");
        let sound = examine(&gateway, &config).unwrap();
        assert!(
            sound.finding.contains("made at the next start"),
            "{}",
            sound.finding
        );
        assert!(sound.remedy.is_none() && !key.exists());
        gateway.authorized_keys = Some(authorized.clone());
        assert!(examine(&gateway, &config).is_err());
        fs::write(&authorized, "# nobody\n\n").unwrap();
        assert!(examine(&gateway, &config).unwrap().remedy.is_some());
        fs::write(&authorized, "ssh-ed25519 A ann\nssh-ed25519 B bob\n").unwrap();
        let sound = examine(&gateway, &config).unwrap();
        assert!(
            sound.finding.ends_with("2 keys are let in"),
            "{}",
            sound.finding
        );
        fs::write(&key, "nonsense").unwrap();
        assert!(examine(&gateway, &config).is_err());
    }
}
