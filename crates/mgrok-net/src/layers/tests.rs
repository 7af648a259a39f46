//! Tests layers on connections, in all combinations.

use std::num::NonZeroU64;

use bytes::Bytes;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::IV_LEN;
use proptest::prelude::*;
use tokio::runtime;

use super::*;
use crate::conn::ByteStream;
use crate::testing::{memory_pair, pattern, read_all, tcp_pair};

fn key() -> CipherKey {
    CipherKey::derive(&Secret::new("secret"))
}

/// The combination of layers encoded in the lowest three bits of `number`.
fn layers(number: u8) -> Layers {
    Layers {
        encryption: (number & 1 != 0).then(key),
        compression: number & 2 != 0,
        limit: (number & 4 != 0).then(|| Limiter::new(NonZeroU64::new(1 << 30).unwrap())),
    }
}

/// Sends `chunks` one by one, then closes.
async fn send_all(conn: &mut Conn, chunks: &[Bytes]) {
    for chunk in chunks {
        conn.send(chunk.clone()).await.unwrap();
    }
    conn.close().await.unwrap();
}

/// Sends `up` and `down` at the same time and checks what each end receives.
async fn check_round_trip(near: Conn, far: Conn, layers: &Layers, up: &[Bytes], down: &[Bytes]) {
    let (mut near, mut far) = (layers.wrap(near), layers.wrap(far));
    let near_side = async {
        let (mut sent, mut received) = (false, Vec::new());
        // Drives both directions through one value, as the relay does.
        let mut rest = up.concat().into();
        std::future::poll_fn(|cx| {
            if !sent && near.poll_send(cx, &mut rest)?.is_ready() && near.poll_close(cx)?.is_ready()
            {
                sent = true;
            }
            loop {
                let chunk = std::task::ready!(near.poll_recv(cx))?;
                if chunk.is_empty() {
                    break;
                }
                received.extend_from_slice(&chunk);
            }
            match sent {
                true => std::task::Poll::Ready(std::io::Result::Ok(())),
                false => std::task::Poll::Pending,
            }
        })
        .await
        .unwrap();
        received
    };
    let far_side = async {
        let received = read_all(&mut far).await.unwrap();
        send_all(&mut far, down).await;
        received
    };
    let (down_received, up_received) = tokio::join!(near_side, far_side);
    assert!(up_received == up.concat(), "up");
    assert!(down_received == down.concat(), "down");
}

#[tokio::test]
async fn every_combination_carries_megabytes_over_sockets() {
    for number in 0..8 {
        let (near, far) = tcp_pair().await;
        let up = [pattern(3_000_001), Bytes::from(vec![0; 1_000_000])];
        let down = [Bytes::from(vec![9; 100_000]), pattern(2_000_000)];
        check_round_trip(near.into(), far.into(), &layers(number), &up, &down).await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn every_combination_carries_any_chunks_however_they_are_cut(
        number in 0..8_u8,
        up in proptest::collection::vec(0..5000_usize, 0..6),
        down in proptest::collection::vec(0..5000_usize, 0..6),
        room in 1..10_000_usize,
        piece in 1..3000_usize,
    ) {
        let runtime = runtime::Builder::new_current_thread().enable_time().build().unwrap();
        runtime.block_on(async {
            let chunks = |lens: Vec<usize>| lens.into_iter().map(pattern).collect::<Vec<_>>();
            let (near, far) = memory_pair(room, piece);
            check_round_trip(near, far, &layers(number), &chunks(up), &chunks(down)).await;
        });
    }
}

#[tokio::test]
async fn a_direction_that_sends_nothing_sends_no_byte() {
    for number in 0..8 {
        let (near, mut far) = memory_pair(1024, 1024);
        let mut near = layers(number).wrap(near);
        near.send(Bytes::new()).await.unwrap();
        near.close().await.unwrap();
        assert_eq!(read_all(&mut far).await.unwrap(), b"");
        far.close().await.unwrap();
        assert!(near.recv().await.unwrap().is_empty());
    }
}

#[tokio::test]
async fn compression_is_inside_encryption() {
    let (near, far) = memory_pair(1024, 1024);
    let mut near = layers(0b011).wrap(near);
    near.send(Bytes::from_static(b"hello")).await.unwrap();
    near.close().await.unwrap();
    let mut clear = encrypt(far, &key());
    let snappy = b"\xff\x06\x00\x00sNaPpY\x01\x09\x00\x00\xbb\x1f\x1c\x19hello";
    assert_eq!(read_all(&mut clear).await.unwrap(), snappy);
}

#[tokio::test]
async fn the_first_write_holds_vector_and_payload() {
    let (near, mut far) = memory_pair(1024, 1024);
    let mut near = encrypt(near, &key());
    near.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(far.recv().await.unwrap().len(), IV_LEN + 5);
    near.send(Bytes::from_static(b"hello")).await.unwrap();
    assert_eq!(far.recv().await.unwrap().len(), 5);
}

#[tokio::test]
async fn bytes_that_were_read_early_go_through_the_layers() {
    let (near, mut far) = memory_pair(1024, 1024);
    let mut near = encrypt(near, &key());
    near.send(Bytes::from_static(b"hello")).await.unwrap();
    near.close().await.unwrap();
    let early = far.recv().await.unwrap();
    far.unread(early);
    assert_eq!(read_all(&mut encrypt(far, &key())).await.unwrap(), b"hello");
}

#[tokio::test]
async fn an_end_in_the_middle_is_an_error() {
    for (number, sent) in [(1, &b"short"[..]), (2, b"\xff\x06\x00\x00sNa")] {
        let (mut near, far) = memory_pair(1024, 1024);
        let mut far = layers(number).wrap(far);
        near.send(Bytes::from_static(sent)).await.unwrap();
        near.close().await.unwrap();
        let error = far.recv().await.unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof);
    }
}

#[tokio::test]
async fn no_layer_is_no_cost() {
    let (socket, _far) = tcp_pair().await;
    assert!(Layers::default().wrap(socket.into()).bare_tcp().is_some());
}
