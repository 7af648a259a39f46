//! What goes ahead of a flood of data, and by how much.

use std::task::Poll;

use bytes::Bytes;
use mgrok_mux::frame::{Header, Kind, SYN};
use mgrok_mux::machine::{EXPRESS_ROOM, FIRST_BYTES};

use crate::raw::{Frame, Raw};

/// Streams that all have more to send than may be queued.
const UPLOADS: u32 = 200;

/// What a stream has to send that is never at its end.
static ENDLESS: [u8; 64 * 1024] = [0; 64 * 1024];

fn open(server: &mut Raw, id: u32) {
    server.feed(Header::window_update(SYN, id, 0));
    assert_eq!(server.poll_accept(), Poll::Ready(Some(id)));
}

fn upload(server: &mut Raw, id: u32) {
    let _whether_all = server.send(id, &mut Bytes::from_static(&ENDLESS));
}

/// A server whose control stream is 1, with so many uploads towards its client that most wait for room.
fn flooded() -> Raw {
    let mut server = Raw::server();
    open(&mut server, 1);
    server.machine.send_first(1);
    let uploads = (1..=UPLOADS).map(|n| 1 + 2 * n);
    for id in uploads.clone() {
        open(&mut server, id);
    }
    // So that each of them is past its first bytes, and what may be queued is.
    for _ in 0..50 {
        uploads.clone().for_each(|id| upload(&mut server, id));
        server.transmit();
    }
    uploads.for_each(|id| upload(&mut server, id));
    server
}

/// Bytes of data that are sent before those of stream `id`.
fn ahead_of(frames: &[Frame], id: u32) -> usize {
    let data = frames.iter().filter(|it| it.header.kind == Kind::Data);
    data.take_while(|it| it.header.stream != id)
        .map(|it| it.body.len())
        .sum()
}

#[test]
fn a_message_on_a_stream_that_goes_first_overtakes_a_flood_of_uploads() {
    let mut server = flooded();
    let mut message = Bytes::from_static(b"ReqWorkConn");
    assert!(server.send(1, &mut message).is_ready());
    assert_eq!(ahead_of(&server.sent(), 1), 0);
}

#[test]
fn a_stream_that_goes_first_has_room_for_so_much_and_no_more() {
    let mut server = flooded();
    let mut messages = Bytes::from(vec![1; 2 * EXPRESS_ROOM]);
    assert!(server.send(1, &mut messages).is_pending());
    assert_eq!(messages.len(), EXPRESS_ROOM);
    assert_eq!(ahead_of(&server.sent(), 1), 0);
}

#[test]
fn the_first_bytes_of_a_new_stream_overtake_a_flood_of_uploads() {
    let mut server = flooded();
    let id = 1 + 2 * (UPLOADS + 1);
    open(&mut server, id);
    let mut request = Bytes::from_static(&ENDLESS);
    assert!(server.send(id, &mut request).is_pending());
    assert_eq!(ENDLESS.len() - request.len(), usize::from(FIRST_BYTES));
    assert_eq!(ahead_of(&server.sent(), id), 0);
}

#[test]
fn a_flood_of_new_streams_delays_others_by_their_first_bytes_only() {
    let mut server = Raw::server();
    open(&mut server, 1);
    let mut first_bytes = Bytes::from_static(&ENDLESS[..FIRST_BYTES.into()]);
    assert!(server.send(1, &mut first_bytes).is_ready());
    server.sent();
    upload(&mut server, 1);
    for n in 1..=100 {
        open(&mut server, 1 + 2 * n);
        upload(&mut server, 1 + 2 * n);
    }
    let ahead = ahead_of(&server.sent(), 1);
    assert!(ahead <= 100 * usize::from(FIRST_BYTES), "{ahead}");
}
