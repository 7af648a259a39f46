//! Any command of an SSH client is either a proxy with a name that can be announced, or has a text for the client, which has no line breaks
//! and no control characters of the client's unless it is the help.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mgrok_config::{SshCommand, SshCommandError};

fuzz_target!(|command: &str| {
    match SshCommand::read(command, "0a1b2c3d") {
        Ok(read) => {
            assert!(!read.proxy.name.is_empty());
            let announced = read.proxy.announcement(&read.user);
            assert!(announced.proxy_name.ends_with(&read.proxy.name));
        }
        Err(SshCommandError::Help(text)) => assert!(text.contains("--proxy-name")),
        Err(SshCommandError::Wrong(why)) => {
            assert!(!why.is_empty() && !why.chars().any(char::is_control), "{why:?}");
        }
    }
});
