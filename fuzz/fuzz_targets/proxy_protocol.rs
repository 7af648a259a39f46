//! A PROXY protocol header is told alike however its bytes are cut, and what it says can be said
//! again.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use mgrok_net::proxy_protocol::{
    MAX_V1_LEN, MAX_V2_LEN, ParseError, TransportProtocol, Version, encode, parse,
};

fuzz_target!(|input: &[u8]| {
    let whole = parse(input);
    for cut in 0..input.len() {
        match parse(&input[..cut]) {
            Ok(None) => {}
            // What came instead is told more or less fully.
            Err(ParseError::Missing { .. }) => {
                assert!(matches!(whole, Err(ParseError::Missing { .. })));
            }
            told => assert_eq!(told, whole),
        }
    }
    let header = match whole {
        Ok(Some(header)) => header,
        // Nobody is waited for without end.
        Ok(None) => return assert!(input.len() < MAX_V2_LEN),
        Err(_) => return,
    };
    assert!(header.len <= input.len());
    assert!(header.len <= if input[0] == b'P' { MAX_V1_LEN } else { MAX_V2_LEN });
    if let Some(addresses) = header.addresses {
        for version in [Version::V1, Version::V2] {
            let mut again = BytesMut::new();
            encode(version, TransportProtocol::Tcp, &addresses, &mut again);
            let read = parse(&again).unwrap().unwrap();
            assert_eq!(read.addresses, Some(addresses));
            assert_eq!(read.len, again.len());
        }
    }
});
