//! Measures what a full segment costs without sockets: two machines in this process, one of which sends a bulk to the other.
//!
//! Medians are printed of how long a segment takes at both ends together, with its share of the parity and of the acknowledgements.
//! Counts of instructions tell more where the machine is not idle: `valgrind --tool=callgrind` on this program, with `1 4` as arguments.
//!
//! `cargo bench -p mgrok-kcp --bench segments -- [rounds] [MiB per round]`

#![allow(clippy::print_stdout, reason = "the program's purpose")]

use std::collections::VecDeque;
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use mgrok_kcp::Config;
use mgrok_kcp::machine::Machine;
use mgrok_kcp::packet::MAX_PAYLOAD;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// What the drivers hand on at a time: what Linux cuts into datagrams in one go.
const DATAGRAMS: usize = 47;

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1).filter(|it| it != "--bench");
    let rounds: usize = args.next().map_or(Ok(9), |text| text.parse())?;
    let mib: usize = args.next().map_or(Ok(256), |text| text.parse())?;
    for send_parity in [true, false] {
        let mut times: Vec<_> = (0..rounds).map(|_| round(mib << 20, send_parity)).collect();
        times.sort_by(f64::total_cmp);
        let parity = if send_parity { "with" } else { "without" };
        println!("{:5.0} ns a segment, {parity} parity", times[rounds / 2]);
    }
    Ok(())
}

/// Moves so many bytes and returns how many nanoseconds a segment of them took.
fn round(length: usize, send_parity: bool) -> f64 {
    let config = Config {
        send_parity,
        ..Config::frp_server()
    };
    let began = Instant::now();
    let mut near = Machine::new(1, config.clone(), began);
    let mut far = Machine::new(1, config, began);
    let mut buffers = VecDeque::new();
    let cx = &mut Context::from_waker(Waker::noop());
    let (data, mut room) = (vec![7; 64 * 1024], vec![0; 64 * 1024]);
    let (mut sent, mut received) = (0, 0);
    while received < length {
        let now = Instant::now();
        while sent < length
            && let Poll::Ready(Ok(count)) = near.poll_send(cx, &data, now)
        {
            sent += count;
        }
        carry(&mut near, &mut far, &mut buffers, now);
        while let Poll::Ready(Ok(count)) = far.poll_read(cx, &mut &mut room[..], now) {
            received += count;
        }
        carry(&mut far, &mut near, &mut buffers, now);
    }
    began.elapsed().as_nanos() as f64 / (length as f64 / MAX_PAYLOAD as f64)
}

/// Brings what `from` has to send to `to`.
fn carry(from: &mut Machine, to: &mut Machine, buffers: &mut VecDeque<BytesMut>, now: Instant) {
    from.handle_timeout(now);
    let mut datagram = Vec::with_capacity(2048);
    for _ in 0..DATAGRAMS {
        if !from.poll_transmit(&mut datagram, now) {
            break;
        }
        to.handle_datagram(copy(buffers, &datagram), now);
        datagram.clear();
    }
}

/// A copy in a buffer that is used again, as the drivers make one of what arrives.
fn copy(buffers: &mut VecDeque<BytesMut>, datagram: &[u8]) -> Bytes {
    let mut buffer = buffers.pop_front().unwrap_or_default();
    if !buffer.try_reclaim(2048) {
        if buffer.capacity() > 0 || buffers.len() < 1024 {
            buffers.push_back(buffer);
        }
        buffer = BytesMut::with_capacity(2048);
    }
    buffer.extend_from_slice(datagram);
    let copy = buffer.split().freeze();
    buffers.push_back(buffer);
    copy
}
