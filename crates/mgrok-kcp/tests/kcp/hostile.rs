//! Datagrams that mean harm.

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use mgrok_kcp::Config;
use mgrok_kcp::machine::{Machine, peek};
use proptest::prelude::*;

/// One segment, with or without a header of error correction.
#[derive(Clone, Debug)]
struct Segment {
    fec: Option<(u32, bool)>,
    conversation: u32,
    command: u8,
    window: u16,
    timestamp: u32,
    number: u32,
    next: u32,
    length: u32,
    payload: usize,
}

impl Segment {
    fn bytes(&self) -> Bytes {
        let mut bytes = Vec::new();
        if let Some((number, is_parity)) = self.fec {
            bytes.extend_from_slice(&number.to_le_bytes());
            bytes.extend_from_slice(&[if is_parity { 0xf2 } else { 0xf1 }, 0]);
            bytes.extend_from_slice(&(2 + 24 + self.payload as u16).to_le_bytes());
        }
        bytes.extend_from_slice(&self.conversation.to_le_bytes());
        bytes.extend_from_slice(&[self.command, 0]);
        bytes.extend_from_slice(&self.window.to_le_bytes());
        for field in [self.timestamp, self.number, self.next, self.length] {
            bytes.extend_from_slice(&field.to_le_bytes());
        }
        bytes.resize(bytes.len() + self.payload, 7);
        bytes.into()
    }
}

/// Numbers near the corners.
fn number() -> impl Strategy<Value = u32> {
    prop_oneof![
        0u32..20,
        0u32..2000,
        any::<u32>(),
        Just(u32::MAX),
        Just(1 << 31),
        Just((1 << 31) - 1),
    ]
}

fn segment() -> impl Strategy<Value = Segment> {
    let fec = prop::option::of((number(), any::<bool>()));
    let command = prop_oneof![4 => 81u8..85, 1 => any::<u8>()];
    let lengths = prop_oneof![
        4 => (0usize..1400).prop_map(|length| (length as u32, length)),
        1 => (number(), 0usize..1400),
    ];
    let numbers = (number(), number(), prop_oneof![3 => Just(0), 1 => number()]);
    (fec, 6u32..8, command, any::<u16>(), numbers, lengths).prop_map(
        |(fec, conversation, command, window, (timestamp, number, next), (length, payload))| {
            Segment {
                fec,
                conversation,
                command,
                window,
                timestamp,
                number,
                next,
                length,
                payload,
            }
        },
    )
}

#[derive(Clone, Debug)]
enum Step {
    Segment(Segment),
    Bytes(Vec<u8>),
    Write(usize),
    Read,
    Wait(u64),
    Close,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => segment().prop_map(Step::Segment),
        3 => prop::collection::vec(any::<u8>(), 0..80).prop_map(Step::Bytes),
        3 => (0usize..100_000).prop_map(Step::Write),
        2 => Just(Step::Read),
        4 => (0u64..70_000).prop_map(|ms| Step::Wait(ms * ms / 70_000)),
        1 => prop::bool::weighted(0.1).prop_map(|close| {
            if close { Step::Close } else { Step::Read }
        }),
    ]
}

proptest! {
    #[test]
    fn no_datagram_is_a_panic_or_takes_memory_without_bound(
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let config = Config { receive_window: 64, send_window: 64, ..Config::frp_server() };
        let cx = &mut Context::from_waker(Waker::noop());
        let mut now = Instant::now();
        let mut machine = Machine::new(7, config, now);
        let mut datagram = Vec::new();
        for step in steps {
            match step {
                Step::Segment(segment) => {
                    let bytes = segment.bytes();
                    let _seen = peek(&bytes);
                    machine.handle_datagram(bytes, now);
                }
                Step::Bytes(bytes) => {
                    let _seen = peek(&bytes);
                    machine.handle_datagram(bytes.into(), now);
                }
                Step::Write(length) => drop(machine.poll_send(cx, &vec![1; length], now)),
                Step::Read => drop(machine.poll_recv(cx, now)),
                Step::Wait(ms) => now += Duration::from_millis(ms),
                Step::Close => machine.close(now),
            }
            machine.handle_timeout(now);
            let mut count = 0;
            while machine.poll_transmit(&mut datagram, now) {
                prop_assert!(datagram.len() <= 1358);
                datagram.clear();
                count += 1;
                prop_assert!(count <= 64 * 2, "output without bound");
            }
            prop_assert!(machine.held() <= 64 * 1326 + 64 * 1400);
            prop_assert!(machine.timeout_at().is_none_or(|at| at > now));
        }
    }
}

#[test]
fn another_conversation_is_ignored() {
    let segment = Segment {
        fec: None,
        conversation: 8,
        command: 81,
        window: 1,
        timestamp: 0,
        number: 0,
        next: 0,
        length: 3,
        payload: 3,
    };
    let now = Instant::now();
    let mut machine = Machine::new(7, Config::frp_server(), now);
    machine.handle_datagram(segment.bytes(), now);
    let soon = now + Duration::from_millis(20);
    assert!(!machine.poll_transmit(&mut Vec::new(), soon));
    let ours = Segment {
        conversation: 7,
        ..segment
    };
    machine.handle_datagram(ours.bytes(), now);
    assert!(machine.poll_transmit(&mut Vec::new(), soon));
    assert_eq!(machine.held(), 3);
}

#[test]
fn acknowledgements_of_what_was_never_sent_change_nothing() {
    let now = Instant::now();
    let cx = &mut Context::from_waker(Waker::noop());
    let mut machine = Machine::new(7, Config::frp_server(), now);
    assert!(machine.poll_send(cx, b"abc", now).is_ready());
    for (number, next) in [(5, 0), (0, 1), (u32::MAX, u32::MAX), (1 << 31, 1 << 31)] {
        let ack = Segment {
            fec: None,
            conversation: 7,
            command: 82,
            window: 9,
            timestamp: 0,
            number,
            next,
            length: 0,
            payload: 0,
        };
        machine.handle_datagram(ack.bytes(), now);
        assert_eq!(machine.held(), 3, "{number}, {next}");
    }
}
