//! A multiplexed session whose other end says anything at all: no panic, no output without
//! bound, and nothing left when it is over.
#![no_main]

use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use mgrok_mux::Config;
use mgrok_mux::frame::Header;
use mgrok_mux::machine::{Batch, MAX_PENDING_REPLIES, Machine};

/// Bytes that the machine may answer to one step of the fuzzer, beyond its send queue.
const MAX_REPLY: usize = 64 * (MAX_PENDING_REPLIES + 1024);

fuzz_target!(|input: &[u8]| {
    let Some((role, mut steps)) = input.split_first() else {
        return;
    };
    let config = if role % 2 == 0 {
        Config::client()
    } else {
        Config::server()
    };
    let max_output = config.send_queue + MAX_REPLY;
    let mut now = Instant::now();
    let mut machine = Machine::new(config, now);
    let mut batch = Batch::new(role % 4 < 2);
    let mut ids: Vec<u32> = Vec::new();
    let cx = &mut Context::from_waker(Waker::noop());

    while let [what, value, rest @ ..] = steps {
        steps = rest;
        let picked = ids.get(*value as usize % ids.len().max(1)).copied();
        match (what % 11, picked) {
            // Bytes as they are, which reach the parser's corners.
            (0, _) => {
                let (bytes, rest) = steps.split_at(steps.len().min(*value as usize));
                steps = rest;
                feed(&mut machine, Bytes::copy_from_slice(bytes), now);
            }
            // A frame that has a chance to mean something.
            (1 | 2, _) => {
                let [kind, flags, stream, length, rest @ ..] = steps else {
                    break;
                };
                steps = rest;
                let length = u32::from(*length) << (value % 16);
                let mut bytes = BytesMut::new();
                bytes.extend_from_slice(&[0, kind % 4, 0, flags % 16, 0, 0, 0, *stream]);
                bytes.extend_from_slice(&length.to_be_bytes());
                if kind % 4 == 0 {
                    bytes.resize(bytes.len() + (length as usize).min(1 << 20), *value);
                }
                feed(&mut machine, bytes.freeze(), now);
            }
            (3, _) => ids.extend(machine.open().ok()),
            (4, _) => {
                if let Poll::Ready(Some(id)) = machine.poll_accept(cx) {
                    ids.push(id);
                }
            }
            (5, Some(id)) => drop(machine.poll_recv(id, cx)),
            (6, Some(id)) => {
                let mut chunk = Bytes::from(vec![0; usize::from(*value) << 10]);
                drop(machine.poll_send(id, cx, &mut chunk));
            }
            (7, Some(id)) => drop(machine.close_stream(id)),
            (8, Some(id)) => {
                ids.retain(|&other| other != id);
                machine.drop_stream(id, now);
            }
            (9, _) => {
                now += Duration::from_secs(u64::from(*value));
                machine.handle_timeout(now);
            }
            _ => {
                transmit(&mut machine, &mut batch, now, max_output);
            }
        }
        if machine.ended().is_none() && value % 16 == 0 {
            let frame = Bytes::copy_from_slice(&Header::data(2, 0).encode());
            feed(&mut machine, frame, now);
        }
    }
    transmit(&mut machine, &mut batch, now, max_output);
    machine.close();
    for id in ids {
        machine.drop_stream(id, now);
    }
    transmit(&mut machine, &mut batch, now, max_output);
    assert_eq!(machine.attached_count(), 0);
});

fn transmit(machine: &mut Machine, batch: &mut Batch, now: Instant, max_output: usize) {
    let mut total = 0;
    while machine.has_output() {
        machine.poll_transmit(batch, now);
        total += batch.len();
        batch.advance(batch.len());
        assert!(total <= max_output, "unbounded output");
    }
}

fn feed(machine: &mut Machine, mut input: Bytes, now: Instant) {
    while !input.is_empty() {
        let before = input.len();
        machine.handle_input(&mut input, now);
        assert!(input.len() < before, "no headway");
    }
}
