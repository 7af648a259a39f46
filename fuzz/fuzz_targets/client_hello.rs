//! Whatever arrives in place of a ClientHello, the parser answers, and the same however it was cut.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_net::client_hello::{Progress, parse};

fuzz_target!(|input: (Vec<u8>, u16)| {
    let (seen, cut) = input;
    let whole = parse(&seen);
    if let Progress::Hello(hello) = &whole {
        let name = hello.server_name.as_deref().unwrap_or("none");
        assert!(!name.is_empty() && name.bytes().all(|byte| byte.is_ascii_graphic()));
    }
    match parse(&seen[..usize::from(cut).min(seen.len())]) {
        Progress::NeedMore(needed) => assert!(needed > usize::from(cut).min(seen.len())),
        answer => assert_eq!(answer, whole),
    }
});
