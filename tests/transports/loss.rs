//! Datagrams over a way that loses some: those that get through wait for none that did not.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use mgrok_lab::{Client, Peer::MgrokProgram as Mgrok, Proxy, Server, service};
use tokio::net::UdpSocket;

use crate::{
    network::{Network, PORT, ROUTER, SERVER, server_addr},
    relay::{Way, relay},
};

const WAY: Way = Way {
    delay: Duration::from_millis(20),
    loss: 0.01,
};

/// What a user sends: so many datagrams, one each.
const DATAGRAMS: usize = 2_000;
const PAUSE: Duration = Duration::from_millis(2);
/// How long to wait for the last answers.
const LAST: Duration = Duration::from_secs(2);

/// What a user saw.
#[derive(Debug)]
struct Seen {
    /// How long each answer took that came, sorted.
    times: Vec<Duration>,
}

impl Seen {
    fn share(&self, share: f64) -> Duration {
        self.times[((self.times.len() - 1) as f64 * share) as usize]
    }
}

/// Sends datagrams at an even pace, and times their answers.
async fn user(to: SocketAddr) -> Seen {
    let socket = UdpSocket::bind((SERVER, 0)).await.unwrap();
    socket.connect(to).await.unwrap();
    // The work connection may have yet to come up.
    let mut buffer = [0; 1500];
    loop {
        socket.send(b"first").await.unwrap();
        let answer = tokio::time::timeout(Duration::from_millis(200), socket.recv(&mut buffer));
        if matches!(answer.await, Ok(Ok(_))) {
            break;
        }
    }
    let began = Instant::now();
    let send = async {
        let mut ticks = tokio::time::interval(PAUSE);
        for number in 0..DATAGRAMS {
            ticks.tick().await;
            let mut datagram = [0; 200];
            datagram[..8].copy_from_slice(&(number as u64).to_le_bytes());
            datagram[8..16].copy_from_slice(&(began.elapsed().as_nanos() as u64).to_le_bytes());
            socket.send(&datagram).await.unwrap();
        }
        tokio::time::sleep(LAST).await;
    };
    let mut times = Vec::new();
    let receive = async {
        let mut buffer = [0; 1500];
        loop {
            let len = socket.recv(&mut buffer).await.unwrap();
            if len == 200 {
                let sent_at = u64::from_le_bytes(buffer[8..16].try_into().unwrap());
                times.push(began.elapsed() - Duration::from_nanos(sent_at));
            }
        }
    };
    tokio::select! {
        () = send => {}
        () = receive => {}
    }
    times.sort();
    Seen { times }
}

#[tokio::test]
async fn datagrams_that_get_through_wait_for_none_that_were_lost() {
    let Some(network) = Network::new() else {
        return;
    };
    let settings = format!("quicBindPort = {PORT}");
    let server = async move { Server::start_at(Mgrok, server_addr(), &settings).await };
    let _server = network.server.run(server).await;
    let at = SocketAddr::from((ROUTER, PORT));
    let _relay = network.router.spawn(relay(at, server_addr(), WAY));
    let echo = network.client.run(service::udp_echo()).await;
    // What is encrypted anew travels in a stream.
    let proxies = [
        Proxy::udp("datagrams", echo.addr()).at(6001),
        Proxy::udp("stream", echo.addr())
            .at(6002)
            .with("transport.useEncryption = true"),
    ];
    let settings = "transport.protocol = \"quic\"\nudpPacketSize = 1500";
    let client = async move { Client::start(Mgrok, at, settings, &proxies).await };
    let _client = network.client.run(client).await;

    // Both at the same time, so that a busy machine delays both.
    let users = async {
        let at = |port| user(SocketAddr::from((SERVER, port)));
        tokio::join!(at(6001), at(6002))
    };
    let (datagrams, stream) = network.server.run(users).await;
    for (what, seen) in [("datagrams", &datagrams), ("stream", &stream)] {
        println!(
            "{what}: {} of {DATAGRAMS} answered; round trip median {:.1?}, 90 % {:.1?}, 99 % {:.1?}, worst {:.1?}",
            seen.times.len(),
            seen.share(0.5),
            seen.share(0.9),
            seen.share(0.99),
            seen.share(1.0),
        );
    }
    // As many as two ways with this loss let through, and some grace for their luck.
    assert!(datagrams.times.len() > DATAGRAMS * 95 / 100);
    // A stream repeats what was lost, and holds back what came after it.
    assert!(stream.times.len() > datagrams.times.len());
    assert!(datagrams.share(0.9) < stream.share(0.9));
}
