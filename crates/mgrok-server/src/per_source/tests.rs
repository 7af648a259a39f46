//! Tests which sources get a permit, which wait, and which are refused.

use super::*;

const LIMITS: Limits = Limits {
    limit: Limit::TcpOpenings,
    what: "tests",
    total: 8,
    per_source: 4,
    waiting: 6,
    waiting_per_source: 3,
};

fn addr(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn take(permits: &PerSource, from: &str, count: usize) -> Vec<Permit> {
    (0..count)
        .map(|_| permits.try_acquire(addr(from)).unwrap())
        .collect()
}

#[test]
fn a_source_that_has_its_share_takes_nothing_from_others() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let held = take(&permits, "192.0.2.1", 4);
    permits.try_acquire(addr("192.0.2.1")).unwrap_err();
    permits.try_acquire(addr("::ffff:192.0.2.1")).unwrap_err();
    let others = take(&permits, "192.0.2.2", 4);
    permits.try_acquire(addr("192.0.2.3")).unwrap_err();
    assert_eq!(permits.refused(), 3);
    drop(others);
    drop(held);
    assert!(lock(&permits.inner.sources).is_empty());
    take(&permits, "192.0.2.1", 4);
}

#[test]
fn a_subscriber_of_ipv6_is_one_source() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let _held: Vec<_> = (1..=4)
        .map(|it| {
            permits
                .try_acquire(addr(&format!("2001:db8:1:2::{it}")))
                .unwrap()
        })
        .collect();
    let refused = permits.try_acquire(addr("2001:db8:1:2:ffff::1"));
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("2001:db8:1:2::/64"), "{text}");
    permits.try_acquire(addr("2001:db8:1:3::1")).unwrap();
}

#[test]
fn half_of_the_permits_are_reserved_for_validated_addresses() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let from = addr("192.0.2.1");
    let _one = permits.try_acquire(from).unwrap();
    assert!(!permits.is_busy(from));
    let _two = permits.try_acquire(from).unwrap();
    assert!(permits.is_busy(from));
    assert!(!permits.is_busy(addr("192.0.2.2")));
    let _others = take(&permits, "192.0.2.2", 2);
    assert!(permits.is_busy(addr("192.0.2.3")));
}

#[tokio::test(start_paused = true)]
async fn a_source_with_a_full_share_waits_in_order() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let mut held = take(&permits, "192.0.2.1", 4);
    let waiting: Vec<_> = (0..3)
        .map(|number| {
            let permits = permits.clone();
            tokio::spawn(async move {
                let permit = permits.acquire(addr("192.0.2.1")).await;
                (number, permit.unwrap())
            })
        })
        .collect();
    tokio::task::yield_now().await;
    // The queue of this source is full.
    permits.acquire(addr("192.0.2.1")).await.unwrap_err();
    // Other sources do not wait in it.
    let _other = permits.acquire(addr("192.0.2.2")).await.unwrap();
    for (turn, waiting) in waiting.into_iter().enumerate() {
        held.pop();
        let (number, _permit) = waiting.await.unwrap();
        assert_eq!(number, turn);
    }
}

#[tokio::test(start_paused = true)]
async fn thousands_of_one_source_all_get_in_one_after_another() {
    let limits = Limits {
        limit: Limit::TcpOpenings,
        what: "tests",
        total: 64,
        per_source: 16,
        waiting: 10_000,
        waiting_per_source: 5_000,
    };
    let permits = PerSource::new(limits, &Arc::default());
    let clients: Vec<_> = (0..5_000)
        .map(|_| {
            let permits = permits.clone();
            tokio::spawn(async move {
                let permit = permits.acquire(addr("192.0.2.1")).await.unwrap();
                // A slow login.
                sleep(Duration::from_millis(10)).await;
                drop(permit);
            })
        })
        .collect();
    for client in clients {
        client.await.unwrap();
    }
    assert_eq!(permits.refused(), 0);
    assert!(lock(&permits.inner.sources).is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_wait_has_an_end_and_leaves_nothing_behind() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let held = take(&permits, "192.0.2.1", 4);
    permits.acquire(addr("192.0.2.1")).await.unwrap_err();
    {
        let given_up = permits.acquire(addr("192.0.2.1"));
        timeout(Duration::from_secs(1), given_up).await.unwrap_err();
    }
    assert_eq!(permits.inner.present.load(Ordering::Relaxed), 4);
    drop(held);
    assert_eq!(permits.inner.present.load(Ordering::Relaxed), 0);
}

#[tokio::test(start_paused = true)]
async fn a_permit_lasts_longer_while_others_are_left() {
    let permits = PerSource::new(LIMITS, &Arc::default());
    let mut held = take(&permits, "192.0.2.1", 3);
    let started = Instant::now();
    held[0].expired().await;
    assert!(started.elapsed() >= OPENING_TIMEOUT);
    held.extend(take(&permits, "192.0.2.1", 1));
    let started = Instant::now();
    held[0].expired().await;
    assert_eq!(started.elapsed(), HURRIED_TIMEOUT);
}
