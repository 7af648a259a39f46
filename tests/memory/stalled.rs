//! What users hold who begin a download and do not read.

use std::net::SocketAddr;

use mgrok_lab::{PATIENCE, ports, service, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::ALONE;
use crate::ends::start;
use crate::quiet::{LOOK, calm, user};

/// So many that a slab for each of them would show.
const USERS: usize = 40;

/// What the kernel is asked to keep for a socket of a user, in bytes.
const BUFFER: u32 = 16 * 1024;

/// The most bytes that such a user may hold in the client, which leaves in the socket of the service what the stream does not take: what a
/// quiet one holds, and a part of the slabs that the thread keeps, 25 KiB now. A slab of 64 KiB for each user came to it when the client read
/// before it asked. What the server holds is the windows, which are as large as the kernel's appetite has made them.
const CLIENT: isize = 40 * 1024;

/// A user who has begun a download.
async fn begin(public: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    let mut user = socket.connect(public).await.unwrap();
    user.read_exact(&mut [0]).await.unwrap();
    user
}

#[test]
fn users_who_do_not_read_hold_nothing_at_the_end_that_sends() {
    let tests = Builder::new_current_thread().enable_all().build().unwrap();
    tests.block_on(async {
        let _alone = ALONE.lock().await;
        let source = service::tcp(async |mut stream: TcpStream| {
            let piece = vec![7; 1 << 16];
            while stream.write_all(&piece).await.is_ok() {}
        })
        .await;
        let echo = service::tcp_echo().await;
        let published = [&source, &echo].map(|it| (it.addr().port(), ports::free()));
        let toml = published.map(|(local, port)| {
            format!(
                "[[proxies]]\nname = '{local}'\ntype = 'tcp'\nlocalPort = {local}\nremotePort = {port}\n"
            )
        });
        let ends = start("", &toml.concat());
        let [source, echo] = published.map(|(_, port)| SocketAddr::from(([127, 0, 0, 1], port)));
        let first = async {
            loop {
                match user(echo, 1).await {
                    Ok(user) => return user,
                    Err(_) => sleep(LOOK).await,
                }
            }
        };
        let mut steady = within(PATIENCE, "the first user", first).await;
        // What the first one brings about is not theirs.
        drop(within(PATIENCE, "a first download", begin(source)).await);
        let before = within(PATIENCE, "calm", calm(&mut steady)).await;

        let mut held = Vec::with_capacity(USERS);
        for _ in 0..USERS {
            held.push(within(PATIENCE, "a download", begin(source)).await);
        }
        let full = within(PATIENCE, "calm", calm(&mut steady)).await;
        let [lies, holds] = [0, 1].map(|end| (full[end] - before[end]) / USERS.cast_signed());
        println!("users who do not read: {lies} bytes each in the server, {holds} in the client");
        assert!(lies > 128 * 1024, "{lies} bytes: they are not stalled");
        assert!(holds <= CLIENT, "{holds} bytes, of {CLIENT}");
        drop(held);
        for runtime in ends {
            runtime.shutdown_background();
        }
    });
}
