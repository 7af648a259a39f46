//! More connections than the server has files for.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use mgrok_lab::{Client, Log, PATIENCE, Peer, Proxy, Server, eventually, service, traffic, within};
use tokio::{io::AsyncWriteExt, net::TcpStream, sync::watch, task::JoinSet};

/// So few that a crowd uses them up, and enough for everything the server needs itself.
const FILES: u32 = 200;

/// What the server says when it has no more of them.
const SHORTAGE: &str = "too many open files";

/// How many come at once.
const CROWD: usize = 5_000;

#[tokio::test]
async fn a_crowd_of_users_does_not_take_the_server_down() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start_limited(Peer::MgrokProgram, "", Some(FILES)).await;
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
    crowd(proxies[0].public(), server.log()).await;
    serves_again(&proxies[0]).await;
}

#[tokio::test]
async fn a_crowd_on_the_servers_own_port_does_not_take_it_down() {
    let echo = service::tcp_echo().await;
    let proxies = [Proxy::tcp("tcp", echo.addr())];
    let server = Server::start_limited(Peer::MgrokProgram, "", Some(FILES)).await;
    let client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    crowd(server.addr(), server.log()).await;
    serves_again(&proxies[0]).await;
    // A new client gets in, too.
    drop(client);
    let _client = Client::start(Peer::Mgrok, server.addr(), "", &proxies).await;
    traffic::tcp_echo(proxies[0].public(), 1_000).await;
}

/// Many connections at the same time, each with something to say, that stay until the server with this log has no files left and
/// more wait for it than it can have. All are gone in the end.
async fn crowd(to: SocketAddr, log: &Log) {
    let mut users = JoinSet::new();
    let arrived = Arc::new(AtomicUsize::new(0));
    let (crowding, leave) = watch::channel(());
    for _ in 0..CROWD {
        let (arrived, mut leave) = (arrived.clone(), leave.clone());
        users.spawn(async move {
            let one = async {
                // Being refused is fine.
                if let Ok(mut stream) = TcpStream::connect(to).await
                    && stream.write_all(b"hello").await.is_ok()
                {
                    arrived.fetch_add(1, Ordering::Relaxed);
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                () = one => {}
                // The sender is gone.
                _ = leave.changed() => {}
            }
        });
    }
    log.wait_for(SHORTAGE).await;
    eventually("the crowd is there", async || {
        (arrived.load(Ordering::Relaxed) > 2 * FILES as usize).then_some(())
    })
    .await;
    drop(crowding);
    within(PATIENCE, "the crowd leaves", users.join_all()).await;
}

async fn serves_again(proxy: &Proxy) {
    eventually("the server serves again", async || {
        let attempt = traffic::try_tcp_echo(proxy.public(), 10_000);
        let answer = tokio::time::timeout(Duration::from_secs(3), attempt).await;
        answer.ok()?.ok()
    })
    .await;
}
