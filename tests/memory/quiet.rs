//! What users who are connected and quiet hold.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use mgrok_lab::{PATIENCE, ports, service, within};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::time::{sleep, timeout};

use crate::ALONE;
use crate::ends::{ENDS, End, start};

/// With the steady one just as many as fill the tables of users and streams before they double, so that these cost what they cost at best.
const USERS: usize = 223;

/// How much each user sends and gets back: so much that a slab which anybody keeps shows.
const BYTES: usize = 16 * 1024;

/// The most bytes that a quiet user may hold in the server: its task with the relay, the stream, the socket, the row, and the places of
/// these in their tables. It is 1,863 now, and was more by
/// [`BYTES`] when a relay kept the last slice that it had sent.
const SERVER: isize = 2_048;

/// The same in the client, which has the larger task: 2,018 now.
const CLIENT: isize = 2_240;

/// The most bytes that an end may hold, once these users are gone, beyond what it held before they came: less than a slab, and than one of
/// them.
const KEPT: isize = 8 * 1024;

/// So many looks, one after the other, that find the same say that nothing goes on.
const SAME_LOOKS: usize = 20;

pub(crate) const LOOK: Duration = Duration::from_millis(20);

/// Sends `bytes`, and has them back.
async fn exchange(user: &mut TcpStream, bytes: usize) -> io::Result<()> {
    let (sent, mut got) = (vec![7; bytes], vec![0; bytes]);
    user.write_all(&sent).await?;
    user.read_exact(&mut got).await?;
    assert!(got == sent);
    Ok(())
}

/// A user who has had an exchange.
pub(crate) async fn user(public: SocketAddr, bytes: usize) -> io::Result<TcpStream> {
    let mut user = TcpStream::connect(public).await?;
    exchange(&mut user, bytes).await?;
    Ok(user)
}

async fn users(public: SocketAddr) -> Vec<TcpStream> {
    let mut users = Vec::with_capacity(USERS);
    for _ in 0..USERS {
        users.push(user(public, BYTES).await.unwrap());
    }
    users
}

/// The next look at the ends. `steady` has one more exchange, since slabs are let go of in passing.
async fn look(steady: &mut TcpStream) {
    exchange(steady, 1).await.unwrap();
    sleep(LOOK).await;
}

/// What both ends hold when nothing goes on.
pub(crate) async fn calm(steady: &mut TcpStream) -> [isize; 2] {
    let (mut held, mut same) = (ENDS.map(End::bytes), 0);
    while same < SAME_LOOKS {
        look(steady).await;
        let now = ENDS.map(End::bytes);
        same = if now == held { same + 1 } else { 0 };
        held = now;
    }
    held
}

/// Waits until `end` holds no more than `most` bytes; what it holds in the end if that does not come.
async fn comes_to(end: End, most: isize, steady: &mut TcpStream) -> Result<(), isize> {
    let coming = async {
        while end.bytes() > most {
            look(steady).await;
        }
    };
    timeout(PATIENCE, coming).await.map_err(|_| end.bytes())
}

#[test]
fn quiet_users_are_small_and_leave_nothing_behind() {
    let tests = Builder::new_current_thread().enable_all().build().unwrap();
    tests.block_on(async {
        let _alone = ALONE.lock().await;
        let service = service::tcp_echo().await;
        let public = ports::free();
        let ends = start(
            "",
            &format!(
                "[[proxies]]\nname = 'echo'\ntype = 'tcp'\nlocalPort = {}\nremotePort = {public}",
                service.addr().port()
            ),
        );
        let public = SocketAddr::from(([127, 0, 0, 1], public));
        let first = async {
            loop {
                match user(public, BYTES).await {
                    Ok(user) => return user,
                    Err(_) => sleep(LOOK).await,
                }
            }
        };
        let mut steady = within(PATIENCE, "the first user", first).await;
        // What the first ones bring about is not theirs.
        drop(users(public).await);
        let before = within(PATIENCE, "calm", calm(&mut steady)).await;

        let held = users(public).await;
        for ((end, before), most) in ENDS.into_iter().zip(before).zip([SERVER, CLIENT]) {
            let most = before + most * USERS.cast_signed();
            if let Err(bytes) = comes_to(end, most, &mut steady).await {
                let each = (bytes - before) / USERS.cast_signed();
                panic!("{end:?}: {each} bytes for each quiet user");
            }
        }
        drop(held);
        for (end, before) in ENDS.into_iter().zip(before) {
            if let Err(bytes) = comes_to(end, before + KEPT, &mut steady).await {
                panic!("{end:?}: {} bytes are kept", bytes - before);
            }
        }
        for runtime in ends {
            runtime.shutdown_background();
        }
    });
}
