//! tcp proxies.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use mgrok_lab::{PATIENCE, Proxy, ports, service, traffic, within};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use crate::Tunnel;

#[tokio::test]
async fn bytes_arrive_as_they_were_sent() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::tcp(echo.addr()).await;
    for size in [1, 4_096, 65_537, 16_000_000] {
        traffic::tcp_echo(tunnel.public, size).await;
    }
}

#[tokio::test]
async fn many_users_come_at_once() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::tcp(echo.addr()).await;
    let mut users = JoinSet::new();
    for _ in 0..200 {
        users.spawn(traffic::tcp_echo(tunnel.public, 20_000));
    }
    while let Some(user) = users.join_next().await {
        user.unwrap();
    }
}

#[tokio::test]
async fn the_service_may_speak_first() {
    let greeting = service::greeting(b"220 welcome\r\n").await;
    let tunnel = Tunnel::tcp(greeting.addr()).await;
    let heard = within(PATIENCE, "a greeting", traffic::read_all(tunnel.public)).await;
    assert_eq!(heard.unwrap(), b"220 welcome\r\n");
}

#[tokio::test]
async fn all_of_a_long_answer_arrives_before_the_end() {
    const LEN: u64 = 8_000_000;
    let source = service::tcp(async |mut stream: TcpStream| {
        let _ = traffic::send(&mut stream, 7, LEN).await;
    })
    .await;
    let tunnel = Tunnel::tcp(source.addr()).await;
    let read = async {
        let mut stream = TcpStream::connect(tunnel.public).await?;
        traffic::receive(&mut stream, 7, LEN).await?;
        stream.read(&mut [0]).await
    };
    assert_eq!(within(PATIENCE, "the whole answer", read).await.unwrap(), 0);
}

#[tokio::test]
async fn a_user_may_end_the_request_and_still_get_the_answer() {
    let counter = service::tcp(async |mut stream: TcpStream| {
        let mut request = Vec::new();
        if stream.read_to_end(&mut request).await.is_ok() {
            let answer = format!("{} bytes", request.len());
            let _ = stream.write_all(answer.as_bytes()).await;
        }
    })
    .await;
    for settings in ["", "transport.tcpMux = false"] {
        let proxy = Proxy::tcp("tcp", counter.addr());
        let tunnel = Tunnel::with(settings, settings, proxy).await;
        let exchange = async {
            let mut stream = TcpStream::connect(tunnel.public).await?;
            stream.write_all(&[1; 100_000]).await?;
            stream.shutdown().await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            io::Result::Ok(answer)
        };
        let answer = within(PATIENCE, "an answer", exchange).await;
        assert_eq!(answer.unwrap(), "100000 bytes", "{settings}");
    }
}

#[tokio::test]
async fn a_reset_by_the_user_ends_the_service_side() {
    let (seen, mut ends) = tokio::sync::mpsc::channel(1);
    let service = service::tcp(move |mut stream: TcpStream| {
        let seen = seen.clone();
        async move {
            let mut byte = [0];
            while let Ok(1..) = stream.read(&mut byte).await {}
            let _ = seen.send(()).await;
        }
    })
    .await;
    let tunnel = Tunnel::tcp(service.addr()).await;
    let mut user = TcpStream::connect(tunnel.public).await.unwrap();
    user.write_all(b"?").await.unwrap();
    user.set_zero_linger().unwrap();
    drop(user);
    within(PATIENCE, "the service hears of it", ends.recv()).await;
}

#[tokio::test]
async fn a_typing_user_is_answered_at_once_beside_bulk_traffic() {
    let echo = service::tcp_echo().await;
    let tunnel = Tunnel::tcp(echo.addr()).await;
    let public = tunnel.public;
    let moved = Arc::new(AtomicUsize::new(0));
    let counter = moved.clone();
    let bulk = tokio::spawn(async move {
        loop {
            traffic::tcp_echo(public, 4_000_000).await;
            counter.fetch_add(1, Ordering::Relaxed);
        }
    });
    let mut user = TcpStream::connect(public).await.unwrap();
    user.set_nodelay(true).unwrap();
    let (mut waits, bulk_start) = (Vec::new(), Instant::now());
    // At least so often, and until the bulk traffic has been all the way a few times.
    while waits.len() < 100 || moved.load(Ordering::Relaxed) < 3 {
        assert!(!bulk.is_finished(), "the bulk traffic has failed");
        let start = Instant::now();
        traffic::echo(&mut user, 1).await.unwrap();
        waits.push(start.elapsed());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let round = bulk_start.elapsed() / u32::try_from(moved.load(Ordering::Relaxed)).unwrap();
    bulk.abort();
    waits.sort();
    // Generous: the machine is busy with the bulk traffic, too, and perhaps with more. Who waits behind the bulk traffic waits for
    // megabytes of it, however long they take.
    let median = waits[waits.len() / 2];
    let most = Duration::from_millis(100).max(round / 4);
    assert!(median < most, "median {median:?}, of at most {most:?}");
}

#[tokio::test]
async fn a_user_who_does_not_read_delays_nobody() {
    let source = service::tcp(async |mut stream: TcpStream| {
        let _ = traffic::send(&mut stream, 1, u64::MAX).await;
    })
    .await;
    let echo = service::tcp_echo().await;
    let server = mgrok_lab::Server::start(mgrok_lab::Peer::Mgrok, "").await;
    let proxies = [
        Proxy::tcp("source", source.addr()),
        Proxy::tcp("echo", echo.addr()),
    ];
    let _client =
        mgrok_lab::Client::start(mgrok_lab::Peer::Mgrok, server.addr(), "", &proxies).await;
    let mut stuck = Vec::new();
    for _ in 0..10 {
        let mut user = TcpStream::connect(proxies[0].public()).await.unwrap();
        // So that it is known to be under way.
        traffic::receive(&mut user, 1, 1_000).await.unwrap();
        stuck.push(user);
    }
    for _ in 0..5 {
        traffic::tcp_echo(proxies[1].public(), 1_000_000).await;
    }
    // And those who begin to read miss nothing.
    for mut user in stuck {
        let mut skipped = traffic::Pattern::new(1);
        skipped.take(1_000);
        let expected = skipped.take(10_000_000);
        let mut got = vec![0; expected.len()];
        let read = user.read_exact(&mut got);
        within(PATIENCE, "the rest", read).await.unwrap();
        assert!(got == expected);
    }
}

#[tokio::test]
async fn without_a_local_service_the_user_is_turned_away_and_told_nothing() {
    let missing = ports::free();
    let tunnel = Tunnel::tcp(([127, 0, 0, 1], missing).into()).await;
    assert!(traffic::is_refused(tunnel.public).await);
    let why = format!("connect to local service [127.0.0.1:{missing}] error");
    tunnel.client.log().wait_for(&why).await;

    // The proxy stays, and works as soon as the service is there.
    let service = TcpListener::bind(("127.0.0.1", missing)).await.unwrap();
    let user = TcpStream::connect(tunnel.public).await.unwrap();
    within(PATIENCE, "the service is reached", service.accept())
        .await
        .unwrap();
    drop(user);
}

#[tokio::test]
async fn local_services_are_found_by_name() {
    let echo = service::tcp_echo().await;
    let mut proxy = Proxy::tcp("tcp", echo.addr());
    proxy = proxy.with("annotations.note = \"by name\"");
    let server = mgrok_lab::Server::start(mgrok_lab::Peer::Mgrok, "").await;
    let toml = format!(
        "serverAddr = \"localhost\"\n[[proxies]]\nname = \"named\"\ntype = \"tcp\"\n\
         localIP = \"localhost\"\nlocalPort = {}\nremotePort = {}",
        echo.addr().port(),
        proxy.remote_port,
    );
    let client = mgrok_lab::Client::launch(mgrok_lab::Peer::Mgrok, server.addr(), &toml, &[]);
    client.log().wait_for("[named] start proxy success").await;
    traffic::tcp_echo(proxy.public(), 1_000).await;
}
