use super::*;

const EASY: [&str; 2] = ["192.0.2.1:4000", "192.0.2.1:4000"];
const REGULAR: [&str; 2] = ["192.0.2.2:4000", "192.0.2.2:4001"];
const IRREGULAR: [&str; 2] = ["192.0.2.3:4000", "192.0.2.3:4100"];

fn texts(addrs: &[&str]) -> Vec<String> {
    addrs.iter().map(|&addr| addr.to_owned()).collect()
}

/// A server, and the two sides that ask it again and again.
struct Trial {
    analysis: Analysis,
    client: NatHoleClient,
    visitor: NatHoleVisitor,
    now: Instant,
}

impl Trial {
    fn new(client: [&str; 2], visitor: [&str; 2]) -> Self {
        Self {
            analysis: Analysis::new(Duration::from_secs(3_600)),
            client: NatHoleClient {
                transaction_id: "t2".into(),
                proxy_name: "p".into(),
                sid: "s".into(),
                mapped_addrs: texts(&client),
                assisted_addrs: texts(&["10.0.0.1:5000"]),
            },
            visitor: NatHoleVisitor {
                transaction_id: "t1".into(),
                proxy_name: "p".into(),
                protocol: "kcp".into(),
                mapped_addrs: texts(&visitor),
                assisted_addrs: texts(&["10.0.0.2:6000", "10.0.0.2:6000"]),
                ..NatHoleVisitor::default()
            },
            now: Instant::now(),
        }
    }

    fn advise(&mut self) -> Advice {
        self.analysis
            .advise(&self.client, &self.visitor, "s", self.now)
            .unwrap()
    }

    /// The next ways, as `mode.index`.
    fn next_ways(&mut self, count: usize) -> String {
        let ways = (0..count).map(|_| {
            let Way { mode, index } = self.advise().attempt.way;
            format!("{mode}.{index}")
        });
        ways.collect::<Vec<_>>().join(" ")
    }

    fn succeed(&mut self, attempt: Attempt) {
        self.analysis.report_success(&attempt, self.now);
    }
}

/// A part in the words of the table below.
fn describe(part: Part) -> String {
    let mut text = match part.role {
        Role::Receiver => "R".to_owned(),
        Role::Sender => "S".to_owned(),
    };
    for (name, number) in [
        ("rnd", part.random),
        ("delay", part.delay_ms),
        ("lst", part.listen),
        ("ttl", part.ttl),
        ("N", part.range),
    ] {
        if number != 0 {
            text += &format!(" {name}{number}");
        }
    }
    text
}

#[test]
fn the_ways_are_those_of_frp() {
    let expected: [&[&str]; 5] = [
        &[
            "S | R ttl7",
            "R ttl7 | S",
            "S | R ttl4",
            "R ttl4 | S",
            "S | R",
            "R | S",
            "S delay5000 | R",
            "S delay10000 | R",
            "R | S delay5000",
            "R | S delay10000",
        ],
        &[
            "S | R ttl7 N10",
            "S delay2000 | R ttl7 N10",
            "S | R ttl4 N10",
            "S delay2000 | R ttl4 N10",
            "S | R N10",
            "S delay2000 | R N10",
        ],
        &[
            "S rnd1000 delay3000 | R lst256 ttl7",
            "S rnd1000 delay3000 | R lst256 ttl4",
            "S rnd1000 delay3000 | R lst256",
        ],
        &[
            "S N10 | R ttl7 N10",
            "S N10 | R ttl4 N10",
            "S N10 | R N10",
            "R ttl7 N10 | S N10",
            "R ttl4 N10 | S N10",
            "R N10 | S N10",
        ],
        &[
            "S rnd1000 delay3000 | R lst256 ttl7 N2",
            "S rnd1000 delay3000 | R lst256 ttl4 N2",
            "S rnd1000 delay3000 | R lst256 N2",
        ],
    ];
    for (mode, expected) in expected.iter().enumerate() {
        let ways = Way::of_mode(mode as u8).map(|way| {
            let (first, second) = way.entry();
            format!("{} | {}", describe(first), describe(second))
        });
        assert_eq!(ways.collect::<Vec<_>>(), *expected, "mode {mode}");
    }
}

#[test]
fn failure_after_failure_walks_down_the_list_and_starts_again() {
    #[track_caller]
    fn check(client: [&str; 2], visitor: [&str; 2], modes: &[u8]) {
        let ways: Vec<String> = modes
            .iter()
            .flat_map(|&mode| Way::of_mode(mode))
            .map(|Way { mode, index }| format!("{mode}.{index}"))
            .collect();
        let mut trial = Trial::new(client, visitor);
        for round in 0..3 {
            assert_eq!(trial.next_ways(ways.len()), ways.join(" "), "round {round}");
        }
    }
    check(EASY, EASY, &[0]);
    check(EASY, REGULAR, &[1, 2, 0]);
    check(REGULAR, EASY, &[1, 2, 0]);
    check(EASY, IRREGULAR, &[2, 1, 0]);
    check(IRREGULAR, EASY, &[2, 1, 0]);
    check(REGULAR, REGULAR, &[3, 4]);
    check(REGULAR, IRREGULAR, &[4]);
    check(IRREGULAR, REGULAR, &[4]);
    check(IRREGULAR, IRREGULAR, &[0, 1, 3]);
}

#[test]
fn a_public_address_receives() {
    let mut trial = Trial::new(EASY, EASY);
    trial.client.assisted_addrs = texts(&["192.0.2.1:9"]);
    assert_eq!(trial.next_ways(7), "0.1 0.3 0.5 0.8 0.9 0.0 0.1");

    let mut trial = Trial::new(EASY, EASY);
    trial.visitor.assisted_addrs = texts(&["192.0.2.1:9"]);
    assert_eq!(trial.next_ways(7), "0.0 0.2 0.4 0.6 0.7 0.0 0.1");

    // Of two public ones the client's counts.
    trial.client.assisted_addrs = texts(&["192.0.2.1:9"]);
    let mut fresh = Trial::new(EASY, EASY);
    (fresh.client, fresh.visitor) = (trial.client, trial.visitor);
    assert_eq!(fresh.next_ways(1), "0.1");

    // In other modes it has no say; where all is hopeless neither in mode 0.
    let mut trial = Trial::new(REGULAR, EASY);
    trial.visitor.assisted_addrs = texts(&["192.0.2.1:9"]);
    assert_eq!(trial.next_ways(6), "0.0 0.2 0.4 0.6 0.7 1.0");
    let mut trial = Trial::new(IRREGULAR, IRREGULAR);
    trial.client.assisted_addrs = texts(&["192.0.2.3:9"]);
    assert_eq!(trial.next_ways(2), "0.0 0.1");
}

#[test]
fn the_part_fits_the_nat_whichever_side_it_is_on() {
    #[track_caller]
    fn check(client: [&str; 2], visitor: [&str; 2], mode: u8, client_is: &str) {
        let mut trial = Trial::new(client, visitor);
        let advice = std::iter::repeat_with(|| trial.advise())
            .take(20)
            .find(|advice| advice.attempt.way == Way { mode, index: 0 })
            .unwrap();
        let client = &advice.client.resp.detect_behavior;
        let visitor = &advice.visitor.resp.detect_behavior;
        assert_eq!(client.role, client_is);
        assert_ne!(visitor.role, client_is);
        assert_eq!([client.mode, visitor.mode], [i64::from(mode); 2]);
        let (sender, receiver) = match client_is {
            "sender" => (&advice.client, &advice.visitor),
            _ => (&advice.visitor, &advice.client),
        };
        assert_eq!(sender.delay, SENDER_HANDICAP);
        assert_eq!(receiver.delay, Duration::ZERO);
        assert_eq!(sender.resp.detect_behavior.ttl, 0);
        assert_eq!(receiver.resp.detect_behavior.ttl, 7);
    }
    check(EASY, EASY, 0, "sender");
    check(REGULAR, EASY, 1, "sender");
    check(EASY, REGULAR, 1, "receiver");
    check(IRREGULAR, EASY, 2, "receiver");
    check(EASY, IRREGULAR, 2, "sender");
    check(REGULAR, REGULAR, 3, "sender");
    check(REGULAR, IRREGULAR, 4, "sender");
    check(IRREGULAR, REGULAR, 4, "receiver");
}

#[test]
fn each_side_is_told_where_the_other_may_come_from() {
    let mut trial = Trial::new(EASY, REGULAR);
    let advice = trial.advise();
    assert_eq!(
        advice.client.resp,
        NatHoleResp {
            transaction_id: "t2".into(),
            sid: "s".into(),
            protocol: "kcp".into(),
            candidate_addrs: texts(&REGULAR),
            assisted_addrs: texts(&["10.0.0.2:6000"]),
            detect_behavior: DetectBehavior {
                role: "receiver".into(),
                mode: 1,
                ttl: 7,
                read_timeout: 5_000,
                candidate_ports: vec![PortsRange {
                    from: 3_995,
                    to: 4_007
                }],
                ..DetectBehavior::default()
            },
            error: String::new(),
        }
    );
    assert_eq!(
        advice.visitor.resp,
        NatHoleResp {
            transaction_id: "t1".into(),
            sid: "s".into(),
            protocol: "kcp".into(),
            candidate_addrs: texts(&EASY[..1]),
            assisted_addrs: texts(&["10.0.0.1:5000"]),
            detect_behavior: DetectBehavior {
                role: "sender".into(),
                mode: 1,
                read_timeout: 5_000,
                ..DetectBehavior::default()
            },
            error: String::new(),
        }
    );
}

#[test]
fn both_stop_waiting_at_the_same_time() {
    let mut trial = Trial::new(IRREGULAR, EASY);
    let advice = trial.advise();
    let client = &advice.client.resp.detect_behavior;
    let visitor = &advice.visitor.resp.detect_behavior;
    assert_eq!((client.send_delay_ms, client.read_timeout), (0, 38_000));
    assert_eq!(
        (visitor.send_delay_ms, visitor.read_timeout),
        (3_000, 35_000)
    );
    assert_eq!(
        (client.listen_random_ports, client.send_random_ports),
        (256, 0)
    );
    assert_eq!(
        (visitor.listen_random_ports, visitor.send_random_ports),
        (0, 1_000)
    );
    assert_eq!(advice.attempt.report_within, Duration::from_secs(68));
}

#[test]
fn ports_stay_within_what_a_port_can_be() {
    let ports = |last: &str, difference: u16, range: i64| {
        let other = Side {
            mapped: vec![last.parse().unwrap()],
            assisted: Vec::new(),
            nat: Nat {
                behavior: crate::nat::Behavior::PortChanged,
                ports_difference: difference,
                public: false,
            },
        };
        let part = Part {
            range,
            ..Way { mode: 0, index: 0 }.entry().0
        };
        part.ports_near(&other).map(|range| (range.from, range.to))
    };
    assert_eq!(ports("192.0.2.1:4000", 3, 10), Some((3_992, 4_008)));
    assert_eq!(ports("192.0.2.1:4000", 30, 10), Some((3_990, 4_010)));
    assert_eq!(ports("192.0.2.1:4000", 3, 2), Some((3_998, 4_002)));
    assert_eq!(ports("192.0.2.1:3", 5, 10), Some((1, 13)));
    assert_eq!(ports("192.0.2.1:65530", 5, 10), Some((65_520, 65_535)));
    assert_eq!(ports("192.0.2.1:4000", 3, 0), None);
}

#[test]
fn what_worked_is_tried_first() {
    let mut trial = Trial::new(EASY, EASY);
    assert_eq!(trial.next_ways(1), "0.0");
    let second = trial.advise().attempt;
    assert_eq!(second.way.index, 1);
    trial.succeed(second);
    assert_eq!(trial.next_ways(3), "0.1 0.1 0.2");

    // However often it worked, eleven failures in a row are enough to look elsewhere.
    let mut trial = Trial::new(EASY, EASY);
    let first = trial.advise().attempt;
    for _ in 0..100 {
        trial.succeed(first);
    }
    assert_eq!(trial.next_ways(11), ["0.0"; 11].join(" "));
    assert_eq!(trial.next_ways(1), "0.1");
}

#[test]
fn other_sides_learn_on_their_own() {
    let mut trial = Trial::new(EASY, EASY);
    assert_eq!(trial.next_ways(2), "0.0 0.1");
    trial.visitor.mapped_addrs = texts(&["192.0.2.9:4000", "192.0.2.9:4000"]);
    assert_eq!(trial.next_ways(1), "0.0");
    // Another port of the same NAT is the same side.
    trial.visitor.mapped_addrs = texts(&["192.0.2.9:4444", "192.0.2.9:4444"]);
    assert_eq!(trial.next_ways(1), "0.1");
}

#[test]
fn what_is_not_used_is_forgotten() {
    let mut trial = Trial::new(EASY, EASY);
    let retention = trial.analysis.retention;
    assert_eq!(trial.next_ways(1), "0.0");
    trial.now += retention;
    assert_eq!(trial.next_ways(1), "0.1");
    let attempt = trial.advise().attempt;
    trial.now += retention + Duration::from_secs(1);
    assert_eq!(trial.next_ways(1), "0.0");

    // A report that comes too late for its record is no harm, and records nobody asks for go as well.
    trial.succeed(attempt);
    trial.now += PRUNE_INTERVAL + retention;
    trial.visitor.mapped_addrs = texts(&REGULAR);
    trial.advise();
    assert_eq!(trial.analysis.records.len(), 1);
}

#[test]
fn memory_is_bounded_and_the_oldest_goes_first() {
    let mut trial = Trial::new(EASY, EASY);
    for last in 0..=MAX_RECORDS as u32 {
        let addr = SocketAddrV4::new((0x0a00_0000 + last).into(), 4_000).to_string();
        trial.visitor.mapped_addrs = vec![addr; 2];
        trial.advise();
        trial.now += Duration::from_millis(1);
    }
    assert_eq!(trial.analysis.records.len(), MAX_RECORDS);
    trial.visitor.mapped_addrs = texts(&["10.0.0.1:4000"; 2]);
    assert_eq!(trial.next_ways(1), "0.1");
    trial.visitor.mapped_addrs = texts(&["10.0.0.0:4000"; 2]);
    assert_eq!(trial.next_ways(1), "0.0");
}

#[test]
fn only_usable_addresses_are_passed_on() {
    let mut trial = Trial::new(EASY, EASY);
    trial.visitor.mapped_addrs = texts(&[
        "nowhere",
        "192.0.2.1:1",
        "192.0.2.1:1",
        "255.255.255.255:7",
        "192.0.2.1:2",
        "192.0.2.1:1",
    ]);
    let advice = trial.advise();
    assert_eq!(
        advice.client.resp.candidate_addrs,
        ["192.0.2.1:1", "192.0.2.1:2", "192.0.2.1:1"]
    );
}

#[test]
fn a_side_that_says_too_little_is_named() {
    let mut trial = Trial::new(EASY, EASY);
    trial.visitor.mapped_addrs = texts(&["192.0.2.1:1", "0.0.0.0:1"]);
    let error = |trial: &mut Trial| {
        let Trial {
            analysis,
            client,
            visitor,
            now,
        } = trial;
        analysis
            .advise(client, visitor, "s", *now)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&mut trial),
        "classify visitor nat feature error: not enough addresses: need 2 that are ip:port of IPv4, got 1"
    );
    trial.client.mapped_addrs.clear();
    assert_eq!(
        error(&mut trial),
        "classify client nat feature error: not enough addresses: need 2 that are ip:port of IPv4, got 0"
    );
    assert!(trial.analysis.records.is_empty());
}
