//! A network between client and server that a test can break.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

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
    counters: Counters,
    task: tokio::task::JoinHandle<()>,
}

/// One for each connection.
type Counters = Arc<Mutex<Vec<Arc<AtomicU64>>>>;

#[derive(Clone, Copy, Default)]
struct State {
    /// How often the link was broken. A connection made before the last time is dead for good.
    breaks: u64,
    /// Whether new connections get through.
    up: bool,
    /// How often all connections but the first were reset.
    resets: u64,
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
            up: true,
            ..State::default()
        }));
        let counters = Counters::default();
        let task = tokio::spawn(forward(listener, target, state.clone(), counters.clone()));
        Self {
            addr,
            state,
            counters,
            task,
        }
    }

    /// Where to connect instead of to the target.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// How many bytes each connection has carried, both ways together, in the order in which they were made.
    pub fn carried(&self) -> Vec<u64> {
        let counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        counters
            .iter()
            .map(|it| it.load(Ordering::Relaxed))
            .collect()
    }

    /// From now on nothing gets through, neither on the connections there are nor on new ones.
    pub fn break_silently(&self) {
        self.state.send_modify(|state| {
            state.breaks += 1;
            state.up = false;
        });
    }

    /// Resets all connections but the first, which is that of the session, as a firewall between the ends may do.
    pub fn reset_all_but_the_first(&self) {
        self.state.send_modify(|state| state.resets += 1);
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

async fn forward(
    listener: TcpListener,
    target: SocketAddr,
    state: Arc<watch::Sender<State>>,
    counters: Counters,
) {
    let mut connections = JoinSet::new();
    let mut is_first = true;
    while let Ok((near, _)) = listener.accept().await {
        let counter = Arc::<AtomicU64>::default();
        counters
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(counter.clone());
        connections.spawn(connection(
            near,
            target,
            state.subscribe(),
            is_first,
            counter,
        ));
        is_first = false;
    }
}

async fn connection(
    near: TcpStream,
    target: SocketAddr,
    mut state: watch::Receiver<State>,
    is_first: bool,
    counter: Arc<AtomicU64>,
) {
    let born = *state.borrow();
    let alive = async {
        if !born.up {
            std::future::pending::<()>().await;
        }
        let Ok(far) = TcpStream::connect(target).await else {
            return;
        };
        if !is_first {
            // What ends it before it has ended by itself is a reset.
            let _ = near.set_zero_linger();
            let _ = far.set_zero_linger();
        }
        let (near_in, near_out) = near.into_split();
        let (far_in, far_out) = far.into_split();
        tokio::join!(
            copy(near_in, far_out, &counter),
            copy(far_in, near_out, &counter)
        );
    };
    let mut alive = std::pin::pin!(alive);
    let cut = |now: &State| now.breaks != born.breaks || (!is_first && now.resets != born.resets);
    let broken = tokio::select! {
        () = &mut alive => false,
        now = state.wait_for(cut) => now.is_ok_and(|now| now.breaks != born.breaks),
    };
    if broken {
        // The sockets stay open in `alive`, which nobody polls any more.
        std::future::pending::<()>().await;
    }
}

async fn copy(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    counter: &AtomicU64,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match from.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(read) => {
                counter.fetch_add(read as u64, Ordering::Relaxed);
                if to.write_all(&buffer[..read]).await.is_err() {
                    break;
                }
            }
        }
    }
    let _ = to.shutdown().await;
}
