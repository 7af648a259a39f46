//! Local services to publish, and a server that never answers.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    task::{JoinHandle, JoinSet},
};

/// The largest datagram UDP can carry.
const MAX_DATAGRAM: usize = 65_535;

/// A service on loopback that ends when dropped, with all its connections.
pub struct Service {
    addr: SocketAddr,
    task: JoinHandle<()>,
}

impl Service {
    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A TCP service whose every connection is handled by `serve`.
///
/// # Panics
/// When no port can be bound.
pub async fn tcp<F>(serve: impl Fn(TcpStream) -> F + Send + 'static) -> Service
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                accepted = listener.accept() => {
                    // Out of files: the next one may succeed.
                    let Ok((stream, _)) = accepted else { continue };
                    connections.spawn(serve(stream));
                }
                Some(_) = connections.join_next() => {}
            }
        }
    });
    Service { addr, task }
}

/// Sends everything back, and ends its direction when the user has ended theirs.
pub async fn tcp_echo() -> Service {
    tcp(async |mut stream: TcpStream| {
        let _ = stream.set_nodelay(true);
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(read @ 1..) = stream.read(&mut buffer).await {
            if stream.write_all(&buffer[..read]).await.is_err() {
                return;
            }
        }
    })
    .await
}

/// Accepts, and does nothing else.
pub async fn silent() -> Service {
    tcp(async |_stream: TcpStream| std::future::pending().await).await
}

/// Greets, then closes: the service speaks first.
pub async fn greeting(text: &'static [u8]) -> Service {
    tcp(async move |mut stream: TcpStream| {
        let _ = stream.write_all(text).await;
    })
    .await
}

/// Sends every datagram back to where it came from.
///
/// # Panics
/// When no port can be bound.
pub async fn udp_echo() -> Service {
    let socket = UdpSocket::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = socket.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let mut buffer = vec![0; MAX_DATAGRAM];
        loop {
            // An error is about an earlier answer that nobody wanted.
            if let Ok((len, from)) = socket.recv_from(&mut buffer).await {
                let _ = socket.send_to(&buffer[..len], from).await;
            }
        }
    });
    Service { addr, task }
}
