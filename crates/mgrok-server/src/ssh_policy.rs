//! What an SSH gateway goes by, from one reload to the next: its key, and who may come.

mod host_key;

use std::borrow::Cow;
use std::fmt::{self, Debug, Formatter};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use mgrok_config::{HostKeyFile, SshGateway};
use russh::keys::PrivateKey;
use russh::server::Config;
use russh::{MethodKind, MethodSet, Preferred, SshId, compression, kex};
use tracing::{info, warn};

pub use self::host_key::HostKeyError;

/// How often a silent client is asked for a sign of life.
const KEEPALIVE: Duration = Duration::from_secs(15);

/// How many such questions may go without an answer.
const MAX_UNANSWERED: usize = 2;

/// How many keys a client may offer. Agents offer all that they have.
const MAX_ATTEMPTS: usize = 20;

/// How much of a channel may be under way, in bytes. As OpenSSH has it.
const WINDOW: u32 = 2 * 1024 * 1024;

/// The gateway's key, and who may come.
pub(crate) struct SshPolicy {
    pub(crate) config: Arc<Config>,
    /// The file of those who may come; `None` is everybody who knows the token.
    pub(crate) authorized_keys: Option<PathBuf>,
    fingerprint: String,
    is_rsa: bool,
}

/// The fingerprint of the host key in `file`; `None` if it has yet to be made.
///
/// Blocks for as long as it takes to read a small file.
pub(crate) fn look(file: &HostKeyFile) -> Result<Option<String>, HostKeyError> {
    let key = host_key::read(file)?;
    Ok(key.map(|key| host_key::fingerprint(&key)))
}

impl SshPolicy {
    /// Reads or makes the host key.
    ///
    /// Blocks for as long as it takes to read a small file.
    pub(crate) fn new(gateway: &SshGateway) -> Result<Self, HostKeyError> {
        let key = host_key::load(&gateway.host_key)?;
        let (fingerprint, is_rsa) = (host_key::fingerprint(&key), host_key::is_rsa(&key));
        let authorized_keys = gateway.authorized_keys.clone();
        let method = match authorized_keys {
            Some(_) => MethodKind::PublicKey,
            None => MethodKind::None,
        };
        Ok(Self {
            config: Arc::new(config(key, method)),
            authorized_keys,
            fingerprint,
            is_rsa,
        })
    }

    /// Tells the operator what those who connect for the first time are shown, and who may come.
    pub(crate) fn announce(&self, has_token: bool) {
        info!(
            "SSH clients know this server by its host key {}",
            self.fingerprint
        );
        if self.is_rsa {
            warn!(
                "the host key of the SSH gateway is an RSA key, as frp makes them: how long signing takes tells a little of it \
                 (RUSTSEC-2023-0071). To change to Ed25519, remove its file and restart; clients then have to accept a new key"
            );
        }
        if self.authorized_keys.is_none() && !has_token {
            warn!(
                "whoever reaches sshTunnelGateway.bindPort may publish services here: set sshTunnelGateway.authorizedKeysFile or \
                 auth.token"
            );
        }
    }

    /// Whether `other` shows the same key and lets the same in.
    pub(crate) fn is_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint && self.authorized_keys == other.authorized_keys
    }
}

impl Debug for SshPolicy {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.debug_struct("SshPolicy")
            .field("fingerprint", &self.fingerprint)
            .field("authorized_keys", &self.authorized_keys)
            .finish_non_exhaustive()
    }
}

fn config(key: PrivateKey, method: MethodKind) -> Config {
    /// Exchanges of keys that cost a stranger as much as us.
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    Config {
        server_id: SshId::Standard(Cow::Borrowed("SSH-2.0-mgrok")),
        methods: MethodSet::from(&[method][..]),
        // Keys are not guessed, so there is nobody to slow down.
        auth_rejection_time: Duration::ZERO,
        keys: vec![key],
        window_size: WINDOW,
        // A channel's data is taken as it comes, and kept in its inbox.
        channel_buffer_size: 1,
        preferred: Preferred {
            kex: Cow::Borrowed(KEX),
            // What is carried is mostly compressed or encrypted, and a little of it could become a lot here.
            compression: Cow::Borrowed(&[compression::NONE]),
            ..Preferred::default()
        },
        max_auth_attempts: MAX_ATTEMPTS,
        // Users may be silent; whether the client is there is asked.
        inactivity_timeout: None,
        keepalive_interval: Some(KEEPALIVE),
        keepalive_max: MAX_UNANSWERED,
        nodelay: false,
        ..Config::default()
    }
}
