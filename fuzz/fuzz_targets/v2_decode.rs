//! Whatever arrives, decoding does not panic; a message that was read can be written and read again, and a hello that was read
//! gets an answer that its sender can read.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_proto::{
    EncodeError, WireVersion,
    hello::{Bootstrap, Extension, Offer, answer},
    record::Algorithm,
    v2::{self, Content},
};

const EXTENSION: Extension = Extension::new("x");

fuzz_target!(|input: &[u8]| {
    let message = WireVersion::V2.decode(input);
    let Ok(Some((content, len))) = v2::decode(input) else {
        assert!(!matches!(message, Ok(Some(_))));
        return;
    };
    assert!((v2::HEADER_LEN..=input.len()).contains(&len));
    let offer = Offer::new(Bootstrap::default(), &Algorithm::by_speed(), &[EXTENSION]);
    match content {
        Content::ClientHello(hello) => {
            assert!(message.is_err());
            if let Ok(answer) = answer(hello, &[EXTENSION]) {
                let mut frame = BytesMut::new();
                answer.encode(&mut frame);
                let Ok(Some((Content::ServerHello(hello), _))) = v2::decode(&frame) else {
                    panic!("{answer:?} is no hello");
                };
                // Both algorithms are on offer, so that whatever was chosen is.
                assert_eq!(offer.agree(hello).is_ok(), answer.outcome.is_ok());
            }
        }
        Content::Message(content) => {
            assert_eq!(message.unwrap(), Some((content.clone(), len)));
            let mut frame = BytesMut::new();
            match WireVersion::V2.encode(&content, &mut frame) {
                Ok(()) => {
                    let again = WireVersion::V2.decode(&frame).unwrap();
                    assert_eq!(again, Some((content, frame.len())));
                }
                // What was one byte may become an escape of six.
                Err(error) => {
                    assert!(matches!(error, EncodeError::TooLong { .. }));
                    assert!(frame.is_empty());
                }
            }
        }
        Content::ServerHello(hello) => {
            assert!(message.is_err());
            let _ = offer.agree(hello);
        }
    }
});
