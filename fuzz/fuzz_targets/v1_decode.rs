//! Whatever arrives, decoding does not panic, and a message that was read can be written and read again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::{EncodeError, WireVersion, v1};

fuzz_target!(|input: &[u8]| {
    let Ok(Some((message, len))) = WireVersion::V1.decode(input) else {
        return;
    };
    assert!((v1::HEADER_LEN..=input.len()).contains(&len));

    let mut frame = BytesMut::new();
    match WireVersion::V1.encode(&message, &mut frame) {
        Ok(()) => {
            let again = WireVersion::V1.decode(&frame).unwrap();
            assert_eq!(again, Some((message, frame.len())));
        }
        // What was one byte may become an escape of six.
        Err(error) => {
            assert!(matches!(error, EncodeError::TooLong { .. }));
            assert!(frame.is_empty());
        }
    }
});
