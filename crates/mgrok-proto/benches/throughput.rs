//! Measures what proxied bytes go through in this crate. Run it by `cargo bench -p mgrok-proto`.
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "it is there to print figures, and may stop if there are none"
)]

use std::{hint::black_box, net::SocketAddr, time::Instant};

use bytes::BytesMut;
use mgrok_proto::{
    WireVersion,
    auth::Secret,
    cipher::{CipherKey, Decryptor, Encryptor},
    message::{Message, UdpPacket},
    udp::{Decoder, Encoder, Framing},
};

/// Bytes that each measurement moves: about a second's worth at the speed that is hoped for.
const TOTAL: usize = 2 << 30;

fn main() {
    for size in [64, 512, 1_400, 7_600] {
        datagrams(size);
    }
    for size in [61, 1_400, 16_384] {
        cipher(size);
    }
}

fn datagrams(size: usize) {
    let payload: Vec<u8> = (0..size).map(|byte| byte as u8).collect();
    let user = Some(SocketAddr::from(([203, 0, 113, 77], 54_321)));
    let mut frame = BytesMut::new();
    for (name, framing) in [("udp", Framing::V1), ("binary", Framing::Binary)] {
        let mut encoder = Encoder::new(framing);
        measure(&format!("{name} encode {size}"), size, || {
            frame.clear();
            encoder.end_frame();
            encoder
                .datagram(black_box(&payload), user, &mut frame)
                .unwrap();
        });
        let mut out = BytesMut::new();
        let mut decoder = Decoder::new(framing);
        measure(&format!("{name} decode {size}"), size, || {
            out.clear();
            black_box(decoder.decode(black_box(&frame), &mut out).unwrap());
        });
        assert_eq!(out, payload);
    }

    let message = Message::from(UdpPacket {
        content: payload.into(),
        user: user.map(Into::into),
        ..UdpPacket::default()
    });
    measure(&format!("general encode {size}"), size, || {
        frame.clear();
        WireVersion::V1
            .encode(black_box(&message), &mut frame)
            .unwrap();
    });
    measure(&format!("general decode {size}"), size, || {
        black_box(WireVersion::V1.decode(black_box(&frame)).unwrap());
    });
}

fn cipher(size: usize) {
    let key = CipherKey::derive(&Secret::new("secret"));
    let mut data = vec![0; size];
    let mut encryptor = Encryptor::new(&key, [0; 16]);
    measure(&format!("encrypt {size}"), size, || {
        encryptor.apply(black_box(&mut data));
    });
    let mut decryptor = Decryptor::new(&key, [0; 16]);
    measure(&format!("decrypt {size}"), size, || {
        decryptor.apply(black_box(&mut data));
    });
}

fn measure(name: &str, size: usize, mut run: impl FnMut()) {
    let rounds = (TOTAL / size / 8).min(4_000_000);
    let start = Instant::now();
    for _ in 0..rounds {
        run();
    }
    let seconds = start.elapsed().as_secs_f64();
    let each = seconds * 1e9 / rounds as f64;
    let rate = (rounds * size) as f64 / seconds / 1e9;
    println!("{name:20} {each:8.0} ns {rate:7.2} GB/s of payload");
}
