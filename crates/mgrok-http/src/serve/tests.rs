//! Connections in memory, so that time can be left to the runtime.

use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use mgrok_net::conn::ByteStream;
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf};
use tokio::task::JoinHandle;
use tokio::time::sleep;

use super::*;

/// Longer than a connection takes to come to rest.
const A_WHILE: Duration = Duration::from_secs(10);

const GET: &[u8] = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n";

/// One end of a pipe in memory.
struct Memory(DuplexStream);

impl ByteStream for Memory {
    fn poll_recv(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut bytes = [0; 1024];
        let mut buf = ReadBuf::new(&mut bytes);
        ready!(tokio::io::AsyncRead::poll_read(
            Pin::new(&mut self.0),
            cx,
            &mut buf
        ))?;
        Poll::Ready(Ok(Bytes::copy_from_slice(buf.filled())))
    }

    fn poll_send(&mut self, cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        while !chunk.is_empty() {
            let written = ready!(Pin::new(&mut self.0).poll_write(cx, chunk))?;
            chunk.advance(written);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_close(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

/// Answers with a body of so many bytes.
struct Sized(usize);

impl Handler for Sized {
    async fn handle(&self, _request: Request<Body>, _user: &User) -> Response<Body> {
        Response::new(Body::full(vec![b'x'; self.0]))
    }
}

/// A user, and the task that serves it.
struct Served {
    user: DuplexStream,
    body: usize,
    served: JoinHandle<()>,
}

/// The two ends of a connection that holds `room` bytes each way.
fn connection(room: usize) -> (DuplexStream, Conn) {
    let (user, near) = tokio::io::duplex(room);
    (user, Conn::layered(Box::new(Memory(near))))
}

fn somebody() -> User {
    User::new(([127, 0, 0, 1], 1).into())
}

/// Serves such a connection with bodies of `body` bytes.
fn served(body: usize, room: usize) -> Served {
    let (user, conn) = connection(room);
    let served = tokio::spawn(async move {
        let stop = CancellationToken::new();
        serve(conn, somebody(), Arc::new(Sized(body)), &stop).await;
    });
    Served { user, body, served }
}

impl Served {
    /// Reads an answer.
    async fn read_answer(&mut self) {
        let mut answer = Vec::new();
        let is_whole = |answer: &[u8]| {
            let head = answer.windows(4).position(|it| it == b"\r\n\r\n");
            head.is_some_and(|head| answer.len() == head + 4 + self.body)
        };
        while !is_whole(&answer) {
            let read = self.user.read_buf(&mut answer).await.unwrap();
            assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        }
        assert!(answer.starts_with(b"HTTP/1.1 200 "));
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_without_requests_comes_to_rest() {
    let (mut user, conn) = connection(4096);
    let serving = Arc::new(Serving {
        handler: Arc::new(Sized(10)),
        user: somebody(),
        activity: Arc::default(),
        switch: Mutex::default(),
    });
    user.write_all(GET).await.unwrap();
    user.write_all(b"GET /next").await.unwrap();
    let stop = CancellationToken::new();
    let rests = timeout(A_WHILE, serve_http1(conn, serving, &stop)).await;
    let mut conn = rests.unwrap().unwrap();
    assert_eq!(conn.recv().await.unwrap(), "GET /next");
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_goes_on_where_it_was() {
    let mut it = served(10, 4096);
    for _ in 0..3 {
        it.user.write_all(GET).await.unwrap();
        it.read_answer().await;
        sleep(A_WHILE).await;
    }
    // Half a head comes before the rest, half of it after.
    it.user.write_all(GET).await.unwrap();
    it.user.write_all(&GET[..10]).await.unwrap();
    it.read_answer().await;
    sleep(A_WHILE).await;
    it.user.write_all(&GET[10..]).await.unwrap();
    it.read_answer().await;
    drop(it.user);
    it.served.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_connection_rests_only_when_the_user_has_its_answer() {
    let mut it = served(100_000, 100);
    it.user.write_all(GET).await.unwrap();
    sleep(A_WHILE).await;
    it.read_answer().await;
    it.user.write_all(GET).await.unwrap();
    it.read_answer().await;
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_read_is_not_taken_for_a_request() {
    let mut it = served(10, 4096);
    let post = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
    it.user.write_all(post).await.unwrap();
    it.read_answer().await;
    sleep(A_WHILE).await;
    let _may_fail = it.user.write_all(GET).await;
    let mut rest = Vec::new();
    let _may_fail = it.user.read_to_end(&mut rest).await;
    assert_eq!(String::from_utf8_lossy(&rest), "");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_arrives_bit_by_bit_has_its_time_once() {
    let mut it = served(10, 4096);
    it.user.write_all(GET).await.unwrap();
    it.read_answer().await;
    let start = Instant::now();
    let header = b"GET / HTTP/1.1\r\nHost: a\r\nA: ";
    it.user.write_all(header).await.unwrap();
    while it.user.write_all(b"a").await.is_ok() {
        sleep(Duration::from_secs(3)).await;
        assert!(start.elapsed() < 3 * HEAD_TIME);
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_rests_ends_after_a_minute() {
    let mut it = served(10, 4096);
    it.user.write_all(GET).await.unwrap();
    it.read_answer().await;
    let start = Instant::now();
    it.served.await.unwrap();
    assert!(start.elapsed() < HEAD_TIME + 3 * REST_TIME);
    assert!(start.elapsed() >= HEAD_TIME);
}
