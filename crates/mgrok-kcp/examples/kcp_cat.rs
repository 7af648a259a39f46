//! Moves bytes over KCP and says how fast and whether they came whole, against a peer that sends
//! back what it gets, or as such a peer.
//!
//! `cargo run --release -p mgrok-kcp --example kcp_cat -- echo 127.0.0.1:7001`
//! `cargo run --release -p mgrok-kcp --example kcp_cat -- send 127.0.0.1:7001 [MiB] [loss in %]`
//!
//! With a loss, datagrams go through a relay in this process that drops so many each way.

#![allow(clippy::print_stdout, reason = "the program's purpose")]

use std::net::{Ipv4Addr, SocketAddr};
use std::time::Instant;

use mgrok_kcp::{Config, Listener, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["echo", at] => echo(at.parse()?).await,
        ["send", to] => send(to.parse()?, 8, 0).await,
        ["send", to, mib] => send(to.parse()?, mib.parse()?, 0).await,
        ["send", to, mib, loss] => send(to.parse()?, mib.parse()?, loss.parse()?).await,
        _ => Err("usage: kcp_cat echo ADDRESS | kcp_cat send ADDRESS [MiB] [loss in %]".into()),
    }
}

/// Binds a socket with buffers for many segments, as far as the system allows.
async fn bind(at: SocketAddr) -> Result<UdpSocket> {
    const BUFFER_SIZE: usize = 4 << 20;

    let socket = UdpSocket::bind(at).await?;
    let options = socket2::SockRef::from(&socket);
    options.set_recv_buffer_size(BUFFER_SIZE)?;
    options.set_send_buffer_size(BUFFER_SIZE)?;
    Ok(socket)
}

/// Sends back what each session sends.
async fn echo(at: SocketAddr) -> Result<()> {
    let (mut listener, driver) = Listener::new(bind(at).await?, Config::frp_server())?;
    tokio::spawn(driver);
    println!("listening on {}", listener.local_addr());
    while let Some(stream) = listener.accept().await {
        println!("session from {}", stream.peer_addr());
        tokio::spawn(async move {
            let (mut reader, mut writer) = tokio::io::split(stream);
            if let Err(error) = tokio::io::copy(&mut reader, &mut writer).await {
                println!("ended: {error}");
            }
        });
    }
    Ok(())
}

/// Sends numbers and checks that they come back.
async fn send(to: SocketAddr, mib: usize, loss: u8) -> Result<()> {
    let to = if loss > 0 { relay(to, loss).await? } else { to };
    let socket = bind((Ipv4Addr::UNSPECIFIED, 0).into()).await?;
    socket.connect(to).await?;
    let (stream, driver) = connect(socket, None, Config::frp_client())?;
    let driver = tokio::spawn(driver);
    let (mut reader, mut writer) = tokio::io::split(stream);
    let began = Instant::now();
    let count = mib << 17;
    let sending = tokio::spawn(async move {
        let numbers: Vec<u64> = (0..count as u64).collect();
        for block in numbers.chunks(8192) {
            let bytes: Vec<u8> = block
                .iter()
                .flat_map(|number| number.to_le_bytes())
                .collect();
            writer.write_all(&bytes).await?;
        }
        std::io::Result::Ok(writer)
    });
    let mut block = vec![0; 64 << 10];
    for first in (0..count as u64).step_by(block.len() / 8) {
        reader.read_exact(&mut block).await?;
        for (bytes, number) in block.chunks_exact(8).zip(first..) {
            if bytes != number.to_le_bytes() {
                return Err(format!("the wrong bytes at {}", number * 8).into());
            }
        }
    }
    let time = began.elapsed().as_secs_f64();
    println!(
        "{mib} MiB there and back in {time:.2} s, {:.1} MiB/s",
        mib as f64 / time
    );
    let writer = sending.await??;
    drop(reader.unsplit(writer));
    Ok(driver.await??)
}

/// Starts a relay to `to` that loses datagrams.
async fn relay(to: SocketAddr, loss: u8) -> Result<SocketAddr> {
    let near = bind((Ipv4Addr::LOCALHOST, 0).into()).await?;
    let far = bind((Ipv4Addr::UNSPECIFIED, 0).into()).await?;
    far.connect(to).await?;
    let at = near.local_addr()?;
    tokio::spawn(async move {
        let mut from = None;
        let (mut here, mut there) = ([0; 2048], [0; 2048]);
        loop {
            tokio::select! {
                Ok((length, peer)) = near.recv_from(&mut here) => {
                    from = Some(peer);
                    if fastrand::u8(..100) >= loss {
                        let _lost = far.send(&here[..length]).await;
                    }
                }
                Ok(length) = far.recv(&mut there) => {
                    if let Some(peer) = from && fastrand::u8(..100) >= loss {
                        let _lost = near.send_to(&there[..length], peer).await;
                    }
                }
            }
        }
    });
    Ok(at)
}
