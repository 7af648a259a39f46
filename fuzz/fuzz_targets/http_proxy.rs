//! Whatever a request to a forward proxy names, it is a host and a port that can be connected to, or none.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_http::host_and_port;

fuzz_target!(|input: (&str, Option<u16>)| {
    let (authority, default_port) = input;
    if let Some((host, port)) = host_and_port(authority, default_port) {
        assert!(!host.is_empty() && port != 0);
        assert!(authority.contains(host));
        // The same again, as it would be written.
        let written = match host.contains(':') {
            true => format!("[{host}]:{port}"),
            false => format!("{host}:{port}"),
        };
        if !host.contains(['[', ']']) {
            assert_eq!(host_and_port(&written, None), Some((host, port)));
        }
    }
});
