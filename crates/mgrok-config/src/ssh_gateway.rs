//! The gateway for clients that are no more than `ssh -R`.

use std::path::PathBuf;

/// The server's `sshTunnelGateway` section, if the gateway is on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshGateway {
    /// The port for SSH, on the address of the control port.
    pub bind_port: u16,
    /// What the gateway proves its identity with.
    pub host_key: HostKeyFile,
    /// The file of the public keys that are let in, in OpenSSH's format, which is read anew at each login. `None` lets every key in, and
    /// asks for the token.
    pub authorized_keys: Option<PathBuf>,
}

/// Where the private key of an SSH server is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostKeyFile {
    /// In a file of the operator's.
    Given(PathBuf),
    /// In a file that the server writes at its first start.
    Kept(PathBuf),
}
