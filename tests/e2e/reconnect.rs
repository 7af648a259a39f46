//! How soon users are served again after the server was killed.

use std::time::{Duration, Instant};

use mgrok_lab::{Client, Peer, Proxy, Server, service, traffic};
use tokio::time::{sleep, timeout};

const KILLS: usize = 20;
/// How long a session is left alone before the next kill.
const PAUSE: Duration = Duration::from_millis(500);
/// The pause between two users who look whether they are served.
const LOOK: Duration = Duration::from_millis(5);
/// An order of magnitude more than it takes on an idle machine.
const MEDIAN: Duration = Duration::from_secs(2);
const WORST: Duration = Duration::from_secs(10);

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
        let listens = killed.elapsed();
        let served = async {
            while traffic::try_tcp_echo(public, 10).await.is_err() {
                sleep(LOOK).await;
            }
        };
        timeout(WORST, served).await.expect("nobody is served");
        outages.push(killed.elapsed());
        from_start.push(killed.elapsed().saturating_sub(listens));
    }
    for (what, times) in [("kill", &mut outages), ("restart", &mut from_start)] {
        times.sort();
        println!(
            "served again after the {what}: median {:.0?}, worst {:.0?} of {KILLS}",
            times[KILLS / 2],
            times[KILLS - 1]
        );
    }
    assert!(outages[KILLS / 2] < MEDIAN, "{outages:?}");
    // Each is told with the time of the next attempt, and not each of the attempts.
    assert_eq!(client.log().count("this ends the session"), KILLS);
    assert!(client.log().contains("next attempt in"));
    assert!(client.log().count("connect to server error") <= 2 * KILLS);
}
