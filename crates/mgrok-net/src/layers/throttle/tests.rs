//! Tests the rate limit, in paused time.

use std::future::poll_fn;

use tokio::time::timeout;

use super::*;
use crate::testing::{memory_pair, pattern, read_all};

const ROOM: usize = 1024 * 1024;

fn limiter(rate: u64) -> Limiter {
    Limiter::new(NonZeroU64::new(rate).unwrap())
}

fn throttled(conn: Conn, limiter: &Limiter) -> Conn {
    Conn::layered(Box::new(Throttle::new(conn, limiter.clone())))
}

/// How long it takes to send `len` bytes through `conn` and read them at `far`.
async fn transfer(mut conn: Conn, mut far: Conn, len: usize) -> Duration {
    let started = Instant::now();
    let payload = pattern(len);
    let expect = payload.clone();
    let (sent, received) = tokio::join!(
        async {
            conn.send(payload).await?;
            conn.close().await
        },
        read_all(&mut far)
    );
    sent.unwrap();
    assert_eq!(received.unwrap(), expect);
    started.elapsed()
}

#[track_caller]
fn check_seconds(took: Duration, expect: f64) {
    let took = took.as_secs_f64();
    assert!(
        (expect - 0.01..expect + 0.05).contains(&took),
        "took {took} s, not {expect} s"
    );
}

#[tokio::test(start_paused = true)]
async fn one_second_passes_at_once_and_the_rest_at_the_rate() {
    for rate in [1000, 1024, 1_000_000, 10_000_000] {
        let limiter = limiter(rate);
        let (near, far) = memory_pair(ROOM, ROOM);
        let len = usize::try_from(rate * 3).unwrap();
        check_seconds(transfer(throttled(near, &limiter), far, len).await, 2.0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_single_byte_per_second_works() {
    let limiter = limiter(1);
    let (near, far) = memory_pair(ROOM, ROOM);
    check_seconds(transfer(throttled(near, &limiter), far, 5).await, 4.0);
}

#[tokio::test(start_paused = true)]
async fn reading_is_limited_too() {
    let limiter = limiter(1000);
    let (near, far) = memory_pair(ROOM, ROOM);
    check_seconds(transfer(near, throttled(far, &limiter), 3000).await, 2.0);
}

#[tokio::test(start_paused = true)]
async fn both_directions_and_all_connections_share_the_rate() {
    let limiter = limiter(10_000);
    let transfers = std::array::from_fn::<_, 4, _>(|at| {
        let (near, far) = memory_pair(ROOM, ROOM);
        match at % 2 {
            0 => transfer(throttled(near, &limiter), far, 40_000),
            _ => transfer(near, throttled(far, &limiter), 40_000),
        }
    });
    let [a, b, c, d] = transfers;
    let took = tokio::join!(a, b, c, d);
    // 160 000 bytes, of which 10 000 pass at once. The first direction gets those; its remaining 30 000 bytes then get
    // a quarter of the rate.
    let [first, .., last] = {
        let mut sorted = [took.0, took.1, took.2, took.3];
        sorted.sort();
        sorted
    };
    check_seconds(last, 15.0);
    assert!(first > Duration::from_millis(11_500), "{first:?}");
}

#[tokio::test(start_paused = true)]
async fn a_dropped_direction_returns_its_booking() {
    let limiter = limiter(1000);
    let (near, mut far) = memory_pair(ROOM, ROOM);
    let mut near = throttled(near, &limiter);
    near.send(pattern(1000)).await.unwrap();
    let started = Instant::now();
    timeout(Duration::from_millis(1), near.send(pattern(1000)))
        .await
        .expect_err("the bucket is empty");
    drop(near);
    assert!(started.elapsed() < Duration::from_millis(10));
    assert_eq!(read_all(&mut far).await.unwrap().len(), 1000);

    // With the booking still there, this would take half a second longer.
    let (near, far) = memory_pair(ROOM, ROOM);
    check_seconds(transfer(throttled(near, &limiter), far, 1000).await, 1.0);
}

#[tokio::test(start_paused = true)]
async fn a_wait_does_not_hold_back_what_has_passed() {
    let limiter = limiter(1000);
    let (near, mut far) = memory_pair(ROOM, ROOM);
    let mut near = throttled(near, &limiter);
    let mut chunk = pattern(5000);
    let expect = chunk.slice(..512);
    let first = poll_fn(|cx| Poll::Ready(near.poll_send(cx, &mut chunk))).await;
    assert!(first.is_pending());
    assert_eq!(chunk.len(), 5000 - expect.len());
    let mut arrived = Vec::new();
    while arrived.len() < expect.len() {
        arrived.extend_from_slice(&far.recv().await.unwrap());
    }
    assert_eq!(arrived, expect);
}
