//! Why there is no device of the virtual network.

use std::io;
use std::net::IpAddr;

/// Why there is no device of the virtual network, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum DeviceError {
    /// The system has no such devices.
    #[error(
        "there is no /dev/net/tun: load the module (`modprobe tun`), or give the container the device"
    )]
    Missing,
    /// This process may not make one.
    #[error(
        "this process may not make a network device: run mgrokc as root, or give it CAP_NET_ADMIN"
    )]
    NotAllowed,
    /// The address is another device's, as that of another client on this machine.
    #[error(
        "{addr} is the address of the device {device} already: stop the other client, or choose another `virtualNet.address`"
    )]
    Taken {
        /// The client's own address.
        addr: IpAddr,
        /// The device that has it.
        device: String,
    },
    /// The device cannot be made.
    #[error("cannot make a device")]
    Open(#[source] io::Error),
    /// The device cannot be given its address, or be switched on.
    #[error("cannot set up the device {device}")]
    SetUp {
        /// What it is called.
        device: String,
        /// What the system says.
        source: io::Error,
    },
    /// This is another system than Linux.
    // frp: these words
    #[error(
        "virtual net is not supported on this platform ({}/{})",
        std::env::consts::OS,
        std::env::consts::ARCH
    )]
    Unsupported,
}
