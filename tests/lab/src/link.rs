//! A network between client and server that a test can break.

use std::{net::SocketAddr, sync::Arc};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
};

/// Forwards TCP connections to one address until told to stop.
///
/// A broken link stays silent: no byte, no FIN and no reset goes through, as when a machine
/// vanishes or a NAT forgets a connection.
pub struct Link {
    addr: SocketAddr,
    state: Arc<watch::Sender<State>>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Clone, Copy, Default)]
struct State {
    /// How often the link was broken. A connection made before the last time is dead for good.
    breaks: u64,
    /// Whether new connections get through.
    up: bool,
}

impl Link {
    /// A link to `target` that works.
    ///
    /// # Panics
    /// When no port can be bound.
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let addr = listener.local_addr().unwrap();
        let state = Arc::new(watch::Sender::new(State {
            breaks: 0,
            up: true,
        }));
        let task = tokio::spawn(forward(listener, target, state.clone()));
        Self { addr, state, task }
    }

    /// Where to connect instead of to the target.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on nothing gets through, neither on the connections there are nor on new ones.
    pub fn break_silently(&self) {
        self.state.send_modify(|state| {
            state.breaks += 1;
            state.up = false;
        });
    }

    /// New connections get through again; those of before stay silent.
    pub fn mend(&self) {
        self.state.send_modify(|state| state.up = true);
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn forward(listener: TcpListener, target: SocketAddr, state: Arc<watch::Sender<State>>) {
    let mut connections = JoinSet::new();
    while let Ok((near, _)) = listener.accept().await {
        connections.spawn(connection(near, target, state.subscribe()));
    }
}

async fn connection(near: TcpStream, target: SocketAddr, mut state: watch::Receiver<State>) {
    let born = *state.borrow();
    let alive = async {
        if !born.up {
            std::future::pending::<()>().await;
        }
        let Ok(far) = TcpStream::connect(target).await else {
            return;
        };
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::join!(copy(near_in, far_out), copy(far_in, near_out));
    };
    let mut alive = std::pin::pin!(alive);
    let broken = tokio::select! {
        () = &mut alive => false,
        _ = state.wait_for(|now| now.breaks != born.breaks) => true,
    };
    if broken {
        // The sockets stay open in `alive`, which nobody polls any more.
        std::future::pending::<()>().await;
    }
}

async fn copy(mut from: tokio::net::tcp::OwnedReadHalf, mut to: tokio::net::tcp::OwnedWriteHalf) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                if to.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}
