//! What the wire must look like, tested from outside: golden bytes of frp, Go's JSON rules, and properties that hold for
//! any input.
#![expect(
    clippy::expect_used,
    clippy::unwrap_used,
    reason = "helpers of tests fail as tests do"
)]

mod binary_v1;
mod cipher;
mod go_rules;
mod golden;
mod hello;
mod hook;
mod messages;
mod record;
mod samples;
mod udp;
mod udp_binary;
mod v2;

use bytes::BytesMut;
use mgrok_proto::{
    DecodeError, WireVersion,
    message::{Kind, Message},
};

use self::samples::SAMPLES;

const VERSIONS: [WireVersion; 2] = [WireVersion::V1, WireVersion::V2];

/// One v1 frame around `body`, whatever is in it.
fn frame(type_byte: u8, body: impl AsRef<[u8]>) -> Vec<u8> {
    let body = body.as_ref();
    let mut frame = vec![type_byte];
    frame.extend_from_slice(&(body.len() as u64).to_be_bytes());
    frame.extend_from_slice(body);
    frame
}

/// One v2 frame around `payload`, whatever is in it.
fn v2_frame(frame_type: u16, payload: impl AsRef<[u8]>) -> Vec<u8> {
    let payload = payload.as_ref();
    let mut frame = frame_type.to_be_bytes().to_vec();
    frame.extend_from_slice(&[0, 0]);
    frame.extend_from_slice(&(payload.len() as u32).to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

/// One v2 frame that says it holds this message.
fn v2_message(id: u16, body: impl AsRef<[u8]>) -> Vec<u8> {
    v2_frame(16, [&id.to_be_bytes(), body.as_ref()].concat())
}

/// One frame around `body`, whatever is in it.
fn frame_of(version: WireVersion, kind: Kind, body: impl AsRef<[u8]>) -> Vec<u8> {
    let at = SAMPLES.iter().position(|sample| sample.1 == kind).unwrap();
    match version {
        WireVersion::V1 => frame(SAMPLES[at].0, body),
        WireVersion::V2 => v2_message(at as u16 + 1, body),
    }
}

/// Decodes a frame that is expected to be whole.
fn decode(frame: &[u8]) -> Result<Message, DecodeError> {
    WireVersion::V1.decode(frame).map(|decoded| {
        let (message, len) = decoded.expect("the frame is whole");
        assert_eq!(len, frame.len());
        message
    })
}

/// Encodes a message that is expected to fit.
fn encode(message: &Message) -> BytesMut {
    let mut frame = BytesMut::new();
    WireVersion::V1.encode(message, &mut frame).unwrap();
    frame
}

/// The bytes that hex digits stand for; blanks are for the reader.
fn hex(digits: &str) -> Vec<u8> {
    let digits: Vec<u32> = digits
        .chars()
        .filter_map(|digit| digit.to_digit(16))
        .collect();
    digits
        .chunks(2)
        .map(|pair| (pair[0] * 16 + pair[1]) as u8)
        .collect()
}
