//! Tests connections by chunks and through tokio's traits.

use std::io::ErrorKind;

use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt};

use super::*;
use crate::testing::{memory_pair, opaque, pattern, read_all, tcp_pair};

#[tokio::test]
async fn unread_bytes_come_first_and_in_order() {
    let (near, far) = tcp_pair().await;
    let (mut near, mut far) = (Conn::from(near), Conn::from(far));
    near.send(Bytes::from_static(b"third")).await.unwrap();
    near.close().await.unwrap();
    far.unread(Bytes::new());
    assert!(far.bare_tcp().is_some());
    far.unread(Bytes::from_static(b"second "));
    far.unread(Bytes::from_static(b"first "));
    far.unread(Bytes::new());
    assert!(far.bare_tcp().is_none());
    assert_eq!(read_all(&mut far).await.unwrap(), b"first second third");
    assert!(far.bare_tcp().is_some());
}

#[tokio::test]
async fn an_end_stays_the_end() {
    let (near, far) = tcp_pair().await;
    drop(near);
    let (memory_near, memory_far) = memory_pair(10, 10);
    drop(memory_near);
    for mut far in [far.into(), memory_far] {
        for _ in 0..3 {
            assert!(far.recv().await.unwrap().is_empty());
        }
    }
}

/// Whoever sends holds the empty chunk until there is another one, which on a quiet connection may be never.
#[tokio::test]
async fn a_chunk_that_was_sent_keeps_no_buffer_alive() {
    let (tcp, _far) = tcp_pair().await;
    let (memory, _far) = memory_pair(100, 100);
    for mut conn in [tcp.into(), memory] {
        let buffer = pattern(10);
        let mut chunk = buffer.clone();
        poll_fn(|cx| conn.poll_send(cx, &mut chunk)).await.unwrap();
        assert!(chunk.is_empty() && buffer.is_unique(), "{conn:?}");
    }
}

#[cfg(unix)]
#[tokio::test]
async fn unix_sockets_carry_chunks_and_ends() {
    let (near, far) = tokio::net::UnixStream::pair().unwrap();
    let (mut near, mut far) = (Conn::from(near), Conn::from(far));
    // More than the socket buffers hold.
    let payload = pattern(1_000_000);
    let send = async {
        near.send(payload.clone()).await.unwrap();
        near.close().await.unwrap();
    };
    let ((), received) = tokio::join!(send, read_all(&mut far));
    assert!(received.unwrap() == payload);
    // The other direction is still open.
    far.send(Bytes::from_static(b"reply")).await.unwrap();
    drop(far);
    assert_eq!(read_all(&mut near).await.unwrap(), b"reply");
}

#[tokio::test]
async fn reads_of_all_sizes_see_the_same_bytes() {
    let payload = pattern(1_000_000);
    for layered in [false, true] {
        for size in [1000, READ_SIZE_OF_RUSTLS, 16 * 1024, 200_000] {
            let (near, far) = tcp_pair().await;
            let mut far = Conn::from(far);
            if layered {
                far = opaque(far);
            }
            far.unread(Bytes::from_static(b"early"));
            let mut near = Conn::from(near);
            let ((), received) = tokio::join!(
                async {
                    near.send(payload.clone()).await.unwrap();
                    near.close().await.unwrap();
                },
                async {
                    let mut all = Vec::new();
                    let mut buf = vec![0; size];
                    loop {
                        match far.read(&mut buf).await.unwrap() {
                            0 => return all,
                            read => all.extend_from_slice(&buf[..read]),
                        }
                    }
                }
            );
            assert!(received.starts_with(b"early"));
            assert!(received[5..] == payload);
        }
    }
}

const READ_SIZE_OF_RUSTLS: usize = 4096;

#[tokio::test]
async fn writes_of_all_kinds_arrive() {
    let payload = pattern(1_000_000);
    for layered in [false, true] {
        let (near, far) = tcp_pair().await;
        let mut near = Conn::from(near);
        if layered {
            near = opaque(near);
        }
        assert_eq!(near.is_write_vectored(), !layered);
        let mut far = Conn::from(far);
        let ((), received) = tokio::join!(
            async {
                let (first, rest) = payload.split_at(100);
                let slices = [&[], first, rest].map(io::IoSlice::new);
                let written = near.write_vectored(&slices).await.unwrap();
                if layered {
                    assert_eq!(written, first.len());
                } else {
                    assert!(written > first.len());
                }
                near.write_all(&payload[written..]).await.unwrap();
                near.shutdown().await.unwrap();
            },
            async { read_all(&mut far).await.unwrap() }
        );
        assert!(received == payload);
    }
}

#[tokio::test]
async fn a_connection_that_is_gone_is_an_error() {
    let (near, far) = tcp_pair().await;
    far.set_zero_linger().unwrap();
    drop(far);
    let error = Conn::from(near).recv().await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_connection_does_not_tell_its_bytes() {
    let mut conn = memory_pair(1, 1).0;
    conn.unread(Bytes::from_static(b"secret"));
    assert_eq!(format!("{conn:?}"), "Conn { unread: 6, carrier: Layered }");
}
