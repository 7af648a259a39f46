//! The virtual network: packets of IP between this machine and those of other clients.
//!
//! The system sends packets into a device, and from there each goes to the connection that leads to its destination. A connection is a
//! [`Port`] for whoever carries it: what is received from it is what the system has sent, and what is sent to it the system receives. So a
//! visitor's port is one more user of the visitor, and a proxy's port takes the place of a local service.

mod error;
mod framing;
mod packet;

mod queue;

mod routes;

#[cfg(target_os = "linux")]
mod netlink;
#[cfg(target_os = "linux")]
mod tun;

#[cfg_attr(not(target_os = "linux"), path = "virtual_net/no_device.rs")]
mod device;

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mgrok_config::VirtualNet;
use mgrok_metrics::CounterBy;
use mgrok_net::conn::{ByteStream, Conn};
use tokio::sync::oneshot;
use tracing::{error, warn};

use self::device::Device;
pub use self::error::DeviceError;
use self::framing::Deframer;
use self::packet::Addresses;
use self::queue::{Pushed, Queue};
use self::routes::{ConnectionId, Routes};
use crate::metrics::PacketDrop;

/// Room for any packet, should somebody change the MTU of the device.
const MAX_PACKET: usize = 65_536;

/// How often it is noted that an address is still in use.
const NOTE_INTERVAL: Duration = Duration::from_secs(1);

/// The virtual network as this client sees it. Cheap to clone.
#[derive(Clone)]
pub(crate) struct VirtualNetwork(Arc<Shared>);

struct Shared {
    net: VirtualNet,
    /// There once the client runs.
    device: OnceLock<Device>,
    routes: Mutex<Routes>,
    drops: Arc<CounterBy<PacketDrop>>,
}

/// What the owner of a visitor's port keeps. Dropping it ends the port.
#[derive(Debug)]
pub(crate) struct PortOwner {
    queue: Arc<Queue>,
    ended: oneshot::Receiver<bool>,
}

impl VirtualNetwork {
    /// A network without a device, in which packets are lost until [`open`](Self::open). What is dropped is counted in `drops`.
    pub(crate) fn new(net: VirtualNet, drops: Arc<CounterBy<PacketDrop>>) -> Self {
        Self(Arc::new(Shared {
            net,
            device: OnceLock::new(),
            routes: Mutex::default(),
            drops,
        }))
    }

    /// Makes the device, unless it is there. Must be called within a runtime.
    pub(crate) fn open(&self) -> Result<(), DeviceError> {
        if self.0.device.get().is_none() {
            // Nobody else makes it at the same time.
            let _ = self.0.device.set(Device::open(self.0.net)?);
        }
        Ok(())
    }

    /// Sends what comes out of the device where it belongs, for ever. Does nothing without a device.
    pub(crate) async fn run(&self) {
        if let Some(device) = self.0.device.get() {
            let mut buffer = vec![0; MAX_PACKET];
            let failure = loop {
                match device.read(&mut buffer).await {
                    Ok(packet) => self.0.forward(packet).await,
                    Err(failure) => break failure,
                }
            };
            error!(
                "virtual network: the device {} is lost: {failure}; restart the client to have it back",
                device.name()
            );
        }
        std::future::pending().await
    }

    /// Ends all ports, and has no others.
    pub(crate) fn close(&self) {
        self.0.routes().close();
    }

    /// The port of a visitor's connection on the proxy's side; `None` if there are too many.
    pub(crate) fn host(&self) -> Option<Conn> {
        let port = Port::new(self.0.clone(), None, None)?;
        Some(Conn::layered(Box::new(port)))
    }

    /// The port of a visitor, which leads to `destination`; `None` if there are too many.
    pub(crate) fn visit(&self, destination: IpAddr) -> Option<(Conn, PortOwner)> {
        let (tell, ended) = oneshot::channel();
        let port = Port::new(self.0.clone(), Some(destination), Some(tell))?;
        let queue = port.queue.clone();
        let conn = Conn::layered(Box::new(port));
        Some((conn, PortOwner { queue, ended }))
    }

    /// Where users of visitors come from.
    pub(crate) fn addr(&self) -> SocketAddr {
        SocketAddr::new(self.0.net.addr(), 0)
    }
}

/// Looks whether a device could be made.
pub(crate) fn try_device() -> Result<(), DeviceError> {
    Device::attempt()
}

impl PortOwner {
    /// Waits for the end of the port, and says whether it has carried anything. Cancel-safe.
    pub(crate) async fn ended(&mut self) -> bool {
        (&mut self.ended).await.unwrap_or(false)
    }
}

impl Drop for PortOwner {
    fn drop(&mut self) {
        self.queue.close();
    }
}

impl Shared {
    /// Puts a packet from the system into the queue of the connection that leads to its destination.
    async fn forward(&self, packet: &[u8]) {
        let Some(Addresses { destination, .. }) = Addresses::of(packet) else {
            return self.drops.of(PacketDrop::Malformed).inc();
        };
        let queue = self.routes().find(destination).cloned();
        let Some(queue) = queue else {
            return self.drops.of(PacketDrop::NoRoute).inc();
        };
        let mut pushed = queue.push(packet);
        if pushed == Pushed::Full {
            queue.room().await;
            pushed = queue.push(packet);
        }
        if pushed != Pushed::Queued {
            self.drops.of(PacketDrop::Full).inc();
        }
    }

    /// Hands a packet of another client to the system.
    fn deliver(&self, packet: &[u8]) {
        let written = self.device.get().map(|device| device.write(packet));
        if !matches!(written, Some(Ok(()))) {
            self.drops.of(PacketDrop::Device).inc();
        }
    }

    fn routes(&self) -> MutexGuard<'_, Routes> {
        self.routes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for VirtualNetwork {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("VirtualNetwork").field(&self.0.net).finish()
    }
}

/// One connection of the virtual network, as a stream of framed packets.
struct Port {
    shared: Arc<Shared>,
    id: ConnectionId,
    /// What the system has sent.
    queue: Arc<Queue>,
    /// What has come from the other client.
    deframer: Deframer,
    /// Addresses are learned from its packets: those of a visitor.
    learns: bool,
    /// The address that was learned last, and when.
    noted: Option<(IpAddr, Instant)>,
    /// Whether somebody carries it.
    is_carried: bool,
    /// Told at the end whether somebody has.
    tell: Option<oneshot::Sender<bool>>,
}

impl Port {
    fn new(
        shared: Arc<Shared>,
        destination: Option<IpAddr>,
        tell: Option<oneshot::Sender<bool>>,
    ) -> Option<Self> {
        let queue = Arc::new(Queue::default());
        let id = shared.routes().join(&queue, destination)?;
        Some(Self {
            shared,
            id,
            queue,
            deframer: Deframer::default(),
            learns: destination.is_none(),
            noted: None,
            is_carried: false,
            tell,
        })
    }
}

impl ByteStream for Port {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        self.is_carried = true;
        self.queue.poll_take(cx).map(Ok)
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        self.is_carried = true;
        let Self {
            shared,
            id,
            deframer,
            learns,
            noted,
            ..
        } = self;
        let now = Instant::now();
        let fed = deframer.feed(chunk, |packet| {
            let addresses = packet.and_then(Addresses::of);
            let (Some(packet), Some(Addresses { source, .. })) = (packet, addresses) else {
                return shared.drops.of(PacketDrop::Malformed).inc();
            };
            let is_noted = |(addr, then): (IpAddr, Instant)| {
                addr == source && now.saturating_duration_since(then) < NOTE_INTERVAL
            };
            if *learns && !noted.is_some_and(is_noted) {
                // Without room for it, answers find no way, and are counted then.
                shared.routes().learn(source, *id, now);
                *noted = Some((source, now));
            }
            shared.deliver(packet);
        });
        Poll::Ready(fed.map_err(|error| {
            warn!(
                per_session = true,
                "virtual network: the other client is cut off: {error}"
            );
            io::Error::new(io::ErrorKind::InvalidData, error)
        }))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // A network that hears nothing has no use for what it says.
        self.queue.close();
        Poll::Ready(Ok(()))
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        self.shared.routes().leave(self.id);
        self.queue.close();
        if let Some(tell) = self.tell.take() {
            // Its owner may have gone first.
            let _ = tell.send(self.is_carried);
        }
    }
}

#[cfg(test)]
mod tests;
