//! Two ends over a link that fails in every way, in virtual time.

use std::task::{Context, Poll, Waker};
use std::time::Duration;

use mgrok_kcp::machine::Machine;
use mgrok_kcp::{Config, SessionError};

use crate::link::{DELAY, Faults, Pair, noise};

fn both(faults: Faults, seed: u64) -> Pair {
    Pair::new(faults, seed, [Config::frp_client(), Config::frp_server()])
}

#[test]
fn all_bytes_arrive_in_order_over_any_link() {
    let links = [
        (0, 0, 0),
        (5, 0, 0),
        (30, 0, 0),
        (0, 50, 0),
        (0, 0, 100),
        (10, 10, 60),
    ];
    for (lost, duplicated, jitter) in links {
        for seed in 0..4 {
            let faults = Faults {
                lost,
                duplicated,
                jitter: Duration::from_millis(jitter),
            };
            let mut pair = both(faults, seed);
            let (there, back) = (noise(700_000, seed), noise(300_000, seed + 1));
            pair.send(0, &there);
            pair.send(1, &back);
            let arrived = pair.run(Duration::from_secs(120), |pair| {
                pair.ends[1].received.len() >= there.len()
                    && pair.ends[0].received.len() >= back.len()
            });
            assert!(arrived, "stuck over {faults:?}, seed {seed}");
            assert!(pair.ends[1].received == there && pair.ends[0].received == back);
        }
    }
}

#[test]
fn a_session_survives_the_wrap_of_its_clock() {
    let mut pair = both(Faults::default(), 0);
    // Just before the milliseconds wrap; the sessions are kept alive until then.
    let wrap = Duration::from_millis(u64::from(u32::MAX));
    let began = pair.now;
    while pair.now < began + wrap + Duration::from_secs(3600) {
        pair.now += Duration::from_secs(40 * 60 * 60 * 24 / 1000);
        // Both hear something, whatever else was due in the leap.
        for end in &mut pair.ends {
            let ask = [&7u32.to_le_bytes()[..], &[83, 0, 255, 0], &[0; 16]].concat();
            end.machine.handle_datagram(ask.into(), pair.now);
        }
        if pair.now < began + wrap - Duration::from_secs(4 * 3600) {
            continue;
        }
        let data = noise(1000, 1);
        pair.ends[1].received.clear();
        pair.send(0, &data);
        let arrived = pair.run(Duration::from_secs(1), |pair| {
            pair.ends[1].received.len() == data.len() && pair.ends[0].machine.held() == 0
        });
        assert!(arrived && pair.ends[1].received == data);
    }
}

#[test]
fn parity_repairs_losses_without_a_retransmission() {
    for (send_parity, dropped) in [(true, vec![3]), (true, vec![2, 5, 11]), (false, vec![3])] {
        let config = Config {
            send_parity,
            ..Config::frp_server()
        };
        let mut pair = Pair::new(Faults::default(), 0, [config, Config::frp_server()]);
        pair.dropped = dropped;
        // Ten full datagrams, in one flush.
        let data = noise(10 * 1326, 5);
        pair.send(0, &data);
        let began = pair.now;
        let arrived = pair.run(Duration::from_secs(5), |pair| {
            pair.ends[1].received.len() == data.len()
        });
        assert!(arrived && pair.ends[1].received == data);
        if send_parity {
            assert_eq!(pair.now - began, DELAY, "it took more than one way");
            assert_eq!(pair.ends[0].datagrams_sent, 13);
        } else {
            assert!(pair.now - began > 2 * DELAY);
        }
    }
}

#[test]
fn a_message_and_its_answer_take_one_round_trip() {
    let mut pair = both(Faults::default(), 0);
    let began = pair.now;
    for round in 1..=50 {
        pair.send(0, b"ask");
        assert!(pair.run(Duration::from_secs(1), |pair| {
            pair.ends[1].received.len() == 3 * round
        }));
        pair.send(1, b"tell");
        assert!(pair.run(Duration::from_secs(1), |pair| {
            pair.ends[0].received.len() == 4 * round
        }));
    }
    assert_eq!(pair.now - began, 50 * 2 * DELAY);
    // What one end sends acknowledges what the other has sent; three in thirteen are parity.
    let sent = pair.ends[0].datagrams_sent + pair.ends[1].datagrams_sent;
    assert!(sent <= 2 * 50 * 2, "{sent} datagrams");
}

#[test]
fn bulk_is_acknowledged_in_batches() {
    let mut pair = both(Faults::default(), 0);
    let data = noise(2000 * 1326, 0);
    pair.send(0, &data);
    assert!(pair.run(Duration::from_secs(60), |pair| {
        pair.ends[1].received.len() == data.len()
    }));
    assert!(pair.ends[0].datagrams_sent <= 2000 * 13 / 10 + 20);
    assert!(
        pair.ends[1].datagrams_sent <= 2000 / 8 * 2,
        "{}",
        pair.ends[1].datagrams_sent
    );
}

#[test]
fn the_first_write_goes_out_at_once_and_the_next_within_an_interval() {
    let mut pair = both(Faults::default(), 0);
    for _ in 0..3 {
        let began = pair.now;
        pair.ends[1].received.clear();
        pair.send(0, b"x");
        assert!(pair.run(Duration::from_secs(1), |pair| {
            !pair.ends[1].received.is_empty()
        }));
        assert!(pair.now - began <= DELAY + Duration::from_millis(20));
    }
    // Many small writes travel together.
    let before = pair.ends[0].datagrams_sent;
    let got = pair.ends[1].received.len();
    let cx = &mut Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        let now = pair.now;
        assert!(pair.ends[0].machine.poll_send(cx, b"y", now).is_ready());
    }
    assert!(pair.run(Duration::from_secs(1), |pair| {
        pair.ends[1].received.len() == got + 1000
    }));
    assert!(pair.ends[0].datagrams_sent - before <= 3);
}

#[test]
fn a_reader_that_stops_makes_the_writer_wait_and_bounds_memory() {
    let mut pair = both(Faults::default(), 0);
    pair.ends[1].reads = false;
    let data = noise(8 << 20, 3);
    pair.send(0, &data);
    // Nobody gives up meanwhile: the other end is there, it only does not read.
    assert!(!pair.run(Duration::from_secs(300), |pair| {
        pair.ends.iter().any(|end| end.machine.ended().is_some())
    }));
    assert!(pair.ends[0].machine.held() <= 128 * 1326);
    assert!(pair.ends[1].machine.held() <= 1024 * 1326);
    assert!(pair.ends[1].machine.held() > 1000 * 1326);
    pair.ends[1].reads = true;
    let arrived = pair.run(Duration::from_secs(60), |pair| {
        pair.ends[1].received.len() == data.len()
    });
    assert!(arrived && pair.ends[1].received == data);
    assert!(pair.run(Duration::from_secs(1), |pair| {
        pair.ends.iter().all(|end| end.machine.held() == 0)
    }));
}

#[test]
fn a_reader_that_stalled_for_long_goes_on_where_it_was() {
    // Datagrams overtake each other, so that the writer has sent more than there was room for when it learns of it.
    let faults = Faults {
        lost: 10,
        jitter: Duration::from_millis(60),
        ..Faults::default()
    };
    for seed in 0..2 {
        let mut pair = both(faults, seed);
        pair.ends[1].reads = false;
        let data = noise(2 << 20, seed);
        pair.send(0, &data);
        assert!(!pair.run(Duration::from_secs(80), |pair| {
            pair.ends.iter().any(|end| end.machine.ended().is_some())
        }));
        pair.ends[1].reads = true;
        let arrived = pair.run(Duration::from_secs(60), |pair| {
            pair.ends[1].received.len() == data.len()
        });
        let ended = pair.ends[0].machine.ended();
        assert!(arrived, "seed {seed}: {ended:?}");
        assert!(pair.ends[1].received == data);
    }
}

#[test]
fn whoever_waits_for_an_answer_asks_until_it_comes() {
    let mut pair = both(Faults::default(), 0);
    pair.faults.lost = 100;
    let cx = &mut Context::from_waker(Waker::noop());
    let now = pair.now;
    assert!(pair.ends[0].machine.poll_answered(cx, now).is_pending());
    pair.run(Duration::from_secs(5), |_| false);
    assert!((5..15).contains(&pair.ends[0].datagrams_sent));
    let now = pair.now;
    assert!(pair.ends[0].machine.poll_answered(cx, now).is_pending());
    pair.faults.lost = 0;
    pair.run(Duration::from_secs(2), |_| false);
    let now = pair.now;
    assert!(pair.ends[0].machine.poll_answered(cx, now).is_ready());
    // And no more then.
    let before = pair.ends[0].datagrams_sent;
    pair.run(Duration::from_secs(5), |_| false);
    assert_eq!(pair.ends[0].datagrams_sent, before);
}

#[test]
fn idle_sessions_keep_each_other_alive_with_few_datagrams() {
    let mut pair = both(Faults::default(), 0);
    pair.send(0, b"hello");
    let hour = Duration::from_secs(3600);
    assert!(!pair.run(hour, |pair| {
        pair.ends.iter().any(|end| end.machine.ended().is_some())
    }));
    let sent = pair.ends[0].datagrams_sent + pair.ends[1].datagrams_sent;
    assert!(sent < 1000, "{sent} datagrams in an hour");
}

#[test]
fn a_session_whose_other_end_vanishes_ends() {
    for has_data in [false, true] {
        let mut pair = both(Faults::default(), 0);
        pair.send(0, b"hello");
        pair.run(Duration::from_secs(5), |_| false);
        pair.faults.lost = 100;
        if has_data {
            pair.send(0, b"anybody?");
        }
        let before = pair.ends[0].datagrams_sent;
        assert!(pair.run(Duration::from_secs(61), |pair| {
            pair.ends.iter().all(|end| end.machine.ended().is_some())
        }));
        for end in &pair.ends {
            let ended = end.machine.ended().unwrap();
            assert!(
                matches!(
                    ended,
                    SessionError::Idle { .. } | SessionError::Unacknowledged { .. }
                ),
                "{ended}"
            );
        }
        assert!(pair.ends[0].datagrams_sent - before < 100);
    }
}

#[test]
fn what_was_written_before_the_close_arrives_within_the_linger() {
    let mut pair = both(Faults::default(), 0);
    let data = noise(100_000, 9);
    pair.send(0, &data);
    pair.run(Duration::ZERO, |_| false);
    let now = pair.now;
    pair.ends[0].machine.close(now);
    assert!(pair.run(Duration::from_millis(500), |pair| {
        pair.ends[0].machine.ended().is_some()
    }));
    assert!(pair.ends[1].received == data);

    // Nobody takes it: the linger is the end.
    pair = both(
        Faults {
            lost: 100,
            ..Faults::default()
        },
        0,
    );
    pair.send(0, &data);
    pair.run(Duration::ZERO, |_| false);
    let now = pair.now;
    pair.ends[0].machine.close(now);
    assert!(pair.run(Duration::from_secs(5), |pair| {
        pair.ends[0].machine.ended().is_some()
    }));
    assert_eq!(pair.now - now, Config::frp_client().linger);
}

#[test]
fn an_idle_machine_holds_no_packets() {
    let mut pair = both(Faults::default(), 0);
    pair.send(0, &noise(200_000, 1));
    pair.run(Duration::from_secs(3), |_| false);
    for end in &pair.ends {
        // The next time is that of asking for a sign of life, not that of giving memory back.
        let wait = end.machine.timeout_at().unwrap() - pair.now;
        assert!(wait > Duration::from_secs(10), "{wait:?}");
        assert_eq!(end.machine.held(), 0);
    }
}

#[test]
fn a_closed_writer_is_told_so_and_bytes_before_the_end_are_read_first() {
    let mut pair = both(Faults::default(), 0);
    pair.ends[1].reads = false;
    pair.send(0, b"last words");
    pair.run(Duration::from_secs(1), |_| false);
    let cx = &mut Context::from_waker(Waker::noop());
    let now = pair.now;
    let machine: &mut Machine = &mut pair.ends[1].machine;
    machine.close_write();
    let Poll::Ready(Err(error)) = machine.poll_send(cx, b"x", now) else {
        panic!("it took more");
    };
    assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe);
    machine.end(SessionError::Replaced);
    let Poll::Ready(Ok(bytes)) = machine.poll_recv(cx, now) else {
        panic!("what arrived is lost");
    };
    assert_eq!(bytes, "last words");
    assert!(matches!(
        machine.poll_recv(cx, now),
        Poll::Ready(Err(SessionError::Replaced))
    ));
}
