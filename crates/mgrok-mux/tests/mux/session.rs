//! Sessions as tokio runs them.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use mgrok_mux::frame::{ACK, HEADER_LEN, Header, INITIAL_WINDOW, RST, SYN};
use mgrok_mux::machine::{MAX_FRAMES_AT_ONCE, MAX_UNACKNOWLEDGED};
use mgrok_mux::{Acceptor, Config, OpenError, Opener, SessionError, Stream, session};
use tokio::io::{
    AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream, ReadBuf, duplex,
};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Barrier;
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::Instant;

type Ended = JoinHandle<Result<(), SessionError>>;

struct Pair {
    opener: Opener,
    acceptor: Acceptor,
    client: Ended,
    server: Ended,
}

/// A client that opens and a server that accepts.
fn pair_over<A, B>(a: A, b: B) -> Pair
where
    A: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    B: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (opener, _, driver) = session(a, Config::client());
    let client = tokio::spawn(driver);
    let (_, acceptor, driver) = session(b, Config::server());
    let server = tokio::spawn(driver);
    Pair {
        opener,
        acceptor,
        client,
        server,
    }
}

fn pair() -> Pair {
    let (a, b) = duplex(64 * 1024);
    pair_over(a, b)
}

impl Pair {
    async fn stream(&mut self) -> (Stream, Stream) {
        let out = self.opener.open().await.unwrap();
        (out, self.acceptor.accept().await.unwrap())
    }
}

/// A client whose other end is the test, byte by byte.
fn client_alone() -> (Opener, Ended, DuplexStream) {
    let (a, b) = duplex(1024 * 1024);
    let (opener, _, driver) = session(a, Config::client());
    (opener, tokio::spawn(driver), b)
}

async fn read_header(wire: &mut DuplexStream) -> Header {
    let mut bytes = [0; HEADER_LEN];
    wire.read_exact(&mut bytes).await.unwrap();
    Header::decode(bytes).unwrap()
}

async fn echo(mut stream: Stream) -> io::Result<()> {
    loop {
        let mut chunk = poll_fn(|cx| stream.poll_recv(cx)).await?;
        if chunk.is_empty() {
            return poll_fn(|cx| stream.poll_close(cx)).await;
        }
        poll_fn(|cx| stream.poll_send(cx, &mut chunk)).await?;
    }
}

/// Sends `length` bytes through an echo on many streams at once.
async fn echo_on_many(mut pair: Pair, streams: usize, length: usize) {
    let mut tasks = JoinSet::new();
    for seed in 0..streams {
        let (mut out, into) = pair.stream().await;
        tasks.spawn(async { echo(into).await.unwrap() });
        tasks.spawn(async move {
            let sent: Vec<_> = (0..length)
                .map(|at| (at * 31 + at / 251 + seed) as u8)
                .collect();
            let mut received = Vec::with_capacity(length);
            let (mut done, mut closed) = (0, false);
            poll_fn(|cx| {
                while done < length {
                    match Pin::new(&mut out).poll_write(cx, &sent[done..]) {
                        Poll::Ready(count) => done += count.unwrap(),
                        Poll::Pending => break,
                    }
                }
                if done == length && !closed {
                    closed = true;
                    assert!(Pin::new(&mut out).poll_shutdown(cx).is_ready());
                }
                loop {
                    let mut space = [0; 10_000];
                    let mut buffer = ReadBuf::new(&mut space);
                    match Pin::new(&mut out).poll_read(cx, &mut buffer) {
                        Poll::Ready(result) => result.unwrap(),
                        Poll::Pending => return Poll::Pending,
                    }
                    if buffer.filled().is_empty() {
                        return Poll::Ready(());
                    }
                    received.extend_from_slice(buffer.filled());
                }
            })
            .await;
            assert!(received == sent, "the echo of stream {} differs", out.id());
        });
    }
    while let Some(result) = tasks.join_next().await {
        result.unwrap();
    }
    pair.opener.close();
    pair.client.await.unwrap().unwrap();
    pair.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn many_streams_echo_over_a_narrow_pipe() {
    let (a, b) = duplex(1000);
    echo_on_many(pair_over(a, b), 20, 300_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_streams_echo_over_tcp() {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let (a, b) = tokio::join!(TcpStream::connect(addr), listener.accept());
    echo_on_many(pair_over(a.unwrap(), b.unwrap().0), 50, 1_000_000).await;
}

/// A connection that takes no vectored writes and writes only when it is flushed.
struct Buffered {
    io: DuplexStream,
    buffer: Vec<u8>,
}

impl AsyncRead for Buffered {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Buffered {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.buffer.len() > 100_000 {
            std::task::ready!(self.as_mut().poll_flush(cx))?;
        }
        self.buffer.extend_from_slice(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        while !this.buffer.is_empty() {
            let count = std::task::ready!(Pin::new(&mut this.io).poll_write(cx, &this.buffer))?;
            this.buffer.drain(..count);
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        std::task::ready!(self.as_mut().poll_flush(cx))?;
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[tokio::test]
async fn a_connection_may_buffer_until_it_is_flushed() {
    let (a, b) = duplex(10_000);
    let buffered = |io| Buffered {
        io,
        buffer: Vec::new(),
    };
    echo_on_many(pair_over(buffered(a), buffered(b)), 5, 300_000).await;
}

#[tokio::test]
async fn a_stream_that_is_not_read_holds_up_nobody() {
    let mut pair = pair();
    let (mut stuck, _unread) = pair.stream().await;
    stuck
        .write_all(&vec![0; INITIAL_WINDOW as usize])
        .await
        .unwrap();
    let (mut out, into) = pair.stream().await;
    tokio::spawn(echo(into));
    out.write_all(b"served").await.unwrap();
    let mut buffer = [0; 6];
    out.read_exact(&mut buffer).await.unwrap();
    assert_eq!(&buffer, b"served");
}

#[tokio::test]
async fn closing_delivers_what_was_sent() {
    let mut pair = pair();
    let (mut out, mut into) = pair.stream().await;
    out.write_all(&[7; 200_000]).await.unwrap();
    drop(out);
    pair.opener.close();
    assert!(pair.opener.is_closed());
    assert!(matches!(
        pair.opener.open().await,
        Err(OpenError::SessionEnded(SessionError::Closed))
    ));
    let mut received = Vec::new();
    into.read_to_end(&mut received).await.unwrap();
    assert_eq!(received.len(), 200_000);
    pair.opener.closed().await;
    pair.client.await.unwrap().unwrap();
    pair.server.await.unwrap().unwrap();
    assert!(pair.acceptor.accept().await.is_none());
}

#[tokio::test]
async fn the_end_of_the_session_is_an_error_for_open_streams() {
    let mut pair = pair();
    let (mut out, mut into) = pair.stream().await;
    out.write_all(b"before").await.unwrap();
    pair.opener.close();
    let mut received = Vec::new();
    let error = into.read_to_end(&mut received).await.unwrap_err();
    assert_eq!(received, b"before");
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(
        out.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionAborted
    );
    assert_eq!(
        out.write_u8(0).await.unwrap_err().kind(),
        io::ErrorKind::ConnectionAborted
    );
}

#[tokio::test]
async fn dropping_the_driver_ends_the_session() {
    let mut pair = pair();
    let (mut out, mut into) = pair.stream().await;
    pair.client.abort();
    assert!(pair.client.await.unwrap_err().is_cancelled());
    pair.opener.closed().await;
    assert_eq!(
        out.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionAborted
    );
    assert_eq!(
        into.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    pair.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_session_that_nobody_can_use_ends() {
    let mut pair = pair();
    let (out, into) = pair.stream().await;
    drop(pair.opener.clone());
    drop((pair.opener, pair.acceptor));
    tokio::task::yield_now().await;
    assert!(!pair.client.is_finished() && !pair.server.is_finished());
    drop(out);
    pair.client.await.unwrap().unwrap();
    drop(into);
    pair.server.await.unwrap().unwrap();
}

#[tokio::test]
async fn without_an_acceptor_streams_are_reset() {
    let (a, b) = duplex(1000);
    let (opener, _acceptor, driver) = session(a, Config::client());
    tokio::spawn(driver);
    let (_opener, acceptor, driver) = session(b, Config::server());
    tokio::spawn(driver);
    drop(acceptor);
    let mut out = opener.open().await.unwrap();
    assert_eq!(
        out.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    assert!(!opener.is_closed());
}

#[tokio::test(start_paused = true)]
async fn an_idle_session_lives_on() {
    let mut pair = pair();
    let (mut out, mut into) = pair.stream().await;
    tokio::time::sleep(Duration::from_secs(3600)).await;
    out.write_all(b"x").await.unwrap();
    assert_eq!(into.read_u8().await.unwrap(), b'x');
}

#[tokio::test(start_paused = true)]
async fn silence_ends_the_session_after_interval_and_timeout() {
    let start = Instant::now();
    let (opener, driver, mut wire) = client_alone();
    let mut stream = opener.open().await.unwrap();
    let error = stream.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert_eq!(start.elapsed(), Duration::from_secs(40));
    assert!(matches!(
        driver.await.unwrap(),
        Err(SessionError::KeepaliveTimeout)
    ));
    assert_eq!(
        read_header(&mut wire).await,
        Header::window_update(SYN, 1, 0)
    );
    assert_eq!(read_header(&mut wire).await, Header::ping(SYN, 0));
    assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn opening_waits_for_acknowledgements_and_gives_up() {
    let (opener, _driver, mut wire) = client_alone();
    let mut streams = Vec::new();
    for _ in 0..MAX_UNACKNOWLEDGED {
        streams.push(opener.open().await.unwrap());
    }
    wire.write_all(&Header::ping(ACK, 0).encode())
        .await
        .unwrap();
    let waiting = tokio::spawn({
        let opener = opener.clone();
        async move { opener.open().await }
    });
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(!waiting.is_finished());
    wire.write_all(&Header::window_update(ACK, 1, 0).encode())
        .await
        .unwrap();
    streams.push(waiting.await.unwrap().unwrap());

    let start = Instant::now();
    let answering = tokio::spawn(async move {
        loop {
            let header = read_header(&mut wire).await;
            if header == Header::ping(SYN, header.length) {
                wire.write_all(&Header::ping(ACK, header.length).encode())
                    .await
                    .unwrap();
            }
        }
    });
    assert!(matches!(opener.open().await, Err(OpenError::TimedOut)));
    assert_eq!(start.elapsed(), Duration::from_secs(75));
    answering.abort();
}

#[tokio::test]
async fn whoever_waits_to_open_hears_that_the_other_end_goes_away() {
    let (opener, _driver, mut wire) = client_alone();
    let mut streams = Vec::new();
    for _ in 0..MAX_UNACKNOWLEDGED {
        streams.push(opener.open().await.unwrap());
    }
    let (result, ()) = tokio::join!(opener.open(), async {
        wire.write_all(&Header::go_away(0).encode()).await.unwrap();
    });
    assert!(matches!(result, Err(OpenError::GoingAway)));
}

#[tokio::test]
async fn breaking_the_protocol_is_answered_with_a_reason() {
    let (_opener, driver, mut wire) = client_alone();
    wire.write_all(&Header::window_update(SYN, 1, 0).encode())
        .await
        .unwrap();
    assert_eq!(read_header(&mut wire).await, Header::go_away(1));
    assert_eq!(wire.read(&mut [0]).await.unwrap(), 0);
    drop(wire);
    assert!(matches!(
        driver.await.unwrap(),
        Err(SessionError::Protocol(_))
    ));
}

#[tokio::test]
async fn half_a_frame_is_no_orderly_end() {
    let (_opener, driver, mut wire) = client_alone();
    wire.write_all(&[0; 5]).await.unwrap();
    drop(wire);
    assert!(matches!(driver.await.unwrap(), Err(SessionError::Io(_))));
}

#[tokio::test(start_paused = true)]
async fn a_closed_session_does_not_wait_for_ever_for_a_stuck_connection() {
    let (a, _stuck) = duplex(100);
    let (opener, _, driver) = session(a, Config::client());
    let driver = tokio::spawn(driver);
    let mut stream = opener.open().await.unwrap();
    let mut chunk = Bytes::from(vec![0; 10_000]);
    poll_fn(|cx| stream.poll_send(cx, &mut chunk))
        .await
        .unwrap();
    let start = Instant::now();
    opener.close();
    opener.closed().await;
    assert_eq!(start.elapsed(), Duration::from_secs(5));
    driver.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_reset_of_one_stream_spares_the_others() {
    let (opener, _driver, mut wire) = client_alone();
    let (mut first, mut second) = (opener.open().await.unwrap(), opener.open().await.unwrap());
    wire.write_all(&Header::window_update(RST, first.id(), 0).encode())
        .await
        .unwrap();
    assert_eq!(
        first.read_u8().await.unwrap_err().kind(),
        io::ErrorKind::ConnectionReset
    );
    wire.write_all(&Header::data(second.id(), 1).encode())
        .await
        .unwrap();
    wire.write_all(b"x").await.unwrap();
    assert_eq!(second.read_u8().await.unwrap(), b'x');
}

/// A connection that counts its flushes, of which the driver makes one for each batch.
struct Counting(DuplexStream, Arc<AtomicUsize>);

impl AsyncRead for Counting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Counting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.1.fetch_add(1, Ordering::SeqCst);
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn small_messages_of_tasks_that_are_ready_share_a_write() {
    const TASKS: usize = 20;
    let flushes = Arc::new(AtomicUsize::new(0));
    let (near, mut wire) = duplex(1024 * 1024);
    let (opener, _, driver) = session(Counting(near, Arc::clone(&flushes)), Config::client());
    tokio::spawn(driver);
    let all_here = Arc::new(Barrier::new(TASKS));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let mut stream = opener.open().await.unwrap();
        let (all_here, flushes) = (Arc::clone(&all_here), Arc::clone(&flushes));
        tasks.spawn(async move {
            stream.write_all(b"open").await.unwrap();
            all_here.wait().await;
            let before = flushes.load(Ordering::SeqCst);
            stream.write_all(b"message").await.unwrap();
            (stream, before)
        });
    }
    let done = tasks.join_all().await;
    let before = done.iter().map(|(_, before)| *before).min().unwrap();
    let mut received = vec![0; TASKS * (2 * HEADER_LEN + "openmessage".len())];
    wire.read_exact(&mut received).await.unwrap();
    let made = flushes.load(Ordering::SeqCst) - before;
    assert!(made < TASKS / 2, "{made} writes");
}

#[tokio::test]
async fn a_lone_message_seldom_waits_for_others() {
    const MESSAGES: usize = 200;
    let (near, mut wire) = duplex(1024 * 1024);
    let (opener, _, driver) = session(near, Config::client());
    let mut driver = pin!(driver);
    let mut stream = opener.open().await.unwrap();
    let mut waited = 0;
    for _ in 0..MESSAGES {
        // A task may do so much until it lets others run.
        tokio::task::yield_now().await;
        stream.write_all(b"message").await.unwrap();
        let mut poll =
            async || poll_fn(|cx| Poll::Ready(driver.as_mut().poll(cx).is_ready())).await;
        poll().await;
        let mut received = [0; 100];
        let mut has_left = async || {
            let mut room = ReadBuf::new(&mut received);
            poll_fn(|cx| Poll::Ready(Pin::new(&mut wire).poll_read(cx, &mut room).is_ready())).await
        };
        while !has_left().await {
            waited += 1;
            assert!(!poll().await);
        }
    }
    assert!(waited <= 10, "{waited} of {MESSAGES}");
}

#[tokio::test]
async fn a_flood_of_tiny_frames_lets_others_run_in_between() {
    let (mut wire, io) = duplex(128 * 1024);
    let (_opener, mut acceptor, mut driver) = session(io, Config::server());
    let frames = 5_000;
    let mut flood = Vec::new();
    for _ in 0..frames {
        flood.extend(Header::window_update(RST, 7, 0).encode());
    }
    flood.extend(Header::window_update(SYN, 1, 0).encode());
    wire.write_all(&flood).await.unwrap();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut polls = 0;
    while acceptor.poll_accept(cx).is_pending() {
        assert!(Pin::new(&mut driver).poll(cx).is_pending());
        polls += 1;
    }
    assert!(polls >= frames / MAX_FRAMES_AT_ONCE, "{polls}");
}
