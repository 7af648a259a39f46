//! A KCP session whose other end says anything at all: no panic, memory and output within bounds.
#![no_main]

use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mgrok_kcp::Config;
use mgrok_kcp::machine::{Machine, peek};
use mgrok_kcp::packet::{FEC_HEADER_SIZE, MAX_DATAGRAM, MAX_PAYLOAD};

/// Segments of each window.
const WINDOW: usize = 32;

/// Bytes in one datagram of the fuzzer, at most.
const MAX_INPUT: usize = 2048;

/// Datagrams that the machine may send at a time: its window, with parity, and acknowledgements.
const MAX_OUTPUT: usize = 2 * WINDOW;

fuzz_target!(|steps: &[u8]| {
    let mut steps = steps;
    let config = Config {
        send_window: WINDOW as u16,
        receive_window: WINDOW as u16,
        ..Config::frp_server()
    };
    let cx = &mut Context::from_waker(Waker::noop());
    let mut now = Instant::now();
    let mut machine = Machine::new(0, config, now);
    let mut datagram = Vec::new();

    while let [what, value, rest @ ..] = steps {
        steps = rest;
        match what % 8 {
            // Bytes as they are, which reach the parser's corners.
            0 => {
                let (bytes, rest) = steps.split_at(steps.len().min(*value as usize));
                steps = rest;
                let bytes = Bytes::copy_from_slice(bytes);
                let _seen = peek(&bytes);
                machine.handle_datagram(bytes, now);
            }
            // A segment that has a chance to mean something, with a header or without.
            1..=4 => {
                let [
                    fec,
                    command,
                    window,
                    timestamp,
                    number,
                    next,
                    length,
                    rest @ ..,
                ] = steps
                else {
                    break;
                };
                steps = rest;
                let mut bytes = Vec::new();
                let payload = usize::from(*length) * 8;
                if what % 2 == 0 {
                    bytes.extend_from_slice(&[*fec, 0, 0, 0, 0xf1 + value % 2, 0]);
                    bytes.extend_from_slice(&(2 + 24 + payload as u16).to_le_bytes());
                }
                bytes.extend_from_slice(&[0, 0, 0, 0, 81 + command % 4, 0, *window, 0]);
                for field in [timestamp, number, next] {
                    // Near zero in both directions.
                    let field = i32::from(*field as i8) as u32;
                    bytes.extend_from_slice(&field.to_le_bytes());
                }
                bytes.extend_from_slice(&(payload as u32).to_le_bytes());
                bytes.resize(bytes.len() + payload, *value);
                assert!(bytes.len() <= FEC_HEADER_SIZE + 24 + MAX_INPUT);
                let _seen = peek(&bytes);
                machine.handle_datagram(bytes.into(), now);
            }
            5 => drop(machine.poll_send(cx, &vec![1; usize::from(*value) << 6], now)),
            6 => drop(machine.poll_recv(cx, now)),
            _ => now += Duration::from_millis(u64::from(*value) * u64::from(*value)),
        }
        machine.handle_timeout(now);
        let mut count = 0;
        while machine.poll_transmit(&mut datagram, now) {
            assert!(datagram.len() <= MAX_DATAGRAM);
            datagram.clear();
            count += 1;
            assert!(count <= MAX_OUTPUT, "unbounded output");
        }
        assert!(machine.held() <= WINDOW * (MAX_PAYLOAD + MAX_INPUT));
        assert!(machine.timeout_at().is_none_or(|at| at > now), "no rest");
    }
});
