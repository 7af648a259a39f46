//! What datagrams cost, counted by the allocator.
//!
//! Alone in its program, since every allocation counts, and in one test, since tests run beside each other. One thread does all of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use mgrok_allocations::Counting;
use mgrok_kcp::{Config, Stream, TUNNEL_CONVERSATION, connect};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UdpSocket;

#[global_allocator]
static ALLOCATOR: Counting = Counting::new();

/// Messages there and back, each of which is a datagram at least.
const MESSAGES: usize = 1_000;

/// The most allocations for all of them. None was counted; a queue of the runtime may grow now and then.
const MOST_FOR_MESSAGES: usize = MESSAGES / 100;

const BULK: usize = 16 << 20;

/// The most allocations for the bulk, one for a hundred of its 16,448 datagrams. Up to 50 were counted: for buffers, when more are in use
/// at a time than ever before.
const MOST_FOR_BULK: usize = 164;

/// Both ends of a session. Nothing is lost between them: a window fits in the shortest queues of sockets.
async fn session() -> [Stream; 2] {
    let config = Config {
        send_window: 64,
        ..Config::frp_tunnel()
    };
    let here = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let there = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    here.connect(there.local_addr().unwrap()).await.unwrap();
    there.connect(here.local_addr().unwrap()).await.unwrap();
    [here, there].map(|socket| {
        let (stream, driver) = connect(socket, Some(TUNNEL_CONVERSATION), config.clone()).unwrap();
        tokio::spawn(driver);
        stream
    })
}

async fn exchange(here: &mut Stream, there: &mut Stream, messages: usize) {
    for _ in 0..messages {
        let mut message = [0; 64];
        here.write_all(&message).await.unwrap();
        there.read_exact(&mut message).await.unwrap();
        there.write_all(&message).await.unwrap();
        here.read_exact(&mut message).await.unwrap();
    }
}

async fn move_bulk(here: &mut Stream, there: &mut Stream, piece: &[u8], room: &mut [u8]) {
    let pieces = BULK / piece.len();
    let sending = async {
        for _ in 0..pieces {
            here.write_all(piece).await.unwrap();
        }
    };
    let receiving = async {
        for _ in 0..pieces {
            there.read_exact(room).await.unwrap();
        }
    };
    tokio::join!(sending, receiving);
}

#[tokio::test]
async fn datagrams_cost_no_allocation() {
    let [mut here, mut there] = session().await;
    exchange(&mut here, &mut there, MESSAGES).await;
    let before = ALLOCATOR.calls();
    exchange(&mut here, &mut there, MESSAGES).await;
    let cost = ALLOCATOR.calls() - before;
    assert!(cost <= MOST_FOR_MESSAGES, "{cost} for messages");

    let (piece, mut room) = (vec![7; 64 << 10], vec![0; 64 << 10]);
    move_bulk(&mut here, &mut there, &piece, &mut room).await;
    let before = ALLOCATOR.calls();
    move_bulk(&mut here, &mut there, &piece, &mut room).await;
    let cost = ALLOCATOR.calls() - before;
    assert!(cost <= MOST_FOR_BULK, "{cost} for bulk");
}
