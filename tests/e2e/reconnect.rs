//! How soon users are served again after the server was killed.

use std::time::{Duration, Instant};

use mgrok_lab::{Client, PATIENCE, Peer, Proxy, Server, service, traffic, within};
use tokio::time::sleep;

const KILLS: usize = 20;
/// How long a session is left alone before the next kill.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause between two users who look whether they are served.
const LOOK: Duration = Duration::from_millis(5);

/// What is said of an attempt that came to nothing.
const FAILED: &str = "connect to server error";
/// What is said of the end of a session.
const ENDED: &str = "this ends the session";

/// Whether the beginning of a text is a time of less than two seconds.
fn is_short(text: &str) -> bool {
    let time = text.split([',', ';', ' ']).next().unwrap_or_default();
    let seconds = time.strip_suffix('s').unwrap_or_default();
    // In front of it are the letters of a smaller unit, if it is one.
    seconds
        .parse::<f64>()
        .map_or(time.ends_with("ms"), |it| it < 2.0)
}

/// Prints the figures; run it with `--nocapture`.
#[tokio::test]
async fn a_server_that_is_killed_and_restarted_at_once_serves_again_at_once() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let public = proxies[0].public();
    let mut server = Server::start(Peer::MgrokProgram, "").await;
    let addr = server.addr();
    let client = Client::start(Peer::MgrokProgram, addr, "", &proxies).await;
    let mut outages = Vec::new();
    let mut from_start = Vec::new();
    for _ in 0..KILLS {
        traffic::tcp_echo(public, 1_000).await;
        sleep(PAUSE).await;
        let killed = Instant::now();
        drop(server);
        server = Server::start_at(Peer::MgrokProgram, addr, "").await;
        let mark = client.log().mark();
        let listens = killed.elapsed();
        let served = async {
            while traffic::try_tcp_echo(public, 10).await.is_err() {
                sleep(LOOK).await;
            }
        };
        within(PATIENCE, "somebody is served", served).await;
        outages.push(killed.elapsed());
        from_start.push(killed.elapsed().saturating_sub(listens));
        let after = &client.log().lines()[mark..];
        let failed = after.iter().filter(|it| it.contains(FAILED)).count();
        assert!(
            failed <= 1,
            "more failed than what was under way: {after:#?}"
        );
    }
    for (what, times) in [("kill", &mut outages), ("restart", &mut from_start)] {
        times.sort();
        println!(
            "served again after the {what}: median {:.0?}, worst {:.0?} of {KILLS}",
            times[KILLS / 2],
            times[KILLS - 1]
        );
    }
    // Each end is told with the time of the first attempt, which is soon. Those after it wait longer while the server starts, which on a busy
    // machine takes seconds.
    let ends = client.log().lines();
    let ends: Vec<_> = ends.iter().filter(|it| it.contains(ENDED)).collect();
    assert_eq!(ends.len(), KILLS);
    for line in ends {
        let wait = line.split("next attempt in ").nth(1);
        assert!(wait.is_some_and(is_short), "{line}");
    }
}
