//! A long way with losses, for UDP: a relay that holds every datagram back for a while, and drops some.
//!
//! The kernel can do this too, where it has netem; this works everywhere.

use std::{
    collections::{HashMap, hash_map::Entry},
    net::SocketAddr,
    sync::Arc,
    time::Duration,
};

use tokio::{
    net::UdpSocket,
    sync::mpsc,
    task::JoinSet,
    time::{Instant, sleep_until},
};

/// Datagrams under way in one direction; a real way has room for so many as well.
const UNDER_WAY: usize = 10_000;

/// What the way does.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Way {
    /// One way.
    pub(crate) delay: Duration,
    /// The share of datagrams that get lost, each way.
    pub(crate) loss: f64,
}

/// Relays what comes to `at` to the server at `to`, and back, for ever.
pub(crate) async fn relay(at: SocketAddr, to: SocketAddr, way: Way) {
    let outside = Arc::new(UdpSocket::bind(at).await.unwrap());
    let mut directions = JoinSet::new();
    let mut clients: HashMap<SocketAddr, mpsc::Sender<Held>> = HashMap::new();
    let mut dice = fastrand::Rng::with_seed(1);
    let mut buffer = vec![0; 65_536];
    loop {
        let (len, from) = outside.recv_from(&mut buffer).await.unwrap();
        if let Entry::Vacant(vacant) = clients.entry(from) {
            let inside = Arc::new(UdpSocket::bind("0.0.0.0:0").await.unwrap());
            let (there, held) = mpsc::channel(UNDER_WAY);
            directions.spawn(release(held, inside.clone(), to));
            let (back, held) = mpsc::channel(UNDER_WAY);
            directions.spawn(release(held, outside.clone(), from));
            directions.spawn(answers(inside, back, way));
            vacant.insert(there);
        }
        hold(&clients[&from], &buffer[..len], way, &mut dice);
    }
}

/// A datagram, and when it arrives.
type Held = (Instant, Vec<u8>);

async fn answers(inside: Arc<UdpSocket>, back: mpsc::Sender<Held>, way: Way) {
    let mut dice = fastrand::Rng::with_seed(2);
    let mut buffer = vec![0; 65_536];
    loop {
        // An error is news of an earlier datagram.
        if let Ok((len, _)) = inside.recv_from(&mut buffer).await {
            hold(&back, &buffer[..len], way, &mut dice);
        }
    }
}

fn hold(queue: &mpsc::Sender<Held>, datagram: &[u8], way: Way, dice: &mut fastrand::Rng) {
    if dice.f64() >= way.loss {
        // A full way loses datagrams too.
        let _ = queue.try_send((Instant::now() + way.delay, datagram.to_vec()));
    }
}

async fn release(mut held: mpsc::Receiver<Held>, socket: Arc<UdpSocket>, to: SocketAddr) {
    while let Some((at, datagram)) = held.recv().await {
        sleep_until(at).await;
        // Nobody may listen any more.
        let _ = socket.send_to(&datagram, to).await;
    }
}
