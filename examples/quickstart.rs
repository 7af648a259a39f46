//! A whole tunnel in one process: `cargo run --example quickstart`.
//!
//! ```text
//!  user ──► public port ──► server ◄══ one connection, TLS ══ client ──► local service
//! ```
//!
//! The server is what runs on a public host, the client what runs behind a NAT; here both are on
//! loopback, beside a web page and a UDP echo that only the client knows how to reach. Both are
//! used through the server, the way a stranger would, and every byte is checked.
//!
//! With `--once` the program ends after the proof; otherwise the tunnel stays open to play with.

#![expect(clippy::print_stdout, reason = "an example shows what it does")]

use std::{
    env, io,
    net::SocketAddr,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use mgrok_client::{Client, ProxyPhase, StatusWatch};
use mgrok_config::{Auth, ClientConfig, ProxyConfig, ProxyKind, ServerAddr, ServerConfig};
use mgrok_proto::auth::Secret;
use mgrok_server::Server;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream, UdpSocket},
    signal, task,
    time::timeout,
};

/// Nothing here takes longer; whatever does has failed.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the web page `/` says.
const GREETING: &str = "Hello from behind the NAT!\n";

/// How long the web page `/download` is.
const DOWNLOAD: usize = 256 << 20;

/// How many datagrams go through the UDP tunnel, one after the other.
const DATAGRAMS: u32 = 1_000;

#[tokio::main]
async fn main() -> Result<()> {
    let once = env::args().any(|arg| arg == "--once");

    // Behind the NAT: two services on ports that only this machine sees.
    let (web, echo) = (web_service().await?, echo_service().await?);

    // The public host. `stop` is how a server is told to end; dropping it does that, too.
    let (stop, stopped) = tokio::sync::watch::channel(());
    let server = Server::bind(ServerConfig {
        bind_addr: "127.0.0.1".to_owned(),
        bind_port: 0, // any free one
        proxy_bind_addr: "127.0.0.1".to_owned(),
        auth: auth(),
        ..ServerConfig::default()
    })
    .await?;
    let server_addr = server.local_addr()?;
    let server = task::spawn(server.run(closed(stopped.clone())));

    // Behind the NAT again: the client, which knows the server and what to publish.
    let client = Client::new(ClientConfig {
        servers: vec![ServerAddr::new(
            server_addr.ip().to_string(),
            server_addr.port(),
        )],
        auth: auth(),
        proxies: vec![
            // A remote port of 0 lets the server choose.
            ProxyConfig::new("web", ProxyKind::Tcp { remote_port: 0 }, web.port()),
            ProxyConfig::new("echo", ProxyKind::Udp { remote_port: 0 }, echo.port()),
        ],
        ..ClientConfig::default()
    })?;
    let mut status = client.status();
    let client = task::spawn(client.run(closed(stopped)));

    let public_web = published(&mut status, "web").await?;
    let public_echo = published(&mut status, "echo").await?;
    println!("server on {server_addr}, client connected; published:\n");
    println!("  web    {web}  as  {public_web}    curl http://{public_web}/");
    println!(
        "  echo   {echo}  as  {public_echo}    nc -u {public_echo_ip} {public_echo_port}",
        public_echo_ip = public_echo.ip(),
        public_echo_port = public_echo.port()
    );

    println!("\nthrough the tunnel:\n");
    greet(public_web).await.context("the web page")?;
    download(public_web).await.context("the download")?;
    ping(public_echo).await.context("the datagrams")?;

    if !once {
        println!("\nThe tunnel is open; Ctrl-C closes it.");
        signal::ctrl_c().await?;
    }
    drop(stop);
    client.await??;
    server.await?;
    Ok(())
}

/// Client and server must agree on this.
fn auth() -> Auth {
    Auth {
        token: Secret::new("only for this example"),
        ..Auth::default()
    }
}

/// Resolves when the other end of the channel is dropped.
async fn closed(mut channel: tokio::sync::watch::Receiver<()>) {
    while channel.changed().await.is_ok() {}
}

/// Where users reach the proxy `name`, as soon as they do.
async fn published(status: &mut StatusWatch, name: &str) -> Result<SocketAddr> {
    let running = status.wait_for(name, |proxy| proxy.phase == ProxyPhase::Running);
    let proxy = timeout(PATIENCE, running)
        .await
        .with_context(|| format!("{name} was not published in time"))?
        .context("the client has ended")?;
    let addr = proxy
        .remote_addr
        .context("a running proxy has an address")?;
    Ok(addr.parse()?)
}

// What users do.

async fn greet(public: SocketAddr) -> Result<()> {
    let start = Instant::now();
    let mut body = get(public, "/").await?;
    let mut text = String::new();
    body.read_to_string(&mut text).await?;
    ensure!(text == GREETING, "another text came: {text}");
    println!(
        "  GET /          {:.1?}: {}",
        start.elapsed(),
        text.trim_end()
    );
    Ok(())
}

async fn download(public: SocketAddr) -> Result<()> {
    let expected = pattern();
    let mut body = get(public, "/download").await?;
    let (start, mut done) = (Instant::now(), 0);
    loop {
        let bytes = timeout(PATIENCE, body.fill_buf()).await??;
        if bytes.is_empty() {
            break;
        }
        let here = &expected[done % expected.len()..];
        let len = bytes.len().min(here.len());
        ensure!(bytes[..len] == here[..len], "wrong bytes after {done}");
        body.consume(len);
        done += len;
    }
    ensure!(done == DOWNLOAD, "only {done} bytes came");
    let elapsed = start.elapsed();
    let mib = DOWNLOAD >> 20;
    let speed = mib as f64 / elapsed.as_secs_f64();
    println!("  GET /download  {elapsed:.1?}: {mib} MiB, all as sent, {speed:.0} MiB/s");
    Ok(())
}

/// Asks for a page and gives its body, after the head.
async fn get(public: SocketAddr, path: &str) -> Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(public).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {public}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = BufReader::with_capacity(64 << 10, stream);
    let head = timeout(PATIENCE, read_head(&mut answer)).await??;
    ensure!(head.starts_with("HTTP/1.1 200 "), "the answer is {head}");
    Ok(answer)
}

async fn ping(public: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    socket.connect(public).await?;
    let mut answer = [0; 64];
    let (mut total, mut lost) = (Duration::ZERO, 0);
    for number in 0..DATAGRAMS {
        let start = Instant::now();
        // UDP may lose one; that is seen, not repaired.
        socket.send(&number.to_be_bytes()).await?;
        match timeout(Duration::from_secs(1), socket.recv(&mut answer)).await {
            Ok(len) => ensure!(
                answer[..len?] == number.to_be_bytes(),
                "another datagram came"
            ),
            Err(_) => lost += 1,
        }
        total += start.elapsed();
    }
    ensure!(lost < DATAGRAMS, "no datagram came back");
    let each = total / DATAGRAMS;
    println!("  UDP echo       {each:.1?} there and back, {lost} of {DATAGRAMS} lost");
    Ok(())
}

// What is published: two services that know nothing of tunnels.

/// A web server of two pages, in as much HTTP as that takes.
async fn web_service() -> io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let addr = listener.local_addr()?;
    task::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            task::spawn(serve_page(stream));
        }
    });
    Ok(addr)
}

async fn serve_page(stream: TcpStream) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    let request = read_head(&mut stream).await?;
    let page = match request.split(' ').nth(1) {
        Some("/") => GREETING.as_bytes().to_vec(),
        Some("/download") => pattern().into_iter().cycle().take(DOWNLOAD).collect(),
        _ => {
            let none = b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n";
            return stream.write_all(none).await;
        }
    };
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", page.len());
    stream.write_all(head.as_bytes()).await?;
    stream.write_all(&page).await?;
    stream.shutdown().await
}

/// The lines up to the empty one.
async fn read_head(stream: &mut BufReader<TcpStream>) -> io::Result<String> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if stream.read_line(&mut head).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
    Ok(head)
}

/// What `/download` repeats. Its length divides nothing that programs like to use as the size of
/// a buffer, so that a lost or doubled buffer would show.
fn pattern() -> Vec<u8> {
    (0..1_000_003_u32)
        .map(|at| (at ^ (at >> 8)) as u8)
        .collect()
}

/// Sends every datagram back.
async fn echo_service() -> io::Result<SocketAddr> {
    let socket = UdpSocket::bind("127.0.0.1:0").await?;
    let addr = socket.local_addr()?;
    task::spawn(async move {
        let mut datagram = [0; 2_048];
        while let Ok((len, user)) = socket.recv_from(&mut datagram).await {
            let _ = socket.send_to(&datagram[..len], user).await;
        }
    });
    Ok(addr)
}
