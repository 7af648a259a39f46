use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::*;

/// A backend that answers everything, and counts the connections it has.
struct Backend {
    listener: TcpListener,
    connections: JoinSet<()>,
}

impl Backend {
    async fn start() -> Self {
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            connections: JoinSet::new(),
        }
    }

    /// A new connection to it that has answered one request.
    async fn used(&mut self, pool: &Arc<Pool>) -> Lease {
        let addr = self.listener.local_addr().unwrap();
        let (near, far) = tokio::join!(TcpStream::connect(addr), self.listener.accept());
        self.connections.spawn(answer(far.unwrap().0));
        let mut lease = pool.add(Conn::from(near.unwrap())).await.unwrap();
        send(&mut lease).await;
        lease
    }

    /// Waits until so many connections are left.
    async fn wait_for(&mut self, left: usize) {
        while self.connections.len() > left {
            self.connections.join_next().await;
        }
    }
}

async fn answer(mut socket: TcpStream) {
    let mut buf = [0; 1024];
    while matches!(socket.read(&mut buf).await, Ok(1..)) {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        socket.write_all(answer).await.unwrap();
    }
}

async fn send(lease: &mut Lease) {
    let request = Request::get("/").header("host", "a");
    let response = lease.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(response.unwrap().status(), 200);
}

impl Pool {
    fn len(&self) -> usize {
        self.idle().len()
    }
}

/// Releases leases and waits until all are idle.
async fn release(pool: &Pool, leases: Vec<Lease>) {
    let wanted = pool.len() + leases.len();
    leases.into_iter().for_each(Lease::release);
    while pool.len() < wanted.min(MAX_IDLE_IN_RUSH) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_rush_a_few_are_kept_for_a_minute() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let mut leases = Vec::new();
    for _ in 0..MAX_IDLE + 7 {
        leases.push(backend.used(&pool).await);
    }
    let start = Instant::now();
    release(&pool, leases).await;
    assert_eq!(pool.len(), MAX_IDLE + 7);
    backend.wait_for(MAX_IDLE).await;
    assert!(start.elapsed() < 3 * RUSH_TIME, "{:?}", start.elapsed());
    assert_eq!(pool.len(), MAX_IDLE);
    backend.wait_for(0).await;
    assert!(start.elapsed() >= IDLE_TIME && start.elapsed() < IDLE_TIME + 3 * RUSH_TIME);
    assert_eq!(pool.len(), 0);
}

#[tokio::test]
async fn no_more_than_the_most_are_kept() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let mut leases = Vec::new();
    for _ in 0..MAX_IDLE_IN_RUSH + 2 {
        leases.push(backend.used(&pool).await);
    }
    release(&pool, leases).await;
    backend.wait_for(MAX_IDLE_IN_RUSH).await;
    assert_eq!(pool.len(), MAX_IDLE_IN_RUSH);
}

#[tokio::test]
async fn the_one_used_last_is_taken_first() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let first = backend.used(&pool).await;
    let second = backend.used(&pool).await;
    let last = second.backend.id;
    release(&pool, vec![first]).await;
    release(&pool, vec![second]).await;
    let mut lease = pool.take().await.unwrap();
    assert!(lease.is_reused);
    assert_eq!(lease.backend.id, last);
    send(&mut lease).await;
}

#[tokio::test]
async fn one_that_the_backend_closes_is_forgotten() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let lease = backend.used(&pool).await;
    release(&pool, vec![lease]).await;
    backend.connections.abort_all();
    while pool.len() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(pool.take().await.is_none());
}

#[tokio::test]
async fn one_that_is_dropped_in_use_is_cut() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let lease = backend.used(&pool).await;
    drop(lease);
    backend.wait_for(0).await;
}

#[tokio::test]
async fn idle_ones_end_with_the_pool() {
    let (pool, mut backend) = (Arc::<Pool>::default(), Backend::start().await);
    let lease = backend.used(&pool).await;
    release(&pool, vec![lease]).await;
    drop(pool);
    backend.wait_for(0).await;
}
