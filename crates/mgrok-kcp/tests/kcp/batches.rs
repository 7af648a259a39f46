//! How often a socket is called upon.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use mgrok_kcp::{Batch, Config, Listener, Path, Socket, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

use crate::link::noise;

/// Counts the calls that moved something.
#[derive(Debug, Default)]
struct Calls {
    sends: AtomicUsize,
    receives: AtomicUsize,
}

#[derive(Debug)]
struct Counted {
    socket: UdpSocket,
    calls: Arc<Calls>,
}

impl Socket for Counted {
    fn io(&self) -> &UdpSocket {
        &self.socket
    }

    fn try_recv(&self, each: &mut dyn FnMut(&[u8], Path)) -> io::Result<()> {
        Socket::try_recv(&self.socket, each)?;
        self.calls.receives.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn try_send(&self, batch: &Batch, path: Option<Path>) -> io::Result<usize> {
        let count = Socket::try_send(&self.socket, batch, path)?;
        self.calls.sends.fetch_add(1, Ordering::Relaxed);
        Ok(count)
    }
}

#[tokio::test]
async fn bulk_costs_few_calls_of_the_socket() {
    const MIB: usize = 8;
    /// Per MiB there are 791 segments and three tenths as many packets of parity, 1028 datagrams in all. A call moves 32 of them
    /// or more, unless a window ends before; half as many are asked for.
    const MOST: usize = 1028 / 16 * MIB;
    /// What one call received is acknowledged by one datagram, three tenths of which have parity.
    const MOST_BACK: usize = MOST * 13 / 10;

    let calls = [(); 2].map(|()| Arc::new(Calls::default()));
    let [near, far] = calls.each_ref().map(|calls| async {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let sockets = socket2::SockRef::from(&socket);
        // So that nothing is lost, which would cost more calls.
        sockets.set_recv_buffer_size(4 << 20).unwrap();
        let calls = Arc::clone(calls);
        Counted { socket, calls }
    });
    let (near, far) = (near.await, far.await);
    let (mut listener, driver) = Listener::new(far, Config::frp_server()).unwrap();
    tokio::spawn(driver);
    near.socket.connect(listener.local_addr()).await.unwrap();
    let (mut near, driver) = connect(near, None, Config::frp_client()).unwrap();
    tokio::spawn(driver);

    let data = noise(MIB << 20, 1);
    let mut received = vec![0; data.len()];
    let sending = async {
        near.write_all(&data).await.unwrap();
        near
    };
    let receiving = async {
        let mut far = listener.accept().await.unwrap();
        far.read_exact(&mut received).await.unwrap();
        far
    };
    let _ends = tokio::join!(sending, receiving);
    assert!(received == data);
    let counts = calls
        .map(|calls| [&calls.sends, &calls.receives].map(|count| count.load(Ordering::Relaxed)));
    let [[sends, acks_received], [acks_sent, receives]] = counts;
    assert!(sends <= MOST && receives <= MOST, "{counts:?}");
    let back = acks_sent.max(acks_received);
    assert!(back <= MOST_BACK, "{counts:?}");
}
