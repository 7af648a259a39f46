//! Sessions over a path that takes time and has a rate, under a clock that only moves when everybody waits.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::slice;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf, Bytes};
use mgrok_mux::{Acceptor, Config, Opener, Stream, WindowBudget, session};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep, sleep_until};

/// Bytes per second of the path: 1 Gbit/s.
const RATE: u64 = 125_000_000;

/// Unsent bytes at which the path takes no more. Twice as many as the system is asked to take, because tokio's timers are a
/// millisecond late, in which 128 KiB leave.
const UNSENT: u64 = 256 * 1024;

/// Unsent bytes that a path takes whose queues are far too long: a second's worth.
const BLOATED: u64 = RATE;

/// In this time windows have grown to what the longest path here needs.
const GROWTH: Duration = Duration::from_millis(1_500);

static PIECE: [u8; 64 * 1024] = [0; 64 * 1024];

/// One direction of a path.
struct Lane {
    delay: Duration,
    /// Unsent bytes at which it takes no more.
    unsent: u64,
    /// When the last byte will have left.
    free_at: Instant,
    /// Bytes, and when they arrive.
    under_way: VecDeque<(Instant, Bytes)>,
    is_closed: bool,
    reader: Option<Waker>,
}

/// One end of a path.
struct End {
    out: Arc<Mutex<Lane>>,
    into: Arc<Mutex<Lane>>,
    room: Pin<Box<Sleep>>,
    arrival: Pin<Box<Sleep>>,
}

fn time_of(bytes: u64) -> Duration {
    Duration::from_nanos(bytes * 1_000_000_000 / RATE)
}

/// A path with this round trip that takes so many unsent bytes.
fn path(round_trip: Duration, unsent: u64) -> (End, End) {
    let lane = || {
        Arc::new(Mutex::new(Lane {
            delay: round_trip / 2,
            unsent,
            free_at: Instant::now(),
            under_way: VecDeque::new(),
            is_closed: false,
            reader: None,
        }))
    };
    let (there, back) = (lane(), lane());
    let end = |out: &Arc<Mutex<Lane>>, into: &Arc<Mutex<Lane>>| End {
        out: out.clone(),
        into: into.clone(),
        room: Box::pin(sleep(Duration::ZERO)),
        arrival: Box::pin(sleep(Duration::ZERO)),
    };
    (end(&there, &back), end(&back, &there))
}

/// Ready when `timer` has reached `at`.
fn poll_until(timer: &mut Pin<Box<Sleep>>, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
    timer.as_mut().reset(at);
    timer.as_mut().poll(cx)
}

impl AsyncWrite for End {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let now = Instant::now();
        let mut lane = this.out.lock().unwrap();
        let full = now + time_of(lane.unsent);
        if lane.free_at >= full {
            // As the kernel does: it wakes when half of the room is free.
            let at = lane.free_at - time_of(lane.unsent / 2);
            ready!(poll_until(&mut this.room, at, cx));
        }
        let count = buf.len().min(lane.unsent as usize);
        lane.free_at = lane.free_at.max(now) + time_of(count as u64);
        let arrival = lane.free_at + lane.delay;
        let bytes = Bytes::copy_from_slice(&buf[..count]);
        lane.under_way.push_back((arrival, bytes));
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(count))
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut lane = self.out.lock().unwrap();
        lane.is_closed = true;
        if let Some(reader) = lane.reader.take() {
            reader.wake();
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for End {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut lane = this.into.lock().unwrap();
        let Some(&(arrival, _)) = lane.under_way.front() else {
            lane.reader = Some(cx.waker().clone());
            return match lane.is_closed {
                true => Poll::Ready(Ok(())),
                false => Poll::Pending,
            };
        };
        if arrival > Instant::now() {
            ready!(poll_until(&mut this.arrival, arrival, cx));
        }
        while buf.remaining() > 0
            && let Some((arrival, bytes)) = lane.under_way.front_mut()
            && *arrival <= Instant::now()
        {
            let count = bytes.len().min(buf.remaining());
            buf.put_slice(&bytes[..count]);
            bytes.advance(count);
            if bytes.is_empty() {
                lane.under_way.pop_front();
            }
        }
        Poll::Ready(Ok(()))
    }
}

struct Pair {
    client: Opener,
    server: Opener,
    acceptor: Acceptor,
}

fn pair(round_trip: Duration) -> Pair {
    pair_over(path(round_trip, UNSENT))
}

fn pair_over((near, far): (End, End)) -> Pair {
    let (client, _, driver) = session(near, Config::client());
    tokio::spawn(driver);
    let (server, acceptor, driver) = session(far, Config::server());
    tokio::spawn(driver);
    Pair {
        client,
        server,
        acceptor,
    }
}

impl Pair {
    /// The client's end of a stream, and the server's.
    async fn stream(&mut self) -> (Stream, Stream) {
        let near = self.client.open().await.unwrap();
        (near, self.acceptor.accept().await.unwrap())
    }

    /// Bytes by which the windows of the client, and of the server, have grown.
    fn grown(&self) -> (usize, usize) {
        let grown = |opener: &Opener| opener.usage_watch().usage().grown;
        (grown(&self.client), grown(&self.server))
    }
}

/// Sends for ever.
async fn flood(mut to: Stream) {
    loop {
        let mut piece = Bytes::from_static(&PIECE);
        if poll_fn(|cx| to.poll_send(cx, &mut piece)).await.is_err() {
            return;
        }
    }
}

async fn recv(from: &mut Stream) -> u64 {
    poll_fn(|cx| from.poll_recv(cx)).await.unwrap().len() as u64
}

/// Reads as fast as it comes, and counts.
fn drain(mut from: Stream) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            counter.fetch_add(recv(&mut from).await, Ordering::Relaxed);
        }
    });
    count
}

/// Reads all that has come each time that `pause` is over, as ends do that have much else to do, and counts.
fn drain_at_times(mut from: Stream, pause: Duration) -> Arc<AtomicU64> {
    let count = Arc::new(AtomicU64::new(0));
    let counter = count.clone();
    tokio::spawn(async move {
        loop {
            sleep(pause).await;
            let all = poll_fn(|cx| {
                let mut all = 0;
                while let Poll::Ready(bytes) = from.poll_recv(cx) {
                    all += bytes.unwrap().len() as u64;
                }
                Poll::Ready(all)
            });
            counter.fetch_add(all.await, Ordering::Relaxed);
        }
    });
    count
}

/// Bytes that each of `counts` comes to in a second, as shares of what the path carries.
async fn shares(counts: &[Arc<AtomicU64>]) -> Vec<f64> {
    let now = || -> Vec<u64> {
        let counts = counts.iter();
        counts.map(|count| count.load(Ordering::Relaxed)).collect()
    };
    let before = now();
    sleep(Duration::from_secs(1)).await;
    let pairs = now().into_iter().zip(before);
    pairs
        .map(|(after, before)| (after - before) as f64 / RATE as f64)
        .collect()
}

#[tokio::test(start_paused = true)]
async fn one_stream_fills_a_long_path_in_either_direction() {
    for up in [true, false] {
        let mut pair = pair(Duration::from_millis(100));
        let (near, far) = pair.stream().await;
        let (from, to) = if up { (near, far) } else { (far, near) };
        tokio::spawn(flood(from));
        let count = drain(to);
        sleep(GROWTH).await;
        let share = shares(&[count]).await[0];
        assert!(share >= 0.9, "{share} of the path, up: {up}");
    }
}

/// Windows must grow although a round trip takes somewhat longer than the path does. When credit came for each eighth of a window, this had
/// 0.6 to 0.8 of the path with some of the pauses.
#[tokio::test(start_paused = true)]
async fn a_reader_that_reads_every_few_milliseconds_fills_a_long_path() {
    for pause in [3, 7, 9] {
        let mut pair = pair(Duration::from_millis(100));
        let (near, far) = pair.stream().await;
        tokio::spawn(flood(near));
        let count = drain_at_times(far, Duration::from_millis(pause));
        sleep(GROWTH).await;
        // Also when the windows had the time to shrink.
        for time in [Duration::ZERO, GROWTH * 2] {
            sleep(time).await;
            let share = shares(slice::from_ref(&count)).await[0];
            assert!(
                share >= 0.95,
                "{share} of the path, read every {pause} ms, after {time:?}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn many_streams_fill_a_long_path_and_none_is_left_behind() {
    let mut pair = pair(Duration::from_millis(40));
    let mut counts = Vec::new();
    for _ in 0..8 {
        let (near, far) = pair.stream().await;
        tokio::spawn(flood(far));
        counts.push(drain(near));
    }
    sleep(GROWTH).await;
    let shares = shares(&counts).await;
    let sum: f64 = shares.iter().sum();
    assert!(sum >= 0.9, "{shares:?}");
    assert!(
        shares.iter().all(|share| *share >= 0.8 * sum / 8.0),
        "{shares:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn the_window_of_a_slow_reader_stays_small() {
    let mut pair = pair(Duration::from_millis(100));
    let (mut near, far) = pair.stream().await;
    tokio::spawn(flood(far));
    for _ in 0..100 {
        recv(&mut near).await;
        // 64 KiB at a time: about 1 MB/s.
        sleep(Duration::from_millis(60)).await;
    }
    let (grown, _) = pair.grown();
    assert!(grown <= 768 * 1024, "{grown}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_becomes_slow_gives_its_window_back() {
    let mut pair = pair(Duration::from_millis(100));
    let (mut near, far) = pair.stream().await;
    tokio::spawn(flood(far));
    let start = Instant::now();
    while start.elapsed() < GROWTH {
        recv(&mut near).await;
    }
    let (grown, _) = pair.grown();
    assert!(grown >= 12 << 20, "{grown}");

    for _ in 0..120 {
        // 1 MiB, then a rest: 2 MB/s.
        let mut left = 1 << 20;
        while left > 0 {
            left -= recv(&mut near).await.min(left);
        }
        sleep(Duration::from_millis(500)).await;
    }
    let (grown, _) = pair.grown();
    assert!(grown <= 4 << 20, "{grown}");
}

/// The longest of a few round trips of a small request on a stream that has been in use.
async fn longest_request(near: &mut Stream) -> Duration {
    let mut longest = Duration::ZERO;
    for pause in 0..20 {
        // At moments that have nothing to do with the turns of the other stream.
        sleep(Duration::from_millis(17 + pause)).await;
        let start = Instant::now();
        near.write_all(&[1; 64]).await.unwrap();
        near.read_exact(&mut [0; 64]).await.unwrap();
        longest = longest.max(start.elapsed());
    }
    longest
}

async fn echo(mut far: Stream) {
    let mut bytes = [0; 4096];
    while let Ok(count @ 1..) = far.read(&mut bytes).await {
        far.write_all(&bytes[..count]).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_small_request_waits_little_longer_beside_a_large_stream() {
    for round_trip in [20, 100].map(Duration::from_millis) {
        let mut pair = pair(round_trip);
        let (mut near, far) = pair.stream().await;
        tokio::spawn(echo(far));
        // Its first bytes go ahead of others', these do not.
        for _ in 0..2 {
            near.write_all(&[1; 4096]).await.unwrap();
            near.read_exact(&mut [0; 4096]).await.unwrap();
        }
        let idle = longest_request(&mut near).await;

        let (large_near, large_far) = pair.stream().await;
        tokio::spawn(flood(large_far));
        let _count = drain(large_near);
        sleep(GROWTH).await;
        let beside = longest_request(&mut near).await;
        assert!(
            beside <= idle * 12 / 10 && idle < round_trip + Duration::from_millis(4),
            "{beside:?} instead of {idle:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_path_that_takes_all_it_is_given_gets_little_more_than_it_carries() {
    let round_trip = Duration::from_millis(100);
    let mut pair = pair_over(path(round_trip, BLOATED));
    let (mut near, far) = pair.stream().await;
    tokio::spawn(echo(far));
    let (large_near, large_far) = pair.stream().await;
    tokio::spawn(flood(large_far));
    let count = drain(large_near);
    // As long as windows grow, and then much longer: what has grown with a queue would have it grow on.
    sleep(GROWTH * 20).await;
    let share = shares(&[count]).await[0];
    assert!(share >= 0.9, "{share} of the path");
    let beside = longest_request(&mut near).await;
    assert!(beside <= round_trip * 13 / 10, "{beside:?}");
}

/// How long it takes until `bytes` have come by a new stream.
async fn time_of_first(pair: &mut Pair, mut bytes: u64) -> Duration {
    let (mut near, far) = pair.stream().await;
    let start = Instant::now();
    tokio::spawn(flood(far));
    while bytes > 0 {
        bytes -= recv(&mut near).await.min(bytes);
    }
    start.elapsed()
}

#[tokio::test(start_paused = true)]
async fn a_new_stream_has_two_mebibytes_in_its_second_round_trip() {
    let round_trip = Duration::from_millis(100);
    let mut pair = pair(round_trip);
    let budget = WindowBudget::new(usize::MAX);
    pair.client.share_windows(&budget);
    sleep(round_trip * 2).await;
    let time = time_of_first(&mut pair, 2 << 20).await;
    // Half a round trip until the first bytes, one for the credit.
    assert!(time <= round_trip * 18 / 10, "{time:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_stops_holds_up_nobody_over_a_long_path() {
    let mut pair = pair(Duration::from_millis(100));
    let (mut stopped, far) = pair.stream().await;
    tokio::spawn(flood(far));
    let start = Instant::now();
    while start.elapsed() < GROWTH {
        recv(&mut stopped).await;
    }
    let (near, far) = pair.stream().await;
    tokio::spawn(flood(far));
    let count = drain(near);
    sleep_until(start + GROWTH * 2).await;
    let share = shares(&[count]).await[0];
    assert!(share >= 0.9, "{share} of the path");
}

#[tokio::test(start_paused = true)]
async fn many_readers_that_stop_hold_little_and_one_that_reads_gets_all() {
    const STOPPED: usize = 400;
    let mut pair = pair(Duration::from_millis(20));
    let mut stopped = Vec::new();
    for _ in 0..STOPPED {
        let (near, far) = pair.stream().await;
        tokio::spawn(flood(far));
        stopped.push(near);
    }
    sleep(GROWTH * 2).await;
    // 100 MiB if none of them held back.
    let unread = pair.client.usage_watch().usage().unread;
    assert!(unread <= (16 << 20) + STOPPED * 80 * 1024, "{unread}");

    let (near, far) = pair.stream().await;
    tokio::spawn(flood(far));
    let count = drain(near);
    sleep(GROWTH).await;
    let share = shares(&[count]).await[0];
    assert!(share >= 0.9, "{share} of the path");
    drop(stopped);
}
