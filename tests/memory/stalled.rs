//! What users hold who begin a download and do not read.

use std::net::SocketAddr;

use mgrok_lab::{PATIENCE, ports, service, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::runtime::Builder;
use tokio::time::sleep;

use crate::ALONE;
use crate::ends::{ENDS, start};
use crate::quiet::{LOOK, calm, user};

/// So many that what lies unread for them is more than is left in the slabs that it arrived in, and less than has them held back.
const USERS: usize = 40;

/// What the kernel is asked to keep for a socket of a user, in bytes.
const BUFFER: u32 = 16 * 1024;

/// The most bytes that such a user may hold in the server: its first window of 256 KiB, what a quiet one holds, and a part of the slabs in
/// which the windows of the first few lie, as nothing is copied for those. It is 313 KiB now.
const SERVER: isize = 360 * 1024;

/// The same in the client, which leaves in the socket of the service what the stream does not take: what a quiet one holds, and a part of
/// the slabs that the thread keeps. It was a slab for each user when the client read before it asked.
const CLIENT: isize = 8 * 1024;

/// A user who has begun a download.
async fn begin(public: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(BUFFER).unwrap();
    let mut user = socket.connect(public).await.unwrap();
    user.read_exact(&mut [0]).await.unwrap();
    user
}

#[test]
fn users_who_do_not_read_hold_a_window_and_no_more() {
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
        for (at, most) in [SERVER, CLIENT].into_iter().enumerate() {
            let each = (full[at] - before[at]) / USERS.cast_signed();
            println!("{:?}: {each} bytes for each user who does not read", ENDS[at]);
            assert!(each <= most, "{:?}: {each} bytes of at most {most}", ENDS[at]);
        }
        let lies = (full[0] - before[0]) / USERS.cast_signed();
        assert!(lies > 128 * 1024, "{lies} bytes: they are not stalled");
        drop(held);
        for runtime in ends {
            runtime.shutdown_background();
        }
    });
}
