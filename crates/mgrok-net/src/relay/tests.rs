//! Tests the relay between sockets. Copying and splicing must behave alike, so both run the same tests.

use std::future::poll_fn;
use std::io::ErrorKind;
use std::sync::atomic::Ordering;

use bytes::Bytes;
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::CipherKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::*;
use crate::layers::Layers;
use crate::quic::{self, QuicOptions};
use crate::testing::{opaque, pattern, read_all, tcp_pair};

/// How a relay moves bytes.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Method {
    Copy,
    Splice,
}

const METHODS: [Method; 2] = [Method::Copy, Method::Splice];

/// More than socket buffers hold, and enough for splicing to start.
const LARGE: usize = 24 * 1024 * 1024;

/// A test step that takes this long hangs.
const PATIENCE: Duration = Duration::from_secs(30);

/// A linger time that passes soon.
const SHORT: Duration = Duration::from_millis(50);

/// A linger time that no test waits for: an event within [`PATIENCE`] has not waited for it.
const NEVER: Duration = Duration::from_secs(3600);

/// A running relay between a user and a service.
struct Lab {
    user: TcpStream,
    work: TcpStream,
    relay: JoinHandle<(RelayEnd, Traffic)>,
}

impl Lab {
    async fn start(method: Method, half_close: HalfClose) -> Self {
        Self::start_with(method, half_close, |relay| relay).await
    }

    async fn lingering(method: Method, half_close: HalfClose, linger: Duration) -> Self {
        Self::start_with(method, half_close, move |relay| relay.with_linger(linger)).await
    }

    async fn start_with(
        method: Method,
        half_close: HalfClose,
        with: impl FnOnce(Relay<'_>) -> Relay<'_> + Send + 'static,
    ) -> Self {
        let (user, user_conn) = tcp_pair().await;
        let (work_conn, work) = tcp_pair().await;
        let (user_conn, work_conn) = (conn(method, user_conn), conn(method, work_conn));
        let relay = tokio::spawn(async move {
            let traffic = Traffic::default();
            let end = with(relay(user_conn, work_conn, half_close, &traffic)).await;
            (end, traffic)
        });
        Self { user, work, relay }
    }

    async fn end(self) -> RelayEnd {
        drop((self.user, self.work));
        end_of(self.relay).await
    }
}

fn conn(method: Method, socket: TcpStream) -> Conn {
    match method {
        Method::Copy => opaque(socket.into()),
        Method::Splice => socket.into(),
    }
}

async fn end_of(relay: JoinHandle<(RelayEnd, Traffic)>) -> RelayEnd {
    let (end, traffic) = timeout(PATIENCE, relay).await.unwrap().unwrap();
    assert_eq!(traffic.sent.into_inner(), end.sent);
    assert_eq!(traffic.received.into_inner(), end.received);
    end
}

async fn read_to_end(socket: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut all = Vec::new();
    timeout(PATIENCE, socket.read_to_end(&mut all))
        .await
        .unwrap()?;
    Ok(all)
}

async fn read_exactly(socket: &mut TcpStream, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    timeout(PATIENCE, socket.read_exact(&mut bytes))
        .await
        .unwrap()
        .unwrap();
    bytes
}

/// Closes the connection with a reset instead of a FIN.
fn reset(socket: TcpStream) {
    socket.set_zero_linger().unwrap();
}

#[tokio::test]
async fn large_transfers_both_ways_arrive_whole() {
    for method in METHODS {
        for half_close in [HalfClose::Carried, HalfClose::EndsBoth] {
            let lab = Lab::start(method, half_close).await;
            let payload = pattern(LARGE);
            let exchange = |socket: TcpStream| {
                let payload = payload.clone();
                async move {
                    let (mut read, mut write) = socket.into_split();
                    let mut received = Vec::new();
                    // No end closes before both have received everything, so closing cannot cut anything.
                    let (sent, all) = tokio::join!(write.write_all(&payload), async {
                        while received.len() < LARGE {
                            if read.read_buf(&mut received).await? == 0 {
                                break;
                            }
                        }
                        io::Result::Ok(())
                    });
                    sent.unwrap();
                    all.unwrap();
                    assert!(received == payload);
                }
            };
            tokio::join!(exchange(lab.user), exchange(lab.work));
            let end = end_of(lab.relay).await;
            assert_eq!((end.sent, end.received), (LARGE as u64, LARGE as u64));
            assert!(
                matches!(end.reason, EndReason::Closed),
                "{method:?} {end:?}"
            );
        }
    }
}

#[tokio::test]
async fn the_tail_of_a_large_reply_is_delivered_to_a_slow_user() {
    for method in METHODS {
        for half_close in [HalfClose::Carried, HalfClose::EndsBoth] {
            // However long the user takes.
            let mut lab = Lab::lingering(method, half_close, NEVER).await;
            let payload = pattern(LARGE);
            let mut work = lab.work;
            let reply = payload.clone();
            let service = tokio::spawn(async move { work.write_all(&reply).await });
            let mut received = Vec::new();
            while received.len() < LARGE {
                let mut some = vec![0; 700_001.min(LARGE - received.len())];
                lab.user.read_exact(&mut some).await.unwrap();
                received.append(&mut some);
                tokio::task::yield_now().await;
            }
            assert!(received == payload);
            assert!(read_to_end(&mut lab.user).await.unwrap().is_empty());
            service.await.unwrap().unwrap();
            drop(lab.user);
            let end = end_of(lab.relay).await;
            assert!(
                matches!(end.reason, EndReason::Closed),
                "{method:?} {end:?}"
            );
        }
    }
}

#[tokio::test]
async fn a_half_close_is_carried_and_a_late_reply_arrives() {
    for method in METHODS {
        let mut lab = Lab::lingering(method, HalfClose::Carried, SHORT).await;
        lab.user.write_all(b"question").await.unwrap();
        lab.user.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.work).await.unwrap(), b"question");
        // Later than `EndsBoth` would have cut the reply.
        sleep(SHORT * 4).await;
        lab.work.write_all(b"answer").await.unwrap();
        lab.work.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.user).await.unwrap(), b"answer");
        let end = lab.end().await;
        assert!(
            matches!(end.reason, EndReason::Closed),
            "{method:?} {end:?}"
        );
        assert_eq!((end.sent, end.received), (6, 8));
    }
}

#[tokio::test]
async fn under_the_other_rule_a_prompt_reply_still_arrives() {
    for method in METHODS {
        let mut lab = Lab::lingering(method, HalfClose::EndsBoth, NEVER).await;
        lab.user.write_all(b"question").await.unwrap();
        lab.user.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.work).await.unwrap(), b"question");
        lab.work.write_all(b"answer").await.unwrap();
        lab.work.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.user).await.unwrap(), b"answer");
        let end = lab.end().await;
        assert!(
            matches!(end.reason, EndReason::Closed),
            "{method:?} {end:?}"
        );
    }
}

#[tokio::test]
async fn under_the_other_rule_one_end_is_the_end_of_both() {
    for method in METHODS {
        let mut lab = Lab::lingering(method, HalfClose::EndsBoth, SHORT).await;
        lab.user.write_all(b"question").await.unwrap();
        assert_eq!(read_exactly(&mut lab.work, 8).await, b"question");
        lab.work.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.user).await.unwrap(), b"");
        // The relay closes the user's connection although the user does not react.
        let end = end_of(lab.relay).await;
        assert!(matches!(end.reason, EndReason::Cut(Leg::Tunnel)), "{end:?}");
    }
}

#[tokio::test]
async fn an_end_is_passed_on_at_once() {
    for method in METHODS {
        let mut lab = Lab::lingering(method, HalfClose::EndsBoth, NEVER).await;
        lab.work.shutdown().await.unwrap();
        assert_eq!(read_to_end(&mut lab.user).await.unwrap(), b"");
        let end = lab.end().await;
        assert!(
            matches!(end.reason, EndReason::Closed),
            "{method:?} {end:?}"
        );
    }
}

#[tokio::test]
async fn a_user_who_resets_ends_both_at_once() {
    for method in METHODS {
        for half_close in [HalfClose::Carried, HalfClose::EndsBoth] {
            let mut lab = Lab::lingering(method, half_close, NEVER).await;
            lab.user.write_all(b"question").await.unwrap();
            assert_eq!(read_exactly(&mut lab.work, 8).await, b"question");
            reset(lab.user);
            assert_eq!(read_to_end(&mut lab.work).await.unwrap(), b"");
            let end = end_of(lab.relay).await;
            let EndReason::Failed {
                leg: Leg::Outside,
                error,
            } = end.reason
            else {
                panic!("{method:?} {end:?}");
            };
            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
        }
    }
}

#[tokio::test]
async fn bulk_for_a_user_who_has_left_is_held_back() {
    for method in METHODS {
        let mut lab = Lab::lingering(method, HalfClose::Carried, NEVER).await;
        lab.work.write_all(&pattern(100_000)).await.unwrap();
        read_exactly(&mut lab.user, 100_000).await;
        drop(lab.user);
        let (chunk, mut taken) = (pattern(65_536), 0);
        // Until the relay takes no more. What it discards for a moment is less than sockets hold.
        while let Ok(written) = timeout(SHORT, lab.work.write(&chunk)).await {
            taken += written.unwrap();
            assert!(taken < 4 * LARGE, "{method:?}: all is taken");
        }
    }
}

#[tokio::test]
async fn bulk_for_a_user_who_has_left_is_refused_at_once_on_a_multiplexed_connection() {
    let layers = Layers {
        encryption: Some(CipherKey::derive(&Secret::new("secret"))),
        compression: true,
        ..Layers::default()
    };
    for layers in [Layers::default(), layers] {
        let [mut work, service] = stream_pair().await.map(Conn::from);
        work.refuse_after_drop();
        is_refused_at_once(layers.wrap(work), layers.wrap(service)).await;

        let (near, far) = quic::tests::pair(&QuicOptions::default()).await;
        let (work, service) = quic::tests::stream(&near, &far).await;
        is_refused_at_once(layers.wrap(work), layers.wrap(service)).await;
    }
}

/// What `service` sends in bulk through a relay from `work` to a user who leaves.
async fn is_refused_at_once(work: Conn, mut service: Conn) {
    let (mut user, user_conn) = tcp_pair().await;
    let relay = tokio::spawn(async move {
        let traffic = Traffic::default();
        let relay = relay(user_conn.into(), work, HalfClose::Carried, &traffic);
        (relay.with_linger(NEVER).await, traffic)
    });
    // Ahead of the reset, which would end both directions by itself.
    user.shutdown().await.unwrap();
    let heard = timeout(PATIENCE, read_all(&mut service)).await;
    assert!(heard.unwrap().unwrap().is_empty());
    let flood = tokio::spawn(async move {
        // Until it is refused.
        while service.send(pattern(65_536)).await.is_ok() {}
    });
    read_exactly(&mut user, 100_000).await;
    drop(user);
    let end = end_of(relay).await;
    assert!(matches!(
        end.reason,
        EndReason::Failed {
            leg: Leg::Outside,
            ..
        }
    ));
    timeout(PATIENCE, flood).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_service_that_resets_while_it_is_written_to_ends_both() {
    for method in METHODS {
        let lab = Lab::lingering(method, HalfClose::Carried, SHORT).await;
        let mut user = lab.user;
        let upload = tokio::spawn(async move {
            let block = pattern(64 * 1024);
            while user.write_all(&block).await.is_ok() {}
        });
        // Lets bytes flow until every buffer is in use.
        let mut work = lab.work;
        read_exactly(&mut work, LARGE).await;
        reset(work);
        timeout(PATIENCE, upload).await.unwrap().unwrap();
        let end = end_of(lab.relay).await;
        assert!(
            matches!(
                end.reason,
                EndReason::Failed {
                    leg: Leg::Tunnel,
                    ..
                }
            ),
            "{method:?} {end:?}"
        );
    }
}

/// A server that refuses an upload answers and closes without reading the rest, which resets its connection.
#[tokio::test]
async fn a_refusal_in_the_middle_of_an_upload_arrives() {
    for method in METHODS {
        for half_close in [HalfClose::Carried, HalfClose::EndsBoth] {
            let lab = Lab::start(method, half_close).await;
            let (mut read, mut write) = lab.user.into_split();
            let upload = tokio::spawn(async move {
                let block = pattern(64 * 1024);
                while write.write_all(&block).await.is_ok() {}
            });
            let mut work = lab.work;
            read_exactly(&mut work, 1024 * 1024).await;
            let mut answer = vec![0; 6];
            work.write_all(b"refuse").await.unwrap();
            timeout(PATIENCE, read.read_exact(&mut answer))
                .await
                .unwrap()
                .unwrap();
            assert_eq!(answer, b"refuse");
            drop(work);
            // The user soon sees either a FIN or a reset.
            let mut rest = Vec::new();
            let _either = timeout(PATIENCE, read.read_to_end(&mut rest))
                .await
                .unwrap();
            assert!(rest.is_empty());
            timeout(PATIENCE, upload).await.unwrap().unwrap();
            end_of(lab.relay).await;
        }
    }
}

/// A reset would reach the user while it is still sending, and many programs then do not read the answer.
#[tokio::test]
async fn the_user_of_a_refused_upload_sees_an_end_and_no_reset() {
    for method in METHODS {
        let lab = Lab::start(method, HalfClose::Carried).await;
        let (mut read, mut write) = lab.user.into_split();
        let upload = tokio::spawn(async move {
            let block = pattern(64 * 1024);
            while write.write_all(&block).await.is_ok() {}
        });
        let mut work = lab.work;
        read_exactly(&mut work, 1024 * 1024).await;
        work.write_all(b"refuse").await.unwrap();
        // Dropped with unread bytes, which sends a reset.
        drop(work);
        let mut all = Vec::new();
        let read = timeout(PATIENCE, read.read_to_end(&mut all)).await;
        read.unwrap().unwrap();
        assert_eq!(all, b"refuse");
        end_of(lab.relay).await;
        timeout(PATIENCE, upload).await.unwrap().unwrap();
    }
}

/// A connection that always has more to read, and never accepts a byte.
struct Endless;

impl ByteStream for Endless {
    fn poll_recv(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        Poll::Ready(Ok(Bytes::from_static(b"more")))
    }

    fn poll_send(&mut self, _cx: &mut Context<'_>, _: &mut Bytes) -> Poll<io::Result<()>> {
        Poll::Ready(Err(ErrorKind::BrokenPipe.into()))
    }

    fn poll_flush(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_close(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[tokio::test]
async fn a_source_that_never_pauses_cannot_prolong_the_end() {
    let endless = || Conn::layered(Box::new(Endless));
    let traffic = Traffic::default();
    let relay = relay(endless(), endless(), HalfClose::Carried, &traffic).with_linger(SHORT);
    let end = timeout(PATIENCE, relay).await.unwrap();
    assert!(matches!(end.reason, EndReason::Failed { .. }), "{end:?}");
}

#[tokio::test]
async fn bytes_that_were_read_early_come_first() {
    for method in METHODS {
        let (mut user, user_conn) = tcp_pair().await;
        let (work_conn, mut work) = tcp_pair().await;
        let mut user_conn = conn(method, user_conn);
        let mut work_conn = conn(method, work_conn);
        user_conn.unread(Bytes::from_static(b"early "));
        work_conn.unread(Bytes::from_static(b"soon "));
        let traffic = Traffic::default();
        let payload = pattern(LARGE);
        let (end, ()) = tokio::join!(
            relay(user_conn, work_conn, HalfClose::Carried, &traffic),
            async {
                let (_, received) = tokio::join!(
                    async {
                        user.write_all(&payload).await.unwrap();
                        user.shutdown().await.unwrap();
                    },
                    async { read_to_end(&mut work).await.unwrap() }
                );
                assert!(received.starts_with(b"early "));
                assert!(received[6..] == payload);
                work.write_all(b"later").await.unwrap();
                work.shutdown().await.unwrap();
                assert_eq!(read_to_end(&mut user).await.unwrap(), b"soon later");
            }
        );
        assert!(
            matches!(end.reason, EndReason::Closed),
            "{method:?} {end:?}"
        );
    }
}

/// A relay that the test drives itself.
fn between(user: impl Into<Conn>, work: impl Into<Conn>, traffic: &Traffic) -> Relay<'_> {
    relay(user.into(), work.into(), HalfClose::Carried, traffic)
}

/// Drives `relay` until `other` completes.
async fn drive<T>(relay: &mut Relay<'_>, other: impl Future<Output = T>) -> T {
    tokio::select! {
        end = poll_fn(|cx| Pin::new(&mut *relay).poll(cx)) => panic!("{end:?}"),
        result = other => result,
    }
}

#[tokio::test]
async fn bytes_are_counted_as_they_move() {
    for method in METHODS {
        let (mut user, user_conn) = tcp_pair().await;
        let (work_conn, mut work) = tcp_pair().await;
        let traffic = Traffic::default();
        let mut relay = between(conn(method, user_conn), conn(method, work_conn), &traffic);
        drive(&mut relay, async {
            user.write_all(b"question").await.unwrap();
            read_exactly(&mut work, 8).await;
            work.write_all(b"answer").await.unwrap();
            read_exactly(&mut user, 6).await;
        })
        .await;
        assert_eq!(traffic.received.load(Ordering::Relaxed), 8);
        assert_eq!(traffic.sent.load(Ordering::Relaxed), 6);
    }
}

#[cfg(target_os = "linux")]
#[tokio::test]
async fn a_pipe_is_held_only_while_bytes_flow() {
    let (user, user_conn) = tcp_pair().await;
    let (work_conn, mut work) = tcp_pair().await;
    let traffic = Traffic::default();
    let mut relay = between(user_conn, work_conn, &traffic);
    // The service does not read: finally nothing moves, and the pipe holds the rest.
    let block = pattern(1024 * 1024);
    let mut written = 0;
    let mut blocked = false;
    while !(blocked && relay.receiving.splice_holds_pipe()) {
        match user.try_write(&block) {
            Ok(bytes) => written += bytes,
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        let before = relay.receiving.moved();
        drive(&mut relay, tokio::task::yield_now()).await;
        blocked = relay.receiving.moved() == before;
    }
    // Then the service reads everything.
    drive(&mut relay, read_exactly(&mut work, written)).await;
    assert_eq!(relay.receiving.moved(), written as u64);
    while relay.receiving.splice_holds_pipe() {
        drive(&mut relay, tokio::task::yield_now()).await;
    }
}

/// A sender whose window is full cuts a small piece now and then. Messages that are all small are copied.
#[cfg(target_os = "linux")]
#[tokio::test]
async fn one_small_piece_does_not_end_splicing_and_several_in_a_row_do() {
    let (mut user, user_conn) = tcp_pair().await;
    let (work_conn, mut work) = tcp_pair().await;
    let traffic = Traffic::default();
    let mut relay = between(user_conn, work_conn, &traffic);
    let block = pattern(64 * 1024);
    for _ in 0..3 {
        drive(&mut relay, async {
            user.write_all(&block).await.unwrap();
            read_exactly(&mut work, block.len()).await;
            user.write_all(b"small").await.unwrap();
            read_exactly(&mut work, 5).await;
        })
        .await;
        assert!(relay.receiving.splices());
    }
    for _ in 0..10 {
        drive(&mut relay, async {
            user.write_all(b"small").await.unwrap();
            read_exactly(&mut work, 5).await;
        })
        .await;
    }
    assert!(!relay.receiving.splices());
    assert!(!relay.receiving.splice_holds_pipe());
}

/// Both ends of a multiplexed stream.
async fn stream_pair() -> [mgrok_mux::Stream; 2] {
    let (near, far) = tokio::io::duplex(64 * 1024);
    let (opener, _, driver) = mgrok_mux::session(near, mgrok_mux::Config::client());
    tokio::spawn(driver);
    let (_, mut acceptor, driver) = mgrok_mux::session(far, mgrok_mux::Config::server());
    tokio::spawn(driver);
    let opened = opener.open().await.unwrap();
    [opened, acceptor.accept().await.unwrap()]
}

#[tokio::test]
async fn what_a_stalled_target_does_not_take_stays_where_it_was() {
    let (mut user, user_conn) = tcp_pair().await;
    let [work_conn, mut work] = stream_pair().await;
    let traffic = Traffic::default();
    let mut relay = between(user_conn, work_conn, &traffic);
    let all = pattern(LARGE);
    let (mut to_work, mut to_user) = (0, all.clone());
    // Both send, and neither reads.
    let mut still = 0;
    while still < 100 {
        let moved = relay.sending.moved() + relay.receiving.moved();
        let sent = (to_work, to_user.len());
        if let Ok(bytes) = user.try_write(&all[to_work..]) {
            to_work += bytes;
        }
        drive(&mut relay, async {
            let _ = poll_fn(|cx| Poll::Ready(work.poll_send(cx, &mut to_user))).await;
            tokio::task::yield_now().await;
        })
        .await;
        let is_still = moved == relay.sending.moved() + relay.receiving.moved()
            && sent == (to_work, to_user.len());
        still = if is_still { still + 1 } else { 0 };
    }
    assert!(relay.receiving.moved() > 128 * 1024);
    assert!(to_work < LARGE && !to_user.is_empty());
    assert_eq!((relay.receiving.held(), relay.sending.held()), (0, 0));

    // Nothing is lost by it.
    let mut got = Vec::new();
    let reads = async {
        while got.len() < to_work {
            got.extend_from_slice(&poll_fn(|cx| work.poll_recv(cx)).await.unwrap());
        }
    };
    drive(&mut relay, reads).await;
    assert!(got == all[..to_work]);
    let sent = LARGE - to_user.len();
    let got = drive(&mut relay, read_exactly(&mut user, sent)).await;
    assert!(got == all[..sent]);
}

#[tokio::test]
async fn dropping_a_relay_closes_both_connections() {
    for method in METHODS {
        let mut lab = Lab::start(method, HalfClose::Carried).await;
        lab.user.write_all(b"question").await.unwrap();
        assert_eq!(read_exactly(&mut lab.work, 8).await, b"question");
        lab.relay.abort();
        assert_eq!(read_to_end(&mut lab.user).await.unwrap(), b"");
        assert_eq!(read_to_end(&mut lab.work).await.unwrap(), b"");
    }
}

/// A server must fit a hundred thousand of these.
#[test]
fn an_idle_relay_is_small() {
    assert!(size_of::<Conn>() <= 96, "{}", size_of::<Conn>());
    assert!(size_of::<Relay<'_>>() <= 512, "{}", size_of::<Relay<'_>>());
}

#[tokio::test]
async fn a_relay_on_which_nothing_moves_ends_after_its_idle_timeout() {
    for method in METHODS {
        let lab = Lab::start_with(method, HalfClose::Carried, |relay| {
            relay.with_idle_timeout(Some(Duration::from_millis(200)))
        })
        .await;
        let Lab { user, work, relay } = lab;
        let end = end_of(relay).await;
        assert!(matches!(end.reason, EndReason::Idle), "{method:?}: {end:?}");
        drop((user, work));
    }
}

#[tokio::test]
async fn a_relay_lives_for_as_long_as_anything_moves_in_either_direction() {
    let idle_timeout = Duration::from_secs(4);
    for method in METHODS {
        let mut lab = Lab::start_with(method, HalfClose::Carried, move |relay| {
            relay.with_idle_timeout(Some(idle_timeout))
        })
        .await;
        // First enough for splicing to start, then less from time to time.
        let bulk = pattern(256 * 1024);
        lab.work.write_all(&bulk).await.unwrap();
        assert!(read_exactly(&mut lab.user, bulk.len()).await == bulk);
        tokio::time::pause();
        for _ in 0..5 {
            tokio::time::advance(idle_timeout * 3 / 4).await;
            tokio::time::resume();
            lab.user.write_all(b"still here").await.unwrap();
            assert_eq!(read_exactly(&mut lab.work, 10).await, b"still here");
            tokio::time::pause();
        }
        assert!(!lab.relay.is_finished(), "{method:?}");
        tokio::time::resume();
        let end = lab.end().await;
        assert!(
            !matches!(end.reason, EndReason::Idle),
            "{method:?}: {end:?}"
        );
    }
}
