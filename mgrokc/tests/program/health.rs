//! `mgrokc health`: whether the client that runs serves users.

use std::path::Path;

use crate::process::Process;
use crate::reload::{proxy, rewrite, service};
use crate::{client_in, config, free_port, start_server};

/// The exit code and what is printed.
fn health(directory: &Path) -> (Option<i32>, String) {
    let output = client_in(directory).arg("health").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    (output.status.code(), text)
}

#[test]
fn users_are_served_once_the_client_is_logged_in() {
    let admin = free_port();
    let head = |server: u16| {
        format!(
            "serverAddr = \"127.0.0.1\"\nserverPort = {server}\nloginFailExit = false\nwebServer.port = {admin}\n"
        )
    };
    // Nobody is there.
    let directory = config(&head(free_port()));
    let (code, text) = health(directory.path());
    assert!(text.contains("answers at 127.0.0.1:"), "{text}");
    assert_eq!(code, Some(1));

    let mut client = Process::start(&mut client_in(directory.path()));
    client.wait_for("admin server listen on");
    let (code, text) = health(directory.path());
    assert!(text.contains("users cannot be served: "), "{text}");
    assert_eq!(code, Some(1));
    drop(client);

    let text = head(start_server()) + &proxy("kept", service(), free_port());
    rewrite(directory.path(), &text);
    let mut client = Process::start(&mut client_in(directory.path()));
    client.wait_for("] [kept] start proxy success");
    let (code, text) = health(directory.path());
    assert!(text.ends_with(" says that users can be served\n"), "{text}");
    assert_eq!(code, Some(0));
}

#[test]
fn without_an_admin_port_nothing_is_known_to_be_wrong() {
    let directory = config("serverPort = 7000\n");
    let (code, text) = health(directory.path());
    assert!(text.starts_with("set webServer.port "), "{text}");
    assert_eq!(code, Some(0));
}
