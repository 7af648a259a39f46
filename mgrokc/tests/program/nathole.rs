//! `mgrokc nathole discover`.

use mgrok_lab::stun::{Manners, Stun};

use crate::process::{Ended, run};
use crate::{EXE, config, free_port};

/// Without a file of its own it would find whatever is in the directory of the tests.
async fn discover(args: &[&str]) -> Ended {
    let args: Vec<_> = ["-c", "", "nathole", "discover"]
        .iter()
        .chain(args)
        .map(|arg| (*arg).to_owned())
        .collect();
    tokio::task::spawn_blocking(|| run(EXE, args))
        .await
        .unwrap()
}

#[tokio::test]
async fn six_lines_say_what_is_seen() {
    let server = Stun::start().await;
    let server = server.addr().to_string();
    let port = free_port();
    for (local, shown) in [
        (format!("127.0.0.1:{port}"), format!("127.0.0.1:{port}")),
        (format!(":{port}"), format!("0.0.0.0:{port}")),
    ] {
        let ended = discover(&["--nat_hole_stun_server", &server, "-l", &local]).await;
        let expect = format!(
            "STUN server: {server}\n\
             Your NAT type is: EasyNAT\n\
             Behavior is: BehaviorNoChange\n\
             External address is: [127.0.0.1:{port} 127.0.0.1:{port}]\n\
             Local address is: {shown}\n\
             Public Network: "
        );
        assert!(ended.stdout.starts_with(&expect), "{ended:?}");
        assert_eq!(ended.stdout.lines().count(), 6, "{ended:?}");
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    }
}

#[tokio::test]
async fn the_server_is_the_configured_one_unless_another_is_named() {
    let configured = Stun::start().await;
    let named = Stun::start().await;
    let directory = config(&format!("natHoleStunServer = \"{}\"\n", configured.addr()));
    let file = directory.path().join("client.toml");
    let file = file.to_str().unwrap();
    let ended = discover(&["-c", file]).await;
    let first = format!("STUN server: {}\n", configured.addr());
    assert!(ended.stdout.starts_with(&first), "{ended:?}");

    let flag = format!("--nat-hole-stun-server={}", named.addr());
    let ended = discover(&["-c", file, &flag]).await;
    let first = format!("STUN server: {}\n", named.addr());
    assert!(ended.stdout.starts_with(&first), "{ended:?}");
}

#[tokio::test]
async fn failures_are_told() {
    let manners = Manners {
        hides_other: true,
        ..Manners::default()
    };
    let server = Stun::with([[127, 0, 0, 1].into(); 2], manners).await;
    let server = server.addr().to_string();
    let ended = discover(&["--nat-hole-stun-server", &server]).await;
    let why = "discover error: not enough addresses: ";
    assert!(ended.stdout.starts_with(why), "{ended:?}");
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(1), ""));

    for [flag, value] in [
        ["--nat-hole-stun-server", ""],
        ["--nat-hole-stun-server", "nowhere"],
        ["--nat-hole-local-addr", "nowhere"],
    ] {
        let ended = discover(&[flag, value]).await;
        assert!(ended.stderr.contains(flag), "{ended:?}");
        assert!(ended.stderr.contains("must be"), "{ended:?}");
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""));
    }
}
