//! Stands for the device of the virtual network where there can be none.

use std::convert::Infallible;
use std::io;

use mgrok_config::VirtualNet;

use super::error::DeviceError;

/// None.
#[derive(Debug)]
pub(super) struct Device(Infallible);

impl Device {
    pub(super) fn open(_net: VirtualNet) -> Result<Self, DeviceError> {
        Err(DeviceError::Unsupported)
    }

    pub(super) fn attempt() -> Result<(), DeviceError> {
        Err(DeviceError::Unsupported)
    }

    pub(super) fn name(&self) -> &str {
        match self.0 {}
    }

    #[expect(clippy::unused_async, reason = "it is elsewhere")]
    pub(super) async fn read<'a>(&self, _buffer: &'a mut [u8]) -> io::Result<&'a [u8]> {
        match self.0 {}
    }

    pub(super) fn write(&self, _packet: &[u8]) -> io::Result<()> {
        match self.0 {}
    }
}
