//! Tests the waits of one client, and the load of thousands of clients on a server.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::*;

/// The random value that leaves each wait as the rule gives it.
const MIDDLE: f64 = 0.5;

fn secs(secs: f64) -> Duration {
    Duration::from_secs_f64(secs)
}

/// The times of the attempts after a session was lost, in an outage of the given length.
fn attempts(backoff: &mut Backoff, lost: Instant, outage: Duration, random: f64) -> Vec<Duration> {
    let mut attempts = Vec::new();
    let mut at = lost + backoff.session_ended(lost, random);
    while at - lost < outage {
        attempts.push(at - lost);
        at += backoff.login_failed(Failure::Unreachable, at, random);
    }
    attempts.push(at - lost);
    attempts
}

/// A backoff whose session has lasted for a minute.
fn steady(start: Instant) -> (Backoff, Instant) {
    let mut backoff = Backoff::default();
    backoff.logged_in(start);
    (backoff, start + Duration::from_secs(60))
}

#[test]
fn a_server_that_is_back_within_two_seconds_is_found_within_one_more() {
    for random in [0.0, MIDDLE, 1.0] {
        for back_after in [0.02, 0.1, 0.3, 0.5, 1.0, 1.5, 2.0] {
            let (mut backoff, lost) = steady(Instant::now());
            let found = attempts(&mut backoff, lost, secs(back_after), random);
            let found = *found.last().unwrap();
            let late = found.as_secs_f64() - back_after;
            assert!(
                late < 1.0 && (back_after > 0.1 || late <= 0.075),
                "back after {back_after} s, found {late} s later"
            );
        }
    }
}

#[test]
fn an_outage_is_hardly_lengthened_and_costs_few_attempts() {
    for (outage, most) in [(1.0, 30), (10.0, 50), (60.0, 65), (3600.0, 430)] {
        for random in [0.0, MIDDLE, 1.0] {
            let (mut backoff, lost) = steady(Instant::now());
            let attempts = attempts(&mut backoff, lost, secs(outage), random);
            assert!(attempts.len() < most, "{outage} s: {}", attempts.len());
            let found = attempts.last().unwrap().as_secs_f64();
            let longest_wait = LONGEST.as_secs_f64() * 1.5;
            assert!(found <= outage * 1.4 && found <= outage + longest_wait);
        }
    }
}

#[test]
fn the_first_login_is_tried_every_two_to_ten_seconds() {
    let mut backoff = Backoff::default();
    let mut now = Instant::now();
    let waits: Vec<_> = (0..30)
        .map(|_| {
            let wait = backoff.login_failed(Failure::Unreachable, now, MIDDLE);
            now += wait;
            wait
        })
        .collect();
    assert_eq!(waits[0], SHORTEST_UNLESS_LOST);
    assert!(waits.is_sorted());
    assert_eq!(waits[29], LONGEST_FIRST_LOGIN);
    assert_eq!(backoff.longest_dial(now), None);
}

#[test]
fn a_server_that_refuses_is_not_asked_densely() {
    let (mut backoff, lost) = steady(Instant::now());
    let mut now = lost + backoff.session_ended(lost, 0.0);
    for _ in 0..5 {
        let wait = backoff.login_failed(Failure::Refused, now, 0.0);
        assert!(wait >= Duration::from_secs(1));
        now += wait;
    }
}

#[test]
fn a_dial_without_an_answer_keeps_the_next_one_back_for_a_short_time_at_first() {
    let (mut backoff, lost) = steady(Instant::now());
    backoff.session_ended(lost, MIDDLE);
    assert_eq!(backoff.longest_dial(lost), Some(SHORTEST_DIAL));
    let later = lost + Duration::from_secs(10);
    assert_eq!(backoff.longest_dial(later), Some(Duration::from_secs(10)));
}

#[test]
fn sessions_that_die_at_once_are_soon_followed_slowly() {
    let start = Instant::now();
    let (mut backoff, mut now) = steady(start);
    let lost = now;
    let mut logins = Vec::new();
    while now - lost < Duration::from_secs(300) {
        now += backoff.session_ended(now, MIDDLE);
        backoff.logged_in(now);
        logins.push(now - lost);
        now += Duration::from_millis(5);
    }
    let within = |secs| {
        let limit = Duration::from_secs(secs);
        logins.iter().filter(|at| **at < limit).count()
    };
    assert!(within(10) <= 15, "{logins:?}");
    assert!(within(60) <= 24, "{logins:?}");
    assert!(within(300) <= 40, "{logins:?}");
    // After a session that lasts for a while, attempts are close together again.
    backoff.logged_in(now);
    now += Duration::from_secs(20);
    assert_eq!(backoff.session_ended(now, MIDDLE), SHORTEST);
}

#[test]
fn waits_are_spread_around_what_the_rule_gives() {
    for (random, expect) in [(0.0, 1.0), (0.5, 2.0), (1.0, 3.0), (7.0, 3.0)] {
        let wait = Backoff::default().login_failed(Failure::Unreachable, Instant::now(), random);
        assert!(
            (wait.as_secs_f64() - expect).abs() < 1e-9,
            "random {random}: {wait:?}"
        );
    }
}

/// The events at a server in one second.
#[derive(Clone, Copy, Default)]
struct Second {
    /// Attempts while the server was down, which cost it nothing.
    refused: usize,
    logins: usize,
}

/// Simulates a server that is down at the beginning of each cycle, and clients that start with one session each.
/// Returns the events of each second, and for each cycle how long after the server's return the last client was back.
fn flap(
    clients: usize,
    cycle: Duration,
    down: Duration,
    cycles: u32,
) -> (Vec<Second>, Vec<Duration>) {
    let start = Instant::now();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut random = move || {
        // xorshift64, so that each run is the same.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random as f64 / u64::MAX as f64
    };
    let mut seconds = vec![Second::default(); (cycle * cycles).as_secs() as usize + 60];
    let mut all_back = Vec::new();
    let mut backoffs: Vec<_> = (0..clients).map(|_| Backoff::default()).collect();
    for backoff in &mut backoffs {
        backoff.logged_in(start);
    }
    let begin = start + Duration::from_secs(30);
    for number in 0..cycles {
        let lost = begin + cycle * number;
        let up = lost + down;
        let mut due: BinaryHeap<_> = backoffs
            .iter_mut()
            .enumerate()
            .map(|(client, backoff)| {
                Reverse((lost + backoff.session_ended(lost, random()), client))
            })
            .collect();
        let mut last_back = up;
        while let Some(Reverse((at, client))) = due.pop() {
            let second = &mut seconds[(at - begin).as_secs() as usize];
            if at < up {
                second.refused += 1;
                let wait = backoffs[client].login_failed(Failure::Unreachable, at, random());
                due.push(Reverse((at + wait, client)));
            } else {
                second.logins += 1;
                backoffs[client].logged_in(at);
                last_back = at;
            }
        }
        all_back.push(last_back - up);
    }
    (seconds, all_back)
}

#[test]
fn two_thousand_clients_do_not_hammer_a_server_that_restarts_every_five_seconds() {
    const CLIENTS: usize = 2_000;
    for (down, most_late) in [(0.1, 0.1), (0.5, 0.3), (2.0, 0.8)] {
        let (cycle, cycles) = (Duration::from_secs(5), 60);
        let (seconds, all_back) = flap(CLIENTS, cycle, secs(down), cycles);
        // One login for each client and restart, however often the server restarts.
        let logins: usize = seconds.iter().map(|it| it.logins).sum();
        assert_eq!(logins, CLIENTS * cycles as usize);
        let refused: usize = seconds.iter().map(|it| it.refused).sum();
        let per_client = refused as f64 / (CLIENTS * cycles as usize) as f64;
        assert!(
            per_client < 20.0,
            "{per_client} attempts per client and restart"
        );
        let busiest = seconds
            .iter()
            .map(|it| it.refused + it.logins)
            .max()
            .unwrap();
        assert!(busiest < 15 * CLIENTS, "{busiest} attempts in a second");
        let latest = all_back.iter().max().unwrap();
        assert!(*latest < secs(most_late), "all were back after {latest:?}");
        println!(
            "down for {down} s: {per_client:.1} attempts in vain per client and restart, {busiest} attempts in the busiest \
             second, all back after {latest:?} at most"
        );
    }
}

#[test]
fn two_thousand_clients_leave_a_server_that_stays_away_alone() {
    const CLIENTS: usize = 2_000;
    let (seconds, _) = flap(
        CLIENTS,
        Duration::from_secs(600),
        Duration::from_secs(600),
        1,
    );
    let in_second = |second: usize| seconds[second].refused;
    assert!(in_second(0) < 15 * CLIENTS, "{}", in_second(0));
    for second in 10..30 {
        assert!(in_second(second) < CLIENTS, "{}", in_second(second));
    }
    for second in 120..590 {
        assert!(in_second(second) < CLIENTS / 8, "{}", in_second(second));
    }
}

#[test]
fn clients_of_a_server_that_restarts_come_one_after_the_other() {
    const CLIENTS: usize = 2_000;
    let lost = Instant::now();
    let mut first_attempts: Vec<_> = (0..CLIENTS)
        .map(|client| {
            let (mut backoff, _) = steady(lost - Duration::from_secs(60));
            backoff.session_ended(lost, client as f64 / CLIENTS as f64)
        })
        .collect();
    first_attempts.sort();
    let spread = first_attempts[CLIENTS - 1] - first_attempts[0];
    assert!(spread >= SHORTEST * 9 / 10, "{spread:?}");
}
