//! Any text is either a configuration of the server or of the client, or has mistakes that can be printed.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_config::{Strictness, load_client_from_str, load_server_from_str};

fuzz_target!(|text: &str| {
    for name in ["f", "f.yaml", "f.json"] {
        if let Err(error) = load_server_from_str(text, name, Strictness::Lenient) {
            assert!(!error.to_string().is_empty());
        }
        if let Err(error) = load_client_from_str(text, name, Strictness::Lenient) {
            assert!(!error.to_string().is_empty());
        }
    }
});
