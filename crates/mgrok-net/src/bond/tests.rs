use std::future::poll_fn;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::BytesMut;
use proptest::prelude::*;

use super::frame::HEADER_LEN;
use super::*;
use crate::testing::{memory_pair, pattern};

const ANSWER: Bytes = Bytes::from_static(b"answer");

/// How the streams of a test are made.
#[derive(Clone, Copy, Debug)]
struct Streams {
    /// What each of those that join holds, in bytes.
    rooms: [usize; 3],
    piece: usize,
    /// How many of them are refused.
    refused: usize,
}

const THREE: Streams = Streams {
    rooms: [64 * 1024; 3],
    piece: 64 * 1024,
    refused: 0,
};

/// Both ends of a connection that is spread as `streams` says when it is bulk, and how often streams were asked for.
fn pair(streams: Streams) -> (Conn, Conn, Arc<AtomicUsize>) {
    let bonds = Arc::<Bonds>::default();
    let place = bonds.open();
    let id = place.id();
    let (near, far) = memory_pair(64 * 1024, streams.piece);
    let asked = Arc::<AtomicUsize>::default();
    let count = asked.clone();
    let open_more = move || {
        count.fetch_add(1, Ordering::Relaxed);
        let (opened, opening) = oneshot::channel();
        tokio::spawn(async move {
            let mut conns = Vec::new();
            for (at, room) in streams.rooms.into_iter().enumerate() {
                let (mut near, far) = memory_pair(room, streams.piece);
                if at < streams.refused {
                    continue;
                }
                let join = Join {
                    conn: far,
                    answer: ANSWER,
                };
                if bonds.join(&id, join).is_ok() && read_exact(&mut near, ANSWER.len()).await {
                    conns.push(near);
                }
            }
            let _ = opened.send(conns);
        });
        opening
    };
    (
        opening(near, Box::new(open_more)),
        accepting(far, place),
        asked,
    )
}

/// Reads so many bytes and no more; whether they came.
async fn read_exact(conn: &mut Conn, len: usize) -> bool {
    let mut read = BytesMut::new();
    while read.len() < len {
        match conn.recv().await {
            Ok(bytes) if !bytes.is_empty() => read.extend_from_slice(&bytes),
            _ => return false,
        }
    }
    let mut read = read.freeze();
    conn.unread(read.split_off(len));
    true
}

/// Sends `data` and closes, and receives to the end, at once, as a relay does.
async fn carry(mut conn: Conn, data: Bytes) -> io::Result<Vec<u8>> {
    let mut to_send: VecDeque<Bytes> = data.chunks(40_000).map(Bytes::copy_from_slice).collect();
    let (mut is_closed, mut received, mut has_ended) = (false, Vec::new(), false);
    poll_fn(|cx| {
        while !is_closed {
            if conn.poll_send_many(cx, &mut to_send)?.is_pending()
                || conn.poll_close(cx)?.is_pending()
            {
                break;
            }
            is_closed = true;
        }
        while !has_ended {
            let mut chunks = VecDeque::new();
            if conn.poll_recv_many(cx, &mut chunks)?.is_pending() {
                break;
            }
            has_ended = chunks.is_empty();
            chunks.iter().for_each(|it| received.extend_from_slice(it));
        }
        match is_closed && has_ended {
            true => Poll::Ready(Ok(())),
            false => Poll::Pending,
        }
    })
    .await
    .map(|()| received)
}

async fn check(streams: Streams, up: usize, down: usize) -> usize {
    let (near, far, asked) = pair(streams);
    let (up, down) = (pattern(up), pattern(down));
    let near = tokio::spawn(carry(near, up.clone()));
    let far = tokio::spawn(carry(far, down.clone()));
    // Not shown when they differ: there are megabytes of it.
    assert!(near.await.unwrap().unwrap() == down, "what comes down");
    assert!(far.await.unwrap().unwrap() == up, "what goes up");
    asked.load(Ordering::Relaxed)
}

const MUCH: usize = 3 * BULK as usize;

#[tokio::test]
async fn bulk_goes_over_all_streams_whole_and_in_order() {
    for (up, down) in [(MUCH, 0), (0, MUCH), (MUCH, MUCH), (MUCH, 7), (7, MUCH)] {
        assert_eq!(check(THREE, up, down).await, 1);
    }
}

#[tokio::test]
async fn little_stays_where_it_is() {
    assert_eq!(check(THREE, BULK as usize - 1, 1_000).await, 0);
}

#[tokio::test]
async fn without_further_streams_all_goes_on_over_the_first() {
    let refused = Streams {
        refused: 3,
        ..THREE
    };
    assert_eq!(check(refused, MUCH, MUCH).await, 1);
}

/// Whatever the speeds of the streams make of the order.
#[test]
fn no_order_of_arrival_changes_a_byte() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let config = ProptestConfig::with_cases(12);
    let rooms = prop::array::uniform3(1_usize << 10..1 << 18);
    proptest!(config, |(rooms in rooms, piece in 512_usize..65_536, refused in 0_usize..3, up in 0..MUCH, down in 0..MUCH)| {
        let streams = Streams { rooms, piece, refused };
        let asked = runtime.block_on(check(streams, up, down));
        prop_assert_eq!(asked, usize::from(up.max(down) >= BULK as usize));
    });
}

/// One that was accepted, over its first stream, and the other ends of that and of the streams that have joined, of which the
/// answers were read.
async fn accepted() -> (Conn, Conn, [Conn; 2]) {
    let bonds = Arc::<Bonds>::default();
    let place = bonds.open();
    let (first, here) = memory_pair(1 << 20, 1 << 16);
    let mut others = Vec::new();
    for _ in 0..2 {
        let (other, conn) = memory_pair(1 << 20, 1 << 16);
        let join = Join {
            conn,
            answer: ANSWER,
        };
        bonds.join(&place.id(), join).unwrap();
        others.push(other);
    }
    let mut conn = accepting(here, place);
    poll_fn(|cx| {
        let _ = conn.poll_recv(cx);
        Poll::Ready(())
    })
    .await;
    for other in &mut others {
        assert!(read_exact(other, ANSWER.len()).await);
    }
    (conn, first, others.try_into().unwrap())
}

fn frame(frame: Frame, data: &[u8]) -> Vec<u8> {
    [&frame.header()[..], data].concat()
}

fn begin(offset: u64) -> Vec<u8> {
    frame(Frame::Begin { offset }, &[])
}

fn data(offset: u64, data: &[u8]) -> Vec<u8> {
    let len = data.len();
    frame(Frame::Data { offset, len }, data)
}

fn end(offset: u64) -> Vec<u8> {
    frame(Frame::End { offset }, &[])
}

/// What is received when the other end says `first` on the first stream, `frames` on the others, and no more; all that came, or why it ended.
async fn received(first: &str, frames: [Vec<Vec<u8>>; 2]) -> Result<String, String> {
    let (mut conn, mut first_stream, mut others) = accepted().await;
    let opening = Bytes::copy_from_slice(first.as_bytes());
    first_stream.send(opening).await.unwrap();
    first_stream.close().await.unwrap();
    for (other, frames) in others.iter_mut().zip(frames) {
        other.send(frames.concat().into()).await.unwrap();
        other.close().await.unwrap();
    }
    let mut all = Vec::new();
    loop {
        match conn.recv().await {
            Ok(bytes) if bytes.is_empty() => return Ok(String::from_utf8(all).unwrap()),
            Ok(bytes) => all.extend_from_slice(&bytes),
            Err(error) => return Err(error.to_string()),
        }
    }
}

#[tokio::test]
async fn an_end_that_breaks_the_rules_is_refused_and_what_is_missing_is_no_end() {
    let good = received(
        "ab",
        [
            vec![begin(2), data(4, b"ef"), end(9)],
            vec![begin(2), data(2, b"cd"), data(6, b"ghi")],
        ],
    );
    assert_eq!(good.await, Ok("abcdefghi".to_owned()));
    let cases: &[(&str, [Vec<Vec<u8>>; 2])] = &[
        (
            "offset 1 after 4 bytes",
            [vec![begin(2), data(2, b"cd"), data(1, b"x")], vec![]],
        ),
        ("offset 1 after 2 bytes", [vec![begin(1), end(1)], vec![]]),
        (
            "nothing more can come after 4 bytes",
            [
                vec![begin(2), data(2, b"cd")],
                vec![begin(2), data(6, b"gh")],
            ],
        ),
        (
            "nothing more can come after 3 bytes",
            [vec![begin(2), data(2, b"c")], vec![begin(2), end(4)]],
        ),
        (
            "2 bytes on the first stream, and said 3",
            [vec![begin(3)], vec![]],
        ),
        ("two offsets to begin at", [vec![begin(2)], vec![begin(3)]]),
        ("twice where a stream begins", [vec![begin(2); 2], vec![]]),
        (
            "data before the offset to begin at",
            [vec![data(2, b"c")], vec![]],
        ),
        (
            "a frame of kind 2 with 65537 bytes",
            [
                vec![
                    begin(2),
                    frame(
                        Frame::Data {
                            offset: 2,
                            len: MAX_DATA + 1,
                        },
                        &[],
                    ),
                ],
                vec![],
            ],
        ),
        ("a frame of kind 9", [vec![vec![9; HEADER_LEN]], vec![]]),
        (
            "a frame without its last 2 bytes",
            [
                vec![begin(2), data(2, b"cdef")[..HEADER_LEN + 2].to_vec()],
                vec![],
            ],
        ),
        (
            "unexpected end of file",
            [vec![begin(2)[..HEADER_LEN - 1].to_vec()], vec![]],
        ),
    ];
    for (why, frames) in cases {
        let error = received("ab", frames.clone()).await.unwrap_err();
        assert!(error.contains(why), "{error} instead of {why}");
    }
}

#[tokio::test]
async fn streams_that_are_given_up_before_they_are_used_change_nothing() {
    assert_eq!(received("ab", [vec![], vec![]]).await, Ok("ab".to_owned()));
    let one = received("ab", [vec![begin(2), data(2, b"c"), end(3)], vec![]]);
    assert_eq!(one.await, Ok("abc".to_owned()));
}

#[tokio::test]
async fn the_accepting_end_goes_over_after_the_other_and_says_what_it_has_ended_before() {
    let (mut conn, mut first, [mut one, _two]) = accepted().await;
    conn.send(Bytes::from_static(b"answer")).await.unwrap();
    conn.close().await.unwrap();
    assert!(read_exact(&mut first, 6).await);
    assert!(first.recv().await.unwrap().is_empty());
    one.send(begin(0).into()).await.unwrap();
    let expect = [begin(6), end(6)].concat();
    let answer = async {
        let mut read = Vec::new();
        while read.len() < expect.len() {
            read.extend_from_slice(&one.recv().await.unwrap());
        }
        read
    };
    let read = tokio::select! {
        read = answer => read,
        received = conn.recv() => panic!("{received:?}"),
    };
    assert_eq!(read, expect);
}

#[tokio::test]
async fn a_stream_that_is_lost_ends_the_connection_with_an_error() {
    let (mut conn, mut first, [mut used, mut gone]) = accepted().await;
    first.close().await.unwrap();
    for stream in [&mut used, &mut gone] {
        stream.send(begin(0).into()).await.unwrap();
    }
    used.send(data(5, b"later").into()).await.unwrap();
    drop(gone);
    assert!(conn.recv().await.is_err(), "bytes 0 to 4 are lost");
}

#[tokio::test]
async fn an_end_that_was_done_before_it_could_go_over_has_ended_well() {
    let (near, mut far) = memory_pair(1 << 20, 1 << 16);
    let (joined, joining) = oneshot::channel();
    let mut conn = opening(near, Box::new(|| joining));
    let receiving = tokio::spawn(async move {
        let mut received = 0;
        loop {
            match conn.recv().await {
                Ok(bytes) if bytes.is_empty() => return Ok(received),
                Ok(bytes) => received += bytes.len(),
                Err(error) => return Err(error),
            }
        }
    });
    let bulk = pattern(BULK as usize);
    far.send(bulk).await.unwrap();
    let (one, mut other) = memory_pair(1 << 20, 1 << 16);
    joined.send(vec![one]).unwrap();
    assert!(read_exact(&mut other, HEADER_LEN).await, "it has begun");
    far.send(Bytes::from_static(b"the last")).await.unwrap();
    far.close().await.unwrap();
    other.close().await.unwrap();
    assert_eq!(receiving.await.unwrap().unwrap(), BULK as usize + 8);
}

#[tokio::test]
async fn who_may_join_is_known_and_bounded() {
    let bonds = Arc::<Bonds>::default();
    let place = bonds.open();
    let join = || Join {
        conn: memory_pair(1, 1).0,
        answer: ANSWER,
    };
    let why = |id: &str| bonds.join(id, join()).map_err(|(error, _)| error);
    let gone = bonds.open().id();
    for wrong in ["", "x", &"0".repeat(32), &gone] {
        assert_eq!(why(wrong), Err(JoinError::Unknown), "{wrong}");
    }
    while why(&place.id()).is_ok() {}
    assert_eq!(why(&place.id()), Err(JoinError::TooMany));
    let id = place.id();
    drop(place);
    assert_eq!(why(&id), Err(JoinError::Unknown));
}
