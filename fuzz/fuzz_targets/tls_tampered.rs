//! Whatever is done to the bytes of a TLS connection on their way, what arrives is a beginning of what was sent; and
//! no first bytes of a client make a server panic.
#![no_main]

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::sync::{Arc, LazyLock, Mutex};
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use mgrok_net::conn::{ByteStream, Conn};
use mgrok_net::tls::{ClientTls, ClientTlsOptions, ServerTls, ServerTlsOptions};

static SERVER: LazyLock<ServerTls> =
    LazyLock::new(|| ServerTls::new(ServerTlsOptions::default()).unwrap());
static CLIENT: LazyLock<ClientTls> =
    LazyLock::new(|| ClientTls::new(ClientTlsOptions::default()).unwrap());

/// What is done to the bytes behind the handshake: what, at which place, how far, and what is put there.
type Change = (u8, u16, u16, Vec<u8>);

/// One direction in memory.
#[derive(Clone, Default)]
struct Pipe(Arc<Mutex<(VecDeque<Bytes>, bool)>>);

impl Pipe {
    fn push(&self, bytes: Bytes) {
        self.0.lock().unwrap().0.push_back(bytes);
    }

    fn close(&self) {
        self.0.lock().unwrap().1 = true;
    }

    fn take(&self) -> Vec<u8> {
        let mut inner = self.0.lock().unwrap();
        inner.0.drain(..).flatten().collect()
    }
}

struct End {
    from: Pipe,
    to: Pipe,
}

impl ByteStream for End {
    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        let mut from = self.from.0.lock().unwrap();
        match from.0.pop_front() {
            Some(bytes) => Poll::Ready(Ok(bytes)),
            None if from.1 => Poll::Ready(Ok(Bytes::new())),
            None => Poll::Pending,
        }
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, chunk: &mut Bytes) -> Poll<io::Result<()>> {
        self.to.push(std::mem::take(chunk));
        Poll::Ready(Ok(()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.to.close();
        Poll::Ready(Ok(()))
    }
}

/// Polls until nothing waits any more, which is soon.
fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    for _ in 0..100 {
        if let Poll::Ready(done) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return done;
        }
    }
    unreachable!("nothing waits")
}

fn pair() -> (Conn, Conn, Pipe) {
    let (up, down) = (Pipe::default(), Pipe::default());
    let near = End {
        from: down.clone(),
        to: up.clone(),
    };
    let far = End {
        from: up.clone(),
        to: down,
    };
    let (near, far) = (Conn::layered(Box::new(near)), Conn::layered(Box::new(far)));
    let (mut client, mut server) = (None, None);
    let mut connecting = pin!(CLIENT.connect(near));
    let mut accepting = pin!(SERVER.accept(far));
    let mut cx = Context::from_waker(Waker::noop());
    while client.is_none() || server.is_none() {
        if client.is_none()
            && let Poll::Ready(done) = connecting.as_mut().poll(&mut cx)
        {
            client = Some(done.unwrap());
        }
        if server.is_none()
            && let Poll::Ready(done) = accepting.as_mut().poll(&mut cx)
        {
            server = Some(done.unwrap());
        }
    }
    (client.unwrap(), server.unwrap(), up)
}

fn apply((what, place, count, more): Change, bytes: &mut Vec<u8>) {
    let start = usize::from(place) % (bytes.len() + 1);
    let end = (start + usize::from(count)).min(bytes.len());
    match what % 5 {
        0 => bytes.truncate(start),
        1 => drop(bytes.drain(start..end)),
        2 => {
            for (byte, bits) in bytes[start..end].iter_mut().zip(more) {
                *byte ^= bits;
            }
        }
        3 => drop(bytes.splice(start..start, more)),
        _ => {
            let again = bytes[start..end].to_vec();
            drop(bytes.splice(end..end, again));
        }
    }
}

/// `sent` by a client, cut in pieces, instead of a handshake.
fn shake_hands(sent: &[u8], piece: usize) {
    let (from, to) = (Pipe::default(), Pipe::default());
    for piece in sent.chunks(piece) {
        from.push(Bytes::copy_from_slice(piece));
    }
    from.close();
    let conn = Conn::layered(Box::new(End { from, to }));
    finish(SERVER.accept(conn)).unwrap_err();
}

/// Chunks of these lengths, sent by a client and changed on their way.
fn tamper(lengths: Vec<u16>, changes: Vec<Change>, piece: usize) {
    let (mut client, mut server, up) = pair();
    let mut sent = Vec::new();
    for len in lengths.into_iter().take(6) {
        let chunk: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
        sent.extend_from_slice(&chunk);
        finish(client.send(chunk.into())).unwrap();
    }
    finish(client.close()).unwrap();
    let mut bytes = up.take();
    let is_changed = !changes.is_empty();
    for change in changes {
        apply(change, &mut bytes);
    }
    for piece in bytes.chunks(piece) {
        up.push(Bytes::copy_from_slice(piece));
    }
    let mut received = Vec::new();
    let end = loop {
        match finish(server.recv()) {
            Ok(chunk) if chunk.is_empty() => break Ok(()),
            Ok(chunk) => received.extend_from_slice(&chunk),
            Err(error) => break Err(error),
        }
    };
    assert!(sent.starts_with(&received));
    if end.is_ok() || !is_changed {
        // An end that was announced comes behind everything.
        assert!(received == sent);
    }
}

fuzz_target!(|input: (bool, Vec<u8>, Vec<u16>, Vec<Change>, u16)| {
    let (is_whole, hello, lengths, changes, piece) = input;
    let piece = usize::from(piece).max(1);
    if is_whole {
        tamper(lengths, changes, piece);
    } else {
        shake_hands(&hello, piece);
    }
});
