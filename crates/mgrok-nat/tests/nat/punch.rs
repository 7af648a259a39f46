//! Two sides, or one and a script, on loopback: everything but the NATs.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use mgrok_nat::new_id;
use mgrok_nat::punch::{PunchError, Punched, Skipped, datagram, punch};
use mgrok_proto::auth::Secret;
use mgrok_proto::cipher::{self, CipherKey};
use mgrok_proto::message::{DetectBehavior, NatHoleResp, NatHoleSid, PortsRange};
use tokio::net::UdpSocket;
use tokio::time::timeout;

/// How long a script waits for what must come; far longer than it takes.
const PATIENCE: Duration = Duration::from_secs(30);

/// How long a side waits for what will not come, in milliseconds.
const SHORT: i64 = 200;

/// How long a side waits for what will come, in milliseconds.
const LONG: i64 = 30_000;

async fn socket() -> (UdpSocket, SocketAddr) {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    (socket, addr)
}

fn key(secret: &str) -> CipherKey {
    CipherKey::derive(&Secret::new(secret))
}

fn resp(role: &str, candidate: SocketAddr, read_timeout: i64) -> NatHoleResp {
    NatHoleResp {
        transaction_id: "t".into(),
        sid: "s".into(),
        protocol: "quic".into(),
        candidate_addrs: vec![candidate.to_string()],
        detect_behavior: DetectBehavior {
            role: role.into(),
            read_timeout,
            ..DetectBehavior::default()
        },
        ..NatHoleResp::default()
    }
}

/// Asserts that what one side sends through the hole comes to the other.
async fn check_hole(from: &Punched, to: &Punched) {
    from.socket.send_to(b"through", from.peer).await.unwrap();
    let mut buffer = [0; 1_500];
    loop {
        let received = timeout(PATIENCE, to.socket.recv_from(&mut buffer)).await;
        let (len, source) = received.unwrap().unwrap();
        // Late datagrams of the punching come first.
        if &buffer[..len] == b"through" {
            assert_eq!(source, to.peer);
            return;
        }
    }
}

/// What comes to a script next.
async fn read(socket: &UdpSocket) -> (NatHoleSid, SocketAddr) {
    let mut buffer = [0; 1_500];
    let received = timeout(PATIENCE, socket.recv_from(&mut buffer)).await;
    let (len, from) = received.unwrap().unwrap();
    let message = datagram::decode(&mut buffer[..len], &key("abc")).unwrap();
    (message, from)
}

async fn write(socket: &UdpSocket, message: &NatHoleSid, to: SocketAddr) {
    let datagram = datagram::encode(message, &key("abc"), cipher::random_iv()).unwrap();
    socket.send_to(&datagram, to).await.unwrap();
}

fn request() -> NatHoleSid {
    NatHoleSid {
        transaction_id: "script".into(),
        sid: "s".into(),
        nonce: "0000".into(),
        ..NatHoleSid::default()
    }
}

#[track_caller]
fn skipped(error: PunchError) -> Skipped {
    match error {
        PunchError::TimedOut { skipped, .. } => skipped,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn sender_and_receiver_find_each_other() {
    let (a, a_addr) = socket().await;
    let (b, b_addr) = socket().await;
    let normal_ttl = a.ttl().unwrap();
    let mut receiver = resp("receiver", b_addr, LONG);
    receiver.detect_behavior.ttl = 7;
    let mut sender = resp("sender", a_addr, LONG);
    sender.detect_behavior.send_delay_ms = 50;
    // Each in a task of its own, as where they are used.
    let b = tokio::spawn(async move { punch(b, &sender, &key("abc")).await });
    let a = tokio::spawn(async move { punch(a, &receiver, &key("abc")).await });
    let (a, b) = (a.await.unwrap().unwrap(), b.await.unwrap().unwrap());
    assert_eq!((a.peer, b.peer), (b_addr, a_addr));
    assert_eq!(a.socket.local_addr().unwrap(), a_addr);
    assert_eq!(a.socket.ttl().unwrap(), normal_ttl);
    check_hole(&a, &b).await;
    check_hole(&b, &a).await;
}

#[tokio::test]
async fn a_local_address_may_be_the_way() {
    let (a, a_addr) = socket().await;
    let (b, b_addr) = socket().await;
    let (_nobody, nobody) = socket().await;
    let receiver = resp("receiver", nobody, LONG);
    let mut sender = resp("sender", nobody, LONG);
    sender.assisted_addrs = vec!["192.0.2.1".into(), a_addr.to_string()];
    let key = key("abc");
    let (a, b) = tokio::join!(punch(a, &receiver, &key), punch(b, &sender, &key));
    assert_eq!((a.unwrap().peer, b.unwrap().peer), (b_addr, a_addr));
}

#[tokio::test]
async fn one_of_many_sockets_is_found_by_guessing() {
    // Guesses reach whoever has the port: an address and a secret of its own keep this test out of others.
    let ip = [127, 1 + fastrand::u8(..254), fastrand::u8(..), 1];
    let secret = key(&new_id());
    let bind = async || {
        let socket = UdpSocket::bind(SocketAddr::from((ip, 0))).await.unwrap();
        let addr = socket.local_addr().unwrap();
        (socket, addr)
    };
    let (a, a_addr) = bind().await;
    let (b, b_addr) = bind().await;
    let mut receiver = resp("receiver", b_addr, LONG);
    receiver.detect_behavior.listen_random_ports = 256;
    receiver.detect_behavior.ttl = 7;
    // Where the server has seen it is where it is not.
    let (_nobody, nobody) = bind().await;
    let mut sender = resp("sender", nobody, LONG);
    // More than frp's thousand: the chance to miss all of them is one in ten million.
    sender.detect_behavior.send_random_ports = 4_096;
    let (a, b) = tokio::join!(punch(a, &receiver, &secret), punch(b, &sender, &secret));
    let (a, b) = (a.unwrap(), b.unwrap());
    let found = a.socket.local_addr().unwrap();
    assert_eq!(found.port(), b.peer.port());
    // One of 257 may be the first.
    assert!(found.ip().is_unspecified() || found == a_addr, "{found}");
    check_hole(&a, &b).await;
    check_hole(&b, &a).await;
}

#[tokio::test]
async fn a_receiver_answers_with_what_it_got() {
    let (receiver, addr) = socket().await;
    let (script, script_addr) = socket().await;
    let resp = resp("receiver", script_addr, LONG);
    let key = key("abc");
    let (punched, ()) = tokio::join!(punch(receiver, &resp, &key), async {
        let (first, _) = read(&script).await;
        assert_eq!((first.sid.as_str(), first.response), ("s", false));
        assert!(first.nonce.len() < 20 && first.nonce.bytes().all(|byte| byte == b'0'));
        write(&script, &request(), addr).await;
        let (answer, from) = read(&script).await;
        assert_eq!(from, addr);
        let expected = NatHoleSid {
            response: true,
            ..request()
        };
        assert_eq!(answer, expected);
    });
    assert_eq!(punched.unwrap().peer, script_addr);
}

#[tokio::test]
async fn a_sender_waits_for_the_answer_to_its_own() {
    let (sender, addr) = socket().await;
    let (script, script_addr) = socket().await;
    let resp = resp("sender", script_addr, LONG);
    let key = key("abc");
    let (punched, answered_from) = tokio::join!(punch(sender, &resp, &key), async {
        let (mut message, _) = read(&script).await;
        write(&script, &request(), addr).await;
        let (other, other_addr) = socket().await;
        message.response = true;
        write(&other, &message, addr).await;
        other_addr
    });
    // The request came from another address.
    assert_eq!(punched.unwrap().peer, answered_from);
}

#[tokio::test]
async fn the_socket_that_was_found_is_given_out_and_the_others_are_closed() {
    let (receiver, addr) = socket().await;
    let (script, script_addr) = socket().await;
    let mut resp = resp("receiver", script_addr, LONG);
    resp.detect_behavior.listen_random_ports = 8;
    let key = key("abc");
    let (punched, others) = tokio::join!(punch(receiver, &resp, &key), async {
        let mut from = BTreeSet::new();
        while from.len() < 9 {
            from.insert(read(&script).await.1);
        }
        assert!(from.remove(&addr));
        let found = from.pop_first().unwrap();
        write(&script, &request(), found).await;
        assert_eq!(read(&script).await.1, found);
        from.insert(addr);
        (found, from)
    });
    let (found, others) = others;
    let punched = punched.unwrap();
    assert_eq!(punched.socket.local_addr().unwrap().port(), found.port());
    for addr in others {
        UdpSocket::bind(addr).await.unwrap();
    }
}

#[tokio::test]
async fn ports_near_the_last_one_are_tried() {
    let (receiver, _) = socket().await;
    let (script, script_addr) = socket().await;
    let (elsewhere, elsewhere_addr) = socket().await;
    let mut resp = resp("receiver", elsewhere_addr, LONG);
    let port = i64::from(script_addr.port());
    resp.detect_behavior.candidate_ports = vec![PortsRange {
        from: port - 2,
        to: port,
    }];
    let key = key("abc");
    let (punched, ()) = tokio::join!(punch(receiver, &resp, &key), async {
        let (_, from) = read(&script).await;
        write(&script, &request(), from).await;
    });
    assert_eq!(punched.unwrap().peer, script_addr);
    // Where it was last seen is only tried as one of the ports.
    if !(port - 2..=port).contains(&elsewhere_addr.port().into()) {
        let error = elsewhere.try_recv_from(&mut [0; 1]).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
}

#[tokio::test]
async fn nobody_there_is_said() {
    let (a, _) = socket().await;
    let (_silent, silent) = socket().await;
    let error = punch(a, &resp("receiver", silent, SHORT), &key("abc"))
        .await
        .unwrap_err();
    let text = error.to_string();
    assert!(
        text.starts_with("wait detect message timeout: 1 datagrams sent in "),
        "{text}"
    );
    assert!(text.ends_with("nothing came from the other side"), "{text}");
}

#[tokio::test]
async fn another_attempt_is_told_apart() {
    let (a, a_addr) = socket().await;
    let (b, b_addr) = socket().await;
    let receiver = resp("receiver", b_addr, SHORT);
    let mut sender = resp("sender", a_addr, SHORT);
    sender.sid = "other".into();
    let key = key("abc");
    let (a, b) = tokio::join!(punch(a, &receiver, &key), punch(b, &sender, &key));
    for error in [a.unwrap_err(), b.unwrap_err()] {
        let foreign = Skipped {
            foreign: 1,
            ..Skipped::default()
        };
        assert_eq!(skipped(error), foreign);
    }
}

#[tokio::test]
async fn another_secret_is_told_apart() {
    let (a, a_addr) = socket().await;
    let (b, b_addr) = socket().await;
    let receiver = resp("receiver", b_addr, SHORT);
    let sender = resp("sender", a_addr, SHORT);
    let (one, other) = (key("abc"), key("abd"));
    let (a, b) = tokio::join!(punch(a, &receiver, &one), punch(b, &sender, &other));
    for error in [a.unwrap_err(), b.unwrap_err()] {
        let unreadable = Skipped {
            unreadable: 1,
            ..Skipped::default()
        };
        assert_eq!(skipped(error), unreadable);
    }
}

#[tokio::test]
async fn two_senders_do_not_meet() {
    let (a, a_addr) = socket().await;
    let (b, b_addr) = socket().await;
    let (to_a, to_b) = (resp("sender", a_addr, SHORT), resp("sender", b_addr, SHORT));
    let key = key("abc");
    let (a, b) = tokio::join!(punch(a, &to_b, &key), punch(b, &to_a, &key));
    for error in [a.unwrap_err(), b.unwrap_err()] {
        assert_eq!(skipped(error).unanswered, 1);
    }
}

#[tokio::test]
async fn ones_own_request_is_no_sign_of_the_other_side() {
    let (a, a_addr) = socket().await;
    let error = punch(a, &resp("receiver", a_addr, SHORT), &key("abc"))
        .await
        .unwrap_err();
    assert_eq!(skipped(error), Skipped::default());
}

#[tokio::test]
async fn with_one_socket_whatever_arrives_starts_the_wait_anew() {
    let (a, a_addr) = socket().await;
    let (script, script_addr) = socket().await;
    let started = tokio::time::Instant::now();
    let resp = resp("receiver", script_addr, 2_000);
    let key = key("abc");
    let (error, ()) = tokio::join!(punch(a, &resp, &key), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        script.send_to(b"junk", a_addr).await.unwrap();
    });
    assert_eq!(skipped(error.unwrap_err()).unreadable, 1);
    assert!(started.elapsed() >= Duration::from_secs(3));
}

#[tokio::test]
async fn without_an_address_nothing_is_tried() {
    let (a, a_addr) = socket().await;
    let mut resp = resp("receiver", a_addr, LONG);
    resp.candidate_addrs = vec!["nowhere".into()];
    let error = punch(a, &resp, &key("abc")).await.unwrap_err();
    assert!(matches!(error, PunchError::NoCandidates), "{error}");

    let (a, _) = socket().await;
    resp.error = "xtcp server for [p] doesn't exist".into();
    let error = punch(a, &resp, &key("abc")).await.unwrap_err();
    assert!(matches!(error, PunchError::Refused(_)), "{error}");

    let (a, a_addr) = socket().await;
    let mut resp = self::resp("receiver", a_addr, LONG);
    resp.sid = "s".repeat(10_300);
    let error = punch(a, &resp, &key("abc")).await.unwrap_err();
    assert!(matches!(error, PunchError::Encode(_)), "{error}");
}
