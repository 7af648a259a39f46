//! The device of the virtual network: what the system sends into it is read here, and what comes from other clients is written.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::IpAddr;

use mgrok_config::VirtualNet;
use rustix::io::Errno;
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tracing::{info, warn};

use super::error::DeviceError;
use super::netlink;
use super::tun;

/// The longest packet that the system sends in one piece.
// frp: the same (pkg/vnet/tun_linux.go), and longer ones do not fit its buffers
const MTU: u32 = 1420;
/// What a device is called; the system chooses the number.
// frp: the same
const NAME: &str = "utun%d";

/// A device that is up. It is gone when this is dropped.
#[derive(Debug)]
pub(super) struct Device {
    name: String,
    file: AsyncFd<File>,
}

impl Device {
    /// Makes the device of `net`. Must be called within a runtime.
    pub(super) fn open(net: VirtualNet) -> Result<Self, DeviceError> {
        refuse_taken(net)?;
        let (file, name) = tun::open(NAME).map_err(open_error)?;
        let set_up = || {
            let device = netlink::Device::find(&name)?;
            // Ahead of the address, whose route the system adds if the device is up.
            device.set_up(MTU)?;
            device.add_address(net.addr(), net.prefix_len())
        };
        if let Err(source) = set_up() {
            let device = name;
            return Err(DeviceError::SetUp { device, source });
        }
        info!("virtual network: the device {name} has the address {net}");
        let file = tun::register(file).map_err(DeviceError::Open)?;
        Ok(Self { name, file })
    }

    /// Makes a device without an address, which is gone at once.
    pub(super) fn attempt() -> Result<(), DeviceError> {
        tun::open(NAME).map(drop).map_err(open_error)
    }

    /// What it is called.
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The next packet that the system sends, in `buffer`; or why there is none any more. Cancel-safe.
    pub(super) async fn read<'a>(&self, buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        let read = |mut file: &File| file.read(buffer);
        let length = self.file.async_io(Interest::READABLE, read).await?;
        Ok(buffer.get(..length).unwrap_or_default())
    }

    /// Hands a packet to the system, which may be too busy for it.
    pub(super) fn write(&self, packet: &[u8]) -> io::Result<()> {
        self.file.get_ref().write(packet).map(drop)
    }
}

fn open_error(error: io::Error) -> DeviceError {
    match Errno::from_io_error(&error) {
        Some(Errno::NOENT | Errno::NODEV | Errno::NXIO) => DeviceError::Missing,
        Some(Errno::PERM | Errno::ACCESS) => DeviceError::NotAllowed,
        _ => DeviceError::Open(error),
    }
}

/// Looks whether another device has the address, which the system would not mind, or a network that it is in.
fn refuse_taken(net: VirtualNet) -> Result<(), DeviceError> {
    let others = match if_addrs::get_if_addrs() {
        Ok(others) => others,
        Err(error) => {
            warn!("virtual network: cannot see which addresses are taken: {error}");
            return Ok(());
        }
    };
    let addr = net.addr();
    for other in &others {
        if other.ip() == addr {
            let device = other.name.clone();
            return Err(DeviceError::Taken { addr, device });
        }
    }
    if let Some(other) = others.iter().find(|other| overlaps(&other.addr, addr)) {
        warn!(
            "virtual network: {addr} is within the network of the device {}, which packets for it may take instead",
            other.name
        );
    }
    Ok(())
}

fn overlaps(other: &if_addrs::IfAddr, addr: IpAddr) -> bool {
    match (other, addr) {
        (if_addrs::IfAddr::V4(other), IpAddr::V4(addr)) => {
            let mask = other.netmask.to_bits();
            other.ip.to_bits() & mask == addr.to_bits() & mask
        }
        (if_addrs::IfAddr::V6(other), IpAddr::V6(addr)) => {
            let mask = other.netmask.to_bits();
            other.ip.to_bits() & mask == addr.to_bits() & mask
        }
        _ => false,
    }
}
